"""Where a CRM may be: which addresses are public, which hosts are its own."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from plugin.reach import Reach, form_fault, is_public, meant, read_networks

NOT_PUBLIC = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.254",  # noqa: S104
    "127.0.0.1", "127.255.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.8",
    "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.7",
    "203.0.113.9", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
    "64:ff9b::a00:1", "64:ff9b::7f00:1", "64:ff9b:1::a00:1", "100::1", "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1", "2002:7f00:1::", "2002:c0a8:101::1",
    "3fff::1", "5f00::1", "fc00::1", "fd12:3456::1", "fe80::1", "fe80::1%1", "fec0::1", "ff02::1",
    "ff0e::1",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.15.255.255",
    "172.32.0.0", "193.0.0.1", "223.255.255.255", "2606:4700::1111", "2a00:1450::1",
    "::ffff:1.1.1.1", "64:ff9b::101:101",
]  # fmt: skip
OPEN = Reach()
PINNED = Reach(hosts=("api.acme.example.com", "*.acme.example.org"))
LAN = read_networks("10.0.0.0/8, fd00::/8")
UNSAFE = "must begin with https:// (http:// is for addresses in CRM_NETWORKS only)"
ELSEWHERE = (
    "must be at api.acme.example.com or *.acme.example.org, or at an address in CRM_NETWORKS"
)


def private(address: str) -> str:
    return (
        f"leads to {address}, which is no public address; where that is meant, put {address}, or "
        "the network it is in, into CRM_NETWORKS"
    )


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    """Private, loopback, link-local, shared, reserved, multicast, and whatever stands for them;
    the error tells which setting allows it."""
    found = ip_address(address)

    assert not is_public(found)
    assert OPEN.address_fault("https", "crm.example.com", found) == private(str(meant(found)))


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_for_https(address: str) -> None:
    """And for nothing without encryption."""
    found = ip_address(address)

    assert OPEN.address_fault("https", "crm.example.com", found) is None
    assert OPEN.address_fault("http", "crm.example.com", found) == UNSAFE


@pytest.mark.parametrize(
    ("networks", "address"),
    [
        ("10.0.0.0/8", "10.1.2.3"),
        ("10.0.0.0/8", "::ffff:10.1.2.3"),
        ("10.0.0.0/8", "64:ff9b::a01:203"),
        ("192.168.7.20", "192.168.7.20"),
        ("127.0.0.0/8,::1", "::1"),
        ("fe80::/10", "fe80::1%1"),
        ("1.1.1.0/24", "1.1.1.1"),
    ],
)
def test_the_operators_networks_are_allowed(networks: str, address: str) -> None:
    """With and without encryption, and whatever hosts the CRM has elsewhere."""
    for hosts in ((), PINNED.hosts):
        reach = Reach(hosts=hosts, networks=read_networks(networks))
        for scheme in ("http", "https"):
            assert reach.address_fault(scheme, "crm.example.com", ip_address(address)) is None


@pytest.mark.parametrize("address", ["11.0.0.1", "9.9.9.9", "192.168.1.1", "::1", "fe80::1"])
def test_networks_allow_nothing_beyond_them(address: str) -> None:
    """Not without encryption, at least."""
    reach = Reach(networks=LAN)

    assert reach.address_fault("http", "crm.example.com", ip_address(address)) is not None


@pytest.mark.parametrize(
    ("reach", "url", "fault"),
    [
        (OPEN, "https://crm.example.com/espo", None),
        (OPEN, "https://127.0.0.1", private("127.0.0.1")),
        (OPEN, "https://localhost:8080", private("127.0.0.1")),
        (OPEN, "https://[::ffff:169.254.169.254]/", private("169.254.169.254")),
        (OPEN, "https://[fe80::1]", private("fe80::1")),
        (OPEN, "http://crm.example.com", UNSAFE),
        (OPEN, "http://1.1.1.1", UNSAFE),
        (OPEN, "ftp://crm.example.com", "must begin with https:// and a host"),
        (OPEN, "https://user:word@crm.example.com", "must not hold a user name or password"),
        (Reach(networks=LAN), "http://crm.example.com", None),  # its address decides
        (Reach(networks=LAN), "http://10.9.9.9:8080", None),
        (Reach(networks=LAN), "http://1.1.1.1", UNSAFE),
        (Reach(networks=LAN), "https://192.168.1.1", private("192.168.1.1")),
        (PINNED, "https://api.acme.example.com", None),
        (PINNED, "https://API.Acme.example.com./v2", None),
        (PINNED, "https://eu.acme.example.org", None),
        (PINNED, "https://acme.example.org", ELSEWHERE),
        (PINNED, "https://evilacme.example.org", ELSEWHERE),
        (PINNED, "https://acme.example.org.example.com", ELSEWHERE),
        (PINNED, "https://eu.api.acme.example.com", ELSEWHERE),
        (PINNED, "https://1.1.1.1", ELSEWHERE),
        (PINNED, "https://10.1.2.3", ELSEWHERE),
        (PINNED, "http://api.acme.example.com", UNSAFE),
        (Reach(hosts=PINNED.hosts, networks=LAN), "https://crm.example.com", ELSEWHERE),
        (Reach(hosts=PINNED.hosts, networks=LAN), "http://crm.example.com", ELSEWHERE),
        (Reach(hosts=PINNED.hosts, networks=LAN), "https://10.1.2.3", None),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_base_url_is_said(reach: Reach, url: str, fault: str | None) -> None:
    """Where it shows before the name is looked up; whole sentences, without what was typed."""
    assert reach.url_fault(url) == fault


def test_a_pinned_host_has_to_be_public_too() -> None:
    """Whoever answers for its name cannot send us into our own network."""
    inside = ip_address("10.1.2.3")

    assert PINNED.address_fault("https", "api.acme.example.com", inside) == private("10.1.2.3")


def test_networks_are_read_as_people_write_them() -> None:
    """With spaces, single addresses and a comma too many; none is none."""
    assert [str(one) for one in read_networks(" 10.0.0.0/8,192.168.7.20 ,, fd00::/8,")] == [
        "10.0.0.0/8", "192.168.7.20/32", "fd00::/8",
    ]  # fmt: skip
    assert read_networks(" ") == ()


@pytest.mark.parametrize(
    "host",
    ["2130706433", "0x7f000001", "0x7f.1", "127.1", "169.254.43518", "0177.0.0.1",
     "evil.com%2f.acme.example.org", "evil.com;.acme.example.org", "[v1.a]",
     "[v1.a]:8443", "[::1]x"],
)  # fmt: skip
def test_an_address_has_to_be_written_as_everybody_reads_it(host: str) -> None:
    """What one resolver takes for a number and another for a name may lead anywhere."""
    said = "must hold a host name, or an address in its usual form"
    assert form_fault(f"https://{host}/api") == said


@pytest.mark.parametrize("host", ["127.0.0.1.", "localhost.", "crm.localhost"])
def test_this_machine_is_known_in_every_spelling(host: str) -> None:
    """A dot at the end, or a name below localhost, makes no difference."""
    fault = OPEN.url_fault(f"https://{host}")
    assert fault is not None
    assert "leads to 127.0.0.1, which is no public address" in fault
