"""What is wrong with one account or one contact stays with it. Real processes; that something
goes on is shown by what is done while something else is not, never by how long it takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from plugin.sandbox.portal import CONTACTS
from tests.databases import Databases
from tests.faults.neighbours import Street, refusing, soon, street
from tests.faults.plan import Fault

pytestmark = pytest.mark.slow

ALWAYS = 1_000_000
BATCHES = 400
PEOPLE = 500


@pytest.fixture
def site(databases: Databases, tmp_path: Path) -> Iterator[tuple[Street, ExitStack]]:
    with databases.fresh() as url, street(url, tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("trouble", ["hang", "500", "401", "429", "not json", "reset"])
def test_an_account_in_trouble_slows_nobody_else(
    site: tuple[Street, ExitStack], trouble: str
) -> None:
    """A CRM that hangs, fails or does not know the token any more: while nothing moves there, the
    changes of another account reach its fields, again and again."""
    installed, stack = site
    sick, well = installed.connect(stack, 1), installed.connect(stack, 2)
    installed.web()
    installed.worker()
    (one,) = sick.contacts(1)
    others = well.contacts(3)

    sick.weather.brew(Fault(at=0, what=trouble, calls=ALWAYS))
    installed.post(sick.events([one]))
    soon(lambda: bool(sick.weather.met))
    for other in others:
        installed.post(well.events([other]))
        soon(lambda other=other: well.decided([other]) == [other])

    assert sick.decided([one]) == []


def test_an_account_that_recovers_goes_on_by_itself(site: tuple[Street, ExitStack]) -> None:
    """Nobody has to do anything once the CRM answers again."""
    installed, stack = site
    sick = installed.connect(stack, 1)
    installed.web()
    installed.worker()
    people = sick.contacts(3)
    sick.weather.brew(Fault(at=0, what="503", calls=4))

    installed.post(sick.events(people))

    soon(lambda: sick.decided(people) == people)
    assert len(sick.weather.met) == 4
    soon(lambda: installed.waiting(sick) == {})


def test_a_storm_from_one_account_starves_nobody(site: tuple[Street, ExitStack]) -> None:
    """Forty thousand events of one account came first: one event of another is digested and
    worked on while most of the storm still waits to be digested."""
    installed, stack = site
    loud, quiet = installed.connect(stack, 1), installed.connect(stack, 2)
    installed.web()
    crowd = loud.contacts(PEOPLE)
    (one,) = quiet.contacts(1)
    body = [loud.events(crowd[n % 5 :: 5]) for n in range(BATCHES)]
    installed.post_all(body)
    installed.post(quiet.events([one]))
    left: list[int] = []
    loud.weather.brew(Fault(at=0, what="slow", calls=ALWAYS, lasts=0.3))

    installed.worker()

    def reached() -> bool:
        if quiet.decided([one]) != [one]:
            return False
        left.append(len(installed.waiting(loud)) + installed.undigested())
        return True

    soon(reached)
    assert left[0] > 0
    assert len(loud.decided(crowd)) < PEOPLE


def test_a_poisoned_contact_is_parked_alone(site: tuple[Street, ExitStack]) -> None:
    """The CRM refuses every change of one contact: the ninety-nine others of its batch are
    written, and ``parked`` says of it what the CRM said."""
    installed, stack = site
    bad = str(CONTACTS.first_id + 50)
    account = installed.connect(stack, 1, refusing(bad))
    installed.web()
    people = account.contacts(100)
    good = [one for one in people if one != bad]
    assert len(good) == 99
    installed.post(account.events(people))

    installed.worker()

    soon(lambda: account.decided(people) == good)
    soon(lambda: list(installed.waiting(account)) == [bad])
    soon(lambda: installed.waiting(account)[bad] is not None)
    assert "VALIDATION_ERROR" in (installed.waiting(account)[bad] or "")
