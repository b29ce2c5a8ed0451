"""How much memory the processes take at most, whatever arrives.

A worker with 100,000 dirty contacts is measured in the part ``processor``.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bench.answers import PATH, PUBLIC_URL, signed
from bench.databases import SQLITE
from bench.load import drive, request
from bench.office import add_accounts
from bench.parts import Part, Row, Sheet, Site
from bench.processes import peak_mb
from bench.server import HOST, serving
from bench.stand import LOOPBACK, working
from plugin.app import open_parts
from plugin.manifest import manifest
from plugin.sandbox.portal import Portal
from plugin.settings import load_settings

LARGEST = 2**20  # bytes of a delivery
GARBAGE = 20 * 10**6  # bytes of an answer
FLOOD = 3.0  # seconds
CONNECTIONS = 16
ACCOUNTS = 8  # as many as a worker works for at a time, by default
PATIENCE = 30.0  # seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Crm:
    """A CRM that answers everything with the same body. ``answered``: how often, so far."""

    url: str
    answered: list[int]


def measure(site: Site) -> list[Row]:
    """Each process in each plight."""
    with site.databases.fresh(SQLITE) as url:
        rows = _flooded(url)
    for what, body in _bodies():
        with site.databases.fresh(SQLITE) as url, _answering(body) as crm:
            rows.append({"process": "worker", "what": what, "peak": _worker(url, crm)})
    return rows


def _bodies() -> Iterator[tuple[str, bytes]]:
    yield "a CRM that is down (503)", b""
    yield "a CRM that answers 20 MB that are no JSON", b"\x00garbage" * (GARBAGE // 8)
    yield "a CRM that answers 20 MB of empty lists", b"[" + b"[]," * (GARBAGE // 3 - 1) + b"[]]"
    deep = b'{"a":' * 500 + b"1" + b"}" * 500
    nested = b"[" + b",".join([deep] * (GARBAGE // (len(deep) + 1))) + b"]"
    yield "a CRM that answers 20 MB of nested objects", nested


def _flooded(url: str) -> list[Row]:
    """gunicorn under deliveries as large as are taken, on 16 connections at once."""
    portal = Portal()
    environ = _environ(url) | {
        "PUBLIC_URL": PUBLIC_URL,
        "HUBSPOT_CLIENT_SECRET": portal.secret,
    }
    event = {"portalId": portal.portal_id, "filling": "x" * 1000}
    filling = json.dumps([event] * (LARGEST // 1100)).encode()
    body = filling[:-1] + b" " * (LARGEST - len(filling)) + b"]"
    prepared = [request(PATH, body, signed(portal, body))]
    with serving("wsgi:app", environ) as server:
        (process,) = server.workers()
        rows = [{"process": "gunicorn worker", "what": "started", "peak": peak_mb(process)}]
        taken = drive(server.port, prepared, connections=CONNECTIONS, warm_up=0.0, seconds=FLOOD)
        if taken.refused or not taken.sent:
            raise RuntimeError(f"{taken.refused} of {taken.sent} deliveries were not taken")
        what = f"a flood of 1 MiB deliveries, {taken.rate:.0f}/s on {CONNECTIONS} connections"
        rows.append({"process": "gunicorn worker", "what": what, "peak": peak_mb(process)})
    return rows


def _environ(url: str) -> dict[str, str]:
    return {
        "SECRET_KEY": "only-for-measuring-anything",
        "DATABASE_URL": url,
        "LOG_LEVEL": "CRITICAL",
        **LOOPBACK,
    }


def _worker(url: str, crm: Crm) -> float:
    """The most memory of a worker that has met this CRM a few times, in MB."""
    environ = _environ(url)
    parts = open_parts(load_settings(environ))
    fields = [field.key for field in manifest().fields]
    alike = {"token": parts.vault.encrypt("none"), "base_url": crm.url, "fields": fields}
    with parts.database.write() as connection:
        add_accounts(connection, [{"crm_id": str(number), **alike} for number in range(ACCOUNTS)])
    parts.database.close()
    deadline = time.monotonic() + PATIENCE
    with working(environ) as worker:
        while sum(crm.answered) < ACCOUNTS:
            if time.monotonic() > deadline:
                raise RuntimeError("the worker never called the CRM")
            time.sleep(0.1)
        time.sleep(3.0)  # the last answer is read and refused
        return peak_mb(worker.pid)


@contextmanager
def _answering(body: bytes) -> Iterator[Crm]:
    answered: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200 if body else 503)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            answered.append(1)

        do_GET = do_POST = _answer  # noqa: N815 - http.server calls them so

        def log_message(self, *_words: object) -> None:
            """Say nothing of each request."""

    server = ThreadingHTTPServer((HOST, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield Crm(url=f"http://{HOST}:{server.server_port}", answered=answered)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def sheet(rows: Sequence[Row]) -> Sheet:
    return Sheet(
        texts=2,
        columns=("process", "facing", "peak MB"),
        rows=[(one["process"], one["what"], f"{one['peak']:.0f}") for one in rows],
    )


PART = Part(
    name="memory",
    title="Memory",
    about=(
        "The most memory (VmHWM) of real processes whatever they are sent; a worker works for "
        f"{ACCOUNTS} accounts with such a CRM at the same time. That of a worker with 100,000 "
        "dirty contacts stands with the processor time."
    ),
    measure=measure,
    sheet=sheet,
)
