"""Installing adds our fields and nothing else; it can be repeated, repaired and undone."""

from __future__ import annotations

from collections import Counter

import pytest

from plugin.manifest import manifest
from plugin.ports import FieldUpdate, PlanAction, PlanStep
from tests.conformance.account import Account
from tests.conformance.promise import Promise

FIELDS = frozenset(field.key for field in manifest().fields)
IN = frozenset(manifest().keys_in)
HARMLESS = {PlanAction.KEEP, PlanAction.DOES_NOT_FIT}


class TestInstalling(Promise):
    def test_a_fresh_account_is_to_get_every_field(self, account: Account) -> None:
        """In the manifest's order, and nothing else but a label; planning changes nothing."""
        before = account.crm.schema()

        steps = account.session().plan_install()

        keys = [step.what for step in steps if not step.what.startswith("label:")]
        assert keys == [field.key for field in manifest().fields]
        assert {step.action for step in steps if step.what in FIELDS} == {PlanAction.CREATE}
        assert account.crm.schema() == before
        assert account.session().installed_fields() == frozenset()

    def test_all_fields_are_there_afterwards(self, account: Account) -> None:
        """Every one; whatever others had made is as it was."""
        before = account.crm.schema()

        account.install()

        assert account.fields == FIELDS
        after = account.crm.schema()
        assert {name: after[name] for name in before} == before
        assert len(after) - len(before) >= len(FIELDS) - 1  # the referrer may be a link

    def test_installing_twice_changes_nothing(self, account: Account) -> None:
        """The second plan keeps all, and carrying it out, or the first one again, makes nothing
        anew; the facts are the same."""
        first = account.session().plan_install()
        session = account.install()
        schema = account.crm.schema()

        steps = session.plan_install()
        facts = [dict(account.session().install(plan)) for plan in (steps, first)]

        assert {step.action for step in steps} <= HARMLESS
        assert {step.action for step in steps if step.what in FIELDS} == {PlanAction.KEEP}
        assert account.crm.schema() == schema
        assert facts == [account.facts, account.facts]

    def test_facts_are_flat_text(self, account: Account) -> None:
        """They are kept with the account, and hold no secret."""
        account.install()

        texts = [text for pair in account.facts.items() for text in pair]
        assert {type(text) for text in texts} <= {str}
        secrets = [account.crm.token, *account.crm.admin.split(":")[1:]]
        assert [one for one in secrets if any(one in text for text in texts)] == []

    @pytest.mark.parametrize("key", ["spiral_stage", "spiral_rating", "spiral_contact_consent"])
    def test_a_field_that_went_comes_back(self, account: Account, key: str) -> None:
        """That one only; it is written and read again as before."""
        account.install()
        account.crm.take_field_away(key)
        without = account.session().installed_fields()

        steps = account.session().plan_install()
        session = account.install()

        assert without == FIELDS - {key}
        actions = {step.what: step.action for step in steps if step.what in FIELDS}
        assert actions == {**dict.fromkeys(FIELDS, PlanAction.KEEP), key: PlanAction.CREATE}
        assert account.fields == FIELDS
        contact = account.crm.contact("Erika", "Muster")
        value = manifest().field(key).options[0].value
        assert session.write_fields([FieldUpdate(contact_id=contact, values={key: value})]) == ()
        assert account.loaded(contact).values[key] == value

    @pytest.mark.parametrize("key", ["spiral_referrals_given", "spiral_rating", "spiral_stage"])
    def test_a_foreign_field_of_our_name_is_left_alone(self, account: Account, key: str) -> None:
        """It is said why; it is never written, and stays when we go."""
        account.crm.make_foreign_field(key)
        before = account.crm.schema()
        steps = account.session().plan_install()

        session = account.install()
        contact = account.crm.contact("Erika", "Muster")
        session.write_fields(
            [FieldUpdate(contact_id=contact, values={key: "1", "spiral_readiness": "ask_now"})]
        )
        installed = account.crm.schema()
        session.uninstall(session.plan_uninstall(delete_data=True))

        (step,) = [step for step in steps if step.what == key]
        assert step.action is PlanAction.FOREIGN
        assert step.why
        assert account.fields == FIELDS - {key}
        assert {name: installed[name] for name in before} == before
        assert account.crm.schema() == before
        assert account.crm.value(contact, key) == ""

    # -------------------------------------------------------------------------- uninstalling

    def test_uninstalling_keeps_what_people_typed(self, account: Account) -> None:
        """Unless told otherwise; planning alone removes nothing."""
        session = account.install()
        contact = account.crm.contact("Erika", "Muster")
        account.crm.change(contact, spiral_rating="angry")
        foreign = account.crm.foreign(contact)

        steps = session.plan_uninstall(delete_data=False)
        planned = account.session().installed_fields()
        session.uninstall(steps)
        session.uninstall(steps)

        removed = {step.what for step in steps if step.action is PlanAction.REMOVE}
        assert planned == FIELDS
        assert removed & FIELDS == FIELDS - IN
        assert account.session().installed_fields() == IN
        assert account.crm.value(contact, "spiral_rating") == "angry"
        assert account.crm.foreign(contact) == foreign

    def test_uninstalling_with_data_leaves_nothing(self, account: Account) -> None:
        """The CRM's own fields are what they were before us."""
        before = account.crm.schema()
        session = account.install()

        session.uninstall(session.plan_uninstall(delete_data=True))

        assert account.crm.schema() == before
        assert account.session().installed_fields() == frozenset()
        rest = account.session().plan_uninstall(delete_data=True)
        assert [step for step in rest if step.action is PlanAction.REMOVE] == []

    def test_uninstalling_before_installing_removes_nothing(self, account: Account) -> None:
        """There is nothing of ours yet."""
        before = account.crm.schema()
        session = account.session()

        session.uninstall(session.plan_uninstall(delete_data=True))

        assert account.crm.schema() == before

    # ---------------------------------------------------------------- without an administrator

    def test_without_an_administrator_each_step_is_explained(self, account: Account) -> None:
        """Where the token alone cannot make fields, a person can, by what the plan says; where
        it can, nobody else is needed."""
        before = account.crm.schema()
        session = account.session(admin="")

        steps = session.plan_install()
        session.install(steps)

        actions = Counter(step.action for step in steps if step.what in FIELDS)
        if account.declaration.admin_setting:
            assert actions == {PlanAction.BY_HAND: len(FIELDS)}
            assert [step for step in steps if not _explains(step)] == []
            assert account.crm.schema() == before
        else:
            assert account.crm.admin == ""
            assert actions == {PlanAction.CREATE: len(FIELDS)}
            assert session.installed_fields() == FIELDS

    def test_fields_made_by_an_administrator_need_none_later(self, account: Account) -> None:
        """Once they are there, the token is enough to see it, to write and to read."""
        account.install()
        session = account.session(admin="")
        contact = account.crm.contact("Erika", "Muster")

        steps = session.plan_install()
        failures = session.write_fields(
            [FieldUpdate(contact_id=contact, values={"spiral_stage": "loyalty"})]
        )

        assert {step.action for step in steps} <= HARMLESS
        assert session.installed_fields() == FIELDS
        assert failures == ()
        assert account.crm.value(contact, "spiral_stage") == "loyalty"


def _explains(step: PlanStep) -> bool:
    """Whether somebody who has never heard of us can make the field: it names the label and, for
    a choice, every option."""
    if step.what not in FIELDS:
        return bool(step.why) or step.action in HARMLESS
    field = manifest().field(step.what)
    labels = [field.label.en, field.label.de]
    options = all(option.value in step.why for option in field.options)
    return options and any(label in step.why for label in labels)
