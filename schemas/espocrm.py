"""What EspoCRM sends and answers (9.x and 10), as marshmallow schemas.

A schema says what they send; what it means is said in ``adapters/espocrm``. Next to each schema
stands the type of what its ``load`` returns. PHP writes an empty map as ``[]``; it is taken as
an empty map here.

Webhooks: https://docs.espocrm.com/administration/webhooks/
Records: https://docs.espocrm.com/development/api/crud/
"""

from __future__ import annotations

import re
from typing import Any, TypedDict

from marshmallow import INCLUDE, Schema, ValidationError, fields, pre_load

from schemas.fields import NOT_A_RECORD_ID, Sent, optional_text

Record = dict[str, Any]
"""A record as flat attributes. ``id`` is certain; the others depend on the account's own fields
and are looked at one by one."""


RECORD_ID = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9_.=-]{1,64}")
"""Letters and digits in EspoCRM's own form, or a UUID where an account chose these; nothing that
means another place in an address."""


class RecordId(fields.Field[str]):
    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        if not isinstance(value, str) or not RECORD_ID.fullmatch(value):
            raise ValidationError(NOT_A_RECORD_ID)
        return value


class Map(fields.Dict):
    """An object with text keys, or PHP's ``[]`` for an empty one."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        return super()._deserialize(  # type: ignore[no-untyped-call]
            {} if value == [] else value, *args, **kwargs
        )


# --------------------------------------------------------------------------- records


class RecordSchema(Schema):
    """A record, or one item of a delivery. Deliveries are read with it, too: an update holds the
    changed attributes only, a deletion the id only."""

    class Meta:
        unknown = INCLUDE

    id = RecordId(required=True)


class RecordList(TypedDict):
    records: list[Record]


class RecordListSchema(Sent):
    """A page of a list."""

    records = fields.List(fields.Nested(RecordSchema), required=True, data_key="list")


class RawListSchema(Sent):
    """The same, its records not yet read: one that is odd has not to spoil its neighbours."""

    records = fields.List(fields.Raw(allow_none=True), required=True, data_key="list")


# ---------------------------------------------------------------------------- errors


class ErrorPayload(TypedDict):
    label: Any
    data: Any


class TranslationSchema(Sent):
    label = fields.Raw(load_default=None)
    data = fields.Raw(load_default=None)


class ErrorBody(TypedDict):
    translation: ErrorPayload | None


class ErrorSchema(Sent):
    """The body of an error, where there is one: mostly it is empty, and the reason stands in the
    header ``X-Status-Reason``."""

    translation = fields.Nested(
        TranslationSchema, load_default=None, allow_none=True, data_key="messageTranslation"
    )


# -------------------------------------------------------------------------- metadata


class FieldDefs(TypedDict):
    type: str
    options: list[Any]


class FieldDefsSchema(Sent):
    type = fields.String(load_default="")
    options = fields.List(fields.Raw(), load_default=list, allow_none=True)


class EntityFields(TypedDict):
    defs: dict[str, FieldDefs] | None


class EntityFieldsSchema(Sent):
    """``entityDefs.<Type>.fields`` of the metadata: a map of all fields by name, or null where the
    user may not see that type."""

    defs = Map(
        keys=fields.String(),
        values=fields.Nested(FieldDefsSchema),
        required=True,
        allow_none=True,
    )

    @pre_load
    def under_a_key(self, told: Any, **_: Any) -> dict[str, Any]:
        return {"defs": told}


class FieldDefinition(TypedDict):
    definition: dict[str, Any]


class FieldDefinitionSchema(Sent):
    """A field as the field manager shows it, to be sent back with changes."""

    definition = fields.Dict(keys=fields.String(), required=True)

    @pre_load
    def under_a_key(self, told: Any, **_: Any) -> dict[str, Any]:
        return {"definition": told}


class StageDefs(TypedDict):
    options: list[Any]
    probabilities: dict[str, Any]


class StageDefsSchema(Sent):
    """``entityDefs.Opportunity.fields.stage`` of the metadata."""

    options = fields.List(fields.Raw(), load_default=list, allow_none=True)
    probabilities = Map(load_default=dict, allow_none=True, data_key="probabilityMap")


# -------------------------------------------------------------------------- webhooks


class Webhook(TypedDict):
    id: str
    event: str
    url: str
    active: bool
    skip_own: bool | None
    secret: str


class WebhookSchema(Sent):
    id = RecordId(required=True)
    event = fields.String(load_default="", allow_none=True)
    url = fields.String(load_default="", allow_none=True)
    active = fields.Boolean(load_default=False, data_key="isActive")
    skip_own = fields.Boolean(load_default=True, allow_none=True, data_key="skipOwn")
    """Versions before 9.2 do not know it: what they cannot do is no reason to make it anew."""
    secret = fields.String(load_default="", allow_none=True, data_key="secretKey")


class WebhookList(TypedDict):
    webhooks: list[Webhook]


class WebhookListSchema(Sent):
    webhooks = fields.List(fields.Nested(WebhookSchema), required=True, data_key="list")


# --------------------------------------------------------------------------- account


class AccountSettings(TypedDict):
    time_zone: str | None
    currency: str | None
    site: str | None


class AccountSettingsSchema(Sent):
    """The settings an API user is shown; which these are depends on the version."""

    time_zone = optional_text("timeZone")
    currency = optional_text("defaultCurrency")
    site = optional_text("siteUrl")


class Rights(TypedDict):
    table: dict[str, Any] | None


class RightsSchema(Sent):
    """What the role allows. ``table``: record type → action → level (``no``, ``own``, ``team``,
    ``all``, ``yes``), or one yes or no for the whole type; types that may not be used are left
    out."""

    table = Map(keys=fields.String(), load_default=None, allow_none=True)


class Me(TypedDict):
    user: Record
    settings: AccountSettings
    rights: Rights | None


class MeSchema(Sent):
    """What ``GET /App/user`` tells of the user whose key was used, and of the account."""

    user = fields.Nested(RecordSchema, required=True)
    settings = fields.Nested(AccountSettingsSchema, required=True)
    rights = fields.Nested(RightsSchema, load_default=None, allow_none=True, data_key="acl")
