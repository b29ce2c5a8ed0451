"""Encryption at rest and tombstones."""

from __future__ import annotations

import pytest

from plugin.errors import ConfigurationError
from plugin.secrets import Vault

OLD = "old-key-0123456789"
NEW = "new-key-0123456789"
LATEST = "latest-key-0123456789"
STORED = (
    "gAAAAABrAkqz2Ya_TakXb2pzbj5aJjw3Wq_yYAHxjSL6Csejea"
    "6prkfQJyKZOEkteYuAG6DQa5Ed6JTKgTWjzMrvSxMas3XNSQ=="
)
"""The word "text" as it was once encrypted under the old key."""


@pytest.mark.parametrize("text", ["", "pat-eu1-0000", "Schlüssel ✓", "x" * 10_000])
def test_what_is_encrypted_is_read_again(text: str) -> None:
    """Any text comes back whole, also by another process with the same key."""
    assert Vault([NEW]).decrypt(Vault([NEW]).encrypt(text)) == text


def test_a_token_shows_nothing_of_its_text() -> None:
    """Neither the text nor that two texts are equal can be seen."""
    vault = Vault([NEW])
    first, second = vault.encrypt("pat-eu1-0000"), vault.encrypt("pat-eu1-0000")
    assert "pat-eu1-0000" not in first
    assert first != second


@pytest.mark.parametrize("token", ["", "nonsense", "ünsinn", STORED])
def test_a_token_that_does_not_fit_names_the_setting(token: str) -> None:
    """The admin learns which setting changed, and what to do."""
    message = r"^a stored credential cannot be read with SECRET_KEY.*behind the new one"
    with pytest.raises(ConfigurationError, match=message):
        Vault([NEW]).decrypt(token)
    with pytest.raises(ConfigurationError, match=message):
        Vault([NEW]).rotate(token)


def test_while_rotating_both_keys_read_and_the_first_one_writes() -> None:
    """An old key behind the new one keeps everything readable and is used for nothing new."""
    rotating = Vault([NEW, OLD])
    assert rotating.decrypt(Vault([OLD]).encrypt("text")) == "text"
    assert Vault([NEW]).decrypt(rotating.encrypt("text")) == "text"


def test_after_rotating_the_old_key_may_go() -> None:
    """A rotated token is read by the new key alone."""
    rotated = Vault([NEW, OLD]).rotate(Vault([OLD]).encrypt("text"))
    assert Vault([NEW]).decrypt(rotated) == "text"


def test_stored_values_stay_readable_by_later_versions() -> None:
    """Deriving keys another way would lose every stored credential and tombstone."""
    vault = Vault([OLD])
    assert vault.decrypt(STORED) == "text"
    assert vault.tombstone("42", "1001") == (
        "03ddfca928de5ae8697ccb0601774aa23c0371b9dca9f17d0c6de5b64cc11113"
    )


def test_a_tombstone_knows_its_contact_again_and_no_other() -> None:
    """Account and id are kept apart, and the id cannot be read from it."""
    vault = Vault([NEW])
    assert vault.tombstone("1", "23") == Vault([NEW]).tombstone("1", "23")
    others = {vault.tombstone("12", "3"), vault.tombstone("1:2", "3"), vault.tombstone("1", "2:3")}
    assert len(others | {vault.tombstone("1", "23")}) == 4


def test_a_tombstone_is_salted_by_the_key() -> None:
    """Who does not hold the key cannot try out ids."""
    assert Vault([NEW]).tombstone("1", "23") != Vault([OLD]).tombstone("1", "23")


def test_tombstones_of_all_keys_are_known_while_rotating() -> None:
    """A contact erased under the old key stays erased."""
    assert Vault([NEW, OLD]).tombstones("1", "23") == (
        Vault([NEW]).tombstone("1", "23"),
        Vault([OLD]).tombstone("1", "23"),
    )


def test_a_key_that_is_gone_is_still_known_by_its_tombstones() -> None:
    """By what was kept of it, which is worth nothing without the present key; a second change
    keeps both."""
    once = Vault([NEW, OLD]).retired_keys()
    twice = Vault([LATEST, NEW], retired=once).retired_keys()

    assert Vault([LATEST], retired=twice).tombstones("1", "23") == (
        Vault([LATEST]).tombstone("1", "23"),
        Vault([NEW]).tombstone("1", "23"),
        Vault([OLD]).tombstone("1", "23"),
    )
    with pytest.raises(ConfigurationError, match="cannot be read with SECRET_KEY"):
        Vault([OLD], retired=twice)


def test_what_is_kept_of_a_key_reads_no_credential() -> None:
    """Nor can the key be told from it."""
    (kept,) = Vault([NEW, OLD]).retired_keys()
    salt = Vault([NEW]).decrypt(kept)

    assert OLD not in salt
    with pytest.raises(ConfigurationError):
        Vault([salt]).decrypt(STORED)


def test_a_vault_shows_nothing_of_its_keys() -> None:
    """Not in a traceback, not in a log."""
    assert repr(Vault([NEW, OLD])) == "Vault(…)"


@pytest.mark.parametrize("keys", [[], "one-string-1234567"])
def test_a_vault_takes_a_sequence_with_a_key(keys: list[str]) -> None:
    """A lone string would silently be a sequence of one-letter keys."""
    with pytest.raises(ValueError, match=r"^keys must be a sequence"):
        Vault(keys)
