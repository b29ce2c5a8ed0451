"""What a story is played on: a CRM, the plugin's web server and its worker, each a process of its
own on the loopback, connected and installed by the plugin's own commands."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from plugin.sandbox.people import Crm
from plugin.sandbox.processes import HOST, Bell, Processes, Started
from plugin.sandbox.story import Script


class Stage(Protocol):
    """A CRM that can be started here. ``name`` as in ``manifest.json``."""

    name: str
    title: str
    script: Script
    """The story as it goes with this CRM."""
    url: str

    @property
    def settings(self) -> Mapping[str, str]:
        """The plugin's, as environment variables."""

    def start(self, processes: Processes) -> None:
        """Until it answers."""

    def connect(self, processes: Processes, language: str) -> Crm:
        """Connect the plugin with it and install the fields, as the docs tell an admin to."""


class Site:
    """All that runs for one story. ``folder`` gets the logs and the plugin's database.

    ``crm``, ``receiver`` (the plugin's web server) and ``worker`` are there once connected.
    """

    crm: Crm
    receiver: Started
    worker: Started

    def __init__(self, stage: Stage, web: str, bell: Bell, folder: Path) -> None:
        self.stage = stage
        self.web = web
        self.bell = bell
        self.database_url = f"sqlite:///{folder / 'referrals.db'}"
        self.processes = Processes(bell, self._environ(), folder)

    def _environ(self) -> Mapping[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if name != "GUNICORN_CMD_ARGS"},
            "SECRET_KEY": secrets.token_urlsafe(32),
            "PUBLIC_URL": self.web,
            "DATABASE_URL": self.database_url,
            "LOG_LEVEL": "INFO",
            "CRM_NETWORKS": HOST,
            **self.stage.settings,
            "NO_PROXY": HOST,
            "no_proxy": HOST,
            "PYTHONUNBUFFERED": "1",
        }

    def start(self) -> None:
        """The CRM."""
        self.stage.start(self.processes)

    def connect(self, language: str) -> None:
        """The plugin with it, and start to receive and to work."""
        self.crm = self.stage.connect(self.processes, language)
        self.start_receiver()
        self.start_worker()

    def start_receiver(self) -> None:
        self.receiver = self.processes.start(
            "web",
            *("gunicorn", "wsgi:app", "--bind", self.web.removeprefix("http://")),
            *("--graceful-timeout", "2"),
        )
        self.processes.wait_for(self.receiver, f"{self.web}/health")

    def start_worker(self) -> None:
        self.worker = self.processes.start(
            "worker", "plugin.sandbox.worker", "--clock", self.crm.clock_url
        )
