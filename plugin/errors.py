"""Every exception the plugin raises on purpose.

The class says whether trying again can help; the text says which setting, field or
record to look at. HTTP statuses are chosen in ``plugin.web``, not here.
"""

from __future__ import annotations

LONGEST_WAIT = 86_400.0  # seconds


class PluginError(Exception):
    """Base of all errors the plugin raises on purpose."""


class ConfigurationError(PluginError):
    """A setting, option or file is missing or wrong. The text names it. Trying again is useless."""


class DatabaseUnavailable(PluginError):
    """No database answers at DATABASE_URL: it may be starting. Trying again may help."""


class DeliveryError(PluginError):
    """Something is wrong with one webhook delivery."""


class SignatureError(DeliveryError):
    """The delivery is not authentic: nothing of it is stored."""


class PayloadError(DeliveryError):
    """The delivery is authentic but cannot be read; it is kept and quarantined."""


class UnknownEndpoint(DeliveryError):
    """No CRM and no account answers at this address."""


class LeaseLost(PluginError):
    """Another worker took the lane over: whatever this one still wanted to write is void."""


class CrmError(PluginError):
    """A call to a CRM failed.

    ``crm`` and ``operation`` say which call, ``status`` is the HTTP status if there was one.
    """

    def __init__(
        self, message: str, *, crm: str = "", operation: str = "", status: int | None = None
    ) -> None:
        super().__init__(message)
        self.crm = crm
        self.operation = operation
        self.status = status


class CrmUnavailable(CrmError):
    """5xx, time-out or no connection: the same call may work later.

    ``outcome_unknown`` is true when the request may have been carried out although no
    answer came back.
    """

    def __init__(
        self,
        message: str,
        *,
        crm: str = "",
        operation: str = "",
        status: int | None = None,
        outcome_unknown: bool = True,
    ) -> None:
        super().__init__(message, crm=crm, operation=operation, status=status)
        self.outcome_unknown = outcome_unknown


class CrmRateLimited(CrmError):
    """429: the CRM wants fewer calls. ``retry_after`` is in seconds, at most a day: whatever a CRM
    says, it is asked again tomorrow. ``guessed``: the CRM did not tell it."""

    def __init__(
        self,
        message: str,
        *,
        retry_after: float,
        guessed: bool = False,
        crm: str = "",
        operation: str = "",
        status: int | None = 429,
    ) -> None:
        super().__init__(message, crm=crm, operation=operation, status=status)
        self.retry_after = min(retry_after, LONGEST_WAIT)
        self.guessed = guessed


class CrmUnauthorized(CrmError):
    """401 or 403: the credentials or their scopes are not good (any more). Stops the account."""


class RecordGone(CrmError):
    """404 or 410: the record is not there (any more)."""


class CrmRejected(CrmError):
    """Any other 4xx: the CRM will not take this, now or later. ``field_errors``: field → why.
    Without a ``status`` it is the answer that nobody can take: a record in it is odd."""

    def __init__(
        self,
        message: str,
        *,
        crm: str = "",
        operation: str = "",
        status: int | None = None,
        field_errors: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message, crm=crm, operation=operation, status=status)
        self.field_errors = field_errors or {}
