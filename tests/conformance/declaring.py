"""Declaration ↔ files ↔ manifest ↔ docs page ↔ payloads: all say the same of a CRM."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from plugin.manifest import manifest
from plugin.ports import (
    Adapter,
    Declaration,
    Echo,
    EventKind,
    ReferrerForm,
    Session,
    Webhooks,
)
from plugin.reach import Reach
from plugin.registry import adapters
from tests.conformance.account import Account
from tests.conformance.crms import CASES, CRMS, PAYLOADS, PUBLIC_URL, ROOT, cases_of, packages
from tests.conformance.fuzzing import leaves
from tests.conformance.promise import Promise

LACKS: Sequence[tuple[Callable[[Declaration], bool], str, str]] = (
    (lambda d: not d.signed, "Signature", "signs nothing"),
    (lambda d: not d.replay_window, "Signature", "no replay protection"),
    (lambda d: not d.history_batch_size, "Limits and quirks", "**No history"),
    (lambda d: not d.tells_merges, "Limits and quirks", "**No merges told.**"),
    (lambda d: not d.tells_erasure, "Limits and quirks", "**No privacy deletion.**"),
    (lambda d: not d.tells_changes, "Events", "no list of what has changed"),
    (lambda d: not d.dates_changes, "Limits and quirks", "dated by the arrival of its event"),
    (lambda d: d.echo is Echo.UNSENT, "How an echo is told", "There is none"),
    (lambda d: d.echo is Echo.COMPARED, "How an echo is told", "It is not"),
    (lambda d: d.referrer is ReferrerForm.TEXT, "Limits and quirks", "**No link to the referrer**"),
    (lambda d: not d.tells_task_ids, "Fields and tasks we write", "a new task without its id"),
    (lambda d: d.webhooks is Webhooks.BY_HAND, "Set up in the CRM", "**Webhook, by hand.**"),
)
"""What a CRM may lack: whether it does, and the section of its page that says so then, in these
words, which no other page has there."""
EMAIL = re.compile(rb"[\w.+-]+@([\w.-]+\w)")
INVENTED = re.compile(r"(.*\.)?(example(\.(com|org|net))?|test|invalid|localhost)")

SHARED_SCHEMAS = {"fields"}
"""What schemas of several CRMs have in common."""


class TestDeclaration(Promise):
    def test_nothing_about_a_crm_stands_alone(self) -> None:
        """Manifest, registry, adapters, schemas, payloads, docs pages: the same CRMs in each."""
        found = {
            "registry": set(adapters()),
            "adapters": packages(ROOT / "adapters"),
            "schemas": {path.stem for path in (ROOT / "schemas").glob("[a-z]*")} - SHARED_SCHEMAS,
            "payloads": packages(PAYLOADS),
            "docs": {path.stem for path in (ROOT / "docs" / "adapters").glob("*.md")},
        }

        crms = set(manifest().crms)
        assert found == {place: set(crms) for place in found}

    def test_the_declaration_agrees_with_the_manifest(self, name: str, adapter: Adapter) -> None:
        """Name, title and event types stand in one place and are read from there."""
        said, crm = adapter.declaration, manifest().crms[name]

        assert (said.name, said.title, said.event_types) == (crm.name, crm.title, crm.event_types)
        assert len(set(said.event_types)) == len(said.event_types) > 0

    def test_a_stand_in_is_there_for_it(self, name: str, account: Account) -> None:
        """It knows whose part it plays, and is reached at an address of this machine."""
        assert account.crm.name == name
        assert account.crm.link().base_url.startswith("http://127.0.0.1:")
        assert account.crm.owner_id != account.crm.other_owner_id

    def test_every_method_of_the_ports_is_there(self, account: Account) -> None:
        """With the very parameters the core calls it by."""
        for port, ours in ((Adapter, account.adapter), (Session, account.session())):
            wanted = {k: v for k, v in vars(port).items() if inspect.isfunction(v)}
            for name, method in wanted.items():
                if not name.startswith("_"):
                    asked = list(inspect.signature(method).parameters)[1:]
                    assert list(inspect.signature(getattr(ours, name)).parameters) == asked

    def test_sizes_and_statuses_are_possible_ones(self, adapter: Adapter) -> None:
        """Batches hold somebody, and a delivery that is too large is not taken for a success."""
        said = adapter.declaration

        assert said.batch_size >= 1
        assert 0 <= said.history_batch_size <= said.batch_size
        assert 400 <= said.too_large_status <= 599
        assert said.docs_url.startswith("https://")
        assert said.default_url == "" or said.default_url.startswith("https://")
        assert not said.default_url or Reach(hosts=said.hosts).url_fault(said.default_url) is None
        assert said.replay_window <= said.signed  # a time nobody signed is worth nothing

    def test_settings_are_named_after_the_crm(self, name: str, adapter: Adapter) -> None:
        """``PIPEDRIVE_TOKEN`` and the like, and the docs page explains each."""
        said = adapter.declaration
        page = (ROOT / "docs" / "adapters" / f"{name}.md").read_text("utf-8")
        settings = {
            setting
            for setting in (
                said.token_setting, said.url_setting, said.secret_setting, said.app_id_setting,
                said.admin_setting,
            )
            if setting
        }  # fmt: skip

        assert said.token_setting in settings
        assert said.url_setting in settings
        assert {one for one in settings if not one.startswith(f"{name.upper()}_")} == set()
        assert {one for one in settings if f"`{one}`" not in page} == set()

    def test_only_accounts_that_share_an_address_share_secrets(self, adapter: Adapter) -> None:
        """A setting holds secrets for all, or each account keeps its own: never neither."""
        said = adapter.declaration

        assert bool(said.secret_setting) is (said.webhooks is Webhooks.PROJECT)

    def test_a_project_is_written_where_webhooks_come_by_one(self, adapter: Adapter) -> None:
        """Its files name our address and the mapped rating; no other CRM has any."""
        files = adapter.project_files(public_url=PUBLIC_URL, rating_properties=["a_mapped_score"])

        if adapter.declaration.webhooks is Webhooks.PROJECT:
            assert any(PUBLIC_URL in content for content in files.values())
            assert any("a_mapped_score" in content for content in files.values())
        else:
            assert dict(files) == {}

    def test_the_guide_names_the_address(self, account: Account) -> None:
        """Where people have to enter it, they can copy it from there."""
        guide = account.adapter.guide(account.target)

        assert guide.strip()
        if account.declaration.webhooks is Webhooks.BY_HAND:
            assert account.target in guide

    def test_the_page_says_what_is_lacking(self, name: str, adapter: Adapter) -> None:
        """Whoever reads it learns what this CRM cannot do, and nothing that it can."""
        page = (ROOT / "docs" / "adapters" / f"{name}.md").read_text("utf-8")
        sections = dict(one.split("\n", 1) for one in page.split("\n## ")[1:])
        said = adapter.declaration

        lacking = [words for lacks, _, words in LACKS if lacks(said)]
        assert [words for _, section, words in LACKS if words in sections[section]] == lacking
        written = sections["Fields and tasks we write"]
        assert [one for one in said.nearest_types.values() if not one or one not in written] == []

    # -------------------------------------------------------------------- the payload folder

    def test_every_event_type_has_a_payload(self, name: str, adapter: Adapter) -> None:
        """The declaration and the folder say the same."""
        said = [
            {*_words(case.received.topic), *leaves(_json(case.body))} for case in cases_of(name)
        ]

        unseen = [
            kind
            for kind in adapter.declaration.event_types
            if not any(kind in words or set(_words(kind)) <= words for words in said)
        ]
        assert unseen == []

    def test_the_folder_shows_every_kind_of_event(self, name: str, adapter: Adapter) -> None:
        """All kinds the CRM tells, and none that it is declared not to tell."""
        said = adapter.declaration
        untold = set()
        if not said.tells_merges:
            untold.add(EventKind.CONTACT_MERGED)
        if not said.tells_erasure:
            untold.add(EventKind.CONTACT_ERASED)

        shown = {event.kind for case in cases_of(name) for event in case.expected.events}

        assert shown == set(EventKind) - untold

    def test_the_folder_shows_a_change_where_changes_are_told(
        self, name: str, adapter: Adapter
    ) -> None:
        """And none where they are not."""
        shown = any(event.change for case in cases_of(name) for event in case.expected.events)

        assert shown is adapter.declaration.tells_changes

    def test_the_folder_shows_an_echo_where_echoes_are_marked(
        self, name: str, adapter: Adapter
    ) -> None:
        """And none where they are not."""
        shown = any(event.ours for case in cases_of(name) for event in case.expected.events)

        assert shown is (adapter.declaration.echo is Echo.MARKED)

    def test_the_folder_shows_an_unknown_type(self, name: str) -> None:
        """CRMs invent new ones without asking."""
        assert any(case.expected.ignored and not case.expected.events for case in cases_of(name))

    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_a_payload_names_its_source(self, case: Any) -> None:
        """Where its form was seen, and when; a recording needs no page."""
        assert case.told["source"]
        assert case.told["endpoint"].startswith("POST /webhooks/")
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", case.told["date"])

    @pytest.mark.parametrize("crm", CRMS)
    def test_payloads_are_about_nobody_real(self, crm: str) -> None:
        """Addresses end in a name that is kept free for examples."""
        domains = {
            found.decode()
            for path in (PAYLOADS / crm).glob("*/*")
            for found in EMAIL.findall(path.read_bytes())
        }

        assert {one for one in domains if not INVENTED.fullmatch(one)} == set()

    # ------------------------------------------------------------------------ the referrer

    def test_the_way_a_referrer_is_kept_is_the_declared_one(self, account: Account) -> None:
        """As a field that is a link there is no text to read; else there is."""
        account.install()
        contact = account.crm.contact("Erika", "Muster")

        as_text = "spiral_referrer" in account.loaded(contact).values

        assert account.fields is not None
        assert "spiral_referrer" in account.fields
        assert as_text is (account.declaration.referrer is not ReferrerForm.LINK)


def _words(kind: str) -> list[str]:
    return [word for word in re.split(r"[._:/ ]", kind) if word]


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return None
