"""Our webhooks: made, looked after and removed through the API.

https://pipedrive.readme.io/docs/guide-for-webhooks-v2
https://developers.pipedrive.com/docs/api/v1/Webhooks

Pipedrive switches a webhook off that fails too often and deletes it after three days without a
delivery. It cannot be changed: a new one is made before the old one is removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from adapters.pipedrive.api import CREATE_WEBHOOK, DELETE_WEBHOOK, LIST_WEBHOOKS, Api
from adapters.pipedrive.dialect import CRM
from adapters.pipedrive.events import VERSION
from plugin.errors import RecordGone
from plugin.manifest import LANGUAGES, manifest
from schemas.pipedrive import Webhook, WebhookList, WebhookListSchema

USER = "referral-spiral"
"""The user name of HTTP Basic; the password is the account's secret."""
ANY = "*"
REFUSED = (401, 403)
"""How we answer a password that is no longer ours."""

GUIDE = """Webhooks need no click in Pipedrive: the plugin makes them itself, and anew where
Pipedrive gave them up. They go to
  {target}
which has to be reachable by HTTPS when they are made. The API token should belong to a user of
its own with the rights of a deals administrator who sees all items (an administrator's token is
also needed to make fields and webhooks)."""

_LISTED = WebhookListSchema()


def subscribe(api: Api, target: str, secrets: Sequence[str]) -> None:
    """One webhook per kind of record at ``target``, and none of ours beside them."""
    present = _ours(api, target)
    keep: set[str] = set()
    for wanted in _objects():
        working = [one for one in present if one["event_object"] == wanted and _works(one, target)]
        if working:
            keep.add(working[0]["id"])
        else:
            _create(api, target, wanted, secrets[0])
    _delete(api, [one["id"] for one in present if one["id"] not in keep])


def unsubscribe(api: Api, target: str) -> None:
    _delete(api, [one["id"] for one in _ours(api, target)])


def _objects() -> list[str]:
    return [one["object"] for one in manifest().crms[CRM].subscriptions]


def _ours(api: Api, target: str) -> list[Webhook]:
    """Webhooks to this account's own part of the address, which nobody else can know, on whichever
    host and below whichever path: we may have moved."""
    found: WebhookList = api.send(LIST_WEBHOOKS, schema=_LISTED)
    own = _own_part(target)
    return [one for one in found["data"] if _own_part(one["subscription_url"]) == own]


def _own_part(address: str) -> list[str]:
    """``<crm>/<unguessable>``, at the end of the path."""
    return urlsplit(address).path.rstrip("/").split("/")[-2:]


def _works(one: Webhook, target: str) -> bool:
    return (
        one["subscription_url"] == target
        and one["event_action"] == ANY
        and one["version"] == VERSION
        and one["is_active"]
        and one["last_http_status"] not in REFUSED
    )


def _create(api: Api, target: str, wanted: str, password: str) -> None:
    body = {
        "subscription_url": target,
        "event_action": ANY,
        "event_object": wanted,
        "name": f"{manifest().title[LANGUAGES[-1]]}: {wanted}",
        "version": VERSION,
        "http_auth_user": USER,
        "http_auth_password": password,
    }
    # Sent once: a second one would be found and removed, but deliver twice until then.
    api.send(CREATE_WEBHOOK, body=body, repeat=False)


def _delete(api: Api, webhook_ids: Sequence[str]) -> None:
    for one in webhook_ids:
        try:
            api.send(DELETE_WEBHOOK, id_=one)
        except RecordGone:
            continue
