"""Nothing about a secret can be learnt from how long a comparison takes."""

from __future__ import annotations

import ast
import hmac
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from adapters import signatures
from plugin.errors import SignatureError

ROOT = Path(__file__).resolve().parents[2]
GUARDED = sorted(
    [
        ROOT / "adapters/signatures.py",
        ROOT / "plugin/pipeline/receive.py",
        *(ROOT / "plugin/web").glob("*.py"),
    ]
)
"""Where what a stranger sends meets what only we know."""
SECRET = {"secret", "secrets", "usable", "signature", "legacy", "expected", "told", "digest", "key",
          "password", "passwords", "user", "token", "encoded", "authorization", "header",
          "own_secrets", "headers"}  # fmt: skip
"""Names of what is secret, of what is made from it, and of what somebody says it is."""
HARMLESS = {
    "told is None",  # whether a header has its form
    "SIGNATURE_ONLY in secrets",  # a setting of the account, which is not told by the caller
    "scheme.lower() != 'basic'",
}
NOW = datetime(2026, 9, 14, 8, tzinfo=UTC)


def comparisons(path: Path) -> Iterator[str]:
    """Whatever looks at a secret and may stop early: operators, and methods of texts."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        match node:
            case ast.Compare():
                parts = [node.left, *node.comparators]
            case ast.Call(func=ast.Attribute(attr="startswith" | "endswith" | "find" | "index")):
                parts = [node.func, *node.args]
            case ast.Match():
                parts = [node.subject]
            case _:
                continue
        if names(parts) & SECRET and ast.unparse(node) not in HARMLESS:
            yield f"{path.name}:{node.lineno}: {ast.unparse(node)}"


def names(parts: list[Any]) -> set[str]:
    """Names in expressions, but for what only counts: ``len(key)`` tells nothing of a value."""
    found: set[str] = set()
    for part in parts:
        if isinstance(part, ast.Call) and getattr(part.func, "id", "") == "len":
            continue
        found |= {one.id for one in ast.walk(part) if isinstance(one, ast.Name)}
        found |= {one.attr for one in ast.walk(part) if isinstance(one, ast.Attribute)}
    return found


@pytest.mark.parametrize("path", GUARDED, ids=lambda path: path.name)
def test_no_secret_is_compared_but_in_constant_time(path: Path) -> None:
    """No operator and no method that ends at the first difference."""
    assert list(comparisons(path)) == []


def test_a_comparison_of_secrets_would_be_noticed(tmp_path: Path) -> None:
    """The test above is not blind."""
    path = tmp_path / "odd.py"
    path.write_text(
        "a = signature == made(secret)\nb = one.secret.startswith(told)\nc = len(key) > 1\n"
    )

    assert list(comparisons(path)) == [
        "odd.py:1: signature == made(secret)",
        "odd.py:2: one.secret.startswith(told)",
    ]


def _hubspot(headers: Mapping[str, str], secrets: list[str]) -> None:
    signatures.verify_hubspot_v3(
        method="POST", url="https://spiral.example.com/", body=b"[]", secrets=secrets, now=NOW,
        headers={"x-hubspot-request-timestamp": str(int(NOW.timestamp() * 1000)),
                 "x-hubspot-signature-v3": headers["told"]},
    )  # fmt: skip


def _espocrm(headers: Mapping[str, str], secrets: list[str]) -> None:
    known = [f"Contact.update:1:{one}" for one in secrets]
    signatures.verify_espocrm(
        topic="Contact.update", headers={"signature": headers["told"]}, body=b"[]", secrets=known
    )


def _bottlecrm(headers: Mapping[str, str], secrets: list[str]) -> None:
    told = f"t={int(NOW.timestamp())},v1={headers['told']}"
    signatures.verify_bottlecrm(
        headers={"x-bottlecrm-signature": told}, body=b"[]", secrets=secrets, now=NOW
    )


def _basic(headers: Mapping[str, str], secrets: list[str]) -> None:
    signatures.verify_basic(
        headers={"authorization": f"Basic {headers['told']}"}, user="u", passwords=secrets
    )


SCHEMES = {"hubspot": _hubspot, "espocrm": _espocrm, "bottlecrm": _bottlecrm, "basic": _basic}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    "told", ["x", "0" * 64, "é" * 32, "\udcff" * 8, "A" * 10_000, "dTo=", "\0", "٣" * 64, " "]
)
def test_what_is_no_signature_is_refused_like_a_wrong_one(scheme: str, told: str) -> None:
    """Of another length, in another alphabet, or no text at all: one error, and no other."""
    with pytest.raises(SignatureError):
        SCHEMES[scheme]({"told": told}, ["one-secret", "another-secret"])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_secret_is_compared_whatever_fits(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several are good while one is renewed: how long an answer takes does not tell which of them
    it was, nor whether it was any."""
    seen: list[tuple[bytes, bytes]] = []
    right = 0

    def compare(one: bytes, other: bytes) -> bool:
        seen.append((one, other))
        return len(seen) - 1 == right

    monkeypatch.setattr(hmac, "compare_digest", compare)
    told = {"hubspot": "x", "espocrm": "x", "bottlecrm": "0" * 64, "basic": "dTpw"}[scheme]

    for right in range(3):  # noqa: B007 (read by ``compare``)
        seen.clear()
        SCHEMES[scheme]({"told": told}, ["first", "second", "third"])
        assert len(seen) == 3
        assert len({one for one, _ in seen}) == 3
    seen.clear()
    right = -1
    with pytest.raises(SignatureError):
        SCHEMES[scheme]({"told": told}, ["first", "second", "third"])
    assert len(seen) == 3
