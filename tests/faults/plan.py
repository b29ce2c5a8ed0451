"""What happens in one run: derived from its seed, and from nothing else."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

CRM = ("429", "429 after", "500", "502", "503", "401", "reset", "lost", "late", "slow", "hang",
       "not json", "wrong types", "cut", "half")  # fmt: skip
"""What may be wrong with the next answers of the CRM, see ``weather.py``."""
KINDS = {
    "crm": CRM,
    "post": ("twice", "answer lost", "delayed", "dropped", "forged"),
    "kill": ("kill web", "kill web process", "kill worker"),
    "freeze": ("freeze holder", "freeze worker", "freeze web"),
    "clock": ("clock",),
    "database": ("lock", "restart"),
    "disk": ("full disk",),
}
"""Family of faults → the faults in it. Some are about one kind of database only."""
ONLY = {"lock": "sqlite", "full disk": "sqlite", "restart": "postgresql"}

REPAIRED = ("dropped", "late", "freeze worker")
"""What only the hourly sweep, or the next look at the contact, puts right: webhooks that never
came, and a task that was made long after the connection had broken, or by a worker that was frozen
between its last look at the lease and the call."""

UNKNOWN = ("lost", "late", "cut", "not json", "wrong types", "500")
"""After these nobody knows whether it was done: of most interest where tasks are made."""

LASTS = 5.0  # seconds in which people work and things go wrong
PILLARS = 4  # people who refer others: they are never merged or deleted
MODES = ("immediate", "fast")
PLACES = ("batch/read", "batch/update", "tasks/batch/create", "tasks/", "labels", "associations")
"""Parts of paths by which a fault may choose its calls."""

FIRST = ("Anna", "Bernd", "Carla", "David", "Eva", "Frank", "Greta", "Hans", "Ines", "Jan", "Kira")
LAST = ("Sommer", "Winter", "Keller", "Brandt", "Vogel", "Lange", "Busch", "Kraft", "Ernst")


@dataclass(frozen=True, kw_only=True, slots=True)
class Deed:
    """What a person does in the CRM. ``who``: numbers of people or of a deal; ``value``: what
    comes of it."""

    at: float
    what: str
    who: tuple[int, ...] = ()
    value: str = ""

    def __str__(self) -> str:
        return f"{self.at:6.2f} s  {self.what} {' '.join(map(str, self.who))} {self.value}".rstrip()


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """What goes wrong. ``number`` chooses a process, ``calls`` how many calls to the CRM are met
    and ``on`` which of them, ``lasts`` how many seconds it goes on."""

    at: float
    what: str
    lasts: float = 0.0
    number: int = 0
    calls: int = 0
    on: str = ""
    amount: float = 0.0

    def __str__(self) -> str:
        told = [
            f"for {self.lasts:.2f} s" if self.lasts else "",
            f"to {self.calls} calls" if self.calls else "",
            f"of {self.on!r}" if self.on else "",
            f"by {self.amount:+.2f}" if self.amount else "",
        ]
        return f"{self.at:6.2f} s  ! {self.what} #{self.number} {' '.join(filter(None, told))}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run."""

    seed: int
    database: str
    workers: int
    web_processes: int
    swept: bool
    """A sweep repairs what was lost before all is looked at. Else nothing may have been lost."""
    deeds: tuple[Deed, ...]
    faults: tuple[Fault, ...]

    def __str__(self) -> str:
        told = sorted([*self.deeds, *self.faults], key=lambda one: one.at)
        title = (
            f"seed {self.seed} on {self.database}: {self.workers} workers, "
            f"{self.web_processes} web processes{', a sweep' if self.swept else ''}"
        )
        return "\n".join([title, *map(str, told)])


