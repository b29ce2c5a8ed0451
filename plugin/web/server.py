"""gunicorn's threaded worker, for a door at which anybody may knock.

gunicorn's own gives a thread to whoever has sent one byte, and then waits for the rest however
long it takes: sixteen clients that dribble keep everybody out. Here the loop that watches the
connections also collects what comes, without waiting for anybody, and a thread gets a request
when its last byte is there. What a thread reads is in memory, so no client can hold one.

Clients that are too slow are cut off. Where there are too many connections the oldest that
waits goes, where too much has piled up the largest unfinished request: an honest delivery is
young and small.
"""

from __future__ import annotations

import contextlib
import errno
import re
import resource
import selectors
import ssl
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from socket import SHUT_WR, socket
from typing import Any

from gunicorn import sock as sockets  # type: ignore[import-untyped]
from gunicorn import util
from gunicorn.http.errors import (  # type: ignore[import-untyped]
    ExpectationFailed,
    InvalidRequestLine,
    LimitRequestHeaders,
    LimitRequestLine,
    NoMoreData,
    ParseException,
    UnsupportedTransferCoding,
)
from gunicorn.http.parser import RequestParser  # type: ignore[import-untyped]
from gunicorn.http.unreader import Unreader  # type: ignore[import-untyped]
from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]

HEAD_SECONDS = 10.0  # from a request's first byte to the end of its head
REQUEST_SECONDS = 30.0  # to its last byte; CRMs themselves give up after five to thirty
ANSWER_SECONDS = 2.0  # an answer is small: who leaves no room for it has not read earlier ones
LINGER_SECONDS = 2.0  # for the last answer to be read before the connection is closed
STOP_SECONDS = 8.0  # for unfinished requests, once the worker is told to stop
FILES = 100  # that are not connections: the database's, pipes, modules
FEWEST = 8  # connections that are let in, however few files there may be
LOOK_EVERY = 0.5  # seconds between looks for those who are too slow

MAX_HEAD = 2**15  # bytes
MAX_REQUEST = 2**21
"""Bytes that are waited for, head and chunk sizes included. A longer request is handed over as
far as it has come, to be refused; the application takes less than this."""
MAX_HELD = 2**26  # bytes of all requests that are arriving or being answered
MAX_CHUNKS = 2**12  # of a body: each costs time, however small it is
READ = 2**16  # bytes at a time from the network
PIECE = 2**13  # bytes at a time for gunicorn's parser

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*\r\n", re.IGNORECASE)
_CODING = re.compile(rb"\r\ntransfer-encoding:[^\r\n]*chunked", re.IGNORECASE)
_EXPECT = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*\r\n", re.IGNORECASE)
_CHUNK = re.compile(rb"([0-9a-f]{1,8})[ \t]*(?:;|\r\n)", re.IGNORECASE)

_REFUSALS: tuple[tuple[type[Exception], int, str], ...] = (
    (LimitRequestLine, 414, "URI Too Long"),
    (LimitRequestHeaders, 431, "Request Header Fields Too Large"),
    (NoMoreData, 431, "Request Header Fields Too Large"),  # more than is waited for
    (ExpectationFailed, 417, "Expectation Failed"),
    (UnsupportedTransferCoding, 501, "Not Implemented"),
    (ParseException, 400, "Bad Request"),
)


class Extent:
    """How far a request reaches, as far as its bytes have come.

    It tells only when waiting ends. What the bytes mean is for gunicorn's parser to say, which
    gets no more than what is here: where the two disagree the request is refused.
    """

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.head_came = False
        self.continuing = False
        """The client waits for ``100 Continue`` before it sends the body."""
        self._searched = 0  # bytes in which no end was found
        self._end = 0  # of the body; of what is known of it where it comes in chunks
        self._chunked = False
        self._chunks = 0

    def complete(self) -> bool:
        """Whether there is nothing to wait for: all has come, or too much, or what is no HTTP."""
        if not self.head_came and not self._find_head():
            return len(self.data) > MAX_HEAD
        if self._chunked:
            return self._chunks_came() or len(self.data) > MAX_REQUEST
        return len(self.data) >= self._end or self._end > MAX_REQUEST

    def content(self) -> bytes:
        """What has come, and the next request's beginning. Of a head that is too long or a body in
        crumbs only a part, so that it is refused however it was cut into packets."""
        if not self.head_came:
            return bytes(self.data[:MAX_HEAD])
        return bytes(self.data[: self._end] if self._chunks >= MAX_CHUNKS else self.data)

    def _find_head(self) -> bool:
        at = self.data.find(b"\r\n\r\n", max(0, self._searched - 3))
        self._searched = len(self.data)
        if at < 0 or at > MAX_HEAD:
            return False
        self.head_came = True
        head = bytes(self.data[: at + 2])
        self._end = self._searched = at + 4
        self._chunked = bool(_CODING.search(head))
        if not self._chunked and (length := _LENGTH.search(head)):
            self._end += int(length[1])
        self.continuing = bool(_EXPECT.search(head))
        return True

    def _chunks_came(self) -> bool:
        """``_end`` goes from one chunk's size to the next."""
        while self._end < len(self.data) and self._chunks < MAX_CHUNKS:
            line = self.data.find(b"\r\n", max(self._end, self._searched - 1))
            self._searched = len(self.data)
            if line < 0:
                return len(self.data) - self._end > MAX_HEAD
            size = _CHUNK.match(self.data, self._end, line + 2)
            if not size:
                return True
            if not int(size[1], 16):
                return self._trailer_came(line)
            self._end = self._searched = line + 2 + int(size[1], 16) + 2
            self._chunks += 1
        return self._chunks >= MAX_CHUNKS

    def _trailer_came(self, line: int) -> bool:
        """``line``: where the line of the last chunk ends. Trailers are as short as a head."""
        self._searched = line  # the next look begins with the same line
        return self.data.find(b"\r\n\r\n", line) >= 0 or len(self.data) - line > MAX_HEAD


