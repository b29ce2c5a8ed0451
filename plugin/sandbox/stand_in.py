"""The sandbox CRM as the demo uses it: started, connected, and over HTTP alone."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import Any

import requests

from plugin.sandbox import story
from plugin.sandbox.api import VERSION
from plugin.sandbox.people import FIELDS, MARKER, CrmTask
from plugin.sandbox.portal import CRM, STAFF, Portal
from plugin.sandbox.processes import TIMEOUT, Processes, Trouble, http_session
from plugin.sandbox.story import REPS, Person


class StandIn:
    """A ``people.Crm``: its API, and what people do at its screens."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.clock_url = f"{url}/sandbox/clock"
        self._session = http_session()
        self._session.headers["Authorization"] = f"Bearer {token}"

    def call(self, method: str, path: str, body: object = None, **params: str) -> Any:
        """The JSON of an answer. Raises ``Trouble`` where the sandbox refuses."""
        try:
            answer = self._session.request(
                method, f"{self.url}{path}", json=body, params=params, timeout=TIMEOUT
            )
        except requests.RequestException as error:
            raise Trouble(f"The sandbox CRM does not answer: {error}") from error
        if not answer.ok:
            raise Trouble(f"The sandbox CRM refused {method} {path}: {answer.text}")
        return answer.json()

    def _do(self, method: str, path: str, **body: object) -> Any:
        """What a person does at the screen."""
        return self.call(method, f"/sandbox/ui/{path}", body)

    def _steer(self, path: str, **body: object) -> Any:
        """See ``control.py``."""
        return self.call("POST", f"/sandbox/{path}", body)

    # ---------------------------------------------------------------------- the reader

    def contacts(self) -> dict[str, dict[str, str]]:
        return {
            record["id"]: {name: record["properties"].get(name) or "" for name in FIELDS}
            for record in self._all("contacts", properties=",".join(FIELDS))
        }

    def tasks(self) -> list[CrmTask]:
        records = self._all(
            "tasks",
            properties="hs_task_subject,hs_task_body,hs_createdate,hubspot_owner_id",
            propertiesWithHistory="hs_task_status",
            associations="contacts",
        )
        return [_task(record) for record in records]

    def rep_shown(self, rep: str) -> str:
        return next(f"{one.name} ({one.id})" for one in STAFF if one.id == REPS[rep])

    def pages(self, contact_id: str, language: str) -> Mapping[str, str]:
        lang = f"?lang={language}"
        return {
            "All contacts": f"{self.url}/contacts{lang}",
            "One of them": f"{self.url}/contacts/{contact_id}{lang}",
            "All open tasks": f"{self.url}/tasks{lang}",
        }

    def _all(self, kind: str, **params: str) -> Iterator[dict[str, Any]]:
        following: dict[str, str] = {"limit": "100"}
        while following:
            page = self.call("GET", f"/crm/objects/{VERSION}/{kind}", **params, **following)
            yield from page["results"]
            after = page.get("paging", {}).get("next", {}).get("after")
            following = {"limit": "100", "after": after} if after else {}

    # -------------------------------------------------------------------------- people

    def meet(self, who: Person, fields: Mapping[str, str]) -> str:
        values = {
            "firstname": who.first,
            "lastname": who.last,
            "email": who.email,
            "company": who.company,
            "city": who.city,
            "hubspot_owner_id": REPS[who.rep],
            **fields,
        }
        made: str = self._do("POST", "contacts", properties=values, by=REPS[who.rep])["id"]
        return made

    def edit(self, contact_id: str, fields: Mapping[str, str], *, by: str) -> None:
        self._do("PATCH", f"contacts/{contact_id}", properties=dict(fields), by=REPS[by])

    def delete(self, contact_id: str, *, by: str) -> None:
        self._do("DELETE", f"contacts/{contact_id}", by=REPS[by])

    def merge(self, keep_id: str, drop_id: str, *, by: str) -> str:
        merged = self._do("POST", f"contacts/{keep_id}/merge", other=drop_id, by=REPS[by])
        kept: str = merged["id"]
        return kept

    def offer(self, offer: story.Offer, contact_id: str) -> str:
        rep = REPS[story.CAST[offer.to].rep]
        values = {
            "dealname": offer.name,
            "amount": str(offer.amount),
            "hubspot_owner_id": rep,
        }
        made: str = self._do(
            "POST",
            "deals",
            properties=values,
            contacts=[contact_id],
            attach_later=not offer.attached,
            by=rep,
        )["id"]
        return made

    def attach(self, deal_id: str, contact_id: str, *, by: str) -> None:
        self._do("POST", f"deals/{deal_id}/contacts", contacts=[contact_id], by=REPS[by])

    def close(self, deal_id: str, day: date, *, won: bool, by: str) -> None:
        del day  # the sandbox dates it by its clock, as HubSpot does
        stage = {"dealstage": "closedwon" if won else "closedlost"}
        self._do("PATCH", f"deals/{deal_id}", properties=stage, by=REPS[by])

    def complete(self, task: CrmTask) -> None:
        self._do("POST", f"tasks/{task.id}/complete", by=task.owner_id)

    # ---------------------------------------------------------------- webhooks, and time

    def is_delivering(self) -> bool:
        counts = self.call("GET", "/sandbox/webhooks/idle")
        return bool(counts["waiting"] != counts["held"])

    def send_twice(self) -> None:
        self._steer("webhooks/duplicate-last")

    def hold_up(self) -> None:
        self._steer("webhooks/late")

    def let_go(self) -> None:
        self._steer("webhooks/release")

    def swallow(self) -> None:
        self._steer("webhooks/lose")

    def travel(self, to: datetime | None) -> None:
        self._steer("clock", now=to.isoformat() if to else None)


