"""No connection to an address nobody allowed, whatever a name or an answer says."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from adapters import connecting
from adapters.client import Client, RateBudget
from adapters.hubspot.dialect import DIALECT
from plugin.errors import ConfigurationError, CrmError, CrmRejected, CrmUnavailable
from plugin.reach import Reach, read_networks
from plugin.registry import adapters
from tests.adapters.conftest import TOKEN
from tests.adapters.raw import answer, speaking
from tests.certificates import self_signed
from tests.conformance.crms import CRMS, new_adapter, new_stand_in

HOST = "crm.example.com"
NEAR = Reach(networks=read_networks("127.0.0.1"))
PRIVATE = (
    "the address of HubSpot leads to {0}, which is no public address; where that is meant, put "
    "{0}, or the network it is in, into CRM_NETWORKS"
)

Lookups = list[str]
Resolve = Callable[..., Lookups]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """``names(["1.1.1.1"], ["10.0.0.1"])``: what the look-ups of a name answer, in turn; the last
    one again and again. Addresses are looked up as ever."""
    real = socket.getaddrinfo
    lookups: Lookups = []

    def resolve(*answers: Sequence[str]) -> Lookups:
        def getaddrinfo(host: str, port: int, *args: Any, **kwargs: Any) -> Any:
            try:
                ip_address(host)
            except ValueError:
                told = answers[min(len(lookups), len(answers) - 1)]
                lookups.append(host)
                return [one for text in told for one in real(text, port, *args, **kwargs)]
            return real(host, port, *args, **kwargs)

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return lookups

    return resolve


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that were to be connected to; nobody answers there."""
    seen: list[str] = []

    def connect(address: tuple[str, int], *_args: Any, **_kwargs: Any) -> socket.socket:
        seen.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(connecting, "create_connection", connect)
    return seen


def client(url: str, reach: Reach = NEAR) -> Client:
    return Client(
        base_url=url, token=TOKEN, dialect=DIALECT, reach=reach, sleep=lambda _seconds: None
    )


def send(to: Client, *, repeat: bool = True) -> Any:
    return to.send("GET", "/x", budget=RateBudget(1000, 1.0), repeat=repeat)


def refused(to: Client) -> CrmError:
    with pytest.raises(CrmError) as caught:
        send(to)
    return caught.value


# ------------------------------------------------------------------------------ addresses


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        ("127.0.0.1", "127.0.0.1"), ("10.0.0.1", "10.0.0.1"), ("192.168.1.1", "192.168.1.1"),
        ("169.254.169.254", "169.254.169.254"), ("100.64.0.1", "100.64.0.1"),
        ("224.0.0.1", "224.0.0.1"), ("240.0.0.1", "240.0.0.1"), ("0.1.2.3", "0.1.2.3"),
        ("::1", "::1"), ("fd00::1", "fd00::1"), ("fe80::1", "fe80::1"), ("ff02::1", "ff02::1"),
        ("::ffff:10.0.0.1", "10.0.0.1"), ("64:ff9b::a00:1", "10.0.0.1"),
        ("2002:a00:1::", "2002:a00:1::"), ("2001:0:1::1", "2001:0:1::1"),
    ],
)  # fmt: skip
def test_a_name_that_leads_inside_is_not_connected_to(
    names: Resolve, dialled: list[str], found: str, shown: str
) -> None:
    """The error tells where it leads and what to change; it is certain that nothing was sent, and
    nothing is tried again."""
    lookups = names([found])

    error = refused(client(f"https://{HOST}", Reach()))

    assert isinstance(error, CrmUnavailable)
    assert (str(error), error.outcome_unknown) == (PRIVATE.format(shown), False)
    assert (dialled, lookups) == ([], [HOST])


def test_a_name_is_looked_up_once(names: Resolve, dialled: list[str]) -> None:
    """Public at the first look and private at the second: the first is what is connected to."""
    lookups = names(["1.1.1.1"], ["127.0.0.1"])

    with pytest.raises(CrmUnavailable):
        send(client(f"https://{HOST}", Reach()), repeat=False)

    assert (dialled, lookups) == (["1.1.1.1"], [HOST])


def test_every_connection_is_looked_at(names: Resolve) -> None:
    """A name that leads elsewhere at the next connection is refused then."""
    names(["127.0.0.1"], ["127.0.0.2"])
    with speaking(answer(b'{"a": 1}')) as server:
        one = client(f"http://{HOST}:{server.port}")

        assert send(one) == {"a": 1}
        assert str(refused(one)) == PRIVATE.format("127.0.0.2")
    assert len(server.heard) == 1


def test_allowed_addresses_are_tried_and_no_others(names: Resolve, dialled: list[str]) -> None:
    """A name may have an inside and an outside."""
    names(["10.0.0.1", "2606:4700::1111", "1.1.1.1"])

    with pytest.raises(CrmUnavailable) as caught:
        send(client(f"https://{HOST}", Reach()), repeat=False)

    assert dialled == ["2606:4700::1111", "1.1.1.1"]
    assert not caught.value.outcome_unknown


def test_the_next_address_is_tried(names: Resolve) -> None:
    """Where nobody answers at the first."""
    names(["127.0.0.2", "127.0.0.1"])
    reach = Reach(networks=read_networks("127.0.0.0/8"))
    with speaking(answer(b"[1]")) as server:
        assert send(client(f"http://{HOST}:{server.port}", reach)) == [1]


