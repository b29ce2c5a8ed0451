"""HubSpot's API 2026-09 as few verbs: read, write, associate, search.

https://developers.hubspot.com/docs/api-reference/latest/crm
What every call has in common is settled here: batch sizes, paging, partial answers (207), and
which limit a call counts against. Partial answers never look like missing records: an error that
may pass is raised.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from marshmallow import Schema

from adapters.answers import readable, understood
from adapters.client import Client
from adapters.hubspot.dialect import DIALECT, Budgets, code_of, described
from adapters.paging import Places
from plugin.errors import CrmError, CrmRejected, CrmUnavailable, RecordGone
from plugin.ports import Failure
from schemas.fields import RECORD_NUMBER
from schemas.hubspot import (
    Associated,
    AssociatedBatch,
    AssociatedBatchSchema,
    Batch,
    BatchSchema,
    ErrorPayload,
    LabelledBatch,
    LabelledBatchSchema,
    Record,
    RecordPage,
    RecordPageSchema,
    RecordSchema,
    Target,
)

T = TypeVar("T")
Answer = TypeVar("Answer")
Input = Mapping[str, Any]
"""One input of a batch, as HubSpot wants it."""

VERSION = "2026-09"
CONTACTS = "contacts"
DEALS = "deals"
TASKS = "tasks"

BATCH_SIZE = 100
HISTORY_BATCH_SIZE = 50
ASSOCIATION_BATCH_SIZE = 1000
LIST_SIZE = 100
SEARCH_SIZE = 200

NO_SUCH_PROPERTY = "PROPERTY_DOESNT_EXIST"
USER_DEFINED = "USER_DEFINED"
HUBSPOT_DEFINED = "HUBSPOT_DEFINED"

_PASSING = re.compile(r"RATE_LIMIT|INTERNAL|UNAVAILABLE|TIMEOUT|LOCKED")
_NOT_FOUND = re.compile(r"NOT_FOUND|NO_ASSOCIATIONS_FOUND")
_BATCH = BatchSchema()
_PAGE = RecordPageSchema()
_RECORD = RecordSchema()
_ASSOCIATED = AssociatedBatchSchema()
_LABELLED = LabelledBatchSchema()


# ------------------------------------------------------------------------------- calls


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """What became of a batch. ``unnamed``: reasons of errors that do not say which input."""

    records: tuple[Record, ...]
    failures: tuple[Failure, ...]
    unnamed: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """An association of one type, seen from ``source``: the type says what ``target`` is to it."""

    source: str
    target: str
    type_id: int


class Api:
    """One account's API. Every method may raise ``CrmError``."""

    def __init__(self, client: Client, limits: Budgets) -> None:
        self.client = client
        self._limits = limits

    def send(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        params: Mapping[str, str] | None = None,
        schema: Schema | None = None,
    ) -> Any:
        """Any call that has no verb of its own here; what ``schema`` makes of the answer."""
        answer = self.client.send(
            method, path, budget=self._limits.general, body=body, params=params
        )
        return None if schema is None else understood(schema, answer, DIALECT, f"{method} {path}")

    # -- objects

    def read(
        self,
        kind: str,
        ids: Sequence[str],
        properties: Sequence[str],
        *,
        history: Sequence[str] = (),
    ) -> dict[str, Record]:
        """Records by id; absent those that are gone or live on under another id."""
        found: dict[str, Record] = {}
        size = HISTORY_BATCH_SIZE if history else BATCH_SIZE
        for chunk in _chunks(_askable(ids), size):
            batch: Batch = self._post(
                f"{_objects(kind)}/batch/read",
                {
                    "inputs": [{"id": one} for one in chunk],
                    "properties": list(properties),
                    "propertiesWithHistory": list(history),
                },
                _BATCH,
            )
            _raise_unless_not_found(batch["errors"], f"read {kind}")
            asked = set(chunk)
            # A merged-away id answers with the record it became.
            found |= {
                record["id"]: record
                for record in batch["results"]
                if record["id"] in asked and not record["archived"]
            }
        return found

    def page(self, kind: str, after: str | None, properties: Sequence[str]) -> RecordPage:
        """One page of all records, in HubSpot's order, without odd ones."""
        params = {"limit": str(LIST_SIZE), "properties": ",".join(properties), "archived": "false"}
        if after:
            params["after"] = after
        page = self.send("GET", _objects(kind), params=params, schema=_PAGE)
        return _read_page(page, f"GET {_objects(kind)}")

    def search(
        self, kind: str, *, changed: str, since: int, after: int, properties: Sequence[str]
    ) -> RecordPage:
        """Records whose property ``changed`` is at or after ``since`` (ms), oldest first, without
        odd ones."""
        path = f"{_objects(kind)}/search"
        body = {
            "filterGroups": [
                {"filters": [{"propertyName": changed, "operator": "GTE", "value": str(since)}]}
            ],
            "sorts": [{"propertyName": changed, "direction": "ASCENDING"}],
            "properties": [*properties, changed],
            "limit": SEARCH_SIZE,
            "after": str(after),
        }
        answer = self.client.send("POST", path, budget=self._limits.search, body=body)
        return _read_page(understood(_PAGE, answer, DIALECT, f"POST {path}"), f"POST {path}")

    def update(self, kind: str, properties: Mapping[str, Mapping[str, str]]) -> tuple[Failure, ...]:
        """Write properties by record id; what HubSpot refuses comes back, the rest is written."""
        inputs: list[Input] = [
            {"id": one, "objectWriteTraceId": one, "properties": dict(values)}
            for one, values in properties.items()
        ]
        written = self._write(kind, "update", inputs)
        answered = {record["id"] for record in written.records}
        answered |= {record["trace_id"] or "" for record in written.records}
        answered |= {failure.item for failure in written.failures}
        silent = [one for one in properties if one not in answered]
        if not written.unnamed and len(written.records) + len(written.failures) >= len(properties):
            silent = []  # written, under the id of the record it was merged into
        reason = "; ".join(dict.fromkeys(written.unnamed)) or "HubSpot did not confirm the change"
        return written.failures + tuple(Failure(item=one, reason=reason) for one in silent)

    def create(self, kind: str, inputs: Sequence[Input]) -> Written:
        """Create records, sent once; each input has its own ``objectWriteTraceId``.

        Raises ``CrmUnavailable(outcome_unknown=True)`` where some may exist and others not.
        """
        return self._write(kind, "create", inputs)

    def archive(self, kind: str, ids: Sequence[str]) -> None:
        """Delete records; those already gone are no fault."""

        def send(batch: Sequence[str]) -> None:
            inputs = [{"id": one} for one in batch]
            self.send("POST", f"{_objects(kind)}/batch/archive", body={"inputs": inputs})

        for _, answer in _in_batches(sorted(set(ids)), send):
            if isinstance(answer, CrmRejected):
                raise answer

    def _write(self, kind: str, action: str, inputs: Sequence[Input]) -> Written:
        path = f"{_objects(kind)}/batch/{action}"

        def send(batch: Sequence[Input]) -> Batch:
            body = {"inputs": list(batch)}
            answer: Batch = self._post(path, body, _BATCH, repeat=action == "update")
            return answer

        records: list[Record] = []
        failures: list[Failure] = []
        unnamed: list[str] = []
        try:
            for batch, answer in _in_batches(inputs, send, at_fault=_with_unknown_property):
                if isinstance(answer, CrmError):
                    failures += [self._failure(kind, action, one, answer) for one in batch]
                    continue
                records += answer["results"]
                named, others = _named_failures(batch, answer["errors"], f"POST {path}")
                failures += named
                unnamed += others
        except CrmError as error:
            if action == "create" and records:
                raise CrmUnavailable(
                    f"only a part was created: {error}",
                    crm=error.crm,
                    operation=error.operation,
                    status=error.status,
                ) from error
            raise
        return Written(records=tuple(records), failures=tuple(failures), unnamed=tuple(unnamed))

    def _failure(self, kind: str, action: str, refused: Input, error: CrmError) -> Failure:
        # A 404 may also mean that the address is wrong: a record is gone only if a read says so.
        gone = (
            action == "update"
            and isinstance(error, RecordGone)
            and refused["id"] not in self.read(kind, [refused["id"]], ["hs_object_id"])
        )
        return Failure(item=refused["objectWriteTraceId"], reason=str(error), gone=gone)

    # -- associations

    def associated(self, source: str, target: str, ids: Iterable[str]) -> dict[str, list[Target]]:
        """What each record is associated with; absent where with nothing."""
        found: dict[str, list[Target]] = {}
        places = Places(DIALECT.crm, f"read {target} of {source}")
        pending: list[dict[str, str]] = [{"id": one} for one in _askable(ids)]
        while pending:
            batch: AssociatedBatch = self._post_association(
                source,
                target,
                "read",
                pending[:ASSOCIATION_BATCH_SIZE],
                _ASSOCIATED,
            )
            _raise_unless_not_found(batch["errors"], f"read {target} of {source}")
            del pending[:ASSOCIATION_BATCH_SIZE]
            for result in batch["results"]:
                one = result["source"]["id"]
                found.setdefault(one, []).extend(result["targets"])
                if after := _after(result):
                    places.then((one, after))
                    pending.append({"id": one, "after": after})
        return {one: targets for one, targets in found.items() if targets}

    def label(self, source: str, target: str, links: Sequence[Link]) -> tuple[Failure, ...]:
        """Set labels between records. ``Failure.item`` is the link's source."""

        def send(batch: Sequence[Link]) -> LabelledBatch:
            inputs = [_link_input(link) for link in batch]
            answer: LabelledBatch = self._post_association(
                source, target, "create", inputs, _LABELLED
            )
            return answer

        failures: list[Failure] = []
        for batch, answer in _in_batches(links, send):
            if isinstance(answer, CrmError):
                failures += [Failure(item=link.source, reason=str(answer)) for link in batch]
                continue
            # A 2xx may have created nothing, so only what the answer names counts.
            made = {(p["source_id"], p["target_id"]) for p in answer["results"] if p["labels"]}
            why = "; ".join(dict.fromkeys(map(described, answer["errors"])))
            failures += [
                Failure(item=link.source, reason=why or "HubSpot answered but set no label")
                for link in batch
                if (link.source, link.target) not in made
            ]
        return tuple(failures)

    def unlabel(self, source: str, target: str, links: Sequence[Link]) -> tuple[Failure, ...]:
        """Take labels away; the association itself, and labels of others, stay."""

        def send(batch: Sequence[Link]) -> None:
            inputs = [_link_input(link) for link in batch]
            self._post_association(source, target, "labels/archive", inputs, None)

        return tuple(
            Failure(item=link.source, reason=str(answer))
            for batch, answer in _in_batches(links, send)
            if isinstance(answer, CrmRejected)
            for link in batch
        )

    def _post_association(
        self, source: str, target: str, action: str, inputs: object, schema: Schema | None
    ) -> Any:
        path = f"/crm/associations/{VERSION}/{source}/{target}/batch/{action}"
        answer = self.client.send(
            "POST", path, budget=self._limits.associations, body={"inputs": inputs}
        )
        return None if schema is None else understood(schema, answer, DIALECT, f"POST {path}")

    def _post(self, path: str, body: object, schema: Schema, *, repeat: bool = True) -> Any:
        answer = self.client.send(
            "POST", path, budget=self._limits.general, body=body, repeat=repeat
        )
        return understood(schema, answer, DIALECT, f"POST {path}", repeat=repeat)


