"""Webhook signatures, by scheme: pure functions over the raw bytes.

They return nothing where a delivery is authentic and raise ``SignatureError``, and nothing else,
where it is not.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from plugin.errors import SignatureError
from plugin.ports import SIGNATURE_ONLY

HUBSPOT_TOLERANCE_MS = 5 * 60 * 1000
"""HubSpot asks for a limit on age; we also refuse what claims to come from later than this."""

# The only sequences that HubSpot decodes before it signs; "%20", "%26" and the rest stay.
_HUBSPOT_DECODES = {
    "%3A": ":",
    "%2F": "/",
    "%3F": "?",
    "%40": "@",
    "%21": "!",
    "%24": "$",
    "%27": "'",
    "%28": "(",
    "%29": ")",
    "%2A": "*",
    "%2C": ",",
    "%3B": ";",
}
_HUBSPOT_ENCODED = re.compile("|".join(_HUBSPOT_DECODES), re.IGNORECASE)


def verify_hubspot_v3(
    *,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    secrets: Sequence[str],
    now: datetime,
) -> None:
    """Raises ``SignatureError`` unless one of the secrets signed these bytes just now.

    ``headers`` have lower-case names; ``url`` is the address HubSpot was told to call.
    """
    # https://developers.hubspot.com/docs/apps/developer-platform/build-apps/authentication/request-validation
    usable = [secret for secret in secrets if secret]
    if not usable:
        raise SignatureError("no signing secret is set: check HUBSPOT_CLIENT_SECRET")
    signature = headers.get("x-hubspot-signature-v3", "")
    timestamp = headers.get("x-hubspot-request-timestamp", "")
    if not signature:
        raise SignatureError("the header X-HubSpot-Signature-v3 is missing")
    if not re.fullmatch(r"[0-9]{1,15}", timestamp):
        raise SignatureError("the header X-HubSpot-Request-Timestamp is not in milliseconds")
    if abs(now.timestamp() * 1000 - int(timestamp)) > HUBSPOT_TOLERANCE_MS:
        raise SignatureError("the delivery is not from just now: check this machine's clock")
    source = b"".join(
        [_bytes(method), _bytes(hubspot_signed_url(url)), body, timestamp.encode("ascii")]
    )
    expected = (base64.b64encode(_digest(secret, source)) for secret in usable)
    if not _is_one_of(expected, _bytes(signature)):
        raise SignatureError(
            "the signature does not fit: check HUBSPOT_CLIENT_SECRET and the public URL"
        )


def hubspot_signed_url(url: str) -> str:
    """The URL as HubSpot signs it: twelve percent-encoded characters are decoded."""
    return _HUBSPOT_ENCODED.sub(lambda found: _HUBSPOT_DECODES[found.group().upper()], url)


def _digest(secret: str, source: bytes) -> bytes:
    # Not hmac.digest: it lets the interpreter go, and waiting to get it back from other threads
    # takes longer than a digest.
    return hmac.new(_bytes(secret), source, "sha256").digest()


def _is_one_of(expected: Iterable[bytes], told: bytes) -> bool:
    """All are compared, so the time taken does not tell which one was right."""
    fits = False
    for one in expected:
        fits |= hmac.compare_digest(one, told)
    return fits


def _hex(digest: bytes) -> bytes:
    return digest.hex().encode("ascii")


def _bytes(text: str) -> bytes:
    """UTF-8 that never fails: a header may hold what is no character at all."""
    return text.encode("utf-8", "surrogatepass")


# --------------------------------------------------------------------------- EspoCRM


def verify_espocrm(
    *, topic: str, headers: Mapping[str, str], body: bytes, secrets: Sequence[str]
) -> None:
    """Raises ``SignatureError`` unless a webhook of this topic signed these bytes.

    ``secrets``: ``<event>:<webhook id>:<secret key>`` each; only those whose event is ``topic``
    count, so that a body of one event cannot be sent to another's address. ``headers`` have
    lower-case names. EspoCRM says no time, so age cannot be checked.
    """
    # https://docs.espocrm.com/administration/webhooks/#authenticity
    known = [parts for one in secrets if len(parts := one.split(":")) == 3 and all(parts)]
    usable = [(webhook_id, key) for event, webhook_id, key in known if event == topic]
    if not usable:
        raise SignatureError("no webhook of this address is known: run subscribe again")
    signature, legacy = headers.get("signature", ""), headers.get("x-signature", "")
    if not signature and (not legacy or SIGNATURE_ONLY in secrets):
        raise SignatureError("the header Signature is missing")
    digests = ((webhook_id, _digest(key, body)) for webhook_id, key in usable)
    expected = (
        base64.b64encode(_bytes(webhook_id) + b":" + (_hex(digest) if signature else digest))
        for webhook_id, digest in digests
    )
    if not _is_one_of(expected, _bytes(signature or legacy)):
        raise SignatureError("the signature does not fit: check the account's webhooks")


BOTTLECRM_TOLERANCE_S = 5 * 60
"""BottleCRM signs anew at every attempt, so an honest delivery is never old."""

_BOTTLECRM_SIGNATURE = re.compile(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})")


def verify_bottlecrm(
    *, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime
) -> None:
    """Raises ``SignatureError`` unless one of the secrets signed these bytes just now.

    ``headers`` have lower-case names; a secret is taken as BottleCRM shows it, ``whsec_`` and all.
    """
    # webhooks/tasks.py of https://pypi.org/project/django-crm/1.35.0/
    usable = [secret for secret in secrets if secret]
    if not usable:
        raise SignatureError("no signing secret is known: run python -m plugin secret bottlecrm")
    header = headers.get("x-bottlecrm-signature", "")
    if not header:
        raise SignatureError("the header X-BottleCRM-Signature is missing")
    told = _BOTTLECRM_SIGNATURE.fullmatch(header)
    if told is None:
        raise SignatureError("the header X-BottleCRM-Signature is not t=<seconds>,v1=<hex>")
    timestamp, signature = told.groups()
    if abs(now.timestamp() - int(timestamp)) > BOTTLECRM_TOLERANCE_S:
        raise SignatureError("the delivery is not from just now: check this machine's clock")
    source = timestamp.encode("ascii") + b"." + body
    expected = (_hex(_digest(secret, source)) for secret in usable)
    if not _is_one_of(expected, _bytes(signature)):
        raise SignatureError("the signature does not fit: run python -m plugin secret bottlecrm")


def verify_basic(*, headers: Mapping[str, str], user: str, passwords: Sequence[str]) -> None:
    """Raises ``SignatureError`` unless the caller knows one of the passwords: nothing more than
    that is proven, neither that the bytes are unchanged nor that they are new.

    ``headers`` have lower-case names.
    """
    # https://www.rfc-editor.org/rfc/rfc7617
    usable = [password for password in passwords if password]
    if not usable:
        raise SignatureError("no password is known: make the account's webhooks anew")
    scheme, _, encoded = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        raise SignatureError("the header Authorization is missing or not Basic")
    try:
        told = base64.b64decode(_bytes(encoded.strip()), validate=True)
    except ValueError as error:
        raise SignatureError("the header Authorization is not in Base64") from error
    if not _is_one_of((_bytes(f"{user}:{password}") for password in usable), told):
        raise SignatureError("the password does not fit: check the account's webhooks")
