"""Webhook signatures, by scheme: pure functions over the raw bytes.

They return nothing where a delivery is authentic and raise ``SignatureError``, and nothing else,
where it is not.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from plugin.errors import SignatureError

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
    if not _signed_by_one(usable, source, _bytes(signature)):
        raise SignatureError(
            "the signature does not fit: check HUBSPOT_CLIENT_SECRET and the public URL"
        )


def hubspot_signed_url(url: str) -> str:
    """The URL as HubSpot signs it: twelve percent-encoded characters are decoded."""
    return _HUBSPOT_ENCODED.sub(lambda found: _HUBSPOT_DECODES[found.group().upper()], url)


def _signed_by_one(secrets: Sequence[str], source: bytes, signature: bytes) -> bool:
    """Every secret is tried, so the time taken does not tell which one was right."""
    fits = False
    for secret in secrets:
        digest = hmac.new(_bytes(secret), source, hashlib.sha256).digest()
        fits |= hmac.compare_digest(base64.b64encode(digest), signature)
    return fits


def _bytes(text: str) -> bytes:
    """UTF-8 that never fails: a header may hold what is no character at all."""
    return text.encode("utf-8", "surrogatepass")
