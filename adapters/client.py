"""Every HTTP call to a CRM goes out here: one time-out, one rate limit, one error tree.

The client knows HTTP; what is said differently by each CRM (error bodies, rate headers) comes in
as a ``Dialect``. Neither token nor personal data gets into a log line, an error or a ``repr``.
"""

from __future__ import annotations

import logging
import random
import re
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase
from urllib3 import Timeout
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ReadTimeoutError,
)

from adapters.connecting import Connector, ForbiddenAddress
from adapters.untrusted import read_json
from plugin.errors import (
    ConfigurationError,
    CrmError,
    CrmRateLimited,
    CrmRejected,
    CrmUnauthorized,
    CrmUnavailable,
    RecordGone,
)
from plugin.reach import Reach

log = logging.getLogger(__name__)

TIMEOUT = (5.0, 20.0)
"""Seconds for each step until the request is sent (to connect, to shake hands, to send), and until
the last byte of the answer: all together take no longer than the sum."""
MAX_ANSWER = 20 * 2**20
"""Bytes of one answer, unpacked."""
ATTEMPTS = 3
"""How often a call that may be repeated is tried."""
GUESSED_WAIT = 10.0
"""Seconds after a 429 that does not say how long; longer each time."""
LONGEST_WINDOW = 10.0
"""Seconds; HubSpot's. Whatever an answer claims, a worker is not held longer for room in one."""
USER_AGENT = "referral-spiral"

NO_ANSWER = (OSError, ValueError, HTTPException, HTTPError)
"""What an exchange may end with: requests' own errors (each an ``OSError``), and those of urllib3
and http.client that requests lets through, such as ``ValueError`` for a chunk of -5 bytes."""

LOCKED = 423
MIGRATING = 477
"""HubSpot's own status while an account moves to another data centre: over in hours."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """What an error body says, free of personal data.

    ``code``: the CRM's own word for what is wrong; ``field_errors``: field → code;
    ``retry_after``: seconds, where the body tells.
    """

    code: str = ""
    field_errors: Mapping[str, str] = field(default_factory=dict)
    retry_after: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """The limit as headers of an answer tell it: calls in ``seconds``, and how many are left."""

    limit: int
    seconds: float
    remaining: int | None = None


def bearer(token: str) -> Mapping[str, str]:
    """The header most CRMs want the token in."""
    return {"Authorization": f"Bearer {token}"}


def _no_rate(_headers: Mapping[str, str]) -> None:
    return None


def _no_error(_answer: Answer) -> None:
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """An answer that is not 2xx. ``payload``: the parsed body, None where it was not JSON."""

    status: int
    headers: Mapping[str, str]
    payload: object
    operation: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialect:
    """How one CRM says what all of them say."""

    crm: str
    title: str
    refusal: Callable[[object], Refusal]
    """The parsed body of an error, or None where it was not JSON."""
    rate: Callable[[Mapping[str, str]], Rate | None] = _no_rate
    """Headers of any answer → the limit they tell."""
    auth: Callable[[str], Mapping[str, str]] = bearer
    """The token → the headers that carry it."""
    error: Callable[[Answer], CrmError | None] = _no_error
    """The error of an answer whose status means something else here than with the others."""


class RateBudget:
    """Never more than ``share`` of ``limit`` calls in any ``seconds``: a window that slides.

    Used as a context around one call. A call counts until ``seconds`` after its *end*, since only
    then is it certain that the CRM has counted it; so the CRM's own window is never fuller than
    this one. ``observe`` follows the CRM where it tells its limit, and makes room for calls that
    another process made with the same credentials. Safe to share between threads.
    """

    def __init__(
        self,
        limit: int,
        seconds: float,
        *,
        share: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._limit = limit
        self._seconds = seconds
        self._share = share
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._begun = 0
        self._under_way = 0
        self._ended: deque[float] = deque()

    @property
    def allowed(self) -> int:
        """Calls in one window; at least one, or nothing would ever move."""
        return max(1, int(self._limit * self._share))

    def use_share(self, share: float) -> None:
        """Take another share of the limit from now on."""
        with self._lock:
            self._share = share

    def observe(self, rate: Rate, mark: int) -> None:
        """Follow what the CRM says about its limit in answer to the call that began with ``mark``.

        The CRM counted between that call's beginning and now, so all that was in the window at
        its beginning, and all that began since, may be among what it counted.
        """
        with self._lock:
            self._limit, self._seconds = rate.limit, min(rate.seconds, LONGEST_WINDOW)
            if rate.remaining is not None:
                unseen = rate.limit - rate.remaining - (self._begun - mark)
                self._ended.extend([self._clock()] * min(unseen, self.allowed))

    def __enter__(self) -> int:
        """A mark for ``observe``."""
        while True:
            wait, mark = self._try()
            if not wait:
                return mark
            self._sleep(wait)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._under_way -= 1
            self._ended.append(self._clock())

    def _try(self) -> tuple[float, int]:
        """Seconds until there may be room; 0 where there is: then it is taken. And the mark: how
        many of the calls begun so far are out of the window."""
        with self._lock:
            now = self._clock()
            while self._ended and self._ended[0] + self._seconds <= now:
                self._ended.popleft()
            taken = len(self._ended) + self._under_way
            mark = self._begun - taken
            if taken < self.allowed:
                self._begun += 1
                self._under_way += 1
                return 0.0, mark
            if self._ended:
                return max(self._ended[0] + self._seconds - now, 0.001), mark
            return 0.01, mark  # all room is taken by calls under way in other threads


class _Token(AuthBase):
    """The token as an object of its own: requests would otherwise let a ``.netrc`` replace it."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.update(self._headers)
        return request


