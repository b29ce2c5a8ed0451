"""The CRM's API in bad weather: between the plugin and the stand-in, over real HTTP."""

from __future__ import annotations

import io
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from werkzeug.serving import WSGIRequestHandler
from werkzeug.wrappers import Response

from tests.faults.plan import Fault
from tests.listening import listening

HANGS = 60.0  # seconds, if nobody ends it
WRONG_TYPES = (b"[]", b"7", b'{"results": "none"}', b'{"results": [{"id": null}]}', b'"ok"')
BATCH = re.compile(r"batch/(read|create|update)$")

Environ = dict[str, Any]
Start = Callable[..., Any]


class Weather:
    """A WSGI application around another; ``brew`` announces what is wrong with the next calls.

    =============  =====================================================================
    429            too many calls, for how long is not told; ``429 after`` tells it
    500 … 401      the status, and nothing is done
    reset          the connection is cut before anything is done
    lost           it is done, and the connection cut instead of an answer
    late           the connection is cut at once, and it is done some time later
    slow, hang     an answer after a while; none, until the caller gives up
    not json       it is done and answered with a page for people
    wrong types    it is done and answered with JSON that has another form
    cut            it is done and half the answer is sent
    freeze holder  it is done, and whoever asked is frozen before it has the answer
    half           of a batch one half is done, the other an error that may pass
    =============  =====================================================================
    """

    def __init__(self, api: Callable[[Environ, Start], Iterable[bytes]]) -> None:
        self._api = api
        self._lock = threading.Lock()
        self._coming: list[tuple[Fault, int]] = []
        self._calm = threading.Event()
        self._late: list[threading.Timer] = []
        self.met: list[str] = []
        self.freeze: Callable[[Fault], None] = lambda _fault: None

    def brew(self, fault: Fault) -> None:
        with self._lock:
            self._coming.append((fault, fault.calls))

    @property
    def is_over(self) -> bool:
        """Whether all that was announced has been met."""
        with self._lock:
            return not self._coming

    def clear(self) -> None:
        """The sun comes out, and what was to be done late is done."""
        with self._lock:
            self._coming.clear()
        self._calm.set()
        for timer in self._late:
            timer.join()

    def _meet(self, path: str) -> Fault | None:
        with self._lock:
            for place, (fault, left) in enumerate(self._coming):
                if fault.on in path:
                    self._coming[place : place + 1] = [(fault, left - 1)] if left > 1 else []
                    self.met.append(f"{fault.what} at {path}")
                    return fault
        return None

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length)
        environ["wsgi.input"] = io.BytesIO(body)
        fault = self._meet(environ["PATH_INFO"])
        if fault is None:
            return self._api(environ, start)
        return self._answer(fault, environ, body)(environ, start)

    def _do(self, environ: Environ, body: bytes) -> Response:
        environ = {
            **environ,
            "wsgi.input": io.BytesIO(body),
            "CONTENT_LENGTH": str(len(body)),
        }
        return Response.from_app(self._api, environ, buffered=True)

    def _answer(self, fault: Fault, environ: Environ, body: bytes) -> Response:
        match fault.what:
            case "429":
                return Response(b'{"errorType": "RATE_LIMIT"}', 429)
            case "429 after":
                return Response(b"{}", 429, {"Retry-After": "1"})
            case "500" | "502" | "503" | "401":
                return Response(b"<h1>Sorry</h1>", int(fault.what))
            case "slow" | "hang":
                self._calm.wait(fault.lasts or HANGS)
                return self._do(environ, body)
            case "reset":
                cut(environ)
            case "late":
                timer = threading.Timer(fault.lasts, self._do, (environ, body))
                self._late.append(timer)
                timer.start()
                cut(environ)
            case "half" if BATCH.search(environ["PATH_INFO"]):
                return self._half(fault, environ, body)
        done = self._do(environ, body)
        match fault.what:
            case "freeze holder":
                self.freeze(fault)
            case "lost":
                cut(environ)
            case "not json":
                return Response(b"<html>Welcome back!</html>", 200)
            case "wrong types":
                return Response(WRONG_TYPES[fault.number % len(WRONG_TYPES)], done.status_code)
            case "cut":
                whole = done.get_data()
                return Response(
                    self._cut_short(environ, whole),
                    done.status_code,
                    {**done.headers, "Content-Length": str(len(whole))},
                )
        return done

    def _cut_short(self, environ: Environ, whole: bytes) -> Iterator[bytes]:
        yield whole[: len(whole) // 2]
        cut(environ)

    def _half(self, fault: Fault, environ: Environ, body: bytes) -> Response:
        asked = json.loads(body)
        inputs = asked["inputs"]
        left_out = [one for n, one in enumerate(inputs) if (n + fault.number) % 2]
        rest = [one for one in inputs if one not in left_out]
        answer: Any = {"status": "COMPLETE", "results": [], "errors": []}
        if rest:
            done = self._do(environ, json.dumps({**asked, "inputs": rest}).encode())
            if done.status_code >= 300:
                return done
            answer |= json.loads(done.get_data())
        errors = [*answer.get("errors", ()), *map(_passing, left_out)]
        answer |= {"errors": errors, "numErrors": len(errors)}
        return Response(json.dumps(answer), 207, mimetype="application/json")


def _passing(one: dict[str, Any]) -> dict[str, Any]:
    trace = one.get("objectWriteTraceId")
    context = {"objectWriteTraceId": [trace]} if trace else {"ids": [one.get("id")]}
    return {
        "status": "error", "category": "INTERNAL_ERROR", "message": "Internal error",
        "context": context, "errors": [], "links": {},
    }  # fmt: skip


def cut(environ: Environ) -> None:
    """Reset the connection; raises what the server takes for a caller who went away."""
    connection: socket.socket = environ["werkzeug.socket"]
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.shutdown(socket.SHUT_RDWR)
    raise ConnectionResetError("cut by a planned fault")


class _Connection(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass

    def log_error(self, format: str, *args: Any) -> None:  # noqa: A002 (its name there)
        pass


@contextmanager
def serving(app: Callable[[Environ, Start], Iterable[bytes]], port: int = 0) -> Iterator[str]:
    """Serve until the block ends; the base URL."""
    with listening(app, port, handler=_Connection) as url:
        yield url


def wait_until(holds: Callable[[], bool], *, seconds: float, every: float = 0.05) -> bool:
    """Whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True
