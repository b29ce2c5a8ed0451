"""BottleCRM on this machine: started, seeded with people, connected as its docs page tells."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from typing import Any

from plugin.registry import adapters
from plugin.sandbox.bottlecrm import script
from plugin.sandbox.bottlecrm.crm import ADMIN, CURRENCY, BottleCrm, Member, call
from plugin.sandbox.bottlecrm.environment import environment, inside
from plugin.sandbox.portal import STAFF, TIME_ZONE
from plugin.sandbox.processes import Home, Processes, Started, Trouble, http_session
from plugin.sandbox.story import REPS

CRM = "bottlecrm"
APPLICATION = "plugin.sandbox.bottlecrm.inside.wsgi:application"
ADMIN_EMAIL = "admin@firma.example.com"
ORGANISATION = "IT-Haus Beispiel"
SETTINGS = {"timezone": TIME_ZONE, "default_currency": CURRENCY, "default_country": "DE"}
KEEP_ALIVE = "600"
"""Seconds for which BottleCRM keeps a connection. gunicorn's own 2 are over while people wait for
the plugin, and a call that is sent as the connection closes has no answer."""
TARGET = re.compile(r"Webhooks go to (\S+)")


class BottleStage:
    """A ``stage.Stage``. ``running`` is the CRM's process, once it was started."""

    name = CRM
    title = "BottleCRM"
    script = script.SCRIPT
    running: Started

    def __init__(self, url: str, web: str) -> None:
        del web  # where webhooks go, the plugin tells when it is connected
        self.url = url
        self._session = http_session()

    @property
    def settings(self) -> Mapping[str, str]:
        return {"BOTTLECRM_URL": "", "BOTTLECRM_TOKEN": ""}  # typed in, whatever a .env file says

    def start(self, processes: Processes) -> None:
        """Also after it was stopped: it goes on with what is in its database."""
        made = environment(processes.bell)
        folder = processes.folder / CRM
        folder.mkdir(exist_ok=True)
        database = folder / "crm.sqlite3"
        if not database.exists():
            shutil.copy(made.database, database)
        self.running = processes.start(
            CRM,
            *("gunicorn", APPLICATION, "--bind", self.url.removeprefix("http://")),
            *("--threads", "8", "--no-control-socket", "--graceful-timeout", "2"),
            *("--keep-alive", KEEP_ALIVE),
            home=Home(python=made.python, folder=folder, environ=inside(database, folder)),
        )
        processes.wait_for(self.running, f"{self.url}/story/clock")

    def connect(self, processes: Processes, language: str) -> BottleCrm:
        members = self._seed()
        token = self._call("/api/profile/tokens/", {"name": "Referral Spiral"}, members[ADMIN])
        connected = processes.run(
            "connect",
            *("plugin", "connect", CRM, "--url", self.url, "--language", language),
            typed=f"{token['token']}\n",
        )
        target = TARGET.search(connected)
        if not target:
            raise Trouble(f"`connect` does not tell where webhooks go: {connected}")
        events = adapters()[CRM].declaration.event_types
        webhook = self._call("/api/webhooks/", {"url": target[1], "events": events}, members[ADMIN])
        processes.run("secret", "plugin", "secret", CRM, typed=f"{webhook['secret']}\n")
        processes.run("install", "plugin", "install", CRM)
        return BottleCrm(self.url, members, webhook["id"])

    # ------------------------------------------------------------------------- seeding

    def _seed(self) -> dict[str, Member]:
        """An organisation with an admin and the reps of the story, all of them signed in."""
        first = self._sign_in(ADMIN_EMAIL)
        organisation = self._call("/api/org/", {"name": ORGANISATION}, first)["org"]["id"]
        admin = self._sign_in(ADMIN_EMAIL, organisation)
        self._call("/api/org/settings/", SETTINGS, admin, method="PATCH")
        members = {ADMIN: self._member("Anna Berger", admin)}
        for rep, owner in REPS.items():
            who = next(one for one in STAFF if one.id == owner)
            self._call("/api/users/", {"email": who.email, "role": "USER"}, admin)
            access = self._sign_in(who.email, organisation)
            members[rep] = self._member(who.name, access)
        return members

    def _member(self, name: str, access: str) -> Member:
        self._call("/api/profile/", {"name": name}, access, method="PATCH")
        profile = self._call("/api/profile/", None, access, method="GET")["user_obj"]
        return Member(id=profile["id"], name=name, access=access)

    def _sign_in(self, email: str, organisation: str | None = None) -> str:
        signed_in = self._call("/story/sign-in", {"email": email, "org": organisation}, "")
        access: str = signed_in["access"]
        return access

    def _call(self, path: str, body: object, by: str | Member, *, method: str = "POST") -> Any:
        access = by.access if isinstance(by, Member) else by
        return call(self._session, method, f"{self.url}{path}", body, access)
