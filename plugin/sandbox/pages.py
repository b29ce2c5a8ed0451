"""What a sales rep sees: contacts, one contact, tasks. Everything done here is an edit at the
screen, like those of ``control.py``.

German, with ``?lang=en`` English. Times are shown in the account's zone. No script is needed
and nothing is loaded from elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from babel.dates import format_date
from flask import Blueprint, Response, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from plugin.manifest import LANGUAGES, manifest
from plugin.referral.model import Stage
from plugin.sandbox.portal import CONTACTS, DEALS, PIPELINES, TASKS
from plugin.sandbox.records import Record, Sandbox
from plugin.sandbox.refusals import Refused
from plugin.sandbox.views import DETAILS, Chip, TaskView, View, due, is_done

ROWS = 200
"""Contacts one list shows; who looks for another one searches."""


def pages(sandbox: Sandbox) -> Blueprint:
    """The blueprint of the rep's pages."""
    blueprint = Blueprint("pages", __name__)
    _register_reading(blueprint, sandbox)
    _register_contacts(blueprint, sandbox)
    _register_work(blueprint, sandbox)

    @blueprint.before_request
    def only_from_here() -> None:
        """Forms of other sites are refused."""
        origin = request.headers.get("Origin")
        if request.method == "POST" and origin and urlsplit(origin).netloc != request.host:
            abort(403)

    return blueprint


def _language() -> str:
    asked = request.args.get("lang", LANGUAGES[0])
    return asked if asked in LANGUAGES else LANGUAGES[0]


def _path(endpoint: str, **args: Any) -> str:
    """An address that keeps the language."""
    kept = {} if _language() == LANGUAGES[0] else {"lang": _language()}
    return url_for(f"pages.{endpoint}", **{**kept, **args})


def _render(sandbox: Sandbox, template: str, **values: Any) -> str:
    view = View(sandbox, _language())
    return render_template(
        template,
        word=view.word,
        path=_path,
        language=view.language,
        other=_other_language(view.language),
        today=format_date(sandbox.clock.now().astimezone(view.zone), "full", view.language),
        user=next(iter(sandbox.owners.values())),
        **values,
    )


def _other_language(present: str) -> tuple[str, str]:
    """(language, address of this page in it)."""
    other = next(one for one in LANGUAGES if one != present)
    if request.method == "GET" and request.endpoint:
        return other, url_for(request.endpoint, **{**(request.view_args or {}), "lang": other})
    return other, url_for("pages.contacts", lang=other)


def _register_reading(blueprint: Blueprint, sandbox: Sandbox) -> None:
    @blueprint.get("/")
    def home() -> AnyResponse:
        return redirect(_path("contacts"))

    @blueprint.get("/contacts")
    def contacts() -> str:
        with sandbox.lock:
            return _contact_list(sandbox)

    @blueprint.get("/contacts/<contact_id>")
    def contact(contact_id: str) -> str:
        with sandbox.lock:
            return _contact_page(sandbox, contact_id)

    @blueprint.get("/contacts/<int:portal_id>/record/<type_id>/<record_id>")
    def record(portal_id: int, type_id: str, record_id: str) -> AnyResponse:
        """HubSpot's own address of a record."""
        if portal_id != sandbox.portal.portal_id or type_id != CONTACTS.type_id:
            abort(404)
        return redirect(_path("contact", contact_id=record_id))

    @blueprint.get("/tasks")
    def tasks() -> str:
        with sandbox.lock:
            view = View(sandbox, _language())
            open_tasks = sorted((t for t in sandbox.all(TASKS) if not is_done(t)), key=due)
            groups: dict[str, list[TaskView]] = {"overdue": [], "due_today": [], "later": []}
            for task in map(view.task, open_tasks):
                groups[task.group].append(task)
            return _render(sandbox, "tasks.html", groups=groups, count=len(open_tasks))


def _contact_list(sandbox: Sandbox, problem: str = "") -> str:
    view = View(sandbox, _language())
    everybody = list(sandbox.all(CONTACTS))
    asked, words = request.args.get("stage", ""), request.args.get("q", "").strip()
    found = [
        contact
        for contact in everybody
        if (not asked or view.stage(contact) == asked) and words.lower() in _searched(contact)
    ]
    found.sort(key=lambda contact: view.name(contact).lower())
    counts = Counter(map(view.stage, everybody))
    labels = manifest().field("spiral_stage")
    return _render(
        sandbox,
        "contacts.html",
        rows=[view.row(contact) for contact in found[:ROWS]],
        hidden=max(0, len(found) - ROWS),
        total=len(everybody),
        stages=[
            (Chip(value=step, label=labels.option_label(step, view.language)), counts[step])
            for step in Stage
        ],
        asked=asked,
        words=words,
        details=[(name, view.word(name)) for name in DETAILS[:-1]],
        problem=problem,
    )


def _searched(contact: Record) -> str:
    return " ".join(contact.values.get(name, "") for name in CONTACTS.searched).lower()


