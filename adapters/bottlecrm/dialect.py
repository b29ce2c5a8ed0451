"""How BottleCRM says no.

Facts are read from the package itself: https://pypi.org/project/django-crm/1.35.0/
(``common/middleware/get_company.py``, ``common/scopes.py``, ``tasks/access.py``,
``common/modules.py``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from marshmallow import ValidationError

from adapters.answers import word
from adapters.client import Answer, Dialect, RateBudget, Refusal, error_for
from plugin.errors import CrmError, CrmRejected
from schemas.bottlecrm import ErrorPayload, ErrorSchema

FORBIDDEN = 403
NOT_FOUND = 404
MODULE_OFF = "module_off"

REASONS = (
    ("must be one of", "not_an_option"),
    ("must be ", "wrong_type"),
    ("is required", "required"),
    ("This field is required", "required"),
    ("This field may not be blank", "required"),
    ("Ensure this field has no more than", "too_long"),
    ("Invalid pk", "no_such_record"),
)
"""How a message begins → the word it becomes: messages may quote what people typed."""

_NEEDED_SCOPE = re.compile(r"It needs the ([a-z*-]{1,40}:(?:read|write)) scope\.")
_NO_ORGANISATION = "Organization context is required"
_NO_ADMINISTRATOR = ("Admin access required", "Permission Denied")
_RECORD_REFUSED = "permission to perform this action"
_ERROR = ErrorSchema()


def refusal(payload: object) -> Refusal:
    """What an error body says, without the values it quotes."""
    try:
        error: ErrorPayload = _ERROR.load(payload)  # type: ignore[arg-type]
    except ValidationError:
        return Refusal()
    return Refusal(code=_code(error), field_errors=dict(_field_errors(error["errors"])))


def error(answer: Answer) -> CrmError | None:
    """Two statuses that say something else here.

    403 also refuses a single record, and 404 also answers for a whole module that the
    organisation has switched off: neither the token nor the record is at fault then.
    """
    told = str(answer.payload)
    of_record = answer.status == FORBIDDEN and _RECORD_REFUSED in told.lower()
    of_module = answer.status == NOT_FOUND and refusal(answer.payload).code == MODULE_OFF
    if not (of_record or of_module):
        return None
    usual = error_for(answer, dialect=DIALECT)
    return CrmRejected(str(usual), crm=usual.crm, operation=usual.operation, status=answer.status)


def _code(error: ErrorPayload) -> str:
    if code := word(error["code"]):
        return code
    if error["errors"] in _NO_ADMINISTRATOR:
        return "not an administrator's token"
    detail = error["detail"] if isinstance(error["detail"], str) else ""
    if needed := _NEEDED_SCOPE.search(detail):
        return f"scope {needed[1]} missing"
    return "token unknown, revoked or expired" if _NO_ORGANISATION in detail else ""


def _field_errors(errors: object) -> Iterator[tuple[str, str]]:
    """Field → word. Those of custom fields lie one level deeper, under their keys."""
    if not isinstance(errors, dict):
        return
    for name, why in errors.items():
        if isinstance(why, dict):
            yield from _field_errors(why)
        elif word(name):
            yield name, _reason(why)


def _reason(why: object) -> str:
    said = why[0] if isinstance(why, list) and why else why
    if not isinstance(said, str):
        return "refused"
    return next((word for start, word in REASONS if said.startswith(start)), "refused")


DIALECT = Dialect(crm="bottlecrm", title="BottleCRM", refusal=refusal, error=error)


def budget() -> RateBudget:
    """BottleCRM limits no calls of a signed-in client (``DEFAULT_THROTTLE_CLASSES`` is not set).

    Every company runs its own, often on one small machine: twenty calls a second are enough.
    """
    return RateBudget(200, 10.0)