class _Arrived(Unreader):  # type: ignore[misc]
    """What gunicorn's parser reads from: bytes that are here, never a socket."""

    def __init__(self) -> None:
        super().__init__()
        self.short = False
        """More was asked for than had come: where the next request begins is not known."""
        self._data = b""
        self._at = 0

    def feed(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def rest(self) -> bytes:
        """What was not read: the beginning of the next request."""
        buffered: bytes = self.take_buffered()
        rest, self._data = self._data[self._at :], b""
        return buffered + rest

    def chunk(self, size_hint: int | None = None) -> bytes:
        # In pieces: gunicorn copies the rest of a piece for every small chunk in it.
        piece = self._data[self._at : self._at + max(size_hint or 0, PIECE)]
        self._at += len(piece)
        self.short = self.short or not piece
        return piece


class Connection:
    """One client; gunicorn's request handling asks for ``sock``, ``client`` and ``server``."""

    def __init__(self, cfg: Any, sock: socket, client: Any, server: Any) -> None:
        self.sock = sock
        self.client = client
        self.server = server
        self.extent = Extent()
        self.arrived = _Arrived()
        self.parser = RequestParser(cfg, (), client)
        self.parser.unreader = self.arrived
        self.held = 0  # bytes that count in ``Worker.held``
        self.since = 0.0  # when the first byte of the request came
        self.deadline = 0.0


class Worker(ThreadWorker):  # type: ignore[misc]
    """``worker_class`` in ``gunicorn.conf.py``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Storing needs files, too: a crowd at the door must not take the last.
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - FILES
        most: int = self.cfg.worker_connections
        self.worker_connections = max(FEWEST, min(most, files))
        self.waiting: dict[Connection, None] = {}  # those no thread has, oldest first
        self.held = 0
        self._look_at = 0.0

    # ------------------------------------------------------------------- in gunicorn's loop

    def accept(self, listener: socket) -> None:
        if self.nr_conns + 1 >= self.worker_connections:
            self._drop_oldest()
        try:
            sock, client = listener.accept()
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ECONNABORTED):
                self._drop_oldest()  # no file or memory is left, or the network has a fault
            return
        sock.setblocking(False)
        if self.cfg.is_ssl:
            try:
                sock = sockets.ssl_wrap_socket(sock, self.cfg)
            except OSError:  # it has gone already
                sock.close()
                return
        self.nr_conns += 1
        connection = Connection(self.cfg, sock, client, listener.getsockname())
        self._wait(connection, self._read, HEAD_SECONDS)

    def _wait(
        self, connection: Connection, heard: Callable[[Connection], None], seconds: float
    ) -> None:
        connection.deadline = time.monotonic() + seconds
        self.waiting[connection] = None
        self.poller.register(
            connection.sock, selectors.EVENT_READ, partial(self._call, heard, connection)
        )

    def _call(
        self, heard: Callable[[Connection], None], connection: Connection, _sock: socket
    ) -> None:
        if connection in self.waiting:  # and was not dropped to make room, in this very round
            heard(connection)

    def _stop_waiting(self, connection: Connection) -> None:
        del self.waiting[connection]
        self.poller.unregister(connection.sock)

    def _drop(self, connection: Connection) -> None:
        self._stop_waiting(connection)
        self._close(connection)

    def _close(self, connection: Connection) -> None:
        self.nr_conns -= 1
        self._hold(connection, 0)
        util.close(connection.sock)

    def _drop_oldest(self) -> None:
        if self.waiting:
            self._drop(next(iter(self.waiting)))

    def _hold(self, connection: Connection, size: int) -> None:
        self.held += size - connection.held
        connection.held = size

    def _received(self, connection: Connection) -> bytes | None:
        """None where nothing has come after all; "" where nothing will."""
        try:
            return connection.sock.recv(READ)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        except OSError:
            return b""

    def _read(self, connection: Connection) -> None:
        data = self._received(connection)
        if data is None:
            return
        if not data:
            self._drop(connection)
            return
        if not connection.extent.data:
            connection.since = time.monotonic()
            connection.deadline = connection.since + HEAD_SECONDS
        connection.extent.data += data
        self._hold(connection, len(connection.extent.data))
        if connection.extent.complete():
            self._stop_waiting(connection)
            self._hand_over(connection)
        else:
            self._wait_for_more(connection)
        while self.held > MAX_HELD and self.waiting:
            self._drop(max(self.waiting, key=lambda one: one.held))

    def _wait_for_more(self, connection: Connection) -> None:
        if connection.extent.head_came:
            connection.deadline = connection.since + REQUEST_SECONDS
        if connection.extent.continuing:
            connection.extent.continuing = False
            with contextlib.suppress(OSError):  # who cannot even be told this waits in vain
                connection.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _hand_over(self, connection: Connection) -> None:
        connection.arrived.feed(connection.extent.content())
        connection.extent = Extent()
        connection.sock.settimeout(ANSWER_SECONDS)
        self.enqueue_req(connection)

    def finish_request(self, conn: Connection, fs: Future[bool]) -> None:
        """Called in the loop when a thread is done with the request."""
        connection = conn
        if fs.cancelled() or fs.exception() or not fs.result():
            self._linger(connection)
            return
        connection.sock.setblocking(False)
        connection.extent = Extent(connection.arrived.rest())
        connection.since = time.monotonic()
        self._hold(connection, len(connection.extent.data))
        if not connection.extent.data:
            self._wait(connection, self._read, self.cfg.keepalive if self.alive else LINGER_SECONDS)
        elif connection.extent.complete():
            self._hand_over(connection)
        else:
            self._wait(connection, self._read, HEAD_SECONDS)
            self._wait_for_more(connection)

    def _linger(self, connection: Connection) -> None:
        """Say that nothing more comes and let the client read it: to close a socket with unread
        bytes would take the answer from it."""
        self._hold(connection, 0)
        try:
            connection.sock.setblocking(False)
            connection.sock.shutdown(SHUT_WR)
        except OSError:
            self._close(connection)
            return
        self._wait(connection, self._discard, LINGER_SECONDS)

    def _discard(self, connection: Connection) -> None:
        if self._received(connection) == b"":
            self._drop(connection)

    # gunicorn calls these in every round of its loop and when it ends; there is one kind of
    # waiting here where it has two.

    def murder_keepalived(self, force: bool = False) -> None:
        now = time.monotonic()
        if now < self._look_at and not force:
            return
        self._look_at = now + LOOK_EVERY
        for connection in [one for one in self.waiting if force or one.deadline <= now]:
            self._drop(connection)

    def murder_pending(self) -> None:
        """See ``murder_keepalived``."""

    def _cap_keepalive(self, deadline: float) -> None:
        unfinished = time.monotonic() + STOP_SECONDS
        for connection in self.waiting:
            last = unfinished if connection.extent.data else deadline
            connection.deadline = min(connection.deadline, last)

    # --------------------------------------------------------------------------- in a thread

    def handle(self, conn: Connection) -> bool:
        """Answer one request; returns whether the connection can be used again."""
        try:
            kept = self._keepalive_after(conn, self.handle_request(_request(conn), conn))
        except StopIteration:
            return False
        except NoMoreData as error:
            self.handle_error(None, conn.sock, conn.client, error)
            return False
        except OSError as error:
            self.log.debug("a client did not take its answer: %s", type(error).__name__)
            return False
        except Exception as error:  # noqa: BLE001 - whatever it is, the next request is answered
            self.handle_error(None, conn.sock, conn.client, error)
            return False
        return bool(kept) and not conn.arrived.short

    def handle_error(  # gunicorn would tell and log what was sent: addresses, passwords
        self, _req: object, client: socket, _addr: object, exc: BaseException
    ) -> None:
        """Answer a request that cannot be, and say no more of it than what kind of fault it has."""
        found = next(
            ((status, reason) for kind, status, reason in _REFUSALS if isinstance(exc, kind)), None
        )
        if found:
            self.log.info("a request was refused: %s", type(exc).__name__)
        else:
            self.log.error("a request could not be answered: %s", type(exc).__name__)
        with contextlib.suppress(OSError):
            util.write_error(client, *(found or (500, "Internal Server Error")), "")


def _request(connection: Connection) -> Any:
    """The next one. Raises what gunicorn's parser does."""
    request = next(connection.parser)
    if "#" in request.uri:  # no address has one on the wire: whoever strips it sees another
        raise InvalidRequestLine(request.uri)
    request._expected_100_continue = False  # its body has come
    return request
