"""Every adapter × every promise; no adapter can opt out.

``pytest tests/test_conformance.py -k pipedrive`` runs one CRM. The promises stand in
``tests/conformance``, each kind in a module with one class.
"""

from __future__ import annotations

from pathlib import Path

from tests import conformance
from tests.conformance.budgeting import TestBudget
from tests.conformance.declaring import TestDeclaration
from tests.conformance.failing import TestBadWeather
from tests.conformance.forgetting import TestForgetting
from tests.conformance.guarding import TestGuard
from tests.conformance.installing import TestInstalling
from tests.conformance.parsing import TestEvents
from tests.conformance.reading import TestReading
from tests.conformance.subscribing import TestSubscribing
from tests.conformance.tasking import TestTasks
from tests.conformance.telling import TestTelling
from tests.conformance.verifying import TestVerification
from tests.conformance.writing import TestWriting

__all__ = [
    "TestBadWeather",
    "TestBudget",
    "TestDeclaration",
    "TestEvents",
    "TestForgetting",
    "TestGuard",
    "TestInstalling",
    "TestReading",
    "TestSubscribing",
    "TestTasks",
    "TestTelling",
    "TestVerification",
    "TestWriting",
]


def test_no_promise_is_left_out() -> None:
    """Every class of promises in the folder is run from here, and none of them skips."""
    folder = Path(conformance.__path__[0])
    texts = [path.read_text("utf-8") for path in folder.glob("*.py")]
    classes = {
        line.split("(")[0].removeprefix("class ").rstrip(":")
        for text in texts
        for line in text.splitlines()
        if line.startswith("class Test")
    }

    assert classes == set(__all__)
    words = ("pytest" + ".skip", "mark" + ".skip", "importor" + "skip", "x" + "fail")
    assert [word for text in texts for word in words if word in text] == []