def _task(record: Mapping[str, Any]) -> CrmTask:
    properties = record["properties"]
    kind, key = MARKER.findall(properties["hs_task_body"])[-1]
    last = record["propertiesWithHistory"]["hs_task_status"][0]
    ended = "done" if last["sourceType"] == "CRM_UI" else "withdrawn"
    joined = record.get("associations", {}).get("contacts", {}).get("results", ())
    return CrmTask(
        id=record["id"],
        kind=kind,
        key=key,
        subject=properties["hs_task_subject"],
        contacts=frozenset(one["id"] for one in joined),
        owner_id=properties["hubspot_owner_id"] or "",
        made_at=datetime.fromisoformat(properties["hs_createdate"]),
        end=ended if last["value"] == "COMPLETED" else "open",
    )


# -------------------------------------------------------------------------------- the stage


class StandInStage:
    """A ``stage.Stage``: the sandbox, whose app of the plugin was made beforehand."""

    name = CRM
    title = "The sandbox CRM"
    script = story.SCRIPT

    def __init__(self, url: str, web: str) -> None:
        self.url = url
        self._web = web
        self._token, self._secret = secrets.token_urlsafe(24), secrets.token_urlsafe(24)

    @property
    def settings(self) -> Mapping[str, str]:
        return {
            "HUBSPOT_CLIENT_SECRET": self._secret,
            "HUBSPOT_APP_ID": str(Portal().app_id),
            "HUBSPOT_API_URL": self.url,
            "HUBSPOT_TOKEN": "",  # it is typed in; a .env file must not come before that
        }

    def start(self, processes: Processes) -> None:
        started = processes.start(
            "sandbox",
            *("plugin.sandbox", "--port", self.url.rpartition(":")[2]),
            *("--token", self._token, "--secret", self._secret),
            *("--target", f"{self._web}/webhooks/{CRM}"),
        )
        processes.wait_for(started, f"{self.url}/sandbox/clock")

    def connect(self, processes: Processes, language: str) -> StandIn:
        connect = ("plugin", "connect", CRM, "--language", language)
        processes.run("connect", *connect, typed=f"{self._token}\n")
        processes.run("install", "plugin", "install", CRM)
        return StandIn(self.url, self._token)
