"""BottleCRM's WSGI application, and beside it three addresses by which the demo steers it.

``GET, POST /story/clock`` ``{"now": ISO or null}``
    as the sandbox's ``/sandbox/clock``: travels in time.
``POST /story/sign-in`` ``{"email", "org": id or null}``
    answers ``{"access"}``: the product's own ``devlogin`` command, without waiting seconds for a
    process of its own. It makes the user where there is none.
``POST /story/retry``
    the product's task ``dispatch_due_deliveries``, which its beat runs every minute.

They are the demo's, need no token, and are served on the loopback alone.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from crm.wsgi import application as product
from django.core.management import call_command
from django.db import close_old_connections
from webhooks.tasks import dispatch_due_deliveries

from plugin.sandbox.bottlecrm.inside import clock

Body = dict[str, Any]
Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], object]

ACCESS = re.compile(r"access_token:\s+(\S+)")


def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """WSGI."""
    prefix, _, name = environ["PATH_INFO"].rpartition("/")
    if prefix != "/story" or name not in ANSWERS:
        answered: Iterable[bytes] = product(environ, start_response)
        return answered
    length = int(environ.get("CONTENT_LENGTH") or 0)
    sent = environ["wsgi.input"].read(length) if environ["REQUEST_METHOD"] == "POST" else b""
    answer = json.dumps(ANSWERS[name](json.loads(sent or "{}"))).encode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [answer]


def _clock(sent: Body) -> Body:
    if "now" in sent:
        clock.travel(datetime.fromisoformat(sent["now"]) if sent["now"] else None)
    return {"now": clock.now().isoformat()}


def _sign_in(sent: Body) -> Body:
    told = io.StringIO()
    options: Body = {"org": sent["org"]} if sent.get("org") else {"create": True}
    call_command("devlogin", sent["email"], stdout=told, no_color=True, **options)
    close_old_connections()
    found = ACCESS.search(told.getvalue())
    return {"access": found[1] if found else None}


def _retry(_sent: Body) -> Body:
    queued = dispatch_due_deliveries()
    close_old_connections()
    return {"queued": queued}


ANSWERS: dict[str, Callable[[Body], Body]] = {
    "clock": _clock,
    "sign-in": _sign_in,
    "retry": _retry,
}