# ---------------------------------------------------------------------- partial answers


def _raise_unless_not_found(errors: Iterable[ErrorPayload], operation: str) -> None:
    """A record that could not be read for another reason must not pass for a deleted one."""
    for error in errors:
        if not _NOT_FOUND.search(code_of(error)):
            raise CrmUnavailable(
                f"HubSpot could not {operation} for some: {described(error)}",
                crm=DIALECT.crm,
                operation=operation,
                outcome_unknown=False,
            )


def _named_failures(
    batch: Sequence[Input], errors: Iterable[ErrorPayload], operation: str
) -> tuple[list[Failure], list[str]]:
    """Failures by input, and the reasons of errors that name none."""
    traces = {one["objectWriteTraceId"] for one in batch}
    failures: list[Failure] = []
    unnamed: list[str] = []
    for error in errors:
        reason = described(error)
        if _PASSING.search(code_of(error)):
            raise CrmUnavailable(
                f"HubSpot left out a part: {reason}", crm=DIALECT.crm, operation=operation
            )
        items = [item for item in dict.fromkeys(_named(error)) if item in traces]
        gone = "NOT_FOUND" in code_of(error)
        failures += [Failure(item=item, reason=reason, gone=gone) for item in items]
        if not items:
            unnamed.append(reason)
    return failures, unnamed


