"""What Pipedrive sends and answers (webhooks v2, API v2, and v1 where v2 lacks it).

A schema says what they send; what it means is said in ``adapters/pipedrive``. Keys nobody asked
for are left out. Next to each schema stands the type of what its ``load`` returns. Pipedrive's
own files declare much as never null that live accounts leave empty, so nearly all may be.

Webhooks: https://pipedrive.readme.io/docs/guide-for-webhooks-v2
API: https://developers.pipedrive.com/docs/api/v1
"""

from __future__ import annotations

from typing import Any, TypedDict

from marshmallow import fields, missing

from schemas.fields import RecordNumber, Sent, optional_text


def _id() -> RecordNumber:
    return RecordNumber(load_default=None, allow_none=True)


def _count() -> fields.Integer:
    return fields.Integer(load_default=None, allow_none=True)


class Flag(fields.Boolean):
    """Yes or no. Null is as good as missing: then it is ``default``."""

    def __init__(self, *, default: bool = False) -> None:
        super().__init__(load_default=default)

    def deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        return super().deserialize(missing if value is None else value, *args, **kwargs)


class Several(fields.List[Any]):
    """A list that has to be there. Null is an empty one."""

    def __init__(self, of: fields.Field[Any]) -> None:
        super().__init__(of, required=True)

    def deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        return super().deserialize([] if value is None else value, *args, **kwargs)


# ------------------------------------------------------------------------- webhooks


class Meta(TypedDict):
    version: Any
    entity: str
    action: str
    company_id: str
    entity_id: Any
    user_id: str | None
    timestamp: Any
    change_source: str | None
    merged_to_id: str | None
    merged_from_id: str | None


class MetaSchema(Sent):
    """``entity_id`` is a UUID for leads, ``timestamp`` a number for users: read by the adapter."""

    version = fields.Raw(load_default=None, allow_none=True)
    entity = fields.String(required=True)
    action = fields.String(required=True)
    company_id = RecordNumber(required=True)
    entity_id = fields.Raw(load_default=None, allow_none=True)
    user_id = _id()
    timestamp = fields.Raw(load_default=None, allow_none=True)
    change_source = optional_text()
    merged_to_id = _id()
    merged_from_id = _id()


class DeliveryPayload(TypedDict):
    meta: Meta
    data: dict[str, Any] | None
    previous: dict[str, Any] | None


class DeliverySchema(Sent):
    """``data``: the whole object now, ``previous``: what changed as it was before."""

    meta = fields.Nested(MetaSchema, required=True)
    data = fields.Dict(load_default=None, allow_none=True)
    previous = fields.Dict(load_default=None, allow_none=True)


# ---------------------------------------------------------------------------- errors


class ErrorPayload(TypedDict):
    error: Any
    code: Any
    errors: Any


class ErrorSchema(Sent):
    """v2 tells ``error`` and ``code``, v1 ``error`` or, for webhooks, ``errors``: each as it
    comes, since an error about an error would help nobody."""

    error = fields.Raw(load_default=None)
    code = fields.Raw(load_default=None)
    errors = fields.Raw(load_default=None)


# --------------------------------------------------------------------------- objects


class Channel(TypedDict):
    value: str | None
    primary: bool


class ChannelSchema(Sent):
    """An e-mail address or a phone number."""

    value = optional_text()
    primary = Flag()


class Address(TypedDict):
    locality: str | None


class AddressSchema(Sent):
    locality = optional_text()


class Person(TypedDict):
    id: str
    name: str | None
    first_name: str | None
    last_name: str | None
    owner_id: str | None
    org_id: str | None
    add_time: str | None
    update_time: str | None
    emails: list[Channel] | None
    phones: list[Channel] | None
    is_deleted: bool
    postal_address: Address | None
    custom_fields: dict[str, Any] | None
    open_deals_count: int | None
    closed_deals_count: int | None
    participant_open_deals_count: int | None
    participant_closed_deals_count: int | None


class PersonSchema(Sent):
    id = RecordNumber(required=True)
    name = optional_text()
    first_name = optional_text()
    last_name = optional_text()
    owner_id = _id()
    org_id = _id()
    add_time = optional_text()
    update_time = optional_text()
    emails = fields.List(fields.Nested(ChannelSchema), load_default=None, allow_none=True)
    phones = fields.List(fields.Nested(ChannelSchema), load_default=None, allow_none=True)
    is_deleted = Flag()
    postal_address = fields.Nested(AddressSchema, load_default=None, allow_none=True)
    custom_fields = fields.Dict(load_default=None, allow_none=True)
    open_deals_count = _count()
    closed_deals_count = _count()
    participant_open_deals_count = _count()
    participant_closed_deals_count = _count()


class Deal(TypedDict):
    id: str
    title: str | None
    person_id: str | None
    owner_id: str | None
    pipeline_id: str | None
    status: str
    value: float | None
    currency: str | None
    add_time: str | None
    update_time: str | None
    close_time: str | None
    won_time: str | None
    is_deleted: bool
    is_archived: bool
    participants_count: int | None


