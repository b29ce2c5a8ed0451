"""The two things in which this BottleCRM is not as everybody's.

Its webhooks may go to this machine itself, where the plugin of the demo runs: the product
refuses every address that is not public. And it lives in the time of the story, in which two
years pass in a minute. Everything else is the product's own code.
"""

from __future__ import annotations

import ipaddress

from django.apps import AppConfig
from django.utils import timezone

from plugin.sandbox.bottlecrm.inside import clock

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class StoryConfig(AppConfig):  # type: ignore[misc]
    """Comes last among the apps, when all others are ready."""

    name = "plugin.sandbox.bottlecrm.inside"
    label = "story"

    def ready(self) -> None:
        _let_webhooks_reach_this_machine()
        # Dates of records, of deals won and of webhooks. Their signatures and the sign-ins of
        # people are made with `time.time` and stay in real time, as is the plugin's tolerance.
        timezone.now = clock.now


def _let_webhooks_reach_this_machine() -> None:
    from webhooks import ssrf

    refused = ssrf.is_blocked

    def is_blocked(address: Address) -> bool:
        return not address.is_loopback and refused(address)

    class AnyPort:
        def __contains__(self, _port: int) -> bool:
            return True

    ssrf.is_blocked = is_blocked
    ssrf._allowed_ports = AnyPort
