"""Texts that a database may refuse: nobody else has to wait for them."""

from __future__ import annotations

import pytest

from tests.e2e.plant import Plant

LONG = "Ottokar" * 900


@pytest.mark.parametrize(
    "told",
    [
        {
            "firstname": "Er\0ika", "lastname": "\0", "company": "\0", "hubspot_owner_id": "\0",
            "spiral_referrer_name": "Anna\0 Sommer", "spiral_recommended_words": "gut\0",
            "spiral_rating": "\0",
        },
        {
            "firstname": LONG, "lastname": LONG, "email": f"{LONG}@example.com",
            "phone": "1" * 5000, "hubspot_owner_id": LONG,
            "spiral_referrer_name": f"Herr {LONG}", "spiral_origin": LONG,
        },
        {"spiral_referrer_name": "; ".join(f"Anna Sommer{n}" for n in range(400))},
    ],
    ids=["no characters", "too long", "too many"],
)  # fmt: skip
def test_an_odd_text_stops_nobody(plant: Plant, told: dict[str, str]) -> None:
    """The contact it stands in is decided about, and so are all others."""
    odd = plant.contact("Anna", "Winter")
    other = plant.contact("Bernd", "Keller")
    for one in (odd, other):
        plant.bought(one)
    with plant.crm.lock:
        plant.record(odd).values.update(told)
    plant.settle()

    assert plant.count("SELECT count(*) FROM delivery WHERE state != 'done'") == 0
    assert "parked" not in plant.call("status").stdout
    assert (plant.stage(odd), plant.stage(other)) == ("experience", "experience")