class DealSchema(Sent):
    id = RecordNumber(required=True)
    title = optional_text()
    person_id = _id()
    owner_id = _id()
    pipeline_id = _id()
    status = fields.String(required=True)
    value = fields.Float(load_default=None, allow_none=True)
    currency = optional_text()
    add_time = optional_text()
    update_time = optional_text()
    close_time = optional_text()
    won_time = optional_text()
    is_deleted = Flag()
    is_archived = Flag()
    participants_count = _count()


class Marked(TypedDict):
    id: str
    is_deleted: bool


class MarkedSchema(Sent):
    """A record of any kind, where it only matters whether it is there."""

    id = RecordNumber(required=True)
    is_deleted = Flag()


class Organization(TypedDict):
    id: str
    name: str | None
    address: Address | None
    is_deleted: bool


class OrganizationSchema(Sent):
    id = RecordNumber(required=True)
    name = optional_text()
    address = fields.Nested(AddressSchema, load_default=None, allow_none=True)
    is_deleted = Flag()


class Activity(TypedDict):
    id: str
    subject: str | None
    note: str | None
    done: bool
    marked_as_done_time: str | None
    add_time: str | None
    update_time: str | None
    is_deleted: bool


class ActivitySchema(Sent):
    id = RecordNumber(required=True)
    subject = optional_text()
    note = optional_text()
    done = Flag()
    marked_as_done_time = optional_text()
    add_time = optional_text()
    update_time = optional_text()
    is_deleted = Flag()


class OneActivitySchema(Sent):
    data = fields.Nested(ActivitySchema, required=True)


class OneRecordSchema(Sent):
    """A record of any kind, not yet read: one that is odd has not to spoil its neighbours."""

    data = fields.Dict(required=True)


# ----------------------------------------------------------------------------- pages


class More(TypedDict):
    next_cursor: str | None


class MoreSchema(Sent):
    next_cursor = optional_text()


class _PageSchema(Sent):
    """A page of a list; the last one has no ``next_cursor``."""

    additional_data = fields.Nested(MoreSchema, load_default=None, allow_none=True)


class RecordPageSchema(_PageSchema):
    """Records of any kind, not yet read."""

    data = Several(fields.Raw(allow_none=True))


# ---------------------------------------------------------------------------- fields


class Option(TypedDict):
    id: Any
    label: str


class OptionSchema(Sent):
    """Ids are numbers, in fields of Pipedrive's own also texts."""

    id = fields.Raw(required=True)
    label = fields.String(load_default="")


class FieldSpec(TypedDict):
    field_code: str
    field_name: str
    field_type: str
    options: list[Option] | None
    is_custom_field: bool


class FieldSpecSchema(Sent):
    field_code = fields.String(required=True)
    field_name = fields.String(load_default="")
    field_type = fields.String(required=True)
    options = fields.List(fields.Nested(OptionSchema), load_default=None, allow_none=True)
    is_custom_field = Flag()


class FieldPage(TypedDict):
    data: list[FieldSpec]
    additional_data: More | None


class FieldPageSchema(_PageSchema):
    data = Several(fields.Nested(FieldSpecSchema))


class ActivityType(TypedDict):
    key_string: str
    icon_key: str | None
    active_flag: bool


class ActivityTypeSchema(Sent):
    key_string = fields.String(required=True)
    icon_key = optional_text()
    active_flag = Flag(default=True)


class ActivityTypeList(TypedDict):
    data: list[ActivityType]


class ActivityTypeListSchema(Sent):
    data = Several(fields.Nested(ActivityTypeSchema))


# ----------------------------------------------------------------- users and webhooks


class PipedriveUser(TypedDict):
    id: str
    name: str | None
    email: str | None
    active_flag: bool
    is_deleted: bool


class PipedriveUserSchema(Sent):
    id = RecordNumber(required=True)
    name = optional_text()
    email = optional_text()
    active_flag = Flag(default=True)
    is_deleted = Flag()


class UserList(TypedDict):
    data: list[PipedriveUser]


class UserListSchema(Sent):
    data = Several(fields.Nested(PipedriveUserSchema))


class Me(TypedDict):
    id: str
    company_id: str
    company_name: str | None
    company_domain: str | None
    timezone_name: str | None
    default_currency: str | None


class MeSchema(Sent):
    """Whose token it is, and the company."""

    id = RecordNumber(required=True)
    company_id = RecordNumber(required=True)
    company_name = optional_text()
    company_domain = optional_text()
    timezone_name = optional_text()
    default_currency = optional_text()


class OneMe(TypedDict):
    data: Me


class OneMeSchema(Sent):
    data = fields.Nested(MeSchema, required=True)


class Webhook(TypedDict):
    id: str
    event_action: str
    event_object: str
    subscription_url: str
    version: str | None
    is_active: bool
    last_http_status: int | None


class WebhookSchema(Sent):
    """``is_active`` comes as 1 or 0."""

    id = RecordNumber(required=True)
    event_action = fields.String(required=True)
    event_object = fields.String(required=True)
    subscription_url = fields.String(required=True)
    version = optional_text()
    is_active = Flag(default=True)
    last_http_status = _count()


class WebhookList(TypedDict):
    data: list[Webhook]


class WebhookListSchema(Sent):
    data = Several(fields.Nested(WebhookSchema))
