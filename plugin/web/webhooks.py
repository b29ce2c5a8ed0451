"""Where CRMs deliver. The answer says only whether the delivery is kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import TimeoutError as FutureTimeout
from typing import cast

import sqlalchemy as sa
from flask import Blueprint, Response, request
from werkzeug.exceptions import RequestEntityTooLarge

from plugin.errors import SignatureError, UnknownEndpoint
from plugin.pipeline.receive import Receiver

log = logging.getLogger(__name__)

MAX_BODY = 2**20  # bytes


def webhooks(receiver: Receiver) -> Blueprint:
    """``POST /webhooks/<crm>`` and, for accounts with an address of their own,
    ``…/<endpoint>[/<topic>]``."""
    blueprint = Blueprint("webhooks", __name__)

    @blueprint.post("/webhooks/<crm>")
    @blueprint.post("/webhooks/<crm>/<endpoint>")
    @blueprint.post("/webhooks/<crm>/<endpoint>/<topic>")
    def receive(crm: str, endpoint: str = "", topic: str = "") -> Response:
        # Werkzeug silently cuts a body whose length was not told: one byte more tells.
        request.max_content_length = MAX_BODY + 1
        body = request.get_data(cache=False)
        if len(body) > MAX_BODY:
            raise RequestEntityTooLarge
        receiver.receive(
            crm,
            endpoint,
            topic,
            path=request.path,
            headers=cast(Mapping[str, str], request.headers),  # finds names in any case
            body=body,
        )
        return Response(status=204)

    @blueprint.errorhandler(SignatureError)
    def refuse(error: SignatureError) -> tuple[str, int]:
        log.info("delivery refused: %s", error)
        return "signature missing or wrong\n", 401

    @blueprint.errorhandler(UnknownEndpoint)
    def unknown(error: UnknownEndpoint) -> tuple[str, int]:
        return f"{error}\n", 404

    @blueprint.errorhandler(RequestEntityTooLarge)
    def too_large(_error: RequestEntityTooLarge) -> tuple[str, int]:
        crm = str((request.view_args or {}).get("crm"))
        return f"more than {MAX_BODY} bytes\n", receiver.too_large_status(crm)

    @blueprint.errorhandler(sa.exc.SQLAlchemyError)
    @blueprint.errorhandler(FutureTimeout)
    def not_kept(error: Exception) -> tuple[str, int]:
        log.error("a delivery could not be stored: %s", type(error).__name__)
        return "not stored; please send it again\n", 503

    return blueprint
