"""A CRM that answers with whatever it likes: read within bounds, refused clearly, or left out."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin.errors import CrmError
from plugin.ports import Session
from tests.attacks.tampering import tampered
from tests.conformance.account import Account, draft
from tests.conformance.fuzzing import objects, replaced
from tests.conformance.promise import Promise
from tests.fuzz.drawing import fuzzed, part, without

SINCE = datetime(2026, 9, 1, tzinfo=UTC)
MOST_CALLS = 60
"""More than one honest question about a handful of records needs."""
IDS = frozenset({"crm_id", "owner_id", "contact_ids", "merged_ids", "referrer_ids",
                 "primary_contact_id"})  # fmt: skip
ODD: list[Any] = [
    None, True, -1, 0.5, 10**18, 10**29, "", "../1", "..", ".", "1?x=", "1/2", "1\n2", "%2e%2e/1",
    "x" * 300, "9" * 25, "-1", "NaN", "1e999", "{0}", "{name.__class__}", "%s%n", "\x1b[31mx",
    "0001-01-01 00:00:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00", 253402300799999,
    -62135596800000, [], {}, [[1]], {"a": {"b": 1}}, "USDUSDUSD", "<script>", "\u202egnp.exe",
]  # fmt: skip
CUT, MOVED = object(), object()


def reads(contact: str, task: str, deal: str) -> dict[str, Callable[[Session], object]]:
    return {
        "account": lambda s: s.account(),
        "users": lambda s: s.users(),
        "list_contacts": lambda s: s.list_contacts(None),
        "contacts_changed_since": lambda s: s.contacts_changed_since(SINCE, None),
        "deals_changed_since": lambda s: s.deals_changed_since(SINCE, None),
        "existing": lambda s: s.existing([contact]),
        "load": lambda s: s.load([contact], history=False, known_deals={}),
        "load_history": lambda s: s.load([contact], history=True, known_deals={}),
        "deal_contacts": lambda s: s.deal_contacts([deal]),
        "read_tasks": lambda s: s.read_tasks([task]),
        "find_tasks": lambda s: s.find_tasks([contact]),
        "plan_install": lambda s: s.plan_install(),
        "installed_fields": lambda s: s.installed_fields(),
    }


READS = sorted(reads("", "", ""))


class TestHostileAnswers(Promise):
    @pytest.fixture
    def ready(self, account: Account) -> Account:
        """With our fields."""
        account.install()
        return account

    @pytest.fixture
    def session(self, ready: Account) -> Session:
        return ready.session(daily_budget=10**9)

    @pytest.fixture
    def contact(self, ready: Account) -> str:
        found = ready.crm.contact("Erika", "Muster", email="erika@example.com", company="Muster",
                                  phone="+49 30 1234", city="Berlin")  # fmt: skip
        ready.crm.change(found, spiral_rating="satisfied", spiral_referrer_name="Max Muster")
        return found

    @pytest.fixture
    def questions(self, ready: Account, contact: str) -> dict[str, Callable[[Session], object]]:
        """Every way of reading, about a contact with a deal and a task."""
        deal = ready.crm.deal(contact)
        ready.crm.win(deal)
        made = ready.session().create_tasks([draft("k1", contact)])
        return reads(contact, made.crm_ids["k1"], deal)

    @pytest.mark.parametrize("what", READS)
    def test_no_answer_raises_anything_but_a_crm_error(
        self,
        ready: Account,
        session: Session,
        questions: dict[str, Callable[[Session], object]],
        what: str,
    ) -> None:
        """One value of one answer is something else, is missing, or stands in another place: what
        is read keeps to the bounds of ``plugin.ports``, no call goes to an address that such a
        value made, and asking comes to an end."""
        ask = questions[what]
        honest: list[Any] = []
        with tampered(ready.crm, lambda _, content: honest.append(content) or content):
            ask(session)
        addresses = {_shape(call.path) for call in ready.crm.calls}

        @fuzzed(40)
        @given(
            st.integers(0, len(honest) - 1),
            st.integers(0, 10**6),
            st.sampled_from([*ODD, CUT, MOVED]),
        )
        def fuzz(nth: int, at: int, value: Any) -> None:
            ready.crm.calls.clear()
            seen = 0

            def change(_operation: str, content: Any) -> Any:
                nonlocal seen
                seen += 1
                if seen - 1 != nth or seen > MOST_CALLS:
                    return content
                if value is CUT:
                    return without(content, at)
                if value is MOVED:
                    return replaced(content, at, part(content, at * 7 + 1))
                return replaced(content, at, value)

            with tampered(ready.crm, change):
                found, said = told(ask, session)

            assert [*odd_parts(found)] == []
            assert said.isprintable()
            assert len(ready.crm.calls) < MOST_CALLS
            assert {_shape(call.path) for call in ready.crm.calls} <= addresses | KNOWN[
                ready.crm.name
            ]

        fuzz()

    @pytest.mark.parametrize("what", READS)
    def test_a_list_without_end_is_given_up(
        self,
        ready: Account,
        session: Session,
        questions: dict[str, Callable[[Session], object]],
        what: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Every answer claims that there is more, at the same place or always at another one, at
        our address or somebody else's: it is asked for so long, and only the CRM is asked."""
        monkeypatch.setattr("adapters.paging.Places.__init__.__kwdefaults__", {"most": 20})
        for following in (lambda _: "7", lambda n: str(n), lambda n: f"https://evil.example/{n}"):
            ready.crm.calls.clear()
            count = 0

            def more(_operation: str, content: Any, following: Any = following) -> Any:
                nonlocal count
                count += 1
                assert count < 1000
                return endless(content, following(count))

            with tampered(ready.crm, more):
                told(questions[what], session)

            assert len(ready.crm.calls) <= 200

    def test_a_directory_that_does_not_get_on_is_said_to_be_endless(
        self, ready: Account, session: Session, contact: str
    ) -> None:
        """The same cursor again and again, as far as the CRM has cursors at all: it is an error,
        and not a directory that is read for ever."""
        with tampered(ready.crm, lambda _, content: endless(content, "7")):
            cursor = None
            for _ in range(5):
                try:
                    cursor = session.list_contacts(cursor).cursor
                except CrmError:
                    return  # said to be endless, or the CRM itself knows no such place
                if cursor is None:
                    return
        raise AssertionError(f"still reading at {cursor}")

    def test_an_odd_record_on_a_page_is_left_out(
        self,
        ready: Account,
        session: Session,
        contact: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """The directory and the sweeps tell of all others, and the log says in one line what was
        odd, without any value."""
        others = [ready.crm.contact(f"Otto{n}", "Beispiel") for n in range(3)]

        def spoil(_operation: str, content: Any) -> Any:
            for one in objects(content):
                if str(one.get("id")) == contact:
                    one["id"] = {"secret": "word"}
            return content

        with tampered(ready.crm, spoil), caplog.at_level(logging.WARNING):
            listed = session.list_contacts(None)
            changed = session.contacts_changed_since(SINCE, None)

        assert sorted(one.crm_id for one in listed.items) == sorted(others)
        assert sorted(one.crm_id for one in changed.items) == sorted(others)
        assert "odd" in caplog.text
        assert "word" not in caplog.text

    def test_an_answer_about_others_is_not_taken(
        self, ready: Account, session: Session, contact: str
    ) -> None:
        """Asked for one contact, the CRM answers with another one: nobody is loaded who was not
        asked for."""
        other = ready.crm.contact("Otto", "Beispiel", email="otto@example.com")

        def swap(_operation: str, content: Any) -> Any:
            for one in objects(content):
                if str(one.get("id")) == contact:
                    one["id"] = type(one["id"])(other)
            return content

        with tampered(ready.crm, swap):
            found, _ = told(lambda s: s.load([contact], history=False, known_deals={}), session)

        assert found is None or [one.card.crm_id for one in found.contacts] == []

    def test_ten_thousand_tasks_on_a_contact_are_read_in_bounded_calls(
        self, ready: Account, session: Session, contact: str
    ) -> None:
        """As many calls as pages, and only ours are kept."""
        session.create_tasks([draft("k1", contact)])
        honest = session.find_tasks([contact])
        grown: list[int] = []

        def grow(_operation: str, content: Any) -> Any:
            for one in objects(content):
                for key, records in one.items():
                    known = key in ("tasks", "list", "to", "data")
                    if known and records and isinstance(records, list) and not grown:
                        records += records * 9_999
                        grown.append(len(records))
            return content

        ready.crm.calls.clear()
        with tampered(ready.crm, grow):
            found, _ = told(lambda s: s.find_tasks([contact]), session)

        assert found in (honest, None)
        assert len(ready.crm.calls) < MOST_CALLS


KNOWN = {
    "bottlecrm": {"/api/contacts/", "/api/contacts/*/", "/api/opportunities/", "/api/users/",
                  "/api/opportunities/*/", "/api/tasks/*/", "/api/activities/"},
    "espocrm": {"/api/v1/Metadata", "/api/v1/Contact", "/api/v1/Opportunity", "/api/v1/Task",
                "/api/v1/App/user", "/api/v1/Task/*"},
    "hubspot": {"/crm/pipelines/2026-09/deals"},
    "pipedrive": {"/api/v2/persons", "/api/v2/persons/*", "/api/v2/deals", "/api/v2/deals/*",
                  "/api/v2/deals/archived", "/api/v2/organizations", "/api/v2/organizations/*",
                  "/api/v2/activities", "/api/v2/activities/*", "/api/v2/personFields"},
}  # fmt: skip
"""Where a CRM may be asked something more when an answer is odd; ``*`` is an id."""


def _shape(path: str) -> str:
    """A path with ``*`` in place of ids: of numbers, UUIDs and EspoCRM's own."""
    assert urlsplit(path).path == path
    return "/".join(
        "*" if part_.isdecimal() or (len(part_) >= 17 and re.search("[0-9]", part_)) else part_
        for part_ in path.split("/")
    )


def told(ask: Callable[[Session], Any], session: Session) -> tuple[Any, str]:
    """What is read, or None and what is said instead."""
    try:
        return ask(session), ""
    except CrmError as error:
        return None, str(error)


def endless(content: Any, place: str) -> Any:
    """The answer, claiming that more follows at this place, in each CRM's way."""
    if not isinstance(content, dict):
        return content
    for key in ("count", "total", "opportunities_count", "active_users_count"):
        if key in content:
            content[key] = 10**15
    if "results" in content:
        content["paging"] = {"next": {"after": place, "link": place}}
        content["next"] = place
        for one in content["results"]:
            if isinstance(one, dict) and "to" in one:
                one["paging"] = {"next": {"after": place}}
    if isinstance(content.get("data"), list):
        content["additional_data"] = {"next_cursor": place}
    if isinstance(content.get("list"), list) and content["list"]:
        content["list"] *= 200 // len(content["list"]) + 1
    for inner in ("active_users", "inactive_users"):
        if isinstance(content.get(inner), dict):
            content[inner] |= {"active_users_count": 10**15, "inactive_users_count": 10**15}
    return content


def odd_parts(found: object, name: str = "") -> Iterator[str]:
    """What is not as ``plugin.ports`` promises it."""
    match found:
        case str():
            if found != found.replace("\0", "").encode("utf-8", "ignore").decode():
                yield f"{name}: no database takes it"
            if name in IDS and not (0 < len(found) <= 64 and found.isprintable()):
                yield f"{name}: not an id"
        case datetime():
            if found.utcoffset() != timedelta(0) or not 1900 <= found.year < 2200:
                yield f"{name}: out of range"
        case Decimal():
            if not found.is_finite():
                yield f"{name}: not a number"
        case tuple() | list() | frozenset() | set():
            for one in found:
                yield from odd_parts(one, name)
        case dict():
            for key, one in found.items():
                yield from odd_parts(key, name)
                yield from odd_parts(one, str(key))
        case _ if is_dataclass(found):
            for field in fields(found):
                yield from odd_parts(getattr(found, field.name), field.name)
