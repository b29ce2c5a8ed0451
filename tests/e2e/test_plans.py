"""What a contact costs does not grow with the account: no statement reads all of it."""

from __future__ import annotations

import re
from typing import Any

import pytest
import sqlalchemy as sa

from tests.e2e.plant import Plant

pytestmark = pytest.mark.sqlite("EXPLAIN QUERY PLAN")

FEW = ("account", "crm_user", "lane", "counter", "retired_key")
"""Tables in which an account has few rows, or one."""
RARE = (
    "min(contact.review_on)",  # the first of an index
    "DISTINCT contact.ask_owner",  # once a week
    "task.doubtful IS 1",  # once an hour
    "delivery",  # in portions
    " LIKE ",  # merges and erasures look for traces in texts
    "referral.id, referral.referrer_id",  # erasures
    "1!=1",  # of nobody
)


def whole_tables(plan: list[str]) -> list[str]:
    """Steps that read all rows of a table, or all of an account."""
    return [
        step
        for step in plan
        if (step.startswith("SCAN") and not step.startswith(("SCAN json_each", "SCAN CONSTANT")))
        or re.search(r"\(account_id=\?( AND \w+>\?)?\)$", step)
    ]


def test_no_statement_of_the_worker_reads_a_whole_account(plant: Plant) -> None:
    """Told by SQLite's own plans, for everything that happens in a story: purchases, ratings,
    names, merges, deletions, an erasure."""
    plans: dict[str, list[str]] = {}
    database = plant.parts.database

    @sa.event.listens_for(database.engine, "before_cursor_execute")
    def explain(
        connection: sa.Connection, _cursor: Any, text: str, values: Any, _context: Any, many: bool
    ) -> None:
        told = text.split(None, 1)[0] in ("SELECT", "UPDATE", "DELETE", "WITH")
        if told and not many and text not in plans:
            raw: Any = connection.connection.driver_connection
            plans[text] = [row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {text}", values)]

    anna, bernd, carla, dora = (
        plant.contact(name, "Sommer", email=f"{name}@example.com")
        for name in ("Anna", "Bernd", "Carla", "Dora")
    )
    for one in (anna, bernd, carla):
        plant.bought(one)
        plant.change(one, spiral_rating="delighted")
    plant.change(bernd, spiral_referrer_name="Anna Sommer; Frau Winter")
    plant.settle()
    plant.change(bernd, spiral_referrer_name="Carla Sommer")
    plant.change(carla, spiral_rating="angry")
    plant.settle()
    plant.merge(dora, anna)
    plant.settle()
    plant.erase(carla)
    plant.settle()
    plant.wait(minutes=180)
    plant.settle()

    wide = {
        " ".join(text.split()): steps
        for text, plan in plans.items()
        if (steps := whole_tables(plan))
        and not re.search(rf"(FROM|JOIN|UPDATE) ({'|'.join(FEW)})\b", text)
        and not any(one in text for one in RARE)
    }
    assert len(plans) > 50
    assert wide == {}
