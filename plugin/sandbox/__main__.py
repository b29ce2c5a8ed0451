"""``python -m plugin.sandbox``: the stand-in CRM on this machine."""

from __future__ import annotations

import time

import click

from plugin.sandbox.portal import (
    APP_ID,
    CUSTOM_PROPERTIES,
    PORTAL_ID,
    SECRET,
    TIME_ZONE,
    TOKEN,
    Portal,
)
from plugin.sandbox.records import Sandbox
from plugin.sandbox.server import serving
from plugin.sandbox.webhooks import Outbox


@click.command()
@click.option("--port", default=8765, show_default=True)
@click.option("--portal", "portal_id", default=PORTAL_ID, show_default=True)
@click.option("--app-id", default=APP_ID, show_default=True)
@click.option("--token", default=TOKEN, show_default=True)
@click.option("--secret", default=SECRET, show_default=True)
@click.option("--target", help="Where webhooks are sent; without it none are.")
@click.option("--public-url", help="The address webhooks are signed for; default: the target.")
@click.option("--time-zone", default=TIME_ZONE, show_default=True)
@click.option("--no-labels", is_flag=True, help="A tier without association labels.")
@click.option("--custom-properties", default=CUSTOM_PROPERTIES, show_default=True)
@click.option("--enforce-rate", is_flag=True, help="Answer 429 past 100 calls in 10 seconds.")
@click.option(
    "--retry-unit", default=1.0, show_default=True, help="Seconds before a first webhook retry."
)
def main(
    *,
    port: int,
    portal_id: int,
    app_id: int,
    token: str,
    secret: str,
    target: str | None,
    public_url: str | None,
    time_zone: str,
    no_labels: bool,
    custom_properties: int,
    enforce_rate: bool,
    retry_unit: float,
) -> None:
    """Run the sandbox CRM until it is interrupted."""
    portal = Portal(
        portal_id=portal_id,
        app_id=app_id,
        token=token,
        secret=secret,
        time_zone=time_zone,
        labels=not no_labels,
        custom_properties=custom_properties,
        enforce_rate=enforce_rate,
    )
    outbox = Outbox(portal, target=target, public_url=public_url, retry_unit=retry_unit)
    with serving(Sandbox(portal, outbox=outbox), port=port) as url:
        click.echo(f"Sandbox CRM at {url} (account {portal_id}); webhooks to {target or 'nobody'}")
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            click.echo("bye")


if __name__ == "__main__":
    main()
