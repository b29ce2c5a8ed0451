"""Our fields are written, whole and exactly; nothing else ever is."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from plugin.manifest import FieldType, manifest
from plugin.pipeline.values import same
from plugin.ports import Failure, FieldUpdate, LinkUpdate, ReferrerForm
from tests.conformance.account import Account
from tests.conformance.promise import Promise

LONG = "Zeile eins: <b>fett</b> & „Gänsefüßchen“; 100 % 🙂\nZeile zwei\n\n- Punkt\n" + "Wort " * 300
SAMPLES = {
    FieldType.TEXT: (LONG.strip(), "kurz", '{"a": [1]}'),
    FieldType.LINE: ("Frau Dr. Meyer; „Hans“ <Groß> & Söhne", "0", "=1+1"),
    FieldType.DATE: ("2026-09-13", "2024-02-29", "1999-12-31"),
    FieldType.NUMBER: ("0", "3", "12345"),
    FieldType.MONEY: ("0", "1234.5", "1234567.89"),
    FieldType.BOOL: ("true", "false", "true"),
}
MATCH = "spiral_referrals_won"


class TestWriting(Promise):
    def test_values_of_every_type_come_back_as_written(self, account: Account) -> None:
        """Every option of every field, in the manifest's own form, seen in the CRM and read."""
        session = account.install()
        contact = account.crm.contact("Erika", "Muster")
        wrong = []
        for values in _rounds(account):
            account.later()
            failures = session.write_fields([FieldUpdate(contact_id=contact, values=values)])
            assert failures == ()
            found = account.loaded(contact).values
            for key, value in values.items():
                seen = account.crm.value(contact, key)
                if not (_means(key, value, seen) and _means(key, value, found[key])):
                    wrong.append((key, value, seen, found[key]))

        assert wrong == []

    def test_an_empty_value_empties(self, account: Account) -> None:
        """And leaves alone what was not named."""
        session = account.install()
        contact = account.crm.contact("Erika", "Muster")
        full = next(iter(_rounds(account)))
        session.write_fields([FieldUpdate(contact_id=contact, values=full)])
        account.later()
        emptied = {key: "" for key in full if key != "spiral_stage"}

        session.write_fields([FieldUpdate(contact_id=contact, values=emptied)])

        values = account.loaded(contact).values
        assert {key: values[key] for key in emptied if not _means(key, "", values[key])} == {}
        assert values["spiral_stage"] == full["spiral_stage"]

    def test_nothing_foreign_is_touched(self, account: Account) -> None:
        """Names, owners, others' fields, other contacts: all as they were."""
        session = account.install()
        contact, other = (
            account.crm.contact(
                "Erika", last, email=f"{last}@example.com", phone="+498912345678",
                company="Stadtbäckerei", city="Köln", owner=account.crm.owner_id,
            )
            for last in ("eins", "zwei")
        )  # fmt: skip
        account.crm.change(other, spiral_stage="loyalty", spiral_rating="angry")
        before = [account.crm.foreign(one) for one in (contact, other)]
        account.later()

        for values in _rounds(account):
            session.write_fields([FieldUpdate(contact_id=contact, values=values)])

        assert [account.crm.foreign(one) for one in (contact, other)] == before
        assert account.crm.value(other, "spiral_stage") == "loyalty"
        assert account.crm.value(other, "spiral_rating") == "angry"

    def test_a_field_that_is_not_ours_is_never_written(self, account: Account) -> None:
        """It is a fault of the caller, found before anything is sent."""
        session = account.install()
        contact = account.crm.contact("Erika", "Muster")
        account.crm.calls.clear()

        for key in ("email", "last", "spiral_unknown"):
            with pytest.raises(ValueError, match=key):
                session.write_fields([FieldUpdate(contact_id=contact, values={key: "x"})])

        assert [call for call in account.crm.calls if call.method != "GET"] == []

    def test_only_installed_fields_are_written(self, account: Account) -> None:
        """Where not all fitted, the rest is written; where nothing is left, nobody is asked."""
        account.install()
        session = account.session(fields=frozenset({"spiral_stage"}))
        contact = account.crm.contact("Erika", "Muster")
        account.crm.calls.clear()

        both = {"spiral_stage": "loyalty", MATCH: "3"}
        alone = session.write_fields([FieldUpdate(contact_id=contact, values={MATCH: "3"})])
        asked = list(account.crm.calls)
        failures = session.write_fields([FieldUpdate(contact_id=contact, values=both)])

        assert (alone, asked, failures) == ((), [], ())
        assert account.crm.value(contact, "spiral_stage") == "loyalty"
        assert account.crm.value(contact, MATCH) == ""

    def test_one_bad_contact_does_not_spoil_the_others(self, account: Account) -> None:
        """One is gone, one value is refused: each is named, and all others are written."""
        session = account.install()
        good = [account.crm.contact("Erika", f"Muster{n}") for n in range(4)]
        gone, refused = account.crm.contact("Otto", "Fort"), account.crm.contact("Otto", "Nein")
        account.crm.delete(gone)
        stages = dict.fromkeys([good[0], gone, *good[1:3], refused, good[3]], "loyalty")
        stages[refused] = "secret-word"

        failures = [
            failure
            for start in range(0, len(stages), account.declaration.batch_size)
            for failure in session.write_fields(
                [
                    FieldUpdate(contact_id=one, values={"spiral_stage": stage})
                    for one, stage in list(stages.items())[
                        start : start + account.declaration.batch_size
                    ]
                ]
            )
        ]

        found = {failure.item: failure for failure in failures}
        assert found.keys() == {gone, refused}
        assert found[gone] == Failure(item=gone, reason=found[gone].reason, gone=True)
        assert found[refused] == Failure(item=refused, reason=found[refused].reason)
        assert all(failure.reason for failure in failures)
        assert "secret-word" not in str(failures)
        assert [account.crm.value(one, "spiral_stage") for one in good] == ["loyalty"] * 4
        assert account.crm.value(refused, "spiral_stage") == ""

    def test_a_full_batch_is_written(self, account: Account) -> None:
        """As many as the declaration says, each its own value; nobody is no fault."""
        session = account.install()
        ids = [
            account.crm.contact("Erika", f"Muster{n}")
            for n in range(account.declaration.batch_size)
        ]

        failures = session.write_fields(
            [FieldUpdate(contact_id=one, values={MATCH: str(n)}) for n, one in enumerate(ids)]
        )

        assert failures == ()
        assert session.write_fields([]) == ()
        assert [account.crm.value(one, MATCH) for one in ids] == [str(n) for n in range(len(ids))]

    # --------------------------------------------------------------------------- referrers

    def test_referrers_are_linked_or_kept_as_text(self, account: Account) -> None:
        """Linked, led to another one, unlinked: seen in the CRM, read back, and no other field is
        touched. A CRM without links does nothing."""
        session = account.install()
        contact, one, two = (account.crm.contact("Erika", last) for last in ("M", "Eins", "Zwei"))
        before = [account.crm.foreign(c) for c in (contact, one, two)]
        links = account.declaration.referrer is not ReferrerForm.TEXT
        steps = [
            (LinkUpdate(contact_id=contact, referrer_id=one), one),
            (LinkUpdate(contact_id=contact, referrer_id=one), one),
            (LinkUpdate(contact_id=contact, referrer_id=two, remove=(one,)), two),
            (LinkUpdate(contact_id=contact, referrer_id=None, remove=(two,)), None),
        ]

        for update, wanted in steps:
            account.later()
            assert session.link_referrers([update]) == ()
            expected = wanted if links else None
            assert account.crm.referrer(contact) == expected
            assert account.loaded(contact).referrer_ids == ((expected,) if expected else ())

        assert session.link_referrers([]) == ()
        assert [account.crm.foreign(c) for c in (contact, one, two)] == before

    def test_a_link_to_nobody_does_not_spoil_the_others(self, account: Account) -> None:
        """It is named; the others are linked."""
        session = account.install()
        contact, other, one = (account.crm.contact("Erika", last) for last in ("M", "N", "Eins"))
        gone = account.crm.contact("Otto", "Fort")
        account.crm.delete(gone)

        failures = session.link_referrers(
            [
                LinkUpdate(contact_id=contact, referrer_id=gone),
                LinkUpdate(contact_id=other, referrer_id=one),
            ]
        )

        links = account.declaration.referrer is not ReferrerForm.TEXT
        assert {failure.item for failure in failures} == ({contact} if links else set())
        assert account.crm.referrer(other) == (one if links else None)
        assert account.crm.referrer(contact) is None


def _rounds(account: Account) -> list[Mapping[str, str]]:
    """Values of all fields at once, until every option and every sample had its turn."""
    fields = [
        field
        for field in manifest().fields
        if field.key != "spiral_referrer" or account.declaration.referrer is not ReferrerForm.LINK
    ]
    choices = {}
    for field in fields:
        options = [option.value for option in field.options]
        if field.type is FieldType.MULTI_ENUM:
            options.append(";".join(options))
        choices[field.key] = SAMPLES.get(field.type) or options
    turns = max(map(len, choices.values()))
    return [{key: some[turn % len(some)] for key, some in choices.items()} for turn in range(turns)]


def _means(key: str, wanted: str, found: str) -> bool:
    """The same value of this field; an empty yes/no is a no."""
    if manifest().field(key).type is FieldType.BOOL:
        return (found or "false") == (wanted or "false")
    if not wanted:
        return found == ""
    return same(key, wanted, found)
