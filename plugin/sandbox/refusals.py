"""How the stand-in says no, in HubSpot's words."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One property value that cannot be taken."""

    name: str
    error: str
    """HubSpot's code, e.g. ``INVALID_OPTION``."""
    message: str

    def as_json(self) -> dict[str, Any]:
        return {
            "isValid": False,
            "message": self.message,
            "error": self.error,
            "name": self.name,
            "localizedErrorMessage": self.message,
        }


class Refused(Exception):
    """A call, or one input of a batch, that is answered with an error."""

    def __init__(
        self,
        status: int,
        category: str,
        message: str,
        *,
        sub_category: str = "",
        context: Mapping[str, Sequence[str]] | None = None,
        errors: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.category = category
        self.message = message
        self.sub_category = sub_category
        self.context = {key: list(values) for key, values in (context or {}).items()}
        self.errors = [dict(error) for error in errors]

    def as_body(self) -> dict[str, Any]:
        """The body of an answer that is nothing but this error."""
        body: dict[str, Any] = {
            "status": "error",
            "message": self.message,
            "correlationId": str(uuid.uuid4()),
            "category": self.category,
        }
        if self.sub_category:
            body["subCategory"] = self.sub_category
        if self.context:
            body["context"] = self.context
        if self.errors:
            body["errors"] = self.errors
        return body

    def as_entry(self, trace: str | None) -> dict[str, Any]:
        """One of the ``errors`` of a 207. ``trace``: the input's ``objectWriteTraceId``."""
        context = {"objectWriteTraceId": [trace], **self.context} if trace else self.context
        return {
            "status": "error",
            "category": self.category,
            "message": self.message,
            "context": context,
            "errors": self.errors,
            "links": {},
        }


def invalid(problems: Sequence[Problem]) -> Refused:
    """Property values that were not valid."""
    return Refused(
        400,
        "VALIDATION_ERROR",
        f"Property values were not valid: {json.dumps([p.as_json() for p in problems])}",
        errors=[
            {"message": p.message, "code": p.error, "context": {"propertyName": [p.name]}}
            for p in problems
        ],
    )


def bad_input(message: str) -> Refused:
    """A call that is wrong in itself, whatever the records are."""
    return Refused(400, "VALIDATION_ERROR", message)


def not_found(kind: str, ids: Sequence[str]) -> Refused:
    """Records that are not there (any more). ``kind``: CONTACT, DEAL, TASK."""
    return Refused(
        404,
        "OBJECT_NOT_FOUND",
        f"Could not get some {kind} objects, they may be deleted or not exist. "
        "Check that ids are valid.",
        context={"ids": ids},
    )
