"""Where a CRM may be: addresses are typed by people, and names lead where their owner likes.

A connection goes to a public address over HTTPS, or into a network that the operator named in
``CRM_NETWORKS``. A CRM that is run in one place only is found under its own host names alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

SETTING = "CRM_NETWORKS"
_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")
_IPV6 = re.compile(r"\[[^\]]*:[^\]]*\](:[0-9]*)?")
"""All that brackets are for, with a port; RFC 3986 has them for addresses of the future, too."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")

# https://www.iana.org/assignments/iana-ipv4-special-registry and …/iana-ipv6-special-registry,
# here because ``ipaddress`` tells multicast, and with each Python others, as global.
SPECIAL = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
            "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16",
            "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
            "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
        ),
    )
)  # fmt: skip
BROADEST = {4: 8, 6: 7}
"""Bits of the broadest private networks, 10.0.0.0/8 and fc00::/7: a broader one lets in strangers,
and 0.0.0.0/0 is no guard at all."""
UNICAST = IPv6Network("2000::/3")
"""All global addresses of IPv6 lie in here."""
NAT64 = IPv6Network("64:ff9b::/96")
"""Each stands for the IPv4 address in its last 32 bits (RFC 6052)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reach:
    """Where one CRM may be. ``hosts``: its only host names, ``*.`` in front for all below one;
    none where every company runs its own. ``networks``: where, besides, everything is allowed."""

    hosts: tuple[str, ...] = ()
    networks: tuple[Network, ...] = ()

    def url_fault(self, url: str) -> str | None:
        """What is wrong with a base URL as far as it shows before a name is looked up."""
        if fault := form_fault(url):
            return fault
        parts = urlsplit(url)
        host = parts.hostname or ""
        if address := _literal(host):
            return self.address_fault(parts.scheme, host, address)
        if not self._has(host):
            return self._elsewhere()
        return _unsafe() if parts.scheme == "http" and not self.networks else None

    def address_fault(self, scheme: str, host: str, address: Address) -> str | None:
        """What is wrong with a connection to ``host``, which was found at this address."""
        address = meant(address)
        if any(address in network for network in self.networks):
            return None
        if not self._has(host):
            return self._elsewhere()
        if not is_public(address):
            return (
                f"leads to {address}, which is no public address; where that is meant, put "
                f"{address}, or the network it is in, into {SETTING}"
            )
        return None if scheme == "https" else _unsafe()

    def _has(self, host: str) -> bool:
        host = host.lower().rstrip(".")
        return not self.hosts or any(
            host.endswith(known[1:]) if known.startswith("*.") else host == known
            for known in self.hosts
        )

    def _elsewhere(self) -> str:
        return f"must be at {' or '.join(self.hosts)}, or at an address in {SETTING}"


def _unsafe() -> str:
    return f"must begin with https:// (http:// is for addresses in {SETTING} only)"


def read_networks(text: str) -> tuple[Network, ...]:
    """Networks such as ``10.0.0.0/8``, or single addresses, between commas.

    Raises ``ValueError`` with what is wrong with the first that is none; what is no address is not
    shown, as it may be a secret.
    """
    parts = filter(None, map(str.strip, text.split(",")))
    return tuple(_network(part, number) for number, part in enumerate(parts, 1))


def _network(text: str, number: int) -> Network:
    try:
        given = ip_interface(text)
    except ValueError:
        raise ValueError(
            "must be networks such as 10.0.0.0/8, with commas between them; number "
            f"{number} is none"
        ) from None
    network = given.network
    if given.ip != network.network_address:
        raise ValueError(
            f"must be networks: number {number} is the address {given.ip}, or the network "
            f"{network}, not both"
        )
    if network.prefixlen < BROADEST[network.version]:
        raise ValueError(f"must be networks of your own; {network} is too broad for one")
    return network


def form_fault(url: str) -> str | None:
    """What is wrong with the form of an address, wherever it leads; None where nothing is."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is no valid address"
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return "must be written in plain ASCII without spaces"
    if parts.scheme not in ("https", "http") or not host:
        return "must begin with https:// and a host"
    if "@" in parts.netloc:
        return "must not hold a user name or password"
    if not _is_host(host) or ("[" in parts.netloc and not _IPV6.fullmatch(parts.netloc)):
        return "must hold a host name, or an address in its usual form"
    if "?" in url or "#" in url:
        return "must not have a query or fragment"
    return None


def meant(address: Address) -> Address:
    """The IPv4 address that one of IPv6 stands for; else the address itself."""
    if isinstance(address, IPv6Address):
        if address in NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address
    return address


def is_public(address: Address) -> bool:
    """Whether anybody's server may be there: not private, local, reserved, multicast, …"""
    address = meant(address)
    if isinstance(address, IPv6Address) and address not in UNICAST:
        return False
    return not any(address in network for network in SPECIAL)


def _is_host(host: str) -> bool:
    """A name, or an address as ``ipaddress`` reads it: what else resolvers take for an address
    (``2130706433``, ``0x7f.1``, ``127.1``) would be told from a name by everybody differently."""
    if _literal(host) is not None:
        return True
    labels = host.rstrip(".").split(".")
    return _NAME.fullmatch(host) is not None and not _NUMBER.fullmatch(labels[-1])


def _literal(host: str) -> Address | None:
    """The address where ``host`` is one; ``localhost`` is (RFC 6761)."""
    host = host.rstrip(".")
    local = host == "localhost" or host.endswith(".localhost")
    try:
        return ip_address("127.0.0.1" if local else host)
    except ValueError:
        return None
