"""The account over the wire: its properties, limits, owners, pipelines and what it is."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from flask import request

from plugin.sandbox.portal import CONTACTS, DEALS, OBJECT_TYPES, PIPELINES, ObjectType, Owner
from plugin.sandbox.properties import iso
from plugin.sandbox.records import Sandbox
from plugin.sandbox.refusals import Refused, bad_input
from plugin.sandbox.wire import Body, Result, paging, sent_object, text_of

LONG_AGO = datetime.fromisoformat("2020-01-01T08:00:00+00:00")
"""When everything was made that the account came with."""


def list_properties(sandbox: Sandbox, of: ObjectType) -> Result:
    archived = request.args.get("archived") == "true"
    found = sandbox.properties.all(of.plural, archived=archived)
    return 200, {"results": [prop.as_json() for prop in found]}


def create_property(sandbox: Sandbox, of: ObjectType) -> Result:
    body = sent_object()
    most = sandbox.portal.custom_properties
    known = sandbox.properties.find(of.plural, text_of(body, "name"))
    if not known and sandbox.properties.custom_count(of.plural) >= most:
        raise bad_input(f"The limit of {most} custom properties is reached")
    return 201, sandbox.properties.create(of.plural, body).as_json()


def get_property(sandbox: Sandbox, of: ObjectType, name: str) -> Result:
    return 200, sandbox.properties.get(of.plural, name).as_json()


def update_property(sandbox: Sandbox, of: ObjectType, name: str) -> Result:
    return 200, sandbox.properties.update(of.plural, name, sent_object()).as_json()


def archive_property(sandbox: Sandbox, of: ObjectType, name: str) -> Result:
    sandbox.properties.archive(of.plural, name, sandbox.clock.now())
    return 204, None


def list_groups(sandbox: Sandbox, of: ObjectType) -> Result:
    return 200, {"results": [group.as_json() for group in sandbox.properties.groups(of.plural)]}


def create_group(sandbox: Sandbox, of: ObjectType) -> Result:
    return 201, sandbox.properties.create_group(of.plural, sent_object()).as_json()


def get_group(sandbox: Sandbox, of: ObjectType, name: str) -> Result:
    return 200, sandbox.properties.group(of.plural, name).as_json()


def update_group(sandbox: Sandbox, of: ObjectType, name: str) -> Result:
    return 200, sandbox.properties.update_group(of.plural, name, sent_object()).as_json()


def archive_group(sandbox: Sandbox, of: ObjectType, name: str) -> Result:
    sandbox.properties.archive_group(of.plural, name)
    return 204, None


def details(sandbox: Sandbox) -> Result:
    portal = sandbox.portal
    offset = sandbox.clock.now().astimezone(ZoneInfo(portal.time_zone)).utcoffset()
    minutes = int(offset.total_seconds()) // 60 if offset else 0
    return 200, {
        "portalId": portal.portal_id,
        "accountType": "DEVELOPER_TEST",
        "timeZone": portal.time_zone,
        "companyCurrency": portal.currency,
        "additionalCurrencies": [code for code in portal.rates if code != portal.currency],
        "utcOffset": f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}",
        "utcOffsetMilliseconds": minutes * 60_000,
        "uiDomain": request.host,
        "dataHostingLocation": "eu1",
    }


def property_limits(sandbox: Sandbox) -> Result:
    most = sandbox.portal.custom_properties
    used = {of: sandbox.properties.custom_count(of.plural) for of in OBJECT_TYPES}
    return 200, {
        "overallLimit": most * len(used),
        "overallUsage": sum(used.values()),
        "overallPercentage": _percentage(sum(used.values()), most * len(used)),
        "byObjectType": [
            {
                **_type_body(of),
                "limit": most,
                "usage": usage,
                "percentage": _percentage(usage, most),
            }
            for of, usage in used.items()
        ],
    }


def label_limits(sandbox: Sandbox) -> Result:
    """A tier without labels lists none."""
    if not sandbox.portal.labels:
        return 200, {"results": []}
    pair = (CONTACTS.plural, CONTACTS.plural)
    labels = [kind.label for kind in sandbox.associations.types(pair) if kind.label]
    most = sandbox.portal.label_limit
    return 200, {
        "results": [
            {
                "fromObjectType": _type_body(CONTACTS),
                "toObjectType": _type_body(CONTACTS),
                "allLabels": labels,
                "limit": most,
                "usage": len(labels),
                "percentage": _percentage(len(labels), most),
            }
        ]
    }


def _type_body(of: ObjectType) -> Body:
    return {
        "objectTypeId": of.type_id,
        "singularLabel": of.singular.capitalize(),
        "pluralLabel": of.plural.capitalize(),
    }


def _percentage(used: int, most: int) -> float:
    return used / most * 100 if most else 100.0


def _owner_body(owner: Owner) -> Body:
    at = iso(LONG_AGO)
    return {
        "id": owner.id,
        "email": owner.email,
        "firstName": owner.first_name,
        "lastName": owner.last_name,
        "type": "PERSON",
        **({} if owner.archived else {"userId": owner.user_id}),
        "userIdIncludingInactive": owner.user_id,
        "createdAt": at,
        "updatedAt": at,
        "archived": owner.archived,
    }


def list_owners(sandbox: Sandbox) -> Result:
    limit, after = paging(500, 100)
    archived = request.args.get("archived") == "true"
    email = request.args.get("email")
    found = [
        owner
        for owner in sorted(sandbox.owners.values(), key=lambda owner: int(owner.id))
        if owner.archived is archived
        and int(owner.id) > int(after or 0)
        and email in (None, owner.email)
    ]
    body: Body = {"results": [_owner_body(owner) for owner in found[:limit]]}
    if len(found) > limit:
        body["paging"] = {"next": {"after": found[limit - 1].id}}
    return 200, body


def get_owner(sandbox: Sandbox, owner_id: str) -> Result:
    key = "user_id" if request.args.get("idProperty") == "userId" else "id"
    archived = request.args.get("archived") == "true"
    for owner in sandbox.owners.values():
        if str(getattr(owner, key)) == owner_id and owner.archived is archived:
            return 200, _owner_body(owner)
    raise Refused(404, "OBJECT_NOT_FOUND", f"Owner {owner_id} does not exist")


def pipelines(_: Sandbox, of: ObjectType) -> Result:
    at = iso(LONG_AGO)
    if of is not DEALS:
        return 200, {"results": []}
    dates = {"createdAt": at, "updatedAt": at, "archived": False}
    return 200, {
        "results": [
            {
                "id": pipeline.key,
                "label": pipeline.label.de,
                "displayOrder": order,
                **dates,
                "stages": [
                    {
                        "id": one.key,
                        "label": one.label.de,
                        "displayOrder": place,
                        "metadata": {
                            "isClosed": str(one.closed).lower(),
                            "probability": one.probability,
                        },
                        **dates,
                    }
                    for place, one in enumerate(pipeline.stages)
                ],
            }
            for order, pipeline in enumerate(PIPELINES)
        ]
    }
