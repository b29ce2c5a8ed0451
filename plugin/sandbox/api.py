"""HubSpot's wire, version 2026-09: the part of it a referral plugin calls.

Every answer fits HubSpot's OpenAPI files (``tests/openapi.py``). Where documentation and files
are silent these choices were made:

- a batch with values that are not valid: 207 where every input has an ``objectWriteTraceId`` of
  its own, else 400 and nothing is done;
- results of a batch write come in no promised order (here: the last input first);
- a record without associations is an error entry of an associations read (207);
- merged records answer 404 under their old ids.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flask import Blueprint, Response, jsonify, request

from plugin.sandbox import account, links, objects
from plugin.sandbox.gate import (
    Answer,
    Meter,
    authenticate,
    authorize,
    cut,
    faulty,
    take_fault,
)
from plugin.sandbox.portal import object_type
from plugin.sandbox.records import Sandbox
from plugin.sandbox.refusals import Refused
from plugin.sandbox.wire import Result

VERSION = "2026-09"

View = Callable[..., Result]


@dataclass(frozen=True, slots=True)
class Route:
    """``need``: see ``gate.authorize``. ``<of>``, ``<start>``, ``<end>`` are object types."""

    method: str
    rule: str
    view: View
    need: str = ""


def api(sandbox: Sandbox) -> Blueprint:
    """The blueprint that answers HubSpot's calls."""
    blueprint = Blueprint("api", __name__)
    meter = Meter(sandbox.portal.rate_limit, enforce=sandbox.portal.enforce_rate)
    for route in ROUTES:
        blueprint.add_url_rule(
            route.rule.replace("{v}", VERSION),
            endpoint=f"{route.method} {route.rule}".replace(".", "_"),
            view_func=_view(sandbox, meter, route),
            methods=[route.method],
        )
    return blueprint


def _view(sandbox: Sandbox, meter: Meter, route: Route) -> Callable[..., Response]:
    def answer(**args: str) -> Response:
        with sandbox.lock:
            sandbox.calls[_counted(route, args)] += 1
            fault = take_fault(sandbox, request.method, request.path)
        if fault and fault.delay:
            time.sleep(fault.delay)
        if fault and fault.status:
            return _response(sandbox, faulty(fault))
        with sandbox.lock:
            result = _work(sandbox, meter, route, args)
        if fault and fault.drop:
            cut(request)
        return _response(sandbox, result)

    return answer


def _work(sandbox: Sandbox, meter: Meter, route: Route, args: Mapping[str, str]) -> Answer:
    headers: dict[str, str] = {}
    try:
        authenticate(sandbox, request)
        headers, too_many = meter.count(request.path)
        if too_many:
            return too_many
        types = {key: value for key, value in args.items() if key in ("of", "start", "end")}
        authorize(sandbox, route.need, types)
        known = {key: object_type(value) for key, value in types.items()}
        status, body = route.view(sandbox, **{**args, **known})
    except Refused as refused:
        return refused.status, refused.as_body(), headers
    return status, body, headers


def _response(sandbox: Sandbox, answer: Answer) -> Response:
    status, body, headers = answer
    with sandbox.lock:
        sandbox.answers[status] += 1
    response = Response(status=status) if body is None else jsonify(body)
    response.status_code = status
    response.headers.extend(headers)
    if body is None:
        del response.headers["Content-Type"]
    return response


def _counted(route: Route, args: Mapping[str, str]) -> str:
    """The name a call is counted under: object types as they are, ids left out."""
    path = route.rule.replace("{v}", VERSION)
    for key, value in args.items():
        path = path.replace(f"<{key}>", value if key in ("of", "start", "end") else f"{{{key}}}")
    return f"{route.method} {path}"


_OBJECTS = "/crm/objects/{v}/<of>"
_ONE = "/crm/objects/{v}/<of>/<record_id>"
_LINK = "/crm/objects/{v}/<start>/<start_id>/associations/<end>"
_LINKS = "/crm/associations/{v}/<start>/<end>"
_PROPERTIES = "/crm/properties/{v}/<of>"

ROUTES = (
    Route("GET", _OBJECTS, objects.list_page, "objects.read"),
    Route("POST", _OBJECTS, objects.create, "objects.write"),
    Route("GET", _ONE, objects.get, "objects.read"),
    Route("PATCH", _ONE, objects.update, "objects.write"),
    Route("DELETE", _ONE, objects.archive, "objects.write"),
    Route("POST", f"{_OBJECTS}/batch/read", objects.batch_read, "objects.read"),
    Route("POST", f"{_OBJECTS}/batch/create", objects.batch_create, "objects.write"),
    Route("POST", f"{_OBJECTS}/batch/update", objects.batch_update, "objects.write"),
    Route("POST", f"{_OBJECTS}/batch/archive", objects.batch_archive, "objects.write"),
    Route("POST", f"{_OBJECTS}/search", objects.search, "objects.read"),
    Route("POST", f"{_OBJECTS}/merge", objects.merge, "objects.write"),
    Route("POST", f"{_OBJECTS}/gdpr-delete", objects.erase, "objects.write"),
    Route("GET", _LINK, links.list_of, "objects.read"),
    Route("PUT", f"{_LINK}/<end_id>", links.put, "objects.write"),
    Route("DELETE", f"{_LINK}/<end_id>", links.delete, "objects.write"),
    Route("POST", f"{_LINKS}/batch/read", links.batch_read, "objects.read"),
    Route("POST", f"{_LINKS}/batch/create", links.batch_create, "objects.write"),
    Route("POST", f"{_LINKS}/batch/archive", links.batch_archive, "objects.write"),
    Route("POST", f"{_LINKS}/batch/labels/archive", links.batch_archive_labels, "objects.write"),
    Route("GET", f"{_LINKS}/labels", links.labels, "objects.read"),
    Route("POST", f"{_LINKS}/labels", links.create_label, "objects.write"),
    Route("DELETE", f"{_LINKS}/labels/<type_id>", links.delete_label, "objects.write"),
    Route("GET", _PROPERTIES, account.list_properties, "schemas.read"),
    Route("POST", _PROPERTIES, account.create_property, "schemas.write"),
    Route("GET", f"{_PROPERTIES}/<name>", account.get_property, "schemas.read"),
    Route("PATCH", f"{_PROPERTIES}/<name>", account.update_property, "schemas.write"),
    Route("DELETE", f"{_PROPERTIES}/<name>", account.archive_property, "schemas.write"),
    Route("GET", f"{_PROPERTIES}/groups", account.list_groups, "schemas.read"),
    Route("POST", f"{_PROPERTIES}/groups", account.create_group, "schemas.write"),
    Route("GET", f"{_PROPERTIES}/groups/<name>", account.get_group, "schemas.read"),
    Route("PATCH", f"{_PROPERTIES}/groups/<name>", account.update_group, "schemas.write"),
    Route("DELETE", f"{_PROPERTIES}/groups/<name>", account.archive_group, "schemas.write"),
    Route("GET", "/crm/limits/{v}/custom-properties", account.property_limits, "objects.read"),
    Route("GET", "/crm/limits/{v}/associations/labels", account.label_limits, "objects.read"),
    Route("GET", "/crm/owners/{v}", account.list_owners, "crm.objects.owners.read"),
    Route("GET", "/crm/owners/{v}/<owner_id>", account.get_owner, "crm.objects.owners.read"),
    Route("GET", "/crm/pipelines/{v}/<of>", account.pipelines, "objects.read"),
    Route("GET", "/account-info/{v}/details", account.details),
)
"""Every call the stand-in answers."""
