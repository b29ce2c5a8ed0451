"""Which records are joined, and by which types: HubSpot's own and the account's labels.

Every type has an inverse: joining a deal to a contact by type 3 joins the contact to the deal
by type 4. A label always comes with the plain type of its pair.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from plugin.sandbox.portal import CONTACTS, DEALS, TASKS
from plugin.sandbox.refusals import Refused, bad_input

PLAIN: Mapping[tuple[str, str], int] = {
    (CONTACTS.plural, CONTACTS.plural): 449,
    (CONTACTS.plural, DEALS.plural): 4,
    (DEALS.plural, CONTACTS.plural): 3,
    (CONTACTS.plural, TASKS.plural): 203,
    (TASKS.plural, CONTACTS.plural): 204,
    (DEALS.plural, TASKS.plural): 215,
    (TASKS.plural, DEALS.plural): 216,
}
"""(from, to) → HubSpot's type without label."""

FIRST_LABEL = 37

Ref = tuple[str, str]
"""(object type, id)"""


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkType:
    """One direction of an association type. ``label`` None: the plain type."""

    type_id: int
    category: str
    name: str
    label: str | None
    pair: tuple[str, str]
    inverse: int


class Associations:
    """The types of an account and the links between its records."""

    def __init__(self) -> None:
        self._types: dict[int, LinkType] = {
            type_id: LinkType(
                type_id=type_id,
                category="HUBSPOT_DEFINED",
                name=f"{pair[0]}_to_{pair[1]}",
                label=None,
                pair=pair,
                inverse=PLAIN[pair[::-1]],
            )
            for pair, type_id in PLAIN.items()
        }
        self._links: dict[Ref, dict[Ref, set[int]]] = {}
        self._next_label = FIRST_LABEL

    def types(self, pair: tuple[str, str]) -> list[LinkType]:
        """The plain type and the labels from one object type to another."""
        plain(pair)
        return [kind for kind in self._types.values() if kind.pair == pair]

    def type(self, pair: tuple[str, str], type_id: int, category: str) -> LinkType:
        kind = self._types.get(type_id)
        if kind is None or kind.pair != pair or kind.category != category:
            raise bad_input(
                f"Association type {category} {type_id} does not exist between {pair[0]} "
                f"and {pair[1]}"
            )
        return kind

    def add_label(
        self, pair: tuple[str, str], *, name: str, label: str, inverse_label: str | None
    ) -> list[LinkType]:
        """A new label; with ``inverse_label`` a pair, the given direction first."""
        if any(kind.label == label or kind.name == name for kind in self.types(pair)):
            raise bad_input(f"An association label named {label!r} already exists")
        forth, back = self._next_label, self._next_label + 1
        if pair[0] == pair[1] and inverse_label is None:
            back = forth
        self._next_label += 2
        for type_id, inverse, words, direction in (
            (back, forth, inverse_label or label, pair[::-1]),
            (forth, back, label, pair),
        ):
            self._types[type_id] = LinkType(
                type_id=type_id,
                category="USER_DEFINED",
                name=name,
                label=words,
                pair=direction,
                inverse=inverse,
            )
        made = [self._types[forth], self._types[back]]
        return made if inverse_label and pair[0] == pair[1] else made[:1]

    def remove_label(self, pair: tuple[str, str], type_id: int) -> None:
        """The label and its inverse go, also from the records that bear it."""
        kind = self.type(pair, type_id, "USER_DEFINED")
        gone = {kind.type_id, kind.inverse}
        for type_id in gone:
            del self._types[type_id]
        for to in self._links.values():
            for type_ids in to.values():
                type_ids -= gone

    def add(self, start: Ref, end: Ref, kinds: Iterable[LinkType]) -> bool:
        """Join two records. True where they were not joined before."""
        new = end not in self._links.get(start, {})
        pair = (start[0], end[0])
        forth = {plain(pair)} | {kind.type_id for kind in kinds}
        back = {self._types[type_id].inverse for type_id in forth}
        self._links.setdefault(start, {}).setdefault(end, set()).update(forth)
        self._links.setdefault(end, {}).setdefault(start, set()).update(back)
        return new

    def remove(self, start: Ref, end: Ref) -> bool:
        """Part two records. True where they were joined."""
        self._links.get(end, {}).pop(start, None)
        return self._links.get(start, {}).pop(end, None) is not None

    def remove_types(self, start: Ref, end: Ref, kinds: Iterable[LinkType]) -> None:
        """Take labels off; the plain association stays."""
        for kind in kinds:
            if kind.label is not None:
                self._links.get(start, {}).get(end, set()).discard(kind.type_id)
                self._links.get(end, {}).get(start, set()).discard(kind.inverse)

    def of(self, start: Ref, to_type: str) -> list[tuple[str, list[LinkType]]]:
        """(id, types) of the records of one type joined to this one, oldest id first."""
        found = [
            (end_id, [self._types[type_id] for type_id in sorted(type_ids, reverse=True)])
            for (end_type, end_id), type_ids in self._links.get(start, {}).items()
            if end_type == to_type
        ]
        return sorted(found, key=lambda link: int(link[0]))

    def move(self, start: Ref, to: Ref) -> None:
        """All links of one record become another's."""
        for end in list(self._links.get(start, {})):
            kinds = [self._types[type_id] for type_id in self._links[start][end]]
            self.remove(start, end)
            if end != to:
                self.add(to, end, kinds)
        self._links.pop(start, None)

    def forget(self, start: Ref) -> None:
        for end in list(self._links.get(start, {})):
            self.remove(start, end)
        self._links.pop(start, None)


def plain(pair: tuple[str, str]) -> int:
    """The id of the type without label."""
    try:
        return PLAIN[pair]
    except KeyError:
        raise Refused(
            400, "VALIDATION_ERROR", f"{pair[0]} and {pair[1]} cannot be associated"
        ) from None
