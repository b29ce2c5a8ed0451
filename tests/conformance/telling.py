"""What people do in the CRM arrives as events; what we did ourselves makes no work."""

from __future__ import annotations

from datetime import timedelta

import pytest

from plugin.manifest import FieldType, manifest
from plugin.pipeline.values import difference
from plugin.ports import Echo, Event, EventKind, FieldUpdate
from plugin.referral.model import FieldChange
from tests.conformance.account import Account
from tests.conformance.promise import Promise
from tests.stand_in import Unsupported

CHANGED, DELETED = EventKind.CONTACT_CHANGED, EventKind.CONTACT_DELETED
SOON = timedelta(seconds=30)
SAMPLES = {
    FieldType.LINE: "Frau Dr. Meyer", FieldType.TEXT: "Zeile eins\nZeile zwei",
    FieldType.DATE: "2026-09-13", FieldType.BOOL: "true",
}  # fmt: skip
WRITTEN = {"spiral_stage": "loyalty", "spiral_recommended_words": "geschrieben von uns"}


class TestTelling(Promise):
    @pytest.fixture
    def told(self, account: Account) -> Account:
        """An account with our fields, whose webhooks lead to us."""
        account.install()
        account.listen()
        return account

    def test_a_new_contact_is_told(self, told: Account) -> None:
        """About that contact, in that account, just now, and by somebody else."""
        contact = told.crm.contact("Erika", "Muster", email="erika@example.com")

        events = told.events()

        assert {_gist(event) for event in events} == {(CHANGED, contact, False)}
        for event in events:
            assert event.account_crm_id == told.crm.account_crm_id
            assert abs(event.occurred_at - told.crm.clock()) < SOON
            assert event.occurred_at.utcoffset() == timedelta(0)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("spiral_rating", "delighted"),
            ("spiral_rated_on", "2026-09-13"),
            ("spiral_referrer_name", "Frau Dr. Meyer; Hans Groß"),
        ],
    )
    def test_a_rating_is_told_with_its_date(self, told: Account, field: str, value: str) -> None:
        """Where deliveries carry values; else that the contact changed, and a look shows it. So
        is what is emptied again."""
        contact = told.crm.contact("Erika", "Muster")
        told.taken()

        for wanted in (value, ""):
            told.later()
            told.crm.change(contact, **{field: wanted})
            events = told.events()

            assert {_gist(event) for event in events} == {(CHANGED, contact, False)}
            changes = {event.change for event in events} - {None}
            if told.declaration.tells_changes:
                (change,) = changes
                assert change == FieldChange(field=field, value=wanted, at=change.at)
                assert abs(change.at - told.crm.clock()) < SOON
            else:
                assert changes == set()
            assert told.loaded(contact).values[field] == wanted

    def test_a_rating_told_late_is_dated_as_declared(self, told: Account) -> None:
        """By its own time, where the CRM tells that; else by its arrival."""
        contact = told.crm.contact("Erika", "Muster")
        told.taken()
        told.later()
        told.crm.change(contact, spiral_rating="delighted")
        late = timedelta(hours=1)

        for delivery in told.taken():
            received = told.received(delivery, after=late)
            for event in told.adapter.parse(received).events:
                if event.change:
                    waited = received.received_at - event.change.at
                    dated = told.declaration.dates_changes
                    assert abs(waited - (late if dated else timedelta())) < SOON

    def test_whatever_a_person_changes_is_told(self, told: Account) -> None:
        """Name, e-mail, phone, company, owner, every *in* field, one save each: about that contact
        and by somebody else."""
        contact = told.crm.contact("Erika", "Muster")
        changes = {
            "first": "Erna", "last": "Sommer", "email": "erna@example.com",
            "phone": "+498912345678", "company": "Stadtbäckerei", "owner": told.crm.other_owner_id,
            **{key: _sample(key) for key in manifest().keys_in},
        }  # fmt: skip
        told.taken()
        found = {}

        for name, value in changes.items():
            told.later()
            told.crm.change(contact, **{name: value})
            found[name] = {_gist(event) for event in told.events()}

        told_as_it_is = {(CHANGED, contact, False)}
        assert {name: gists for name, gists in found.items() if gists != told_as_it_is} == {}

    def test_another_field_is_a_hint_and_no_rating(self, told: Account) -> None:
        """Whoever is renamed has not rated anything."""
        contact = told.crm.contact("Erika", "Muster")
        told.crm.change(contact, spiral_rating="angry", spiral_referrer_name="Hans")
        told.taken()
        told.later()

        told.crm.change(contact, last="Sommer")

        events = told.events()
        assert {_gist(event) for event in events} == {(CHANGED, contact, False)}
        assert {event.change for event in events} == {None}

    def test_a_deleted_contact_is_told(self, told: Account) -> None:
        """And is not there any more."""
        contact = told.crm.contact("Erika", "Muster")
        told.taken()
        told.later()

        told.crm.delete(contact)

        assert (DELETED, contact, False) in set(map(_gist, told.events()))
        loaded = told.session().load([contact], history=False, known_deals={})
        assert (loaded.contacts, loaded.missing) == ((), frozenset({contact}))

    def test_a_deals_life_is_told(self, told: Account) -> None:
        """Opened, won, lost, deleted; its contacts are named, or can be asked for."""
        contact = told.crm.contact("Erika", "Muster")
        told.taken()

        deal = told.crm.deal(contact, name="Küche")
        opened = _about(told.events(), deal)
        named = {one for event in opened for one in event.contact_ids}
        asked = told.session().deal_contacts([deal])
        told.later()
        told.crm.win(deal)
        won = _about(told.events(), deal)
        told.later()
        told.crm.lose(deal)
        lost = _about(told.events(), deal)
        told.later()
        told.crm.delete_deal(deal)
        gone = _about(told.events(), deal)

        for events in (opened, won, lost):
            assert {event.kind for event in events} == {EventKind.DEAL_CHANGED}
        assert EventKind.DEAL_DELETED in {event.kind for event in gone}
        assert named <= {contact}
        assert asked == {deal: (contact,)}

    def test_a_merge_is_told_or_seen(self, told: Account) -> None:
        """Where the CRM tells merges, all ids that now mean the record; else the one that went
        is missing when it is looked for, and the one that stayed is not."""
        keep, drop = told.crm.contact("Erika", "Muster"), told.crm.contact("Erika", "Musterfrau")
        told.taken()
        told.later()
        try:
            left = told.crm.merge(keep, drop)
        except Unsupported:
            assert not told.declaration.tells_merges
            return

        merges = [e for e in told.events() if e.kind is EventKind.CONTACT_MERGED]
        loaded = told.session().load([keep, drop], history=False, known_deals={})

        if told.declaration.tells_merges:
            assert {event.record_id for event in merges} == {left}
            assert {one for event in merges for one in event.merged_ids} == {keep, drop} - {left}
        else:
            assert merges == []
        assert {one.card.crm_id for one in loaded.contacts} == {keep, drop} & {left}
        assert loaded.missing == {keep, drop} - {left}
        assert told.loaded(left).card.crm_id == left

    def test_a_privacy_deletion_is_told_or_is_a_deletion(self, told: Account) -> None:
        """Where the CRM tells them apart; else a deletion is all that is heard."""
        contact = told.crm.contact("Erika", "Muster")
        told.taken()
        told.later()
        try:
            told.crm.erase(contact)
        except Unsupported:
            assert not told.declaration.tells_erasure
            told.crm.delete(contact)

        kinds = {event.kind for event in told.events() if event.record_id == contact}

        wanted = EventKind.CONTACT_ERASED if told.declaration.tells_erasure else DELETED
        assert wanted in kinds
        assert told.declaration.tells_erasure or EventKind.CONTACT_ERASED not in kinds

    def test_our_own_writes_make_no_work(self, told: Account) -> None:
        """Their echo is marked, or not sent, or finds nothing to write when it is followed; what
        a person does next is nobody's echo."""
        contact = told.crm.contact("Erika", "Muster")
        told.taken()
        told.later()

        failures = told.session().write_fields([FieldUpdate(contact_id=contact, values=WRITTEN)])
        echo = told.events()

        assert failures == ()
        match told.declaration.echo:
            case Echo.MARKED:
                assert echo
                assert {event.ours for event in echo} == {True}
            case Echo.UNSENT:
                assert echo == []
            case Echo.COMPARED:
                assert {_gist(event) for event in echo} <= {(CHANGED, contact, False)}
        assert difference(WRITTEN, told.loaded(contact).values) == {}
        told.later()
        told.crm.change(contact, spiral_recommended_words="geschrieben von Hand")
        assert {_gist(event) for event in told.events()} == {(CHANGED, contact, False)}

    def test_facts_of_one_story_have_different_keys(self, told: Account) -> None:
        """Ten changes of one field back and forth are ten facts, as far as the CRM sends other
        bytes for each; where it sends the very same again, nobody could tell it from a retry."""
        contact = told.crm.contact("Erika", "Muster")
        told.taken()
        facts: dict[tuple[str, bytes], set[str]] = {}
        for value in ("angry", "delighted") * 5:
            told.later()
            told.crm.change(contact, spiral_rating=value)
            for delivery in told.taken():
                events = told.adapter.parse(told.received(delivery)).events
                facts[delivery.topic, delivery.body] = {event.key for event in events}

        assert any(facts.values())
        assert sum(map(len, facts.values())) == len(set().union(*facts.values()))


def _sample(key: str) -> str:
    field = manifest().field(key)
    return SAMPLES[field.type] if field.type in SAMPLES else field.options[0].value


def _gist(event: Event) -> tuple[EventKind, str, bool]:
    return event.kind, event.record_id, event.ours


def _about(events: list[Event], deal: str) -> list[Event]:
    """Events about this deal; there must be some, and all others are hints about contacts."""
    found = [event for event in events if event.record_id == deal and "deal" in event.kind]
    assert found
    assert {event.kind for event in events if event not in found} <= {CHANGED}
    return found
