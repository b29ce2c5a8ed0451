"""A privacy deletion reaches into stored deliveries: one person's values go, the rest stays."""

from __future__ import annotations

import contextlib
import gzip
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin.errors import PayloadError
from plugin.ports import Event, EventKind, Received
from tests.conformance.account import Account
from tests.conformance.crms import CASES, CRMS, Case, cases_of, new_adapter
from tests.conformance.fuzzing import GARBAGE, JSON, objects, replaced, thorough
from tests.conformance.promise import Promise

THEA = ("Theodora", "Unverzagt", "theodora@example.com", "+498912345678", "Kaffeehaus")
NOTES: list[object] = ["Theodora", ["Frau THEODORA"], {"a": {"b": "theodora!"}}, [[["Theodora"]]]]
OTTO = ("Ottokar", "Beispielhaft", "ottokar@example.com")

NO_TEXT = [
    *('[{"a": "Käthe"}]'.encode(one) for one in ("utf-16", "utf-16-be", "utf-32", "latin-1")),
    '[{"a": "Theodora"}]'.encode("utf-16-le"),  # looks like UTF-8
    gzip.compress(b"[]", mtime=0),
]


class TestForgetting(Promise):
    @pytest.fixture
    def told(self, account: Account) -> tuple[str, list[Received], list[Received]]:
        """Thea's id, deliveries about her, and deliveries about Otto, who named nobody."""
        account.install()
        account.listen()
        first, last, email, phone, word = THEA
        thea = account.crm.contact(first, last, email=email, phone=phone)
        account.later()
        account.crm.change(thea, spiral_referrer_name=word, last=last + "-Sommer")
        about_thea = [account.received(one) for one in account.taken()]
        otto = account.crm.contact(OTTO[0], OTTO[1], email=OTTO[2])
        account.later()
        account.crm.change(otto, spiral_referrer_name="der Bäcker", last="Anders")
        return thea, about_thea, [account.received(one) for one in account.taken()]

    def test_values_of_the_person_go(
        self, account: Account, told: tuple[str, list[Received], list[Received]]
    ) -> None:
        """All of them, although only the id is known; what is left still says that they changed,
        and nothing more."""
        thea, about, _ = told

        for received in about:
            left = _left(account, received, contact_ids={thea})

            assert [word for word in THEA if word in left.body.decode()] == []
            assert thea in left.body.decode()
            before = {_gist(one) for one in account.adapter.parse(received).events}
            after = account.adapter.parse(left).events
            assert {_gist(one) for one in after} <= before
            assert [one.change for one in after if one.change] == []

    def test_others_keep_theirs(
        self, account: Account, told: tuple[str, list[Received], list[Received]]
    ) -> None:
        """What tells of somebody else is left as it is, byte for byte."""
        thea, _, others = told

        kept = [_redacted(account, one, contact_ids={thea}, words=THEA) for one in others]

        assert kept == [None] * len(others)

    def test_words_go_from_what_others_said(
        self, account: Account, told: tuple[str, list[Received], list[Received]]
    ) -> None:
        """A name in somebody else's field is a trace, too, however it is written."""
        thea, _, _ = told
        otto = account.crm.contact(*OTTO[:2])
        account.taken()
        account.later()
        account.crm.change(otto, spiral_referrer_name="Frau THEODORA Unverzagt vom Kaffeehaus")

        for received in [account.received(one) for one in account.taken()]:
            left = _left(account, received, contact_ids={thea}, words=THEA)

            assert [word for word in THEA if word.casefold() in left.body.decode().casefold()] == []
            before = account.adapter.parse(received).events
            after = account.adapter.parse(left).events
            assert [one.record_id for one in after] == [one.record_id for one in before]

    def test_nothing_goes_twice(
        self, account: Account, told: tuple[str, list[Received], list[Received]]
    ) -> None:
        """After an erasure there is nothing left to erase; nor is there in another account."""
        thea, about, _ = told

        for received in about:
            left = _left(account, received, contact_ids={thea}, words=THEA)
            assert _redacted(account, left, contact_ids={thea}, words=THEA) is None
            elsewhere = account.adapter.redact(
                received, account_crm_id="000", contact_ids=frozenset({thea}), words=THEA
            )
            assert elsewhere is None

    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_what_remains_of_a_payload_still_parses(self, case: Case) -> None:
        """Each contact it tells of is erased in turn: of that one nothing is told any more but
        that it changed, and the events of all others are whole."""
        for event in case.expected.events:
            left = new_adapter(case.crm).redact(
                case.received,
                account_crm_id=event.account_crm_id,
                contact_ids=frozenset({event.record_id}),
                words=(),
            )
            found = new_adapter(case.crm).parse(
                case.received_as(case.body if left is None else left)
            )

            def is_about(one: Event, event: Event = event) -> bool:
                same = (one.account_crm_id, one.record_id) == (
                    event.account_crm_id, event.record_id,
                )  # fmt: skip
                return same and one.kind.startswith("contact")

            events = case.expected.events
            others = [replace(one, key="") for one in events if not is_about(one)]
            assert [replace(one, key="") for one in found.events if not is_about(one)] == others
            about = {_gist(one): one.change for one in found.events if is_about(one)}
            assert about.keys() <= set(map(_gist, events))
            emptied = {one.change for one in events if one.change and not one.change.value}
            assert set(about.values()) <= {None, *emptied}
            assert found.unreadable == case.expected.unreadable

    @pytest.mark.parametrize("body", GARBAGE, ids=lambda body: body[:12].hex())
    @pytest.mark.parametrize("crm", CRMS)
    def test_garbage_that_may_tell_of_them_goes_as_a_whole(self, crm: str, body: bytes) -> None:
        """What cannot be taken apart cannot be kept in part; what tells of nobody may stay."""
        for case in cases_of(crm)[:3]:
            received = case.received_as(body + b" Theodora")
            left = new_adapter(crm).redact(
                received,
                account_crm_id=received.account_crm_id or _account_of(case),
                contact_ids=frozenset(),
                words=("Theodora",),
            )
            assert left is not None
            assert b"Theodora" not in left

    @pytest.mark.parametrize("body", NO_TEXT, ids=repr)
    @pytest.mark.parametrize("crm", CRMS)
    def test_what_is_no_text_may_tell_of_anybody(self, crm: str, body: bytes) -> None:
        """In another encoding a name would not be found; nor could anybody ever read it."""
        for case in cases_of(crm)[:3]:
            received = case.received_as(body)
            left = new_adapter(crm).redact(
                received,
                account_crm_id=received.account_crm_id or _account_of(case),
                contact_ids=frozenset({"4711"}),
                words=("Otto",),
            )
            assert left == b""

    @pytest.mark.parametrize("crm", CRMS)
    def test_a_name_in_any_new_place_goes(self, crm: str) -> None:
        """Fuzz: real payloads to which a CRM has added something about the person."""
        cases = [case for case in _of_one_account(crm) if objects(json.loads(case.body))]

        @thorough(60)
        @given(st.sampled_from(cases), st.integers(0, 40), st.sampled_from(NOTES))
        def fuzz(case: Case, at: int, note: object) -> None:
            content = json.loads(case.body)
            places = objects(content)
            places[at % len(places)]["zz_note"] = note

            left = _without_thea(case, json.dumps(content).encode())

            assert b"heodora" not in left
            new_adapter(crm).parse(case.received_as(left))

        fuzz()

    @pytest.mark.parametrize("crm", CRMS)
    def test_no_json_in_any_place_stops_an_erasure(self, crm: str) -> None:
        """Fuzz: real payloads of which one value is something else; no error comes of it."""

        @thorough(60)
        @given(st.sampled_from(_of_one_account(crm)), st.integers(0, 400), JSON)
        def fuzz(case: Case, at: int, value: object) -> None:
            content = replaced(json.loads(case.body), at, value)
            left = _without_thea(case, json.dumps(content).encode())
            with contextlib.suppress(PayloadError):
                new_adapter(crm).parse(case.received_as(left))

        fuzz()