def unguarded() -> None:
    """Lets every call go out."""


class Client:
    """One account's connection to its CRM.

    ``calls`` counts the HTTP requests sent. ``guard`` is called right before each of them; what it
    raises goes through, and nothing is sent. Raises ``ConfigurationError`` where ``base_url``
    leads out of ``reach``.
    """

    def __init__(
        self,
        *,
        base_url: str,
        token: str,
        dialect: Dialect,
        reach: Reach,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        if fault := reach.url_fault(base_url):
            raise ConfigurationError(f"the address of {dialect.title} {fault}")
        self.calls = 0
        self.guard: Callable[[], None] = unguarded
        self._base_url = base_url.rstrip("/")
        self._dialect = dialect
        self._clock = clock
        self._sleep = sleep
        self._chance = chance
        # A line break in it would make http.client print the whole header in its error.
        self._token_fits = re.fullmatch(r"[!-~]+", token) is not None
        self._http = requests.Session()
        self._http.auth = _Token(dialect.auth(token))
        self._http.headers["User-Agent"] = USER_AGENT
        self._http.headers["Accept"] = "application/json"
        self._http.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # Plain HTTP is for networks nearby: what it carries goes through nobody's proxy.
        self._http.trust_env = urlsplit(base_url).scheme == "https"
        for scheme in ("http://", "https://"):
            self._http.mount(scheme, Connector(reach))

    def __repr__(self) -> str:
        return f"<Client of {self._dialect.crm} at {self._base_url}>"

    def send(
        self,
        method: str,
        path: str,
        *,
        budget: RateBudget,
        body: object = None,
        params: Mapping[str, str] | None = None,
        repeat: bool = True,
    ) -> Any:
        """The parsed JSON of a 2xx answer, None where it has no body.

        ``repeat``: whether the call may be sent again where no answer came. One that took all its
        time is not, so that a CRM that hangs keeps a worker for one time-out only. Raises
        ``CrmError``.
        """
        for attempt in range(1, ATTEMPTS):
            try:
                return self._send(method, path, budget, body, params)
            except CrmUnavailable as error:
                if not repeat or error.status == MIGRATING or _is_hopeless(error.__cause__):
                    raise
                self._sleep(self._pause(error, attempt))
        return self._send(method, path, budget, body, params)

    def _pause(self, error: CrmUnavailable, attempt: int) -> float:
        least = 2.0 if error.status == LOCKED else 0.0
        return least + 0.25 * attempt**2 * (0.5 + self._chance())

    def _send(
        self,
        method: str,
        path: str,
        budget: RateBudget,
        body: object,
        params: Mapping[str, str] | None,
    ) -> Any:
        operation = f"{method} {path}"
        if not self._token_fits:
            raise CrmUnauthorized(
                f"the token for {self._dialect.title} is empty or has characters no token has",
                crm=self._dialect.crm,
                operation=operation,
            )
        with budget as mark:
            self.guard()  # only now: waiting for the budget may have taken longer than a lease
            started = self._clock()
            self.calls += 1
            try:
                status, headers, content = self._exchange(method, path, body, params)
            except ForbiddenAddress as error:
                raise CrmUnavailable(
                    f"the address of {self._dialect.title} {error}",
                    crm=self._dialect.crm,
                    operation=operation,
                    outcome_unknown=False,
                ) from error
            except NO_ANSWER as error:
                raise CrmUnavailable(
                    f"{self._dialect.title} did not answer {operation}: {_why(error)}",
                    crm=self._dialect.crm,
                    operation=operation,
                    outcome_unknown=not _never_connected(error),
                ) from error
        log.debug("%s %s -> %s in %d ms", method, path, status, 1000 * (self._clock() - started))
        if rate := self._dialect.rate(headers):
            budget.observe(rate, mark)
        try:
            payload, readable = read_json(content), True
        except ValueError:
            payload, readable = None, False
        if status >= 300:
            told = Answer(status=status, headers=headers, payload=payload, operation=operation)
            raise self._dialect.error(told) or error_for(told, dialect=self._dialect)
        if not readable:
            raise self._unusable(operation, status, "not JSON")
        return payload

    def _exchange(
        self,
        method: str,
        path: str,
        body: object,
        params: Mapping[str, str] | None,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and at most ``MAX_ANSWER`` bytes. Follows no redirect: the token would
        go to an address nobody configured."""
        connect, read = TIMEOUT
        seconds: Any = Timeout(connect=connect, read=read, total=connect + read)  # stubs lack it
        with self._http.request(
            method,
            self._base_url + path,
            json=body,
            params=params,
            timeout=seconds,
            allow_redirects=False,
            stream=True,
        ) as response:
            content = bytearray()
            for chunk in response.iter_content(2**16):
                content += chunk
                if len(content) > MAX_ANSWER:
                    raise self._unusable(f"{method} {path}", response.status_code, "too long")
            return response.status_code, response.headers, bytes(content)

    def _unusable(self, operation: str, status: int, why: str) -> CrmUnavailable:
        return CrmUnavailable(
            f"the answer of {self._dialect.title} to {operation} is {why}",
            crm=self._dialect.crm,
            operation=operation,
            status=status,
        )


def error_for(answer: Answer, *, dialect: Dialect) -> CrmError:
    """The one place where a status becomes an error."""
    status, headers, operation = answer.status, answer.headers, answer.operation
    refusal = dialect.refusal(answer.payload)
    words = " ".join(filter(None, (str(status), refusal.code)))
    fields = ", ".join(f"{name} {code}" for name, code in sorted(refusal.field_errors.items()))
    message = f"{dialect.title} answered {words} to {operation}" + (f": {fields}" if fields else "")
    if status == 429:
        wait = _seconds(headers.get("Retry-After")) or refusal.retry_after
        return CrmRateLimited(
            message,
            retry_after=wait or GUESSED_WAIT,
            guessed=not wait,
            crm=dialect.crm,
            operation=operation,
        )
    if status in (401, 403):
        return CrmUnauthorized(message, crm=dialect.crm, operation=operation, status=status)
    if status in (404, 410):
        return RecordGone(message, crm=dialect.crm, operation=operation, status=status)
    if status in (408, LOCKED, MIGRATING) or status >= 500:
        return CrmUnavailable(
            message,
            crm=dialect.crm,
            operation=operation,
            status=status,
            outcome_unknown=status not in (LOCKED, MIGRATING),
        )
    if status < 400:
        message += "; redirects are not followed, check the API's base URL"
    return CrmRejected(
        message,
        crm=dialect.crm,
        operation=operation,
        status=status,
        field_errors=dict(refusal.field_errors),
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and down to the first of those it came from; urllib3 and requests keep some of
    them in ``reason`` or ``args`` only."""
    while error is not None:
        yield error
        held = (error.__cause__, getattr(error, "reason", None), *error.args)
        error = next((one for one in held if isinstance(one, BaseException)), None)


def _why(error: Exception) -> str:
    """What to look at, else the error's class: its own words may quote what was sent."""
    for one in _causes(error):
        match one:
            case requests.exceptions.ProxyError():
                return "the proxy of the environment does not let it through"
            case NameResolutionError():
                return "its name is not found"
            case ConnectionRefusedError():
                return "it refuses the connection"
            case ssl.SSLCertVerificationError():
                return f"its certificate is not valid ({one.verify_message})"
    return type(error).__name__


def _is_hopeless(cause: BaseException | None) -> bool:
    """Whether the same call at once would only end the same way, after the same time."""
    late = (requests.Timeout, ReadTimeoutError, TimeoutError, ForbiddenAddress)
    return any(isinstance(one, late) for one in _causes(cause))


def _never_connected(error: Exception) -> bool:
    """Whether it is certain that the request never left."""
    unmade = (requests.ConnectTimeout, ConnectTimeoutError, NewConnectionError)
    return any(isinstance(one, unmade) for one in _causes(error))


def _seconds(header: str | None) -> float | None:
    """``Retry-After`` in seconds; its date form and nonsense count as not given."""
    if header and re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", header.strip()):
        return float(header)
    return None
