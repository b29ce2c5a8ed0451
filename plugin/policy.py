"""The policy file: TOML from an admin → a checked ``Policy``, or every fault with its line."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from marshmallow import Schema, ValidationError, fields, validates_schema
from marshmallow.validate import Length

from plugin.errors import ConfigurationError
from plugin.referral.model import TaskKind
from plugin.referral.policy import AskPolicy, MatchPolicy, Policy, SpiralPolicy, TaskPolicy

DEFAULT_PATH = Path(__file__).with_name("policy_default.toml")
FREEMAIL = re.compile(
    r"(aol|gmail|gmx|googlemail|hotmail|outlook|proton|protonmail|tutanota|yahoo|ymail)"
    r"(\.co|\.com)?\.[a-z]{2,3}"
    r"|(arcor|email|freenet|live|magenta|mail|online|posteo|t-online|vodafone|vodafonemail|web)\.de"
    r"|(icloud|live|mac|mail|me|msn)\.com|a1\.net|bluewin\.ch|mailbox\.org"
)
"""Domains in which anybody may have an address: no company's own."""
DOMAIN = re.compile(r"[^\W_]([\w-]*[^\W_])?(\.[^\W_]([\w-]*[^\W_])?)+")

Key = tuple[str | int, ...]
"""Where a value stands: section, key, and the position in a list."""


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:59]}…"


# --------------------------------------------------------------------------- the schema


class _Whole(fields.Field[int]):
    """A whole number in a range. Unlike marshmallow's own it takes no ``true`` and no ``5.0``."""

    def __init__(self, low: int, high: int) -> None:
        super().__init__()
        self.low, self.high = low, high

    def _deserialize(self, value: Any, *_args: Any, **_kwargs: Any) -> int:
        whole = "" if type(value) is int else "a whole number "
        if whole or not self.low <= value <= self.high:
            raise ValidationError(
                f"must be {whole}between {self.low} and {self.high}, not {_shown(value)}"
            )
        return int(value)


class _Share(fields.Field[float]):
    """A number in a range; ``nan`` lies in none."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    def _deserialize(self, value: Any, *_args: Any, **_kwargs: Any) -> float:
        if type(value) not in (int, float) or not self.low <= value <= self.high:
            raise ValidationError(
                f"must be a number between {self.low:g} and {self.high:g}, not {_shown(value)}"
            )
        return float(value)


class _Kind(fields.Field[TaskKind]):
    """A kind of task."""

    def _deserialize(self, value: Any, *_args: Any, **_kwargs: Any) -> TaskKind:
        try:
            return TaskKind(value)
        except ValueError:
            hint = _hint(str(value), list(TaskKind))
            raise ValidationError(f"names no kind of task: {_shown(value)}; {hint}") from None


class _PipelineId(fields.Field[str]):
    """The CRM's id of a pipeline. Always text, although some CRMs count their pipelines."""

    def _deserialize(self, value: Any, *_args: Any, **_kwargs: Any) -> str:
        if not isinstance(value, str) or not value.strip():
            raise ValidationError(f"must hold ids in quotes, not {_shown(value)}")
        return value.strip()


class _CompanyDomain(fields.Field[str]):
    """An e-mail domain that belongs to one company."""

    def _deserialize(self, value: Any, *_args: Any, **_kwargs: Any) -> str:
        domain = value.strip().removeprefix("@").lower() if isinstance(value, str) else ""
        if not DOMAIN.fullmatch(domain):
            raise ValidationError(f"must hold domains such as example.com, not {_shown(value)}")
        if FREEMAIL.fullmatch(domain):
            raise ValidationError(
                f"must not hold {domain}: anybody may have an address there, "
                "so its users would all count as employees"
            )
        return domain


def _hint(key: str, known: Iterable[str]) -> str:
    known = sorted(known)
    close = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {close[0]}?" if close else f"allowed are {', '.join(known)}"


class _Section(Schema):
    """A table of the file. A key it does not know is an error that says where to look."""

    error_messages = {"type": "must be a section with keys of its own"}  # noqa: RUF012 # theirs

    def handle_error(self, error: ValidationError, data: Any, **_kwargs: Any) -> None:
        if isinstance(error.messages, dict) and isinstance(data, dict):
            for key in data.keys() - self.fields.keys():
                home = next((name for name, keys in _homes() if key in keys), None)
                hint = f"it belongs under [{home}]" if home else _hint(key, self.fields)
                error.messages[key] = [f"is unknown here; {hint}"]


class _Spiral(_Section):
    sympathy_after_days = _Whole(1, 365)
    enthusiasm_delights = _Whole(1, 10)
    loyalty_after_days = _Whole(1, 3650)


class _Asks(_Section):
    wait_after_repair_days = _Whole(0, 3650)
    wait_after_answered_days = _Whole(0, 3650)
    wait_after_unanswered_days = _Whole(0, 3650)
    unanswered_after_days = _Whole(1, 365)
    stop_after_unanswered = _Whole(1, 10)
    per_owner_and_week = _Whole(1, 100)


class _Matching(_Section):
    link_score = _Share(0.5, 1)
    link_lead = _Share(0.05, 1)  # without a lead one of two equals would win
    candidate_score = _Share(0.1, 1)
    max_candidates = _Whole(1, 20)

    @validates_schema
    def _candidates_reach_the_link(self, data: dict[str, float], **_kwargs: Any) -> None:
        default = MatchPolicy()
        link = data.get("link_score", default.link_score)
        candidate = data.get("candidate_score", default.candidate_score)
        if candidate > link:
            raise ValidationError(
                f"must not put candidate_score ({candidate:g}) above link_score ({link:g})",
                "candidate_score" if "candidate_score" in data else "link_score",
            )