def _of_one_account(crm: str) -> list[Case]:
    return [
        case
        for case in cases_of(crm)
        if len({event.account_crm_id for event in case.expected.events}) == 1
    ]


def _without_thea(case: Case, body: bytes) -> bytes:
    """The body as it is stored after she was erased."""
    event = case.expected.events[0]
    left = new_adapter(case.crm).redact(
        case.received_as(body),
        account_crm_id=event.account_crm_id,
        contact_ids=frozenset({event.record_id}),
        words=("theodora",),
    )
    return body if left is None else left


def _gist(event: Event) -> tuple[EventKind, str, str]:
    return event.kind, event.account_crm_id, event.record_id


def _account_of(case: Case) -> str:
    events = case.expected.events
    return case.received.account_crm_id or (events[0].account_crm_id if events else "1")


def _redacted(account: Account, received: Received, *, contact_ids: set[str],
              words: tuple[str, ...] = ()) -> bytes | None:  # fmt: skip
    return account.adapter.redact(
        received,
        account_crm_id=account.crm.account_crm_id,
        contact_ids=frozenset(contact_ids),
        words=words,
    )


def _left(account: Account, received: Received, *, contact_ids: set[str],
          words: tuple[str, ...] = ()) -> Received:  # fmt: skip
    """The delivery as it is stored after the erasure."""
    body = _redacted(account, received, contact_ids=contact_ids, words=words)
    return Received(
        body=received.body if body is None else body,
        received_at=received.received_at,
        topic=received.topic,
        account_crm_id=received.account_crm_id,
        facts=received.facts,
    )