def plan_of(seed: int, *, database: str, families: Iterable[str] = tuple(KINDS)) -> Plan:
    """The run of a seed. ``families``: keys of ``KINDS`` or single faults; none makes a calm run,
    with the same deeds."""
    dice = random.Random(seed)
    deeds = tuple(_Town(dice).live(dice.randint(40, 70)))
    chance = random.Random(f"{seed} {database}")
    swept = chance.random() < 0.5
    return Plan(
        seed=seed,
        database=database,
        workers=chance.randint(1, 3),
        web_processes=chance.randint(1, 2),
        swept=swept,
        deeds=deeds,
        faults=tuple(_faults(chance, database, set(families), swept=swept)),
    )


# ------------------------------------------------------------------------------ people


class _Town:
    """Who is there and what may happen to them, so that every deed makes sense."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.people: list[int] = []
        self.met = 0
        self.named: set[int] = set()
        self.deals: set[int] = set()
        self.sold = 0

    def live(self, number: int) -> Iterable[Deed]:
        """Most come at once; the last pillar late, so that it is named before it is there."""
        instants = sorted(self.dice.uniform(0, LASTS) for _ in range(number))
        for place, at in enumerate(instants):
            if place < PILLARS - 1 or (place > number // 2 and self.met == PILLARS - 1):
                yield self._meet(at)
            else:
                yield self._deed(at)

    def _deed(self, at: float) -> Deed:
        doings = (
            [self._meet] * 6 * (self.met >= PILLARS) + [self._rate] * 6 + [self._name] * 5
            + [self._sell] * 4 + [self._move] * 6
            + [self._words, self._do_not_ask, self._merge, self._delete]
            + [self._complete] * 3 + [self._discard, self._drop_deal]
        )  # fmt: skip
        while True:
            deed = self.dice.choice(doings)(at)
            if deed is not None:
                return deed

    def _meet(self, at: float) -> Deed:
        self.met += 1
        self.people.append(self.met)
        return Deed(at=at, what="meet", who=(self.met,))

    def _somebody(self) -> int:
        return self.dice.choice(self.people)

    def _others(self) -> list[int]:
        return [one for one in self.people if one > PILLARS]

    def _rate(self, at: float) -> Deed:
        values = ("angry", "dissatisfied", "satisfied", "satisfied", "delighted", "delighted", "")
        return Deed(at=at, what="rate", who=(self._somebody(),), value=self.dice.choice(values))

    def _name(self, at: float) -> Deed | None:
        who = self._somebody()
        # A pillar is only referred by an earlier one: no circle, whichever is heard of first.
        possible = range(1, min(who, PILLARS + 1))
        if not possible:
            return None
        if self.dice.random() < 0.15:
            return Deed(at=at, what="unname", who=(who,))
        self.named.add(who)
        return Deed(at=at, what="name", who=(who, self.dice.choice(possible)))

    def _words(self, at: float) -> Deed:
        return Deed(at=at, what="words", who=(self._somebody(),))

    def _do_not_ask(self, at: float) -> Deed:
        value = self.dice.choice(("true", "false"))
        return Deed(at=at, what="do not ask", who=(self._somebody(),), value=value)

    def _sell(self, at: float) -> Deed:
        self.sold += 1
        self.deals.add(self.sold)
        return Deed(at=at, what="sell", who=(self.sold, self._somebody()))

    def _move(self, at: float) -> Deed | None:
        if not self.deals:
            return None
        stages = ("closedwon", "closedwon", "closedwon", "closedlost", "appointmentscheduled")
        deal = self.dice.choice(sorted(self.deals))
        return Deed(at=at, what="move", who=(deal,), value=self.dice.choice(stages))

    def _drop_deal(self, at: float) -> Deed | None:
        if not self.deals:
            return None
        deal = self.dice.choice(sorted(self.deals))
        self.deals.remove(deal)
        return Deed(at=at, what="drop deal", who=(deal,))

    def _merge(self, at: float) -> Deed | None:
        others = self._others()
        if len(others) < 2:
            return None
        kept, gone = self.dice.sample(others, 2)
        self.people.remove(gone)
        self.named |= {kept} if gone in self.named else set()
        return Deed(at=at, what="merge", who=(kept, gone))

    def _delete(self, at: float) -> Deed | None:
        # A referral of somebody who is gone still counts: how often depends on when it was heard.
        others = [one for one in self._others() if one not in self.named]
        if not others:
            return None
        gone = self.dice.choice(others)
        self.people.remove(gone)
        return Deed(at=at, what="delete", who=(gone,))

    def _complete(self, at: float) -> Deed:
        return Deed(at=at, what="complete", who=(self.dice.randrange(1000),))

    def _discard(self, at: float) -> Deed:
        return Deed(at=at, what="discard", who=(self.dice.randrange(1000),))


def name_of(person: int) -> tuple[str, str, str]:
    """First name, last name, e-mail; the last is nobody else's."""
    first, last = FIRST[person % len(FIRST)], LAST[person % len(LAST)]
    return first, last, f"{first}.{last}.{person}@example.com".lower()