_Due = _Section.from_dict({kind.value: _Whole(0, 60) for kind in TaskKind}, name="_Due")


class _Tasks(_Section):
    off = fields.List(_Kind(), error_messages={"invalid": "must be a list of kinds of task"})
    check_experience_after_days = _Whole(1, 365)
    quiet_after_days = _Whole(1, 3650)
    super_from_referrals = _Whole(2, 100)
    due = fields.Nested(_Due)


class _Accounts(_Section):
    pipelines = fields.List(
        _PipelineId(),
        validate=Length(min=1, error="must name a pipeline; leave the key out to mean all"),
        error_messages={"invalid": "must be a list of ids in quotes"},
    )
    company_domains = fields.List(
        _CompanyDomain(), error_messages={"invalid": "must be a list of domains in quotes"}
    )
    csat_maximum = _Whole(2, 100)
    rate_share = _Share(0.05, 1)
    daily_budget = _Whole(0, 1_000_000_000)


class _File(_Section):
    spiral = fields.Nested(_Spiral)
    asks = fields.Nested(_Asks)
    matching = fields.Nested(_Matching)
    tasks = fields.Nested(_Tasks)
    accounts = fields.Nested(_Accounts)


def _homes(section: Schema | None = None, prefix: str = "") -> Iterator[tuple[str, set[str]]]:
    """Each section's name and its keys."""
    for name, field in (section or _File()).fields.items():
        if isinstance(field, fields.Nested):
            yield f"{prefix}{name}", set(field.schema.fields)
            yield from _homes(field.schema, f"{prefix}{name}.")


# -------------------------------------------------------------------------- the reading


def load_policy(text: str | None, *, name: str = "policy") -> Policy:
    """The policy a file's text asks for; what it leaves out, and all of no text, is default.

    Raises ``ConfigurationError`` with all faults, a line each; ``name`` is the file's.
    """
    # Windows editors put a byte order mark first, which TOML forbids; a lone "\r" would remain
    # at the end of each line when ``_lines`` cuts the text.
    text = (text or "").removeprefix("\ufeff").replace("\r\n", "\n")
    document = _parse(text, name)
    try:
        return _policy(_File().load(document))
    except ValidationError as error:
        faults = dict(_flat(error.messages_dict))
        lines = _lines(text, faults)
        listed = sorted((lines[key], _label(key, document), faults[key]) for key in faults)
        raise ConfigurationError(
            "\n".join(f"{name}, line {line}: {label} {fault}" for line, label, fault in listed)
        ) from None


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigurationError(f"{name}: values are nested too deeply") from None
    except ValueError as error:
        reason, _, place = str(error).partition(" (at ")
        line = re.match(r"line (\d+)", place)
        number = int(line[1]) if line else text.rstrip().count("\n") + 1
        raise ConfigurationError(f"{name}, line {number}: no valid TOML: {reason}") from None


def _policy(raw: dict[str, Any]) -> Policy:
    tasks = raw.get("tasks", {})
    tasks["due"] = {**TaskPolicy().due, **{TaskKind(k): v for k, v in tasks.get("due", {}).items()}}
    tasks["off"] = frozenset(tasks.get("off", ()))
    accounts = raw.get("accounts", {})
    sets = {key: frozenset(value) for key, value in accounts.items() if isinstance(value, list)}
    return Policy(
        spiral=SpiralPolicy(**raw.get("spiral", {})),
        asks=AskPolicy(**raw.get("asks", {})),
        matching=MatchPolicy(**raw.get("matching", {})),
        tasks=TaskPolicy(**tasks),
        **{**accounts, **sets},
    )


def _flat(messages: Mapping[Any, Any], above: Key = ()) -> Iterator[tuple[Key, str]]:
    """marshmallow's tree of messages, one fault a key."""
    for step, below in messages.items():
        key = above if step == "_schema" else (*above, step)
        if isinstance(below, Mapping):
            yield from _flat(below, key)
        else:
            yield key, "; ".join(below)


def _label(key: Key, document: Mapping[str, Any]) -> str:
    *sections, last = (step for step in key if isinstance(step, str))
    if sections:
        return f"[{'.'.join(sections)}] {last}"
    return f"[{last}]" if isinstance(document[last], dict) or last in _File().fields else last


def _lines(text: str, keys: Iterable[Key]) -> dict[Key, int]:
    """The line on which each of these keys of a valid TOML text begins.

    tomllib tells no lines, but it reads the text up to any line: the first line at which the
    key is there is the one that wrote it, however it is quoted, dotted or nested. A list over
    several lines is closed by hand, so that its items have lines of their own.
    """
    found: dict[Key, int] = {}
    rows = text.split("\n")
    first = 1  # of the statement being read
    for last in range(1, len(rows) + 1):
        head = "\n".join(rows[:last])
        for end in ("", "\n]"):
            try:
                document = tomllib.loads(head + end)
            except tomllib.TOMLDecodeError:
                continue
            for key in keys:
                if key not in found and _holds(document, key):
                    found[key] = last if isinstance(key[-1], int) else first
            if not end:
                first = last + 1
            break
    return found


def _holds(node: Any, key: Key) -> bool:
    try:
        for step in key:
            node = node[step]
    except (KeyError, IndexError, TypeError):
        return False
    return True