def _contact_page(sandbox: Sandbox, contact_id: str, problem: str = "") -> str:
    contact = sandbox.find(CONTACTS, contact_id)
    if contact is None:
        abort(404)
    view = View(sandbox, _language())
    pipelines = [
        (p.label[view.language], [(s.key, s.label[view.language]) for s in p.stages])
        for p in PIPELINES
    ]
    return _render(
        sandbox, "contact.html", card=view.card(contact), pipelines=pipelines, problem=problem
    )


def _register_contacts(blueprint: Blueprint, sandbox: Sandbox) -> None:
    @blueprint.post("/contacts")
    def create_contact() -> AnyResponse:
        with sandbox.lock:
            try:
                mine = {"hubspot_owner_id": next(iter(sandbox.owners))}
                made = sandbox.create(CONTACTS, {**mine, **_filled()}, sandbox.person())
            except Refused as refused:
                return Response(_contact_list(sandbox, refused.message), 400)
            return _to_contact(made.id)

    @blueprint.post("/contacts/<contact_id>")
    def edit_contact(contact_id: str) -> AnyResponse:
        return _try(
            sandbox,
            contact_id,
            lambda contact: sandbox.update(contact, _posted(), sandbox.person()),
        )

    @blueprint.post("/contacts/<contact_id>/delete")
    def delete_contact(contact_id: str) -> AnyResponse:
        with sandbox.lock:
            sandbox.archive(_contact(sandbox, contact_id), sandbox.person())
        return redirect(_path("contacts"), 303)

    @blueprint.post("/contacts/<contact_id>/erase")
    def erase_contact(contact_id: str) -> AnyResponse:
        with sandbox.lock:
            sandbox.erase(CONTACTS, _contact(sandbox, contact_id).id, sandbox.person())
        return redirect(_path("contacts"), 303)


def _register_work(blueprint: Blueprint, sandbox: Sandbox) -> None:
    @blueprint.post("/contacts/<contact_id>/deals")
    def create_deal(contact_id: str) -> AnyResponse:
        def make(contact: Record) -> Record:
            chosen = request.form.get("dealstage", PIPELINES[0].stages[0].key)
            pipeline = next(p for p in PIPELINES if any(s.key == chosen for s in p.stages))
            values = {
                "hubspot_owner_id": contact.values.get("hubspot_owner_id", ""),
                "pipeline": pipeline.key,
                **_filled(),
            }
            links = [(CONTACTS, contact.id, ())]
            return sandbox.create(DEALS, values, sandbox.person(), links=links)

        return _try(sandbox, contact_id, make)

    @blueprint.post("/contacts/<contact_id>/deals/<deal_id>")
    def move_deal(contact_id: str, deal_id: str) -> AnyResponse:
        def move(_: Record) -> Record:
            return sandbox.update(sandbox.get(DEALS, deal_id), _filled(), sandbox.person())

        return _try(sandbox, contact_id, move)

    @blueprint.post("/tasks/<task_id>/done")
    def finish_task(task_id: str) -> AnyResponse:
        with sandbox.lock:
            task = sandbox.find(TASKS, task_id)
            if task:
                sandbox.update(task, {"hs_task_status": "COMPLETED"}, sandbox.person())
        return _back()

    @blueprint.post("/tasks/<task_id>/delete")
    def delete_task(task_id: str) -> AnyResponse:
        with sandbox.lock:
            task = sandbox.find(TASKS, task_id)
            if task:
                sandbox.archive(task, sandbox.person())
        return _back()


def _try(sandbox: Sandbox, contact_id: str, do: Callable[[Record], object]) -> AnyResponse:
    """Do it and show the contact again; where it is refused, with the reason."""
    with sandbox.lock:
        try:
            do(_contact(sandbox, contact_id))
        except Refused as refused:
            reasons = "; ".join(one["message"] for one in refused.errors) or refused.message
            return Response(_contact_page(sandbox, contact_id, reasons), 400)
    return _to_contact(contact_id)


def _contact(sandbox: Sandbox, contact_id: str) -> Record:
    found = sandbox.find(CONTACTS, contact_id)
    return found if found is not None else abort(404)


def _posted() -> Mapping[str, str]:
    """What a form changed of the values it was shown with: the rest may be newer by now."""
    names = filter(None, request.form.get("_fields", "").split(","))
    now = {name: ";".join(request.form.getlist(name)).replace("\r\n", "\n") for name in names}
    return {name: value for name, value in now.items() if value != _shown_with(name)}


def _shown_with(name: str) -> str:
    return request.form.get(f"_was:{name}", "").replace("\r\n", "\n")


def _filled() -> dict[str, str]:
    """What was typed into a form of a new record."""
    return {name: value.strip() for name, value in request.form.items() if value.strip()}


def _to_contact(contact_id: str) -> AnyResponse:
    return redirect(_path("contact", contact_id=contact_id), 303)


def _back() -> AnyResponse:
    """To the page the form was on: a contact's, else that of all tasks."""
    contact_id = request.form.get("contact_id", "")
    if contact_id:
        return _to_contact(contact_id)
    return redirect(_path("tasks"), 303)
