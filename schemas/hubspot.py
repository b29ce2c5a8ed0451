"""What HubSpot sends and answers (API 2026-09), as marshmallow schemas.

A schema says what they send; what it means is said in ``adapters/hubspot``. Keys nobody asked
for are left out. Next to each schema stands the type of what its ``load`` returns.

Webhooks: https://developers.hubspot.com/docs/api-reference/latest/webhooks/guide
Objects and associations: https://developers.hubspot.com/docs/api-reference/latest/crm
"""

from __future__ import annotations

from typing import Any, TypedDict

from marshmallow import ValidationError, fields, validate

from schemas.fields import (
    NOT_A_TEXT,
    NOT_IN_THIS_CENTURY,
    RecordNumber,
    Sent,
    optional_text,
    storable,
)

YEAR_2000_MS = 946_684_800_000
YEAR_2100_MS = 4_102_444_800_000


class Text(fields.Field[str]):
    """A plain value as text; refuses what no database takes (NUL, halves of characters)."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int | float):
            return str(value)
        if not isinstance(value, str) or value != storable(value):
            raise ValidationError(NOT_A_TEXT)
        return value


# ------------------------------------------------------------------------- webhooks


class EventPayload(TypedDict):
    account_id: str
    app_id: str | None
    event_id: str | None
    occurred_at: int
    object_id: str | None
    object_type_id: str | None
    property_name: str | None
    property_value: str | None
    is_sensitive: Any
    change_source: str | None
    source_id: str | None
    primary_object_id: str | None
    merged_object_ids: list[str] | None
    new_object_id: str | None
    association_type: str | None
    from_object_id: str | None
    to_object_id: str | None
    from_object_type_id: str | None
    to_object_type_id: str | None


class EventSchema(Sent):
    """One event of a delivery. All but account and time depend on the type, which the adapter
    reads first (``subscriptionType``, in HubSpot's table called ``eventType``)."""

    account_id = RecordNumber(required=True, data_key="portalId")
    app_id = RecordNumber(load_default=None, data_key="appId")
    event_id = Text(load_default=None, data_key="eventId")
    occurred_at = fields.Integer(
        required=True,
        strict=True,
        data_key="occurredAt",
        validate=validate.Range(YEAR_2000_MS, YEAR_2100_MS, error=NOT_IN_THIS_CENTURY),
    )
    object_id = RecordNumber(load_default=None, data_key="objectId")
    object_type_id = Text(load_default=None, data_key="objectTypeId")
    property_name = Text(load_default=None, data_key="propertyName")
    property_value = Text(load_default=None, data_key="propertyValue")
    is_sensitive = fields.Raw(load_default=None, data_key="isSensitive")
    change_source = Text(load_default=None, data_key="changeSource")
    source_id = Text(load_default=None, data_key="sourceId")
    primary_object_id = RecordNumber(load_default=None, data_key="primaryObjectId")
    merged_object_ids = fields.List(RecordNumber(), load_default=None, data_key="mergedObjectIds")
    new_object_id = RecordNumber(load_default=None, data_key="newObjectId")
    association_type = Text(load_default=None, data_key="associationType")
    from_object_id = RecordNumber(load_default=None, data_key="fromObjectId")
    to_object_id = RecordNumber(load_default=None, data_key="toObjectId")
    from_object_type_id = Text(load_default=None, data_key="fromObjectTypeId")
    to_object_type_id = Text(load_default=None, data_key="toObjectTypeId")


# ---------------------------------------------------------------------------- errors


class ErrorPayload(TypedDict):
    category: Any
    error_type: Any
    policy: Any
    sub_category: Any
    message: Any
    context: Any
    errors: Any


class ErrorSchema(Sent):
    """The body of an error answer, or one entry of ``errors`` in a 207.

    All keys are optional in HubSpot's files and their forms differ, so each is taken as it comes:
    an error about an error would help nobody.
    """

    category = fields.Raw(load_default=None)
    error_type = fields.Raw(load_default=None, data_key="errorType")
    policy = fields.Raw(load_default=None, data_key="policyName")
    sub_category = fields.Raw(load_default=None, data_key="subCategory")
    message = fields.Raw(load_default=None)
    context = fields.Raw(load_default=None)
    errors = fields.Raw(load_default=None)


# --------------------------------------------------------------------------- objects


class Version(TypedDict):
    """One value a property had, from ``timestamp`` on."""

    value: str | None
    timestamp: str


class VersionSchema(Sent):
    value = optional_text()
    timestamp = fields.String(required=True)


class Record(TypedDict):
    id: str
    properties: dict[str, Any]
    history: dict[str, list[Version]]
    trace_id: str | None
    created_at: str | None
    archived: bool


class RecordSchema(Sent):
    id = RecordNumber(required=True)
    properties = fields.Dict(load_default=dict)
    history = fields.Dict(
        values=fields.List(fields.Nested(VersionSchema)),
        load_default=dict,
        data_key="propertiesWithHistory",
    )
    trace_id = optional_text("objectWriteTraceId")
    created_at = optional_text("createdAt")
    archived = fields.Boolean(load_default=False)


class Batch(TypedDict):
    results: list[Record]
    errors: list[ErrorPayload]


class BatchSchema(Sent):
    """200, 201 and 207 of the batch endpoints."""

    results = fields.List(fields.Nested(RecordSchema), required=True)
    errors = fields.List(fields.Nested(ErrorSchema), load_default=list)


class Next(TypedDict):
    after: str


class Paging(TypedDict):
    next: Next | None


class NextSchema(Sent):
    after = fields.String(required=True)


class PagingSchema(Sent):
    next = fields.Nested(NextSchema, load_default=None)


class RecordPage(TypedDict):
    results: list[Record]
    paging: Paging | None


class RecordPageSchema(Sent):
    """A page of a list or of a search. Its records are not yet read: one that is odd has not to
    spoil its neighbours."""

    results = fields.List(fields.Raw(allow_none=True), required=True)
    paging = fields.Nested(PagingSchema, load_default=None)


# ---------------------------------------------------------------------- associations


class AssociationType(TypedDict):
    category: str
    type_id: int
    label: str | None


class AssociationTypeSchema(Sent):
    category = fields.String(required=True)
    type_id = fields.Integer(required=True, data_key="typeId")
    label = optional_text()


class Target(TypedDict):
    id: str
    types: list[AssociationType]


class TargetSchema(Sent):
    id = RecordNumber(required=True, data_key="toObjectId")
    types = fields.List(
        fields.Nested(AssociationTypeSchema), load_default=list, data_key="associationTypes"
    )


class Reference(TypedDict):
    id: str


class ReferenceSchema(Sent):
    id = RecordNumber(required=True)


class Associated(TypedDict):
    source: Reference
    targets: list[Target]
    paging: Paging | None


class AssociatedSchema(Sent):
    source = fields.Nested(ReferenceSchema, required=True, data_key="from")
    targets = fields.List(fields.Nested(TargetSchema), load_default=list, data_key="to")
    paging = fields.Nested(PagingSchema, load_default=None)


class AssociatedBatch(TypedDict):
    results: list[Associated]
    errors: list[ErrorPayload]


class AssociatedBatchSchema(Sent):
    results = fields.List(fields.Nested(AssociatedSchema), required=True)
    errors = fields.List(fields.Nested(ErrorSchema), load_default=list)


class LabelledPair(TypedDict):
    source_id: str
    target_id: str
    labels: list[str]


class LabelledPairSchema(Sent):
    source_id = RecordNumber(required=True, data_key="fromObjectId")
    target_id = RecordNumber(required=True, data_key="toObjectId")
    labels = fields.List(fields.String(), load_default=list)


class LabelledBatch(TypedDict):
    results: list[LabelledPair]
    errors: list[ErrorPayload]


class LabelledBatchSchema(Sent):
    """The answer to creating associations: the pairs that are labelled now."""

    results = fields.List(fields.Nested(LabelledPairSchema), required=True)
    errors = fields.List(fields.Nested(ErrorSchema), load_default=list)


class LabelList(TypedDict):
    results: list[AssociationType]


class LabelListSchema(Sent):
    results = fields.List(fields.Nested(AssociationTypeSchema), required=True)


# ------------------------------------------------------------------------ properties


class Option(TypedDict):
    value: str
    label: str
    display_order: int
    hidden: bool
    description: str | None


class OptionSchema(Sent):
    value = fields.String(required=True)
    label = fields.String(load_default="")
    display_order = fields.Integer(load_default=0, data_key="displayOrder")
    hidden = fields.Boolean(load_default=False)
    description = optional_text()


class Property(TypedDict):
    name: str
    label: str
    description: str
    group: str
    type: str
    field_type: str
    options: list[Option]


class PropertySchema(Sent):
    name = fields.String(required=True)
    label = fields.String(load_default="")
    description = fields.String(load_default="")
    group = fields.String(load_default="", data_key="groupName")
    type = fields.String(required=True)
    field_type = fields.String(load_default="", data_key="fieldType")
    options = fields.List(fields.Nested(OptionSchema), load_default=list)


class PropertyList(TypedDict):
    results: list[Property]


class PropertyListSchema(Sent):
    results = fields.List(fields.Nested(PropertySchema), required=True)


class Group(TypedDict):
    name: str


class GroupSchema(Sent):
    name = fields.String(required=True)


class GroupList(TypedDict):
    results: list[Group]


class GroupListSchema(Sent):
    results = fields.List(fields.Nested(GroupSchema), required=True)


# ---------------------------------------------------------------------------- limits


class Limit(TypedDict):
    object_type_id: str
    limit: int
    usage: int


class LimitSchema(Sent):
    object_type_id = fields.String(required=True, data_key="objectTypeId")
    limit = fields.Integer(required=True)
    usage = fields.Integer(required=True)


class PropertyLimits(TypedDict):
    overall_limit: int
    overall_usage: int
    by_object: list[Limit]


class PropertyLimitsSchema(Sent):
    """How many custom properties an account may have, in all and per kind of object."""

    overall_limit = fields.Integer(required=True, data_key="overallLimit")
    overall_usage = fields.Integer(required=True, data_key="overallUsage")
    by_object = fields.List(fields.Nested(LimitSchema), required=True, data_key="byObjectType")


class LabelLimit(TypedDict):
    limit: int
    usage: int


class LabelLimitSchema(Sent):
    limit = fields.Integer(required=True)
    usage = fields.Integer(required=True)


class LabelLimitList(TypedDict):
    results: list[LabelLimit]


class LabelLimitListSchema(Sent):
    results = fields.List(fields.Nested(LabelLimitSchema), required=True)


# --------------------------------------------------------- pipelines, owners, account


class Stage(TypedDict):
    id: str
    metadata: dict[str, Any]


class StageSchema(Sent):
    id = fields.String(required=True)
    metadata = fields.Dict(load_default=dict)


class Pipeline(TypedDict):
    stages: list[Stage]


class PipelineSchema(Sent):
    stages = fields.List(fields.Nested(StageSchema), load_default=list)


class PipelineList(TypedDict):
    results: list[Pipeline]


class PipelineListSchema(Sent):
    results = fields.List(fields.Nested(PipelineSchema), required=True)


class Owner(TypedDict):
    id: str
    email: str | None
    first_name: str | None
    last_name: str | None
    type: str
    archived: bool


class OwnerSchema(Sent):
    id = RecordNumber(required=True)
    email = optional_text()
    first_name = optional_text("firstName")
    last_name = optional_text("lastName")
    type = fields.String(load_default="PERSON")
    archived = fields.Boolean(load_default=False)


class OwnerPage(TypedDict):
    results: list[Owner]
    paging: Paging | None


class OwnerPageSchema(Sent):
    results = fields.List(fields.Nested(OwnerSchema), required=True)
    paging = fields.Nested(PagingSchema, load_default=None)


class AccountDetails(TypedDict):
    account_id: str
    time_zone: str | None
    currency: str | None
    ui_domain: str | None


class AccountDetailsSchema(Sent):
    account_id = RecordNumber(required=True, data_key="portalId")
    time_zone = optional_text("timeZone")
    currency = optional_text("companyCurrency")
    ui_domain = optional_text("uiDomain")
