"""The app project that HubSpot's own command line uploads: one private app with a static token.

https://developers.hubspot.com/docs/apps/developer-platform/build-apps/create-an-app
https://developers.hubspot.com/docs/apps/developer-platform/add-features/configure-webhooks
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from plugin.manifest import manifest

PROJECT_NAME = "referral-spiral"
PLATFORM_VERSION = "2026.03"
WEBHOOK_PATH = "/webhooks/hubspot"
MAX_CONCURRENT_REQUESTS = 10
OUR_IN_FIELDS = "@in"
"""In the manifest's subscriptions: all in fields, and the mapped NPS/CSAT properties."""


GUIDE = """HubSpot sends webhooks as an app project tells it:
  python -m plugin hubspot-project my-hubspot-app
  (cd my-hubspot-app && hs account auth && hs project upload)"""


def project_files(*, public_url: str, rating_properties: Sequence[str]) -> dict[str, str]:
    """Relative path → content."""
    base = public_url.rstrip("/")
    return {
        "hsproject.json": _json(
            {"name": PROJECT_NAME, "srcDir": "src", "platformVersion": PLATFORM_VERSION}
        ),
        "src/app/app-hsmeta.json": _json(_app(base)),
        "src/app/webhooks/webhooks-hsmeta.json": _json(_webhooks(base, rating_properties)),
    }


def _app(base: str) -> dict[str, Any]:
    words = manifest()
    return {
        "uid": "referral_spiral_app",
        "type": "app",
        "config": {
            "name": words.title.en,
            "description": "Shows where each customer stands on the referral spiral.",
            "distribution": "private",
            "auth": {
                "type": "static",
                "requiredScopes": list(words.crms["hubspot"].scopes),
                "optionalScopes": [],
                "conditionallyRequiredScopes": [],
            },
            "permittedUrls": {"fetch": [base], "iframe": [], "img": []},
        },
    }


def _webhooks(base: str, rating_properties: Sequence[str]) -> dict[str, Any]:
    subscriptions: dict[str, list[dict[str, Any]]] = {
        "crmObjects": [],
        "legacyCrmObjects": [],
        "hubEvents": [],
    }
    for declared in manifest().crms["hubspot"].subscriptions:
        for one in _subscriptions(declared, rating_properties):
            subscriptions[_section(one["subscriptionType"])].append(one)
    return {
        "uid": "referral_spiral_webhooks",
        "type": "webhooks",
        "config": {
            "settings": {
                "targetUrl": base + WEBHOOK_PATH,
                "maxConcurrentRequests": MAX_CONCURRENT_REQUESTS,
            },
            "subscriptions": subscriptions,
        },
    }


def _subscriptions(
    declared: Mapping[str, Any], rating_properties: Sequence[str]
) -> Iterator[dict[str, Any]]:
    one: dict[str, Any] = {"subscriptionType": declared["type"]}
    if "object" in declared:
        one["objectType"] = declared["object"]
    if "properties" not in declared:
        yield one | {"active": True}
        return
    names: list[str] = []
    for name in declared["properties"]:
        names += [*manifest().keys_in, *rating_properties] if name == OUR_IN_FIELDS else [name]
    for name in dict.fromkeys(names):
        yield one | {"propertyName": name, "active": True}


def _section(subscription: str) -> str:
    """Which list of the file a type belongs to."""
    if subscription == "contact.privacyDeletion":
        return "hubEvents"
    return "crmObjects" if subscription.startswith("object.") else "legacyCrmObjects"


def _json(content: object) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
