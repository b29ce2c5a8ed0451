"""What the sessions of all CRMs do alike: reading is the reader's, fields are the installer's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Generic, Protocol, TypeVar

from adapters.paging import one_page
from plugin.manifest import manifest
from plugin.ports import (
    AccountFacts,
    AccountLink,
    Allowance,
    ContactCard,
    FieldUpdate,
    Page,
    PlanStep,
    User,
)


class Calling(Protocol):
    """Sends the HTTP requests: counts them, and asks ``guard`` before each."""

    calls: int
    guard: Callable[[], None]


class Reader(Protocol):
    """Reads one account, as ``plugin.ports.Session`` says. How contacts are loaded is not here:
    what that needs to know differs."""

    def account(self) -> AccountFacts: ...

    def users(self) -> tuple[User, ...]: ...

    def list_contacts(self, cursor: str | None) -> Page[ContactCard]: ...

    def contacts_changed_since(self, since: datetime, cursor: str | None) -> Page[ContactCard]: ...

    def deals_changed_since(self, since: datetime, cursor: str | None) -> Page[str]: ...

    def existing(self, contact_ids: Sequence[str]) -> frozenset[str]: ...

    def deal_contacts(self, deal_ids: Sequence[str]) -> Mapping[str, tuple[str, ...]]: ...


class Installer(Protocol):
    """Plans and does the changes to one account, as ``plugin.ports.Session`` says."""

    def plan(self) -> tuple[PlanStep, ...]: ...

    def install(self, steps: Iterable[PlanStep]) -> Mapping[str, str]: ...

    def plan_removal(self, *, delete_data: bool) -> tuple[PlanStep, ...]: ...

    def uninstall(self, steps: Iterable[PlanStep]) -> None: ...

    def installed_fields(self) -> frozenset[str]: ...


T = TypeVar("T")
ReaderT = TypeVar("ReaderT", bound=Reader)


class BaseSession(Generic[ReaderT]):
    """The part of ``plugin.ports.Session`` that is the same for all CRMs.

    A CRM's own session adds loading, writing and tasks, and overrides what it does otherwise.
    """

    crm: str
    """Its name in the registry."""

    def __init__(
        self, *, link: AccountLink, calling: Calling, reader: ReaderT, installer: Installer
    ) -> None:
        self._link = link
        self._calling = calling
        self._reader = reader
        self._installer = installer

    @property
    def calls(self) -> int:
        return self._calling.calls

    @calls.setter
    def calls(self, value: int) -> None:
        self._calling.calls = value

    @property
    def allowance(self) -> Allowance | None:
        return None

    def follow(self, allowance: Allowance | None, *, guard: Callable[[], None]) -> None:  # noqa: ARG002
        self._calling.guard = guard

    # -- reading

    def account(self) -> AccountFacts:
        return self._reader.account()

    def users(self) -> tuple[User, ...]:
        return self._reader.users()

    def list_contacts(self, cursor: str | None) -> Page[ContactCard]:
        return self._page(self._reader.list_contacts, cursor, "list contacts")

    def contacts_changed_since(self, since: datetime, cursor: str | None) -> Page[ContactCard]:
        read = partial(self._reader.contacts_changed_since, since)
        return self._page(read, cursor, "look for changed contacts")

    def deals_changed_since(self, since: datetime, cursor: str | None) -> Page[str]:
        read = partial(self._reader.deals_changed_since, since)
        return self._page(read, cursor, "look for changed deals")

    def _page(
        self, read: Callable[[str | None], Page[T]], cursor: str | None, operation: str
    ) -> Page[T]:
        return one_page(read, cursor, crm=self.crm, operation=operation)

    def existing(self, contact_ids: Sequence[str]) -> frozenset[str]:
        return self._reader.existing(contact_ids)

    def deal_contacts(self, deal_ids: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        return self._reader.deal_contacts(deal_ids)

    # -- writing

    def _has(self, key: str) -> bool:
        """Whether the account has this field of ours, as far as is known."""
        return self._link.fields is None or key in self._link.fields

    def _to_write(self, updates: Sequence[FieldUpdate]) -> dict[str, dict[str, str]]:
        """Contact → the values for fields this account has. Raises ``ValueError`` for a field
        that is not the plugin's."""
        check_ours(updates)
        values: dict[str, dict[str, str]] = {}
        for update in updates:
            for key, value in update.values.items():
                if self._has(key):
                    values.setdefault(update.contact_id, {})[key] = value
        return values

    # -- webhooks: nothing to do where tokens cannot make them

    def subscribe(self, target: str, secrets: Sequence[str]) -> tuple[str, ...]:  # noqa: ARG002
        return tuple(secrets)

    def unsubscribe(self, target: str) -> None:
        pass

    # -- installing

    def plan_install(self) -> tuple[PlanStep, ...]:
        return self._installer.plan()

    def install(self, steps: Iterable[PlanStep]) -> Mapping[str, str]:
        return self._installer.install(steps)

    def plan_uninstall(self, *, delete_data: bool) -> tuple[PlanStep, ...]:
        return self._installer.plan_removal(delete_data=delete_data)

    def uninstall(self, steps: Iterable[PlanStep]) -> None:
        self._installer.uninstall(steps)

    def installed_fields(self) -> frozenset[str]:
        return self._installer.installed_fields()


def check_ours(updates: Iterable[FieldUpdate]) -> None:
    """Raises ``ValueError`` for a field that is not the plugin's."""
    known = {field.key for field in manifest().fields}
    for update in updates:
        if foreign := sorted(update.values.keys() - known):
            raise ValueError(f"not fields of ours: {foreign}")