def test_a_name_nobody_knows_is_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is certain that nothing was sent."""

    def unknown(*_args: Any, **_kwargs: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(CrmUnavailable) as caught:
        send(client(f"https://{HOST}"), repeat=False)
    assert str(caught.value) == "HubSpot did not answer GET /x: its name is not found"
    assert not caught.value.outcome_unknown


def test_a_closed_port_is_told() -> None:
    """And that nothing was sent."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(CrmUnavailable) as caught:
        send(client(f"http://127.0.0.1:{port}"), repeat=False)
    assert str(caught.value) == "HubSpot did not answer GET /x: it refuses the connection"
    assert not caught.value.outcome_unknown


def test_nothing_leaves_without_encryption(names: Resolve, dialled: list[str]) -> None:
    """A name without encryption is for the operator's networks: a public address is refused."""
    names(["1.1.1.1"])

    assert str(refused(client(f"http://{HOST}"))) == (
        "the address of HubSpot must begin with https:// (http:// is for addresses in "
        "CRM_NETWORKS only)"
    )
    assert dialled == []


# ---------------------------------------------------------------------------- redirects


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
def test_a_redirect_inside_is_not_followed(status: str) -> None:
    """Not even to an address that would be allowed: the token would go along."""
    with speaking(answer(b'{"secret": 1}')) as inside:
        there = f"http://127.0.0.1:{inside.port}/latest/meta-data"
        with speaking(answer(b"", f"Location: {there}", status=status)) as server:
            error = refused(client(f"http://127.0.0.1:{server.port}"))
    assert isinstance(error, CrmRejected)
    assert str(error) == (
        f"HubSpot answered {status[:3]} to GET /x; redirects are not followed, check the API's "
        "base URL"
    )
    assert (len(server.heard), inside.heard) == (1, [])


# ------------------------------------------------------------------------- pinned hosts


@pytest.mark.parametrize("crm", [name for name, one in adapters().items() if one.declaration.hosts])
@pytest.mark.parametrize(
    "url",
    ["https://evil.example.com", "https://api.hubapi.com.example.com", "https://1.1.1.1",
     "https://pipedrive.com.example.com", "https://example.com/api.hubapi.com"],
)  # fmt: skip
def test_a_pinned_crm_is_nowhere_else(crm: str, url: str) -> None:
    """The token goes to its own hosts, or to the operator's networks."""
    stand_in = new_stand_in(crm)
    stand_in.url = url

    with pytest.raises(ConfigurationError, match=r"^the address of \w+ must be at .+CRM_NETWORKS$"):
        new_adapter(crm).connect(stand_in.link())


@pytest.mark.parametrize("crm", CRMS)
def test_every_crm_needs_its_network_allowed(crm: str) -> None:
    """On the loopback no adapter connects, unless the link says that it may."""
    stand_in = new_stand_in(crm)
    with stand_in.serving():
        for more in ({"networks": ()}, {"networks": read_networks("10.0.0.0/8")}):
            with pytest.raises(ConfigurationError, match="CRM_NETWORKS"):
                new_adapter(crm).connect(stand_in.link(**more))
    assert stand_in.calls == []


# --------------------------------------------------------------------- HTTPS and proxies


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Of ``crm.example.com``, signed by itself."""
    return self_signed(tmp_path, HOST)[0]


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    return context


def test_an_unknown_certificate_is_refused(names: Resolve, tls: ssl.SSLContext) -> None:
    """Before a byte of the request is sent."""
    names(["127.0.0.1"])
    with speaking(answer(), tls=tls) as server:
        error = refused(client(f"https://{HOST}:{server.port}"))
    assert str(error).startswith(
        "HubSpot did not answer GET /x: its certificate is not valid (self"
    )
    assert server.heard == []


def test_a_certificate_is_the_names_and_not_the_addresss(
    names: Resolve, tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although the connection goes to the address that was looked at."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    names(["127.0.0.1"])
    with speaking(answer(b"[2]"), tls=tls) as server:
        assert send(client(f"https://{HOST}:{server.port}")) == [2]
        error = refused(client(f"https://other.example.com:{server.port}"))
    assert "certificate is not valid for 'other.example.com'" in str(error)
    assert f"Host: {HOST}:{server.port}" in server.heard[0]
    assert len(server.heard) == 1


def test_a_netrc_does_not_replace_the_token(
    names: Resolve,
    tls: ssl.SSLContext,
    certificate: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where a user has a password for the CRM's host, requests would send that."""
    (tmp_path / "netrc").write_text(f"machine {HOST} login erika password hidden\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    names(["127.0.0.1"])
    with speaking(answer(b"[4]"), tls=tls) as server:
        assert send(client(f"https://{HOST}:{server.port}")) == [4]
    sent = [line for line in server.heard[0].splitlines() if line.startswith("Authorization")]
    assert sent == [f"Authorization: Bearer {TOKEN}"]


def test_https_goes_through_the_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, names: Resolve
) -> None:
    """Which looks names up and decides by its own rules; the token stays inside the tunnel."""
    lookups = names(["10.0.0.1"])
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with speaking(answer(b"", status="403 Forbidden")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        error = refused(client(f"https://{HOST}", Reach()))
        with pytest.raises(ConfigurationError) as literal:
            client("https://10.0.0.1", Reach())
    assert isinstance(error, CrmUnavailable)
    assert str(error) == (
        "HubSpot did not answer GET /x: the proxy of the environment does not let it through"
    )
    assert [head.splitlines()[0] for head in proxy.heard] == [f"CONNECT {HOST}:443 HTTP/1.0"] * 3
    assert TOKEN not in "".join(proxy.heard)
    assert lookups == []
    assert str(literal.value) == PRIVATE.format("10.0.0.1")


def test_http_goes_through_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not encrypted stays between this machine and the network that was allowed."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with speaking(answer(b"[3]")) as server, speaking(answer()) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        assert send(client(f"http://127.0.0.1:{server.port}")) == [3]
    assert proxy.heard == []