def _named(error: ErrorPayload) -> Iterator[str]:
    """The inputs an error is about."""
    context = error["context"] if isinstance(error["context"], dict) else {}
    for key in ("objectWriteTraceId", "ids", "id"):
        names = context.get(key)
        if isinstance(names, list):
            yield from (name for name in names if isinstance(name, str))


def _read_page(page: Mapping[str, Any], operation: str) -> RecordPage:
    records = readable(_RECORD, page["results"], DIALECT, operation)
    return {"results": records, "paging": page["paging"]}


def _objects(kind: str) -> str:
    return f"/crm/objects/{VERSION}/{kind}"


def _link_input(link: Link) -> dict[str, Any]:
    return {
        "from": {"id": link.source},
        "to": {"id": link.target},
        "types": [{"associationCategory": USER_DEFINED, "associationTypeId": link.type_id}],
    }


def _after(result: Associated) -> str | None:
    following = result["paging"] and result["paging"]["next"]
    return following["after"] if following else None


def _askable(ids: Iterable[str]) -> list[str]:
    """Each id once; one that no record can have would spoil the whole batch."""
    return sorted(one for one in set(ids) if RECORD_NUMBER.fullmatch(one))


# ------------------------------------------------------------------------------ batches


def _nobody(_batch: Sequence[T], _error: CrmError) -> list[T]:
    return []


