"""EspoCRM's webhooks: one per event, each with an address and a secret of its own.

https://docs.espocrm.com/administration/webhooks/
The secret of an account is one text per webhook: ``<event>:<webhook id>:<secret key>``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from adapters.espocrm.api import PAGE, Api
from plugin.errors import CrmRejected
from plugin.manifest import manifest
from plugin.ports import SIGNATURE_ONLY
from schemas.espocrm import Webhook, WebhookList, WebhookListSchema, WebhookSchema

GUIDE = """\
python -m plugin install makes EspoCRM's webhooks itself, one for each event, below
  {target}
What they need in EspoCRM:
1. The role of the API user has the scope Webhooks switched on, and may read Contacts and
   Opportunities ("all").
2. The scheduled job "Process Webhook Queue" runs (Administration > Scheduled Jobs), by cron or by
   the daemon. It runs every two minutes at first; every minute (* * * * *) is better.
3. EspoCRM can reach the address. Since 9.3.2 it refuses internal ones unless the file
   data/config-internal.php names them: 'webhookAllowedAddressList' => ['host:port'].
"""

OWN_STEPS = 3
"""``webhooks``, ``espocrm`` and the endpoint."""

_WEBHOOK = WebhookSchema()
_LIST = WebhookListSchema()


def subscribe(api: Api, target: str, secrets: Sequence[str]) -> tuple[str, ...]:
    """What works stays; all else that leads to an address with our own part goes."""
    present = _present(api)
    kept: list[str] = [one for one in secrets if one == SIGNATURE_ONLY]
    for event in manifest().crms["espocrm"].event_types:
        address = f"{target.rstrip('/')}/{event}"
        ours = [one for one in present if _path(one["url"]).endswith(_own_part(target, event))]
        good = next((one for one in ours if _works(one, event, address)), None)
        webhook = good or _create(api, event, address)
        _remove(api, (one for one in ours if one is not good))
        kept.append(f"{event}:{webhook['id']}:{webhook['secret']}")
    return tuple(kept)


def unsubscribe(api: Api, target: str) -> None:
    """Remove all that lead to an address below this one, wherever that was reached."""
    for one in _present(api):
        path = _path(one["url"])
        if path.endswith(_own_part(target, path.rpartition("/")[2])):
            _remove(api, [one])


def _present(api: Api) -> list[Webhook]:
    """The webhooks of this API user: EspoCRM shows no others to it, and allows 50."""
    params = {"maxSize": str(PAGE), "offset": "0"}
    found: WebhookList = api.send("GET", "/Webhook", params=params, schema=_LIST)
    return found["webhooks"]


def _works(webhook: Webhook, event: str, address: str) -> bool:
    return (
        webhook["event"] == event
        and webhook["url"] == address
        and webhook["active"]
        and bool(webhook["skip_own"])
        and bool(webhook["secret"])
    )


def _create(api: Api, event: str, address: str) -> Webhook:
    body = {"event": event, "url": address, "isActive": True, "skipOwn": True}
    try:
        made: Webhook = api.send("POST", "/Webhook", body=body, schema=_WEBHOOK, repeat=False)
    except CrmRejected as refused:
        if "url" not in refused.field_errors:
            raise
        raise CrmRejected(
            f"{refused}. EspoCRM delivers to no internal address unless webhookAllowedAddressList "
            f"in data/config-internal.php names it: {urlsplit(address).netloc}",
            crm=refused.crm,
            operation=refused.operation,
            status=refused.status,
            field_errors=refused.field_errors,
        ) from refused
    return made


def _remove(api: Api, webhooks: Iterable[Webhook]) -> None:
    for one in webhooks:
        api.delete("Webhook", one["id"])


def _own_part(target: str, event: str) -> str:
    """The end of an address that is ours, whatever the host and the path before it:
    ``/webhooks/espocrm/<endpoint>/<event>``. The endpoint cannot be guessed."""
    steps = [one for one in _path(target).split("/") if one]
    return "/" + "/".join([*steps[-OWN_STEPS:], event])


def _path(url: str) -> str:
    return urlsplit(url).path
