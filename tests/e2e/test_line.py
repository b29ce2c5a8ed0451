"""The thin line through everything: webhooks in, fields and tasks out."""

from __future__ import annotations

from tests.e2e.plant import Plant


def test_a_first_purchase_reaches_experience_and_asks_for_the_origin(plant: Plant) -> None:
    """A deal won in the CRM becomes a stage with its reason, and one task for the rep."""
    anna = plant.contact("Anna", "Sommer", email="anna.sommer@example.com")
    plant.bought(anna)

    plant.settle()

    assert plant.fields(anna, "stage", "readiness", "advocate_tier") == {
        "stage": "experience",
        "readiness": "not_yet",
        "advocate_tier": "none",
    }
    assert plant.tasks(anna) == [("ask_origin", "open")]


def test_a_referrer_is_linked_thanked_and_told(plant: Plant) -> None:
    """A name typed on a new customer finds the advocate, whose owner has somebody to thank."""
    anna = plant.contact("Anna", "Sommer", company="Bäckerei Sommer")
    bernd = plant.contact("Bernd", "Keller")
    plant.change(bernd, spiral_referrer_name="Frau Sommer von der Bäckerei Sommer")
    plant.bought(bernd)

    plant.settle()

    assert plant.fields(bernd, "referrer") == {"referrer": f"Anna Sommer ({anna})"}
    assert plant.fields(anna, "referrals_given", "referrals_won", "referral_value") == {
        "referrals_given": "1",
        "referrals_won": "1",
        "referral_value": "1000",
    }
    assert plant.open_tasks(anna) == ["tell_outcome", "thank_referrer"]
