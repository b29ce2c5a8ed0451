"""Where CRMs deliver. The answer says only whether the delivery is kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import cast

import sqlalchemy as sa
from flask import Blueprint, Response, request
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped]
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

from plugin.errors import ConfigurationError, SignatureError, UnknownEndpoint
from plugin.pipeline.receive import Receiver

log = logging.getLogger(__name__)

MAX_BODY = 2**20  # bytes


def webhooks(receiver: Receiver) -> Blueprint:
    """``POST /webhooks/<crm>`` and, for accounts with an address of their own,
    ``…/<endpoint>[/<topic>]``.

    What the bytes are said to be (``Content-Type``, ``Content-Encoding``) is ignored: the signature
    is over the bytes, which are kept as they came. What they are shows in the digest."""
    blueprint = Blueprint("webhooks", __name__)

    @blueprint.post("/webhooks/<crm>", provide_automatic_options=False)
    @blueprint.post("/webhooks/<crm>/<endpoint>", provide_automatic_options=False)
    @blueprint.post("/webhooks/<crm>/<endpoint>/<topic>", provide_automatic_options=False)
    def receive(crm: str, endpoint: str = "", topic: str = "") -> Response:
        body = _body()
        receiver.receive(
            crm,
            endpoint,
            topic,
            path=_target(),
            headers=cast(Mapping[str, str], request.headers),  # finds names in any case
            body=body,
        )
        return Response(status=204)

    @blueprint.errorhandler(SignatureError)
    def refuse(error: SignatureError) -> Response:
        log.info("delivery refused: %s", error)
        return _said("signature missing or wrong", 401)

    @blueprint.errorhandler(UnknownEndpoint)
    def unknown(_error: UnknownEndpoint) -> Response:
        return _said("no such address", 404)

    @blueprint.errorhandler(BadRequest)
    def broken(_error: BadRequest) -> Response:
        return _said("the request is broken", 400)

    @blueprint.errorhandler(RequestEntityTooLarge)
    def too_large(_error: RequestEntityTooLarge) -> Response:
        crm = str((request.view_args or {}).get("crm"))
        status = receiver.refuse_too_large(crm, most=MAX_BODY)
        return _said(f"more than {MAX_BODY} bytes", status)

    @blueprint.errorhandler(sa.exc.SQLAlchemyError)
    @blueprint.errorhandler(OSError)
    def not_kept(error: Exception) -> Response:
        log.error("a delivery could not be stored: %s", type(error).__name__)
        return _said("not stored; please send it again", 503)

    @blueprint.errorhandler(ConfigurationError)
    def not_configured(error: ConfigurationError) -> Response:
        log.error("a delivery could not be stored: %s", error)
        return _said("not stored; please send it again", 503)

    return blueprint


def _target() -> str:
    """Path and query, as the CRM signs them."""
    query = request.query_string.decode("latin-1")
    return f"{request.path}?{query}" if query else request.path


def _body() -> bytes:
    """Raises ``RequestEntityTooLarge``, and ``BadRequest`` where the body breaks off or its chunks
    are no chunks."""
    if (request.content_length or 0) > MAX_BODY:
        raise RequestEntityTooLarge
    try:
        body = _read(MAX_BODY + 1)  # where the length was not told, one byte more tells
    except (OSError, ParseException) as error:
        raise BadRequest from error
    if len(body) > MAX_BODY:
        raise RequestEntityTooLarge
    if len(body) < (request.content_length or 0):
        raise BadRequest
    return body


def _read(most: int) -> bytes:
    if request.environ.get("wsgi.input_terminated"):  # as gunicorn's is
        return cast(bytes, request.environ["wsgi.input"].read(most))
    request.max_content_length = most
    return request.get_data(cache=False)


def _said(text: str, status: int) -> Response:
    return Response(f"{text}\n", status, mimetype="text/plain")
