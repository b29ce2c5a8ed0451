"""Encryption at rest: credentials of accounts, and tombstones of erased contacts."""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from plugin.errors import ConfigurationError

# Labels part the keys from each other. To change one is to lose all that was stored under it.
ENCRYPTION = b"referral-spiral credentials v1"
TOMBSTONE = b"referral-spiral tombstones v1"


class Vault:
    """Encrypts with the first of the keys, reads what any of them wrote.

    ``retired``: what ``retired_keys`` told of keys that are not among them any more. Raises
    ``ConfigurationError`` where none of the keys reads it.
    """

    def __init__(self, keys: Sequence[str], *, retired: Sequence[str] = ()) -> None:
        if isinstance(keys, str) or not keys:
            raise ValueError("keys must be a sequence with at least one key")
        self._fernet = MultiFernet(
            [Fernet(urlsafe_b64encode(_derive(key, ENCRYPTION))) for key in keys]
        )
        former = [bytes.fromhex(self._former(token)) for token in retired]
        salts = [*(_derive(key, TOMBSTONE) for key in keys), *former]
        self._salts = tuple(dict.fromkeys(salts))

    def __repr__(self) -> str:
        return "Vault(…)"

    def encrypt(self, text: str) -> str:
        """A token that only these keys read; twice the same text gives two tokens."""
        return self._fernet.encrypt(text.encode()).decode()

    def decrypt(self, token: str) -> str:
        """The text of a token. Raises ``ConfigurationError`` where no key fits."""
        try:
            return self._fernet.decrypt(token.encode()).decode()
        except InvalidToken:
            raise _misfit() from None

    def encrypt_all(self, texts: Sequence[str]) -> str:
        """Several texts without commas, such as an account's webhook secrets, as one token."""
        return self.encrypt(",".join(texts))

    def decrypt_all(self, token: str | None) -> tuple[str, ...]:
        """The texts of such a token; none where nothing was kept. Raises as ``decrypt`` does."""
        return tuple(self.decrypt(token).split(",")) if token else ()

    def reads(self, token: str) -> bool:
        """Whether one of the keys wrote it."""
        try:
            self.decrypt(token)
        except ConfigurationError:
            return False
        return True

    def _former(self, token: str) -> str:
        try:
            return self.decrypt(token)
        except ConfigurationError:
            raise ConfigurationError(
                "what is kept of a former key, to know erased contacts again, cannot be read with "
                "SECRET_KEY: put the key it was rotated to back, behind the new one and a comma. "
                "If it is lost for good: python -m plugin keys forget"
            ) from None

    def rotate(self, token: str) -> str:
        """The same text under the first key, so that the others may go."""
        try:
            return self._fernet.rotate(token.encode()).decode()
        except InvalidToken:
            raise _misfit() from None

    def retired_keys(self) -> tuple[str, ...]:
        """What has to be kept, once only the first key is left, to know all tombstones again: a
        token for each other key, which tells nothing of that key itself."""
        return tuple(self.encrypt(salt.hex()) for salt in self._salts[1:])

    def tombstone(self, account: str, crm_id: str) -> str:
        """What is kept of an erased contact: enough to know its id again, not to tell it."""
        return self.tombstones(account, crm_id)[0]

    def tombstones(self, account: str, crm_id: str) -> tuple[str, ...]:
        """The contact's tombstone under each key, the first key's first: any may be on file."""
        # The length keeps ("1", "23") and ("12", "3") apart.
        text = f"{len(account)}:{account}:{crm_id}".encode()
        return tuple(hmac.new(salt, text, hashlib.sha256).hexdigest() for salt in self._salts)


def _derive(key: str, label: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=label).derive(key.encode())


def _misfit() -> ConfigurationError:
    return ConfigurationError(
        "a stored credential cannot be read with SECRET_KEY: it was encrypted under another key. "
        "Put that key back, behind the new one and a comma, or connect the account again."
    )