# ------------------------------------------------------------------------------ faults


def _faults(
    dice: random.Random, database: str, families: set[str], *, swept: bool
) -> Iterable[Fault]:
    def may_be(what: str) -> bool:
        return ONLY.get(what, database) == database and (swept or what not in REPAIRED)

    possible = [
        (family, [one for one in faults if may_be(one) and {family, one} & families])
        for family, faults in KINDS.items()
    ]
    possible = [(family, faults) for family, faults in possible if faults]
    if not possible:
        return
    often = {"crm": 10, "post": 5, "kill": 3}
    weights = [often.get(family, 1) for family, _ in possible]
    for at in sorted(dice.uniform(0.2, LASTS) for _ in range(dice.randint(8, 24))):
        ((_, faults),) = dice.choices(possible, weights)
        yield _fault(dice, at, dice.choice(faults))


def _fault(dice: random.Random, at: float, what: str) -> Fault:
    number = dice.randrange(100)
    if what in CRM:
        on = dice.choice(("",) * 8 + PLACES)
        if what in UNKNOWN and dice.random() < 0.4:
            on = "tasks/batch/create"
        if what == "half":
            on = dice.choice(
                ("contacts/batch/update", "tasks/batch/create", "batch/read", "labels")
            )
        calls = 1 if what in ("hang", "slow", "401") else dice.randint(1, 6)
        lasts = {"slow": dice.uniform(0.3, 1.5), "late": dice.uniform(0.1, 2.5)}.get(what, 0.0)
        return Fault(at=at, what=what, number=number, calls=calls, on=on, lasts=lasts)
    match what:
        case "twice" | "answer lost" | "dropped" | "forged":
            return Fault(at=at, what=what, number=number, calls=dice.randint(1, 5))
        case "delayed":
            lasts = dice.uniform(0.2, 2.0)
            return Fault(at=at, what=what, number=number, calls=dice.randint(1, 5), lasts=lasts)
        case "freeze holder":  # with what it has just read, until another has worked on
            lasts = dice.uniform(4.0, 6.0)
            return Fault(at=at, what=what, calls=1, on="contacts/batch/read", lasts=lasts)
        case "freeze worker":  # sometimes past its lease, which is three seconds here
            return Fault(at=at, what=what, number=number, lasts=dice.uniform(0.5, 5.0))
        case "clock":
            amount = dice.choice((-3600.0, 3600.0, -30.0, 30.0))
            lasts = dice.uniform(0.5, 2.5)
            return Fault(at=at, what=what, number=number, lasts=lasts, amount=amount)
        case "restart":
            return Fault(at=at, what=what, number=number, on=dice.choice(MODES))
        case "lock":
            lasts, on = dice.uniform(0.5, 5.0), dice.choice(("BEGIN IMMEDIATE", "flock"))
            return Fault(at=at, what=what, number=number, lasts=lasts, on=on)
        case _:  # until it is started again, is woken, or there is room again
            return Fault(at=at, what=what, number=number, lasts=dice.uniform(0.0, 1.5))
