"""The stand-in as a web application, and as a server on the loopback.

    python -m plugin.sandbox --target http://127.0.0.1:8000/webhooks/hubspot

HubSpot's API (``api.py``), the sandbox's own controls (``control.py``) and the pages of a sales
rep (``pages.py``) share one ``Sandbox``. One process, many threads, everything in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

from flask import Flask
from werkzeug.serving import WSGIRequestHandler, make_server

from plugin.sandbox.api import api
from plugin.sandbox.control import control
from plugin.sandbox.pages import pages
from plugin.sandbox.records import Sandbox

HOST = "127.0.0.1"
POLL = 0.05  # seconds until the server notices that it should stop


def create_sandbox(state: Sandbox) -> Flask:
    """The application around one account. Webhooks leave once ``state.outbox`` is started."""
    app = Flask(__name__)
    app.register_blueprint(api(state))
    app.register_blueprint(control(state))
    app.register_blueprint(pages(state))
    return app


@contextmanager
def serving(state: Sandbox, *, port: int = 0) -> Iterator[str]:
    """Serve on the loopback (port 0: any free one) and deliver webhooks; yields the base URL."""
    server = make_server(
        HOST, port, create_sandbox(state), threaded=True, request_handler=_QuietHandler
    )
    thread = Thread(target=server.serve_forever, args=(POLL,), daemon=True)
    thread.start()
    state.outbox.start()
    try:
        yield f"http://{HOST}:{server.server_port}"
    finally:
        state.outbox.stop()
        server.shutdown()
        thread.join()
        server.server_close()


class _QuietHandler(WSGIRequestHandler):
    """Says nothing of each request."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass
