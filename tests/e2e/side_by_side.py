"""Two portals and one installation: HubSpot has one address for all, the token tells them apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from flask import Flask
from werkzeug.wrappers import Response

from plugin.sandbox.portal import Portal
from plugin.sandbox.records import Sandbox
from plugin.sandbox.server import create_sandbox, serving
from plugin.sandbox.webhooks import Outbox
from tests.databases import Databases
from tests.e2e.plant import Plant, running
from tests.listening import listening

FIRST = Portal(portal_id=1001, token="first-portal-token", rate_limit=100_000)
SECOND = Portal(portal_id=2002, token="second-portal-token", rate_limit=100_000)
OWN_APP = Portal(
    portal_id=2002,
    app_id=777,
    token="second-portal-token",
    secret="secret-of-its-own-app",
    rate_limit=100_000,
)


@contextmanager
def two_portals(databases: Databases, second: Portal = SECOND) -> Iterator[tuple[Plant, Plant]]:
    """An installation as either portal sees it; nothing is connected yet.

    With an app of its own the second portal delivers to an address of its own.
    """
    own = second.app_id != FIRST.app_id
    with ExitStack() as stack:
        apps: dict[str, Flask] = {}
        api = stack.enter_context(_one_address(apps))
        one = stack.enter_context(running(databases, FIRST, HUBSPOT_API_URL=api))
        url = one.environ["PUBLIC_URL"] + "/webhooks/hubspot"
        url += f"/{second.portal_id}" if own else ""
        crm = Sandbox(second, outbox=Outbox(second, target=url, public_url=url, retry_unit=0.05))
        environ = {**one.environ, "HUBSPOT_TOKEN": second.token}
        two = Plant(crm, stack.enter_context(serving(crm)), one.parts, environ)
        for plant in (one, two):
            apps[f"Bearer {plant.crm.portal.token}"] = create_sandbox(plant.crm)
        yield one, two


@contextmanager
def _one_address(apps: Mapping[str, Flask]) -> Iterator[str]:
    def by_token(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        app = apps.get(environ.get("HTTP_AUTHORIZATION", ""), Response(status=401))
        return app(environ, start_response)

    with listening(by_token) as url:
        yield url
