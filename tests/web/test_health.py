"""``GET /health``: the truth, and cheap."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from plugin.web import health as module


class Inbox:
    """As much of an inbox as is asked: it counts how often, and fails as it is told."""

    def __init__(self) -> None:
        self.asked = 0
        self.fault: Exception | None = None

    def probe(self) -> None:
        self.asked += 1
        if self.fault:
            raise self.fault


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def client(inbox: Inbox) -> FlaskClient:
    app = Flask("health")
    app.register_blueprint(module.health(inbox))  # type: ignore[arg-type]
    return app.test_client()


def test_however_many_ask_the_database_is_asked_once_a_second(
    client: FlaskClient, inbox: Inbox, clock: Clock
) -> None:
    """Anybody may call the address; it is no way to keep the database from its work."""
    answers = [client.get("/health").status_code for _ in range(100)]
    clock.now += module.FRESH
    answers.append(client.get("/health").status_code)

    assert (answers, inbox.asked) == ([200] * 101, 2)


@pytest.mark.parametrize(
    "fault", [TimeoutError(), OSError(28, "full"), sa.exc.OperationalError("x", {}, Exception())]
)
def test_what_keeps_a_delivery_from_being_stored_shows_within_a_second(
    client: FlaskClient, inbox: Inbox, clock: Clock, fault: Exception
) -> None:
    """A stuck, full or missing database is 503, and 200 again when it is mended."""
    seen = [client.get("/health").status_code]
    for inbox.fault in (fault, None):
        clock.now += module.FRESH
        seen.append(client.get("/health").status_code)

    assert seen == [200, 503, 200]
