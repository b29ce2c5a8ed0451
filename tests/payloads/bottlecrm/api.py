"""BottleCRM's API over one organisation: the gate, and what each path answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

from tests.payloads.bottlecrm.checking import lacking, refuse_if, same, usual_id
from tests.payloads.bottlecrm.listing import (
    PAGE,
    fits_contact,
    fits_deal,
    fits_task,
    natural,
    newest_first,
    odd_offset,
    page_of,
)
from tests.payloads.bottlecrm.organisation import Organisation
from tests.payloads.bottlecrm.records import (
    CURRENCIES,
    CURRENCY,
    KINDS,
    LABELS,
    PRIORITIES,
    STAGES,
    STATUSES,
    ZONE,
    Body,
    Refused,
    Request,
    Row,
    api_time,
)

Answer = tuple[int, Any, Mapping[str, str]]
View = Callable[..., tuple[int, Any]]

NO_CONTEXT = "Organization context is required. Please login again."
CREDENTIALS = (
    "API tokens and organization API keys cannot read or manage other credentials. "
    "Sign in to manage them."
)
CREDENTIAL_PATHS = (
    "/api/profile/tokens/", "/api/org/tokens/", "/api/org/api-key/", "/api/webhooks/",
    "/api/automation/", "/api/org/audit-log/", "/api/profile/calendar-feed/",
)  # fmt: skip
"""No token reaches these, whatever its scopes."""
SHOWN_DEALS = 10
"""A contact's detail shows its newest deals only."""
FEED = 50
"""Doings that are told at most, and there is no second page."""


