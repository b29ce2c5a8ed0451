"""Connections that are made to no address but an allowed one, and read for so long and no longer.

A name is looked up once, and the address that was looked at is the one that is connected to: a
name that leads elsewhere at the second look changes nothing.
"""

from __future__ import annotations

import io
import socket
import time
from http.client import HTTPResponse
from ipaddress import ip_address
from typing import Any

from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.connection import create_connection

from plugin.reach import Reach

ADDRESSES = 4
"""How many of a name's addresses are tried; they share the time-out."""


class ForbiddenAddress(Exception):
    """No address of the host may be connected to. The text says why, and what to change."""


class _TimedReader(io.RawIOBase):
    """What arrives at a socket, until its time-out has passed once in all: not once a byte."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase) -> None:
        self._sock = sock
        self._raw = raw
        self._seconds = sock.gettimeout()
        self._ends_at = None if self._seconds is None else time.monotonic() + self._seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._ends_at is not None:
            left = self._ends_at - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


class _TimedResponse(HTTPResponse):
    """An answer whose last byte, of headers and body alike, is due within the time-out."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_TimedReader(sock, self.fp.detach()))


class _Connection(HTTPConnection):
    """Over plain HTTP."""

    reach: Reach
    scheme = "http"
    response_class = _TimedResponse

    def _new_conn(self) -> socket.socket:
        """urllib3's own looks the name up by itself, and tries each address for the whole time."""
        fault: OSError | None = None
        found = self._addresses()
        seconds = self.timeout / len(found) if isinstance(self.timeout, int | float) else None
        for address in found:
            try:
                return create_connection(
                    (address, self.port), seconds, socket_options=self.socket_options
                )
            except OSError as error:
                fault = error
        if isinstance(fault, TimeoutError):
            raise ConnectTimeoutError(self, f"no connection within {self.timeout} s") from fault
        raise NewConnectionError(self, f"no connection: {type(fault).__name__}") from fault

    def _addresses(self) -> list[str]:
        """Raises ``ForbiddenAddress`` where none is allowed."""
        try:
            told = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            fault = error if isinstance(error, socket.gaierror) else socket.gaierror("no name")
            raise NameResolutionError(self.host, self, fault) from error
        allowed, faults = [], []
        for text in dict.fromkeys(str(one[4][0]) for one in told):
            fault_there = self.reach.address_fault(self.scheme, self.host, ip_address(text))
            if fault_there is None:
                allowed.append(text)
            else:
                faults.append(fault_there)
        if not allowed:
            raise ForbiddenAddress(faults[0])
        return allowed[:ADDRESSES]


class _TlsConnection(_Connection, HTTPSConnection):
    """Over HTTPS; the certificate is still the name's."""

    scheme = "https"


class _ProxiedConnection(HTTPSConnection):
    """To a proxy that the environment names, which looks names up by its own rules."""

    response_class = _TimedResponse


class Connector(HTTPAdapter):
    """requests' adapter, with connections of ours."""

    def __init__(self, reach: Reach) -> None:
        self._classes: dict[str, type[HTTPConnection]] = {
            base.scheme: type(base.__name__, (base,), {"reach": reach})
            for base in (_Connection, _TlsConnection)
        }
        super().__init__(pool_connections=1, pool_maxsize=4)

    def get_connection_with_tls_context(
        self,
        request: PreparedRequest,
        verify: Any,
        proxies: Any = None,
        cert: Any = None,
    ) -> HTTPConnectionPool:
        pool: Any = super().get_connection_with_tls_context(request, verify, proxies, cert)
        pool.ConnectionCls = _ProxiedConnection if pool.proxy else self._classes[pool.scheme]
        found: HTTPConnectionPool = pool
        return found
