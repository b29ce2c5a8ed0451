"""What people do at the CRM's screens, and how the sandbox itself is steered: plain JSON calls.

They are not HubSpot's and need no token. People's doings count as edits at the screen
(``CRM_UI``); ``"by": "<owner id>"`` in a body says whose, else it is the first of the staff.

People, under ``/sandbox/ui``:

``POST /<type>``
    ``{"properties", "contacts": [ids], "attach_later": false}`` makes a contact, deal or task and
    joins it to the contacts; with ``attach_later`` that is left for a later call.
``PATCH /<type>/<id>``, ``DELETE /<type>/<id>``, ``POST /<type>/<id>/restore``
    ``{"properties"}`` changes it; into the recycling bin; out of it.
``POST, DELETE /deals/<id>/contacts``
    ``{"contacts": [ids]}`` joins to, parts from.
``POST /contacts/<id>/merge``, ``POST /contacts/<id>/gdpr``
    ``{"other": id}`` answers the record that results; privacy deletion.
``POST /tasks/<id>/complete``
    A task is done.
``POST /owners``, ``DELETE /owners/<id>``
    ``{"id", "user_id", "first_name", "last_name", "email"}`` joins the staff; somebody leaves.

The sandbox, under ``/sandbox``:

``GET, POST /clock``
    ``{"now": ISO or null}`` travels in time; null returns to the present.
``POST /webhooks/hold``, ``…/release``, ``…/duplicate-last``
    Keep events back; send them; send the batch delivered last once more.
``POST /webhooks/late``, ``…/lose``
    ``{"events": 1, "seconds": null}``: the next events are overtaken by those after them (until
    ``release`` where no seconds are given); the next events are never sent.
``GET /webhooks/idle``
    ``{"idle": true, …}`` with counts: nothing is left to deliver.
``POST /faults``
    ``[{"status", "drop", "delay", "path", "method", "headers", "body", "times": 1}, …]`` for the
    next API calls, see ``records.Fault``; ``[]`` clears.
``GET /state``
    Everything: records with associations (not with ``?records=no``), calls by endpoint, answers
    by status, webhooks.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, request

from plugin.sandbox.portal import CONTACTS, DEALS, OBJECT_TYPES, TASKS, Owner, object_type
from plugin.sandbox.properties import instant, iso
from plugin.sandbox.records import Fault, Record, Sandbox
from plugin.sandbox.refusals import Refused, bad_input
from plugin.sandbox.webhooks import Source
from plugin.sandbox.wire import properties_of, shape, text_of

Body = dict[str, Any]


def control(sandbox: Sandbox) -> Blueprint:
    """The blueprint people's doings come through."""
    blueprint = Blueprint("control", __name__, url_prefix="/sandbox")
    _register_records(blueprint, sandbox)
    _register_joining(blueprint, sandbox)
    _register_staff(blueprint, sandbox)
    _register_steering(blueprint, sandbox)
    _register_webhooks(blueprint, sandbox)

    @blueprint.errorhandler(Refused)
    def refused(error: Refused) -> tuple[Response, int]:
        return jsonify(error.as_body()), error.status

    return blueprint


def _register_records(blueprint: Blueprint, sandbox: Sandbox) -> None:
    @blueprint.post("/ui/<of>")
    def create(of: str) -> tuple[Response, int]:
        body = _sent()
        with sandbox.lock:
            kind = object_type(of)
            joined = [] if body.get("attach_later") else body.get("contacts", [])
            links = [(CONTACTS, contact_id, ()) for contact_id in joined]
            record = sandbox.create(kind, properties_of(body), _by(sandbox, body), links=links)
            return jsonify(shape(sandbox, record)), 201

    @blueprint.patch("/ui/<of>/<record_id>")
    def update(of: str, record_id: str) -> Response:
        body = _sent()
        with sandbox.lock:
            record = sandbox.get(object_type(of), record_id)
            sandbox.update(record, properties_of(body), _by(sandbox, body))
            return jsonify(shape(sandbox, record))

    @blueprint.delete("/ui/<of>/<record_id>")
    def delete(of: str, record_id: str) -> Response:
        with sandbox.lock:
            sandbox.archive(sandbox.get(object_type(of), record_id), _by(sandbox, _sent()))
            return jsonify({})

    @blueprint.post("/ui/<of>/<record_id>/restore")
    def restore(of: str, record_id: str) -> Response:
        with sandbox.lock:
            record = sandbox.restore(object_type(of), record_id, _by(sandbox, _sent()))
            return jsonify(shape(sandbox, record))

    @blueprint.post("/ui/<of>/<record_id>/merge")
    def merge(of: str, record_id: str) -> Response:
        body = _sent()
        with sandbox.lock:
            kind = object_type(of)
            other = sandbox.get(kind, text_of(body, "other"))
            record = sandbox.merge(sandbox.get(kind, record_id), other, _by(sandbox, body))
            return jsonify(shape(sandbox, record))

    @blueprint.post("/ui/<of>/<record_id>/gdpr")
    def erase(of: str, record_id: str) -> Response:
        sandbox.erase(object_type(of), record_id, _by(sandbox, _sent()))
        return jsonify({})

    @blueprint.post("/ui/tasks/<record_id>/complete")
    def complete(record_id: str) -> Response:
        with sandbox.lock:
            record = sandbox.get(TASKS, record_id)
            done = {"hs_task_status": "COMPLETED"}
            return jsonify(shape(sandbox, sandbox.update(record, done, _by(sandbox, _sent()))))