class Api:
    """``tokens``: personal access tokens of the admin → their scopes, none for all."""

    def __init__(self, organisation: Organisation, tokens: Mapping[str, Sequence[str]]) -> None:
        self._org = organisation
        self._tokens = tokens
        self._routes = self._routed()

    def answer(self, method: str, path: str, query: Mapping[str, str], body: Any,
               headers: Mapping[str, str]) -> Answer:  # fmt: skip
        try:
            self._admit(method, path, headers)
            call, found = self._route(method, path)
            told = body if isinstance(body, dict) else {}
            request = Request(query=query, body=told, by=self._org.admin)
            status, content = call(request, *found)
        except Refused as refused:
            return refused.status, refused.body, refused.headers
        return status, content, {}

    def _admit(self, method: str, path: str, headers: Mapping[str, str]) -> None:
        bearer = headers.get("authorization", "")
        token = bearer[7:] if bearer.startswith("Bearer ") else headers.get("token", "")
        scopes = self._tokens.get(token)
        if scopes is None:
            raise Refused(403, {"detail": NO_CONTEXT})
        if path.startswith(CREDENTIAL_PATHS):
            raise Refused(403, {"detail": CREDENTIALS})
        resource = path.removeprefix("/api/").split("/")[0]
        reads = method in ("GET", "HEAD", "OPTIONS") or path == "/api/contacts/duplicates/"
        action = "read" if reads else "write"
        if scopes and not {f"{resource}:{action}", f"*:{action}"} & set(scopes):
            told = (
                f"This token is not scoped for {action} access to {resource}. "
                f"It needs the {resource}:{action} scope."
            )
            raise Refused(403, {"detail": told})

    def _routed(self) -> list[tuple[re.Pattern[str], Mapping[str, View]]]:
        fields = self._org.fields
        routes: dict[str, Mapping[str, View]] = {
            "profile/": {"GET": self._whoami},
            "org/": {"GET": self._orgs},
            "org/settings/": {"GET": self._settings},
            "org/ID/": {"GET": self._one_org},
            "users/": {"GET": self._users},
            "users/get-teams-and-users/": {"GET": self._team},
            "activities/": {"GET": self._activities},
            "custom-fields/": {"GET": fields.list_all, "POST": fields.create},
            "custom-fields/ID/": {
                "GET": fields.show, "PUT": fields.update, "DELETE": fields.switch_off,
            },
            "contacts/": {"GET": self._list_contacts, "POST": self._post_contact},
            "contacts/duplicates/": {"POST": self._duplicates},
            "contacts/ID/": {
                "GET": self._get_contact, "PUT": self._put_contact, "PATCH": self._patch_contact,
                "DELETE": self._drop_contact,
            },
            "opportunities/": {"GET": self._list_deals, "POST": self._post_deal},
            "opportunities/pipelines/": {"GET": self._pipelines},
            "opportunities/ID/": {
                "GET": self._get_deal, "PATCH": self._patch_deal, "DELETE": self._drop_deal,
            },
            "tasks/": {"GET": self._list_tasks, "POST": self._post_task},
            "tasks/ID/": {
                "GET": self._get_task, "PATCH": self._patch_task, "DELETE": self._drop_task,
            },
        }  # fmt: skip
        return [(re.compile("/api/" + path.replace("ID", "([^/]+)")), methods)
                for path, methods in routes.items()]  # fmt: skip

    def _route(self, method: str, path: str) -> tuple[View, tuple[str, ...]]:
        for pattern, methods in self._routes:
            found = pattern.fullmatch(path)
            ids = [usual_id(one) for one in found.groups()] if found else []
            if found and None not in ids:
                if method not in methods:
                    raise Refused(405, {"detail": f'Method "{method}" not allowed.'})
                return methods[method], tuple(one for one in ids if one)
            if pattern.fullmatch(f"{path}/"):
                raise Refused(301, b"", Location=f"{path}/")
        raise Refused(404, b"<h1>Not Found</h1>", **{"Content-Type": "text/html"})

    # ---------------------------------------------------------------- the organisation

    def _whoami(self, request: Request) -> tuple[int, Any]:
        return 200, {"user_obj": {**self._org.profile_shape(request.by), "teams": []}}

    def _orgs(self, request: Request) -> tuple[int, Any]:
        member = {
            "role": request.by.role, "alternate_phone": None, "has_sales_access": False,
            "has_marketing_access": False, "is_organization_admin": True,
            "org": self._org.reference(),
        }  # fmt: skip
        return 200, {"error": False, "status": 200, "profile_org_list": [member]}

    def _one_org(self, request: Request, org_id: str) -> tuple[int, Any]:
        if org_id != self._org.id:
            raise Refused(403, {"error": True, "errors": "Cannot access a different organization"})
        return 200, {"error": False, "org": self._org.reference()}

    def _settings(self, request: Request) -> tuple[int, Any]:
        empty = (
            "company_name", "address_line", "city", "state", "postcode", "country", "phone",
            "email", "website", "tax_id",
        )  # fmt: skip
        return 200, {
            **self._org.reference(), **dict.fromkeys(empty, ""), "logo": None, "logo_url": None,
            "default_currency": CURRENCY, "default_country": "DE", "currency_symbol": "€",
            "timezone": str(ZONE), "csat_enabled": True,
            "auto_close_children_on_parent_close": False, "invoice_number_prefix": "INV-",
            "estimate_number_prefix": "EST-", "number_date_part": "DAY", "number_padding": 4,
            "invoice_number_start": 1, "vertical": "", "terminology": {},
            "member_count": len(self._org.profiles),
            "created_at": api_time(self._org.admin.created_at),
        }  # fmt: skip

    def _team(self, request: Request) -> tuple[int, Any]:
        """Those who left are not in it."""
        active = sorted((one for one in self._org.profiles.values() if one.active),
                        key=lambda one: one.email)  # fmt: skip
        return 200, {"teams": [], "profiles": [self._org.profile_shape(one) for one in active]}

    def _users(self, request: Request) -> tuple[int, Any]:
        """``limit`` and ``offset`` page both halves."""
        answer: Body = {}
        for word, active in (("active", True), ("inactive", False)):
            found = [one for one in self._org.profiles.values() if one.active is active]
            found = [one for one in found if request.query.get("email", "") in one.email]
            found.sort(key=lambda one: one.id, reverse=True)
            page, _ = page_of(found, request.query)
            answer[f"{word}_users"] = {
                f"{word}_users_count": len(found),
                f"{word}_users": [
                    {
                        **self._org.profile_shape(one),
                        "active_token_count": 1 if one is request.by else 0,
                    }
                    for one in page
                ],
                "offset": odd_offset(found, page),
            }
        return 200, {
            **answer, "admin_email": self._org.admin.email,
            "roles": [["ADMIN", "ADMIN"], ["USER", "USER"]],
            "status": [["True", "Active"], ["False", "In Active"]],
        }  # fmt: skip

    def _activities(self, request: Request) -> tuple[int, Any]:
        """The last doings, the newest first; not the times fields were made."""
        kind = request.query.get("entity_type")
        found = [one for one in reversed(self._org.feed) if kind in (None, "", one["entity_type"])]
        shown = found[: min(natural(request.query.get("limit")) or PAGE, FEED)]
        return 200, {"error": False, "count": len(shown), "activities": shown}

    # ------------------------------------------------------------------------- contacts

    def _list_contacts(self, request: Request) -> tuple[int, Any]:
        query = request.query
        found = [row for row in self._org.contacts.values() if fits_contact(row, query)]
        matching = newest_first(found)
        rows = [] if query.get("is_active") == "false" else matching
        page, offset = page_of(rows, query)
        shown = [self._org.contact_shape(row) for row in page]
        return 200, {
            "active_count": len(matching), "inactive_count": 0, "per_page": PAGE,
            "page_number": offset // PAGE + 1, "count": len(rows), "results": shown,
            "contacts_count": len(rows), "offset": odd_offset(rows, page),
            "contact_obj_list": shown, "countries": countries(), "users": self._mentions("id"),
        }  # fmt: skip

    def _post_contact(self, request: Request) -> tuple[int, Any]:
        made = self._org.create_contact(request)
        return 200, {"error": False, "message": "Contact created Successfuly", "id": made}

    def _get_contact(self, request: Request, contact_id: str) -> tuple[int, Any]:
        row = self._org.contact_row(contact_id)
        deals = newest_first(one for one in self._org.deals.values() if row.id in one.contacts)
        tasks = newest_first(one for one in self._org.tasks.values() if row.id in one.contacts)
        address = ("address_line", "city", "state", "postcode", "country")
        return 200, {
            "contact_obj": self._org.contact_shape(row),
            "address_obj": {name: row.values[name] for name in address},
            "countries": countries(), "comments": [], "attachments": [],
            "assigned_data": [
                {"id": one.user_id, "name": one.email} for one in self._org.assignees(row)
            ],
            "tasks": [self._org.task_shape(one) for one in tasks],
            "users_mention": self._mentions(),
            "opportunities": [self._org.deal_line(one) for one in deals[:SHOWN_DEALS]],
            "open_deals": open_deals(deals), "opportunity_count": len(deals), "cases": [],
            "colleagues": [], "custom_field_definitions": self._org.fields.active("Contact"),
            "can_delete": True,
        }  # fmt: skip

    def _patch_contact(self, request: Request, contact_id: str) -> tuple[int, Any]:
        self._org.update_contact(request, self._org.contact_row(contact_id))
        return 200, {"error": False, "message": "Contact Updated Successfully"}

    def _put_contact(self, request: Request, contact_id: str) -> tuple[int, Any]:
        """Both names are needed, and who is not assigned in it is assigned no longer."""
        row = self._org.contact_row(contact_id)
        refuse_if(lacking(request.body, ("first_name", "last_name")))
        whole = Request(query={}, body={"assigned_to": [], **request.body}, by=request.by)
        return self._patch_contact(whole, row.id)

    def _drop_contact(self, request: Request, contact_id: str) -> tuple[int, Any]:
        self._org.delete_contact(request, self._org.contact_row(contact_id))
        return 200, {"error": False, "message": "Contact Deleted Successfully."}

    def _duplicates(self, request: Request) -> tuple[int, Any]:
        hits = []
        for row in self._org.contacts.values():
            seen = [
                name for name, keys in (
                    ("email", ("email",)), ("phone", ("phone",)),
                    ("name", ("first_name", "last_name")),
                )
                if all(same(row.values[key], request.body.get(key)) for key in keys)
            ]  # fmt: skip
            if seen:
                hits.append({
                    "id": row.id, "name": f"{row.values['first_name']} {row.values['last_name']}",
                    "email": row.values["email"], "phone": row.values["phone"],
                    "matched_on": seen, "can_delete": True,
                })  # fmt: skip
        return 200, {"duplicates": hits}

    # ---------------------------------------------------------------------------- deals

    def _pipelines(self, request: Request) -> tuple[int, Any]:
        stages = [
            {
                "id": self._org.stage_ids[code], "code": code, "label": label, "order": order,
                "kind": kind, "expected_days": days, "warning_days": None,
            }
            for order, (code, label, kind, days, _) in enumerate(STAGES, start=1)
        ]  # fmt: skip
        sales = {"id": self._org.pipeline, "name": "Sales", "is_default": True, "stages": stages}
        return 200, {"pipelines": [sales]}

    def _list_deals(self, request: Request) -> tuple[int, Any]:
        """Ordered by id, which is random: a new deal may come to stand on any page. The sums of
        the real answer are left out."""
        query = request.query
        found = [row for row in self._org.deals.values() if fits_deal(row, query)]
        found.sort(key=lambda row: row.id, reverse=True)
        page, offset = page_of(found, query)
        return 200, {
            "totals": {
                "count": len(found), "amount_sum": None, "weighted_sum": None, "by_currency": [],
                "stalled_count": 0,
            },
            "per_page": PAGE, "page_number": offset // PAGE + 1,
            "opportunities_count": len(found), "offset": odd_offset(found, page),
            "opportunities": [{**self._org.deal_shape(row), "next_activity": None} for row in page],
            "accounts_list": [], "contacts_list": self._picker(), "tags": [],
            "stage": stage_choices(), "lead_source": [["call", "Call"]],
            "currency": [[code, code] for code in CURRENCIES],
        }  # fmt: skip

    def _post_deal(self, request: Request) -> tuple[int, Any]:
        made = self._org.create_deal(request)
        return 200, {"error": False, "message": "Opportunity Created Successfully", "id": made}

    def _get_deal(self, request: Request, deal_id: str) -> tuple[int, Any]:
        row = self._org.deal_row(deal_id)
        people = self._org.people(row)
        users = sorted((one for one in self._org.profiles.values() if one.active),
                       key=lambda one: one.email)  # fmt: skip
        return 200, {
            "opportunity_obj": self._org.deal_shape(row), "comments": [], "attachments": [],
            "contacts": [self._org.person(one, "title", "department") for one in people],
            "users": [self._org.profile_shape(one) for one in users], "stage": stage_choices(),
            "lead_source": [["call", "Call"]], "currency": [[code, code] for code in CURRENCIES],
            "comment_permission": True, "users_mention": self._mentions(),
            "custom_field_definitions": self._org.fields.active("Opportunity"), "can_delete": True,
        }  # fmt: skip

    def _patch_deal(self, request: Request, deal_id: str) -> tuple[int, Any]:
        self._org.update_deal(request, self._org.deal_row(deal_id))
        return 200, {"error": False, "message": "Opportunity Updated Successfully"}

    def _drop_deal(self, request: Request, deal_id: str) -> tuple[int, Any]:
        self._org.delete_deal(request, self._org.deal_row(deal_id))
        return 200, {"error": False, "message": "Opportunity Deleted Successfully."}

    # ---------------------------------------------------------------------------- tasks

    def _list_tasks(self, request: Request) -> tuple[int, Any]:
        """Without descriptions and contacts, and ordered by id, which is random."""
        query = request.query
        found = [row for row in self._org.tasks.values() if fits_task(row, query)]
        found.sort(key=lambda row: row.id, reverse=True)
        page, _ = page_of(found, query)
        left_out = ("description", "created_by", "contacts", "teams", "custom_fields")
        shown = [
            {
                name: value
                for name, value in self._org.task_shape(row).items()
                if name not in left_out
            }
            for row in page
        ]
        answer = {
            "totals": self._task_totals(found), "tasks_count": len(found),
            "offset": odd_offset(found, page), "tasks": shown,
            "status": [[one, one] for one in STATUSES],
            "priority": [[one, one] for one in PRIORITIES], "users": self._mentions("id"),
        }  # fmt: skip
        if query.get("slim") != "true":
            answer |= {"accounts_list": [], "contacts_list": self._picker()}
        return 200, answer

    def _task_totals(self, rows: Sequence[Row]) -> Body:
        today = self._org.clock().astimezone(ZONE).date()
        week = (today + timedelta(days=7)).isoformat()
        still_open = [row for row in rows if row.values["status"] != "Completed"]
        due = [row.values["due_date"] for row in still_open if row.values["due_date"]]
        return {
            "count": len(rows),
            "open": len(still_open),
            "overdue": sum(day < today.isoformat() for day in due),
            "due_today": due.count(today.isoformat()),
            "due_this_week": sum(today.isoformat() <= day <= week for day in due),
            "no_due_date": len(still_open) - len(due),
            "unassigned": sum(not row.assigned for row in still_open),
        }

    def _post_task(self, request: Request) -> tuple[int, Any]:
        """The answer does not tell the id."""
        self._org.create_task(request)
        return 200, {"error": False, "message": "Task Created Successfully"}

    def _get_task(self, request: Request, task_id: str) -> tuple[int, Any]:
        row = self._org.task_row(task_id)
        users = [self._org.profile_shape(one) for one in self._org.profiles.values() if one.active]
        return 200, {
            "task_obj": self._org.task_shape(row), "attachments": [], "comments": [],
            "users_mention": self._mentions(),
            "assigned_data": [
                {"id": one.id, "user__email": one.email} for one in self._org.assignees(row)
            ],
            "custom_field_definitions": self._org.fields.active("Task"), "users": users,
            "users_excluding_team": users, "teams": [],
        }  # fmt: skip

    def _patch_task(self, request: Request, task_id: str) -> tuple[int, Any]:
        self._org.update_task(request, self._org.task_row(task_id))
        return 200, {"error": False, "message": "Task updated Successfully"}

    def _drop_task(self, request: Request, task_id: str) -> tuple[int, Any]:
        self._org.delete_task(request, self._org.task_row(task_id))
        return 200, {"error": False, "message": "Task deleted Successfully"}

    # --------------------------------------------------------------------------- inside

    def _picker(self) -> list[Body]:
        return [self._org.person(row) for row in newest_first(self._org.contacts.values())]

    def _mentions(self, *more: str) -> list[Body]:
        active = [one for one in self._org.profiles.values() if one.active]
        return [
            {**{name: getattr(one, name) for name in more}, "user__email": one.email}
            for one in active
        ]


def countries() -> list[list[str]]:
    return [["AT", "Austria"], ["CH", "Switzerland"], ["DE", "Germany"]]


def stage_choices() -> list[list[str]]:
    return [[code, label] for code, label in LABELS.items()]


def open_deals(rows: Iterable[Row]) -> Body:
    groups: dict[str, list[Decimal]] = {}
    for row in rows:
        if KINDS[row.values["stage"]] == "open":
            amount = Decimal(row.values["amount"] or 0)
            groups.setdefault(row.values["currency"] or CURRENCY, []).append(amount)
    by_currency = [
        {"currency": currency, "count": len(found), "amount": str(sum(found))}
        for currency, found in groups.items()
    ]
    alone = by_currency[0]["amount"] if len(by_currency) == 1 else None
    return {
        "amount": alone if groups else "0",
        "count": sum(len(found) for found in groups.values()),
        "by_currency": by_currency,
    }