def _with_unknown_property(batch: Sequence[Input], error: CrmError) -> list[Input]:
    """A property that does not exist spoils every input that has it: no need to look for them."""
    errors = error.field_errors if isinstance(error, CrmRejected) else {}
    unknown = {name for name, code in errors.items() if code == NO_SUCH_PROPERTY}
    return [one for one in batch if unknown & one["properties"].keys()]


def _in_batches(
    items: Sequence[T],
    send: Callable[[Sequence[T]], Answer],
    *,
    at_fault: Callable[[Sequence[T], CrmError], list[T]] = _nobody,
) -> Iterator[tuple[Sequence[T], Answer | CrmRejected | RecordGone]]:
    """Send in batches; what was sent with its answer, or with the error that it met.

    One bad item makes HubSpot refuse the whole batch. It is halved until the bad one is alone, so
    that all others go through; ``at_fault`` may name the bad ones sooner.
    """
    pending = list(_chunks(items, BATCH_SIZE))
    while pending:
        batch = pending.pop(0)
        answer: Answer | CrmRejected | RecordGone
        try:
            answer = send(batch)
        except (CrmRejected, RecordGone) as error:
            answer = error
            bad = list(batch) if len(batch) == 1 else at_fault(batch, error)
            if not bad:
                middle = len(batch) // 2
                pending[:0] = [batch[:middle], batch[middle:]]
                continue
            good = [one for one in batch if one not in bad]
            pending[:0] = [good] if good else []
            batch = bad
        yield batch, answer


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[at : at + size] for at in range(0, len(items), size))