def _register_joining(blueprint: Blueprint, sandbox: Sandbox) -> None:
    @blueprint.route("/ui/deals/<deal_id>/contacts", methods=["POST", "DELETE"])
    def join(deal_id: str) -> Response:
        body = _sent()
        with sandbox.lock:
            deal, by = sandbox.get(DEALS, deal_id), _by(sandbox, body)
            for contact in [sandbox.get(CONTACTS, one) for one in body.get("contacts", [])]:
                if request.method == "POST":
                    sandbox.associate(deal, contact, (), by)
                else:
                    sandbox.part(deal, contact, by)
            return jsonify(shape(sandbox, deal))


def _register_staff(blueprint: Blueprint, sandbox: Sandbox) -> None:
    @blueprint.post("/ui/owners")
    def hire() -> tuple[Response, int]:
        body = _sent()
        owner = Owner(
            id=text_of(body, "id"),
            user_id=int(body.get("user_id", 0)),
            first_name=body.get("first_name", ""),
            last_name=body.get("last_name", ""),
            email=body.get("email", ""),
        )
        with sandbox.lock:
            sandbox.owners[owner.id] = owner
        return jsonify({"id": owner.id}), 201

    @blueprint.delete("/ui/owners/<owner_id>")
    def dismiss(owner_id: str) -> Response:
        sandbox.dismiss(owner_id)
        return jsonify({})


def _register_steering(blueprint: Blueprint, sandbox: Sandbox) -> None:
    @blueprint.route("/clock", methods=["GET", "POST"])
    def clock() -> Response:
        with sandbox.lock:
            if request.method == "POST":
                now = _sent().get("now")
                try:
                    sandbox.clock.set(instant(now) if now is not None else None)
                except (ValueError, TypeError, OverflowError):
                    raise bad_input(f"{now!r} is not an instant") from None
            return jsonify({"now": iso(sandbox.clock.now())})

    @blueprint.post("/faults")
    def faults() -> Response:
        planned: list[Body] = request.get_json()
        with sandbox.lock:
            if not planned:
                sandbox.faults.clear()
            for one in planned:
                times = one.pop("times", 1)
                try:
                    sandbox.faults.extend([Fault(**one)] * times)
                except TypeError as error:
                    raise bad_input(str(error)) from None
            return jsonify({"planned": len(sandbox.faults)})

    @blueprint.get("/state")
    def state() -> Response:
        kinds = () if request.args.get("records") == "no" else OBJECT_TYPES
        with sandbox.lock:
            return jsonify(
                {
                    "now": iso(sandbox.clock.now()),
                    **{
                        of.plural: [_whole(sandbox, record) for record in sandbox.all(of)]
                        for of in kinds
                    },
                    "calls": dict(sandbox.calls),
                    "answers": {str(status): n for status, n in sandbox.answers.items()},
                    "faults": len(sandbox.faults),
                    "webhooks": sandbox.outbox.status(),
                }
            )


def _register_webhooks(blueprint: Blueprint, sandbox: Sandbox) -> None:
    outbox = sandbox.outbox

    @blueprint.post("/webhooks/<action>")
    def steer(action: str) -> tuple[Response, int]:
        body = _sent()
        match action:
            case "hold":
                outbox.hold()
            case "release":
                outbox.release()
            case "duplicate-last":
                return jsonify({"events": outbox.duplicate_last()}), 200
            case "late":
                outbox.late(body.get("events", 1), body.get("seconds"))
            case "lose":
                outbox.lose(body.get("events", 1))
            case _:
                raise Refused(404, "OBJECT_NOT_FOUND", f"Webhooks cannot {action!r}")
        return jsonify(outbox.status()), 200

    @blueprint.get("/webhooks/idle")
    def idle() -> Response:
        return jsonify(outbox.status())


def _sent() -> Body:
    body = request.get_json(silent=True)
    return body if isinstance(body, dict) else {}


def _by(sandbox: Sandbox, body: Body) -> Source:
    return sandbox.person(body.get("by"))


def _whole(sandbox: Sandbox, record: Record) -> Body:
    """A record with all it has and what it is joined to."""
    links = {
        of.plural: [linked.id for linked, _ in sandbox.linked(record, of)] for of in OBJECT_TYPES
    }
    return {
        **shape(sandbox, record),
        "associations": {name: ids for name, ids in links.items() if ids},
    }
