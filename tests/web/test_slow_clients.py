"""Slow, stuck and greedy clients: none keeps others waiting, none is waited for without end."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from plugin.web.server import MAX_REQUEST
from tests.certificates import self_signed
from tests.web.door import (
    HOST,
    PATIENCE,
    Door,
    chunked,
    delivery,
    head,
    is_closed,
    opened,
    rest,
    signature,
    status_in,
)

CRM_PATIENCE = 5.0  # seconds HubSpot waits for an answer
HASTY = Path(__file__).with_name("hasty.py")
MANY = ("--worker-connections", "40", "--log-level", "debug")
FEW_FILES = Path(__file__).with_name("few_files.py")


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with opened(tmp_path_factory.mktemp("door")) as door:
        yield door


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with opened(tmp_path_factory.mktemp("hasty"), *MANY, conf=HASTY) as door:
        yield door


@contextmanager
def crowd(door: Door, count: int, begin: bytes) -> Iterator[list[socket.socket]]:
    """So many clients that have sent this and stay."""
    with ExitStack() as stack:
        clients = [stack.enter_context(door.connect()) for _ in range(count)]
        for client in clients:
            client.sendall(begin)
        yield clients


@contextmanager
def dribbling(clients: list[socket.socket]) -> Iterator[None]:
    """Each of them sends one more byte ten times a second."""
    ended = threading.Event()

    def dribble() -> None:
        while not ended.wait(0.1):
            for client in clients:
                try:
                    client.send(b"x")
                except OSError:
                    return

    thread = threading.Thread(target=dribble)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def answered(door: Door, body: bytes = b"[]") -> int:
    """The status a CRM sees, which waits as long as CRMs do."""
    with door.connect(CRM_PATIENCE) as client:
        client.sendall(delivery(body))
        return status_in(rest(client))


def stores(door: Door) -> bool:
    """Whether a CRM's delivery is taken; it may still be busy with others."""
    try:
        return answered(door) == 204
    except OSError:
        return False


# ----------------------------------------------------------------- others are served


def test_slow_heads_and_slow_bodies_keep_nobody_waiting(door: Door) -> None:
    """128 clients that send a byte now and then, eight for each thread, and CRMs between them."""
    body = head("Content-Length: 100000", *signature(b""))
    with (
        crowd(door, 64, b"POST /webhooks/hubspot HTTP/1.1\r\nX-Slow: ") as heads,
        crowd(door, 64, body) as bodies,
        dribbling([*heads, *bodies]),
    ):
        assert [answered(door) for _ in range(5)] == [204] * 5


def test_clients_that_do_not_hang_up_keep_nobody_waiting(door: Door) -> None:
    """They have their answer, the server has closed its side, they stay."""
    with crowd(door, 32, delivery(b"[]")) as clients:
        assert [status_in(client.recv(4096)) for client in clients] == [204] * 32
        assert answered(door) == 204


def test_clients_that_do_not_read_their_answers_keep_nobody_waiting(hasty: Door) -> None:
    """Many requests at once on each of more connections than there are threads, and none of the
    answers is read: there is room for few of them, see ``hasty.py``."""
    assert answered(hasty) == 204
    flood = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000
    with ExitStack() as stack:
        for _ in range(20):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)  # before it connects
            client.connect((HOST, hasty.port))
            client.setblocking(False)
            with suppress(BlockingIOError):
                client.send(flood)
        eventually(lambda: "a client did not take its answer" in hasty.log.read_text("utf-8"))
        assert answered(hasty) == 204


def test_a_full_house_makes_room_for_who_is_new(hasty: Door) -> None:
    """More idle connections than there may be: the oldest go, a delivery is taken."""
    with crowd(hasty, 60, b"") as clients:
        assert answered(hasty) == 204
        eventually(lambda: sum(map(is_closed, clients)) >= 20)


def test_a_crowd_does_not_take_the_files_that_storing_needs(tmp_path: Path) -> None:
    """Five times as many idle connections as there may be open files: deliveries are stored."""
    with opened(tmp_path, conf=FEW_FILES) as door, crowd(door, 700, b"") as clients:
        assert [answered(door) for _ in range(3)] == [204] * 3
        assert door.kept() == [b"[]"] * 3
        eventually(lambda: sum(map(is_closed, clients)) >= 700 - 40)


def test_a_rush_at_the_door_ends_no_process(hasty: Door) -> None:
    """Many come, speak and go at once while others are dropped to make room for them."""
    ends = (b"", b"x", head("Content-Length: 300000") + b"x" * 90_000, delivery(b"[]", close=False))
    with ExitStack() as stack:
        for number in range(400):
            client = stack.enter_context(hasty.connect())
            client.setblocking(False)
            with suppress(OSError):
                client.send(ends[number % len(ends)])
            if number % 3 == 0:
                client.close()
    eventually(lambda: stores(hasty))
    log = hasty.log.read_text("utf-8")

    assert log.count("Booting worker") == 1
    assert "Traceback" not in log


def test_unfinished_bodies_have_no_more_memory_than_they_may(hasty: Door) -> None:
    """A mebibyte for all in these settings: of twelve with 200 kB each no more than five stay."""
    begun = head("Content-Length: 300000") + b"x" * 200_000
    with crowd(hasty, 12, begun) as clients:
        eventually(lambda: sum(map(is_closed, clients)) >= 7)
        assert answered(hasty) == 204


# ------------------------------------------------------------------- the slow are cut off


