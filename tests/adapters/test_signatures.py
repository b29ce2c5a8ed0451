"""Signatures: what HubSpot signed passes, everything else is refused with one error."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.hubspot import HubSpotAdapter
from adapters.signatures import hubspot_signed_url, verify_hubspot_v3
from plugin.errors import SignatureError
from plugin.ports import Delivery

SECRET = "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy"
URL = "https://www.example.com/webhook_uri"
BODY = b"{'example_field':'example_value'}"

KNOWN_ANSWERS = {
    # HubSpot/hubspot-api-python, tests/spec/utils/test_signature.py
    "1693657560000": "K36dawei4A+QBNolUOqo7s91KQDWQ5MXZ/QufNYuk/Y=",
    # HubSpot/hubspot-api-ruby, spec/helpers/signature_spec.rb
    "1700000300000": "RnbPH7+UMKVkbV32P8bz450N4M56aPmcru1+D3kSDtw=",
}
TIMESTAMP, SIGNATURE = next(iter(KNOWN_ANSWERS.items()))
NOW = datetime.fromtimestamp(int(TIMESTAMP) / 1000, tz=UTC)


def sign(*, url: str, body: bytes = BODY, secret: str = SECRET, timestamp: str = TIMESTAMP) -> str:
    """The scheme of HubSpot's documentation, written a second time."""
    source = b"POST" + url.encode() + body + timestamp.encode()
    return base64.b64encode(hmac.new(secret.encode(), source, hashlib.sha256).digest()).decode()


def verify(
    *,
    method: str = "POST",
    url: str = URL,
    signature: str | None = SIGNATURE,
    timestamp: str | None = TIMESTAMP,
    body: bytes = BODY,
    secrets: tuple[str, ...] = (SECRET,),
    now: datetime = NOW,
) -> None:
    headers = {
        "x-hubspot-signature-v3": signature,
        "x-hubspot-request-timestamp": timestamp,
    }
    verify_hubspot_v3(
        method=method,
        url=url,
        headers={name: value for name, value in headers.items() if value is not None},
        body=body,
        secrets=secrets,
        now=now,
    )


@pytest.mark.parametrize(("timestamp", "signature"), KNOWN_ANSWERS.items())
def test_what_the_official_clients_sign_passes(timestamp: str, signature: str) -> None:
    """The vectors of two official clients are accepted."""
    now = datetime.fromtimestamp(int(timestamp) / 1000, tz=UTC)

    verify(timestamp=timestamp, signature=signature, now=now)


def test_the_adapter_hands_over_the_whole_delivery() -> None:
    """``Adapter.verify`` accepts a signed delivery and refuses a changed one."""
    headers = {"x-hubspot-signature-v3": SIGNATURE, "x-hubspot-request-timestamp": TIMESTAMP}
    adapter = HubSpotAdapter()

    adapter.verify(
        Delivery(method="POST", url=URL, headers=headers, body=BODY), secrets=[SECRET], now=NOW
    )
    with pytest.raises(SignatureError):
        adapter.verify(
            Delivery(method="POST", url=URL, headers=headers, body=BODY + b" "),
            secrets=[SECRET],
            now=NOW,
        )


@pytest.mark.parametrize(
    "changed",
    [
        {"method": "PUT"},
        {"url": URL + "/"},
        {"body": BODY.replace(b"v", b"w", 1)},
        {"body": BODY.strip(b"{")},
        {"secrets": ("another",)},
        {"secrets": ()},
        {"secrets": ("",)},
        {"signature": None},
        {"signature": ""},
        {"signature": SIGNATURE[:-1]},
        {"signature": "K36dawei4A+QBNolUOqo7s91KQDWQ5MXZ/QufNYuk/ä="},
        {"signature": "\udcff"},
        {"timestamp": None},
        {"timestamp": ""},
        {"timestamp": "1693657560000.0"},
        {"timestamp": "-1693657560000"},
        {"timestamp": " 1693657560000"},
        {"timestamp": "1693657560000\n"},
        {"timestamp": "١٦٩٣٦٥٧٥٦٠٠٠٠"},
        {"timestamp": "9" * 5000},
        {"timestamp": "NaN"},
    ],
)
def test_anything_else_is_refused(changed: dict[str, object]) -> None:
    """One thing changed, missing or malformed is a ``SignatureError`` and no other exception."""
    with pytest.raises(SignatureError):
        verify(**changed)  # type: ignore[arg-type]


@pytest.mark.parametrize("away", [timedelta(minutes=5), timedelta(minutes=-5)])
def test_five_minutes_either_way_are_just_now(away: timedelta) -> None:
    """Clocks may differ by five minutes, no more."""
    verify(now=NOW + away)
    with pytest.raises(SignatureError, match="clock"):
        verify(now=NOW + away * 1.001)


def test_old_and_new_secret_both_pass() -> None:
    """A secret can be changed without a gap: any of several may have signed."""
    verify(secrets=("new", SECRET))
    verify(secrets=(SECRET, "new", ""))


def test_twelve_characters_are_decoded_and_no_others() -> None:
    """The URL is signed with exactly the decoded characters HubSpot lists, in either case."""
    encoded = "".join(
        f"%{ord(c):02X}%{ord(c):02x}" if ord(c) % 2 else f"%{ord(c):02X}" for c in ":/?@!$'()*,;"
    )
    plain = "".join(c * (2 if ord(c) % 2 else 1) for c in ":/?@!$'()*,;")

    assert hubspot_signed_url(f"https://a.example.com/?x={encoded}%20%26%3D%25") == (
        f"https://a.example.com/?x={plain}%20%26%3D%25"
    )


def test_the_decoded_url_is_what_is_signed() -> None:
    """A delivery to a URL with encoded characters passes."""
    verify(
        url="https://example.com/card?mail=a%40example.com",
        signature=sign(url="https://example.com/card?mail=a@example.com"),
    )


@given(signature=st.text(), timestamp=st.text(), body=st.binary(), url=st.text(), method=st.text())
def test_no_input_raises_anything_else(
    signature: str, timestamp: str, body: bytes, url: str, method: str
) -> None:
    """Whatever arrives, the answer is nothing or a ``SignatureError``."""
    with pytest.raises(SignatureError):
        verify(signature=signature, timestamp=timestamp, body=body, url=url, method=method)
