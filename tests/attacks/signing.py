"""Deliveries of any bytes that are authentic all the same: somebody has the secret."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import replace

import requests

from plugin.sandbox.webhooks import sign
from plugin.storage.accounts import Account
from tests.e2e.shop import Shop
from tests.stand_in import Outgoing


def fresh(shop: Shop) -> Outgoing:
    """A delivery that the CRM made just now and did not send."""
    shop.crm.deliveries.clear()
    shop.crm.contact("Erika", "Beispiel")
    made = shop.crm.deliveries[-1]
    shop.crm.deliveries.clear()
    return made


def authentic(shop: Shop, one: Outgoing, body: bytes, *, age: float = 0) -> Outgoing:
    """The same delivery with another body, signed ``age`` seconds ago in the CRM's own way."""
    headers = {name.lower(): value for name, value in one.headers.items()}
    at = shop.present().timestamp() - age
    if "x-hubspot-signature-v3" in headers:
        told = str(int(at * 1000))
        headers["x-hubspot-request-timestamp"] = told
        headers["x-hubspot-signature-v3"] = sign(
            shop.crm.shared_secret, "POST", one.url, body, told
        )
    elif "signature" in headers:
        webhook_id = base64.b64decode(headers["signature"]).partition(b":")[0]
        key = next(key for _, known, key in _espocrm(shop) if known.encode() == webhook_id)
        headers["signature"] = base64.b64encode(webhook_id + b":" + _hex(key, body)).decode()
        headers.pop("x-signature", None)
    elif "x-bottlecrm-signature" in headers:
        (secret,) = own_secrets(shop)
        told = str(int(at))
        signature = _hex(secret, told.encode() + b"." + body).decode()
        headers["x-bottlecrm-signature"] = f"t={told},v1={signature}"
    return replace(one, headers=headers, body=body)


def post(one: Outgoing, **more: str) -> int:
    """The status of the answer; ``more`` headers, with ``_`` for ``-``."""
    headers = {**one.headers, **{name.replace("_", "-"): value for name, value in more.items()}}
    return requests.post(one.url, data=one.body, headers=headers, timeout=20).status_code


def own_secrets(shop: Shop) -> tuple[str, ...]:
    account: Account = shop.account()
    return shop.parts.vault.decrypt_all(account.own_secrets)


def _espocrm(shop: Shop) -> list[list[str]]:
    return [one.split(":") for one in own_secrets(shop) if one.count(":") == 2]


def _hex(key: str, source: bytes) -> bytes:
    return hmac.new(key.encode(), source, hashlib.sha256).hexdigest().encode()


def lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