def test_who_says_nothing_or_half_a_request_is_cut_off(hasty: Door) -> None:
    """No byte at all; a head without end; a body that stops; chunks that stop; an idle rest."""
    begun = {
        "nothing": b"",
        "half a head": b"POST /webhooks/hubspot HTTP/1.1\r\nHost: loc",
        "half a body": head("Content-Length: 10") + b"[",
        "half a chunk": head("Transfer-Encoding: chunked") + b"5\r\n[",
        "no last chunk": head("Transfer-Encoding: chunked") + b"2\r\n[]\r\n",
        "bare line feeds": b"POST /webhooks/hubspot HTTP/1.1\n\n",
    }
    answers = {why: hasty.ask(raw) for why, raw in begun.items()}

    assert answers == dict.fromkeys(begun, b"")


def test_a_byte_now_and_then_gives_no_more_time(hasty: Door) -> None:
    """What counts is when the request began, not when it last went on."""
    with (
        crowd(hasty, 4, b"POST / HTTP/1.1\r\nX-Slow: ") as heads,
        crowd(hasty, 4, head("Content-Length: 100000")) as bodies,
    ):
        with dribbling([*heads, *bodies]):
            time.sleep(2.5)
        eventually(lambda: all(map(is_closed, [*heads, *bodies])))


def test_a_connection_that_is_kept_alive_is_closed_when_idle(hasty: Door) -> None:
    """After its answer a client may be silent for a while, and no longer."""
    with hasty.connect() as client:
        client.sendall(delivery(b"[]", close=False))
        answer = rest(client)

    assert status_in(answer) == 204


# ------------------------------------------------------------------------ all in order


@pytest.mark.parametrize("size", [1, 7, 65536])
def test_a_request_may_come_in_pieces(door: Door, size: int) -> None:
    """However it is cut into packets, and also where its length is told chunk by chunk."""
    body = b'[{"portalId": 4711001}]'
    coded = head("Transfer-Encoding: chunked", *signature(body)) + chunked(body, 5)
    before = len(door.kept())
    for raw in (delivery(body), coded):
        with door.connect() as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(0, len(raw), size):
                client.sendall(raw[at : at + size])
            assert status_in(rest(client)) == 204

    assert door.kept()[before:] == [body, body]


def test_requests_in_one_go_are_answered_in_order(door: Door) -> None:
    """A client need not wait for one answer before it sends the next request."""
    wrong = head("Content-Length: 2", first="POST /nowhere HTTP/1.1", close=False) + b"{}"
    answer = door.ask(delivery(b"[1]", close=False) + wrong + delivery(b"[2]"))

    assert [int(one[:3]) for one in answer.split(b"HTTP/1.1 ")[1:]] == [204, 404, 204]
    assert door.kept()[-2:] == [b"[1]", b"[2]"]


def test_who_asks_whether_to_send_the_body_is_told_once(door: Door) -> None:
    """``Expect: 100-continue``, in any case."""
    with door.connect() as client:
        raw = delivery(b"[100]", "Expect: 100-Continue")
        client.sendall(raw[: -len(b"[100]")])
        first = client.recv(4096)
        client.sendall(b"[100]")
        answer = rest(client)

    assert first == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert answer.startswith(b"HTTP/1.1 204 ")


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(door: Door) -> None:
    """By its length alone; and what comes after it is taken for no request."""
    smuggled = delivery(b"[smuggled]", close=False)
    raw = head("Content-Length: 1000000000", "Expect: 100-continue", close=False) + smuggled
    answer = door.ask(raw)

    assert [int(one[:3]) for one in answer.split(b"HTTP/1.1 ")[1:]] == [413]
    assert b"[smuggled]" not in door.kept()


def test_what_is_too_large_leaves_a_trace_however_much_of_it_came(door: Door) -> None:
    """Longer than is waited for, in one piece or in chunks: the log tells which CRM lost it."""
    trace = "delivery refused: hubspot sent more than 1048576 bytes"
    body = b" " * (MAX_REQUEST + 1)
    before = door.log.read_text("utf-8").count(trace)
    told = door.status(head(f"Content-Length: {len(body)}") + body)
    untold = door.status(head("Transfer-Encoding: chunked") + chunked(body, 2**16))

    assert (told, untold) == (413, 413)
    assert door.log.read_text("utf-8").count(trace) == before + 2


def test_a_body_in_crumbs_is_refused(door: Door) -> None:
    """What comes in thousands of tiny chunks costs time for each: nobody sends so in earnest."""
    body = b" " * 10_000
    raw = head("Transfer-Encoding: chunked", *signature(body)) + chunked(body, 1)

    assert door.status(raw) == 400
    assert body not in door.kept()


# --------------------------------------------------------------------------------- TLS


def test_it_is_the_same_where_gunicorn_itself_speaks_tls(tmp_path: Path) -> None:
    """Clients that stop in the handshake or behind it hold nobody up; a large body is taken."""
    cert, key = self_signed(tmp_path, "localhost")
    context = ssl.create_default_context(cafile=str(cert))
    body = b"[" + b" " * 500_000 + b"]"
    with opened(tmp_path, "--certfile", str(cert), "--keyfile", str(key)) as door:
        with (
            crowd(door, 20, b""),
            crowd(door, 20, b"\x16\x03\x01"),
            ExitStack() as stack,
        ):
            for _ in range(20):
                slow = stack.enter_context(
                    context.wrap_socket(door.connect(), server_hostname="localhost")
                )
                slow.sendall(head("Content-Length: 9") + b"[")
            with context.wrap_socket(
                door.connect(CRM_PATIENCE), server_hostname="localhost"
            ) as client:
                client.sendall(delivery(body))
                assert status_in(client.recv(4096)) == 204
        assert door.kept() == [body]
