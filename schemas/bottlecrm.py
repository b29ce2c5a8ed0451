"""What BottleCRM sends and answers (django-crm 1.35.0), as marshmallow schemas.

A schema says what they send; what it means is said in ``adapters/bottlecrm``. Keys nobody asked
for are left out. Next to each schema stands the type of what its ``load`` returns. Facts are read
from the package itself: https://pypi.org/project/django-crm/1.35.0/
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any, TypedDict
from uuid import UUID

from marshmallow import ValidationError, fields, missing, validate

from schemas.fields import (
    NOT_A_RECORD_ID,
    NOT_A_TEXT,
    NOT_IN_THIS_CENTURY,
    Sent,
    optional_text,
    storable,
)

YEAR_2000 = datetime(2000, 1, 1, tzinfo=UTC)
YEAR_2100 = datetime(2100, 1, 1, tzinfo=UTC)


class RecordId(fields.Field[str]):
    """A UUID in its usual form: their router takes any of its forms."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        try:
            return str(UUID(value))
        except (AttributeError, TypeError, ValueError) as error:
            raise ValidationError(NOT_A_RECORD_ID) from error


class Text(fields.Field[str]):
    """A text. What is no text for a database (NUL, halves of characters) goes."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError(NOT_A_TEXT)
        return storable(value)


class _NullIsMissing:
    """Before a field: null counts as not sent, so that its default stands in."""

    def deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        sent = missing if value is None else value
        return super().deserialize(sent, *args, **kwargs)  # type: ignore[misc]


class Listed(_NullIsMissing, fields.List[Any]):
    """A list that may be missing or null: then it is empty."""


class Flag(_NullIsMissing, fields.Boolean):
    """Yes or no, with a default for null, too."""


class Count(_NullIsMissing, fields.Integer):
    """A number, with a default for null, too."""


class Part(_NullIsMissing, fields.Nested):
    """An object, with a default for null, too."""


def _text(data_key: str | None = None) -> Text:
    return Text(load_default=None, allow_none=True, data_key=data_key)


def _instant() -> fields.AwareDateTime:
    return fields.AwareDateTime(
        format="iso", default_timezone=UTC, load_default=None, allow_none=True
    )


# ------------------------------------------------------------------------- webhooks


class Subject(TypedDict):
    id: str


class SubjectSchema(Sent):
    """The record an event is about: all that is used of it, the rest is read again."""

    id = RecordId(required=True)


class EventPayload(TypedDict):
    id: str
    event: str
    occurred_at: datetime
    org_id: str
    subject: Subject


class EventSchema(Sent):
    """One delivery: one event about one record."""

    id = RecordId(required=True)
    event = fields.String(required=True)
    occurred_at = fields.AwareDateTime(
        format="iso",
        default_timezone=UTC,
        required=True,
        data_key="created_at",
        validate=validate.Range(YEAR_2000, YEAR_2100, error=NOT_IN_THIS_CENTURY),
    )
    org_id = RecordId(required=True)
    subject = fields.Nested(SubjectSchema, required=True, data_key="data")


# --------------------------------------------------------------------------- people


class Person(TypedDict):
    email: str | None
    name: str | None
    is_active: bool


class PersonSchema(Sent):
    email = _text()
    name = _text()
    is_active = Flag(load_default=True)


class Profile(TypedDict):
    id: str
    person: Person
    is_active: bool


class ProfileSchema(Sent):
    """Somebody's membership of the organisation: what ``assigned_to`` holds."""

    id = RecordId(required=True)
    person = Part(
        PersonSchema, load_default=lambda: PersonSchema().load({}), data_key="user_details"
    )
    is_active = Flag(load_default=True)


class ActiveUsers(TypedDict):
    count: int
    profiles: list[Profile]


class ActiveUsersSchema(Sent):
    count = fields.Integer(required=True, data_key="active_users_count")
    profiles = fields.List(fields.Nested(ProfileSchema), required=True, data_key="active_users")


class InactiveUsersSchema(Sent):
    count = fields.Integer(required=True, data_key="inactive_users_count")
    profiles = fields.List(fields.Nested(ProfileSchema), required=True, data_key="inactive_users")


class UserPage(TypedDict):
    active: ActiveUsers
    inactive: ActiveUsers


class UserPageSchema(Sent):
    """``GET /api/users/``: both lists are paged by the same limit and offset."""

    active = fields.Nested(ActiveUsersSchema, required=True, data_key="active_users")
    inactive = fields.Nested(InactiveUsersSchema, required=True, data_key="inactive_users")


# --------------------------------------------------------------------- custom fields


class Option(TypedDict):
    value: str
    label: str


class OptionSchema(Sent):
    value = fields.String(required=True)
    label = fields.String(required=True)


class Definition(TypedDict):
    id: str
    key: str
    label: str | None
    field_type: str
    options: list[Option]
    is_active: bool


class DefinitionSchema(Sent):
    """A custom field. A deleted one is kept with ``is_active`` false."""

    id = RecordId(required=True)
    key = fields.String(required=True)
    label = _text()
    field_type = fields.String(required=True)
    options = Listed(fields.Nested(OptionSchema), load_default=list)
    is_active = Flag(load_default=True)


# -------------------------------------------------------------------------- contacts


class Named(TypedDict):
    id: str
    name: str | None


class NamedSchema(Sent):
    id = RecordId(required=True)
    name = _text()


class Contact(TypedDict):
    id: str
    first_name: str | None
    last_name: str | None
    email: str | None
    phone: str | None
    organization: str | None
    city: str | None
    account: Named | None
    assigned_to: list[Profile]
    custom_fields: dict[str, Any] | None
    created_at: datetime | None
    updated_at: datetime | None


class ContactSchema(Sent):
    id = RecordId(required=True)
    first_name = _text()
    last_name = _text()
    email = _text()
    phone = _text()
    organization = _text()
    city = _text()
    account = fields.Nested(
        NamedSchema, load_default=None, allow_none=True, data_key="account_detail"
    )
    assigned_to = Listed(fields.Nested(ProfileSchema), load_default=list)
    custom_fields = fields.Dict(load_default=dict, allow_none=True)
    created_at = _instant()
    updated_at = _instant()


class ContactPage(TypedDict):
    count: int
    results: list[Contact]


class ContactPageSchema(Sent):
    """``results`` are not yet read: one that is odd has not to spoil its neighbours."""

    count = fields.Integer(required=True)
    results = fields.List(fields.Raw(allow_none=True), required=True)


class IdPage(TypedDict):
    count: int
    results: list[Subject]


class IdPageSchema(Sent):
    """The same page, where only the ids matter."""

    count = fields.Integer(required=True)
    results = fields.List(fields.Nested(SubjectSchema), required=True)


class ContactDeal(TypedDict):
    id: str
    currency: str | None


class ContactDealSchema(Sent):
    """A deal as a contact's page shows it: its currency is never empty there."""

    id = RecordId(required=True)
    currency = _text()


# ----------------------------------------------------------------------------- tasks


class Task(TypedDict):
    id: str
    title: str | None
    description: str | None
    status: str | None
    created_at: datetime | None


class TaskSchema(Sent):
    id = RecordId(required=True)
    title = _text()
    description = _text()
    status = _text()
    created_at = _instant()


class TaskAnswer(TypedDict):
    task: Task


class TaskAnswerSchema(Sent):
    """``GET /api/tasks/<id>/``"""

    task = fields.Nested(TaskSchema, required=True, data_key="task_obj")


class TaskPage(TypedDict):
    tasks: list[Task]


class TaskPageSchema(Sent):
    """``GET /api/tasks/``: its rows have no description."""

    tasks = fields.List(fields.Nested(TaskSchema), required=True)


class ContactAnswer(TypedDict):
    contact: Contact
    deals: list[ContactDeal]
    deal_count: int
    tasks: list[Task]
    definitions: list[Definition]


class ContactAnswerSchema(Sent):
    """``GET /api/contacts/<id>/``: all tasks, the ten newest of ``deal_count`` deals, and the
    custom fields of contacts that are switched on."""

    contact = fields.Nested(ContactSchema, required=True, data_key="contact_obj")
    deals = Listed(fields.Nested(ContactDealSchema), load_default=list, data_key="opportunities")
    deal_count = Count(load_default=0, data_key="opportunity_count")
    tasks = Listed(fields.Nested(TaskSchema), load_default=list)
    definitions = Listed(
        fields.Nested(DefinitionSchema), load_default=list, data_key="custom_field_definitions"
    )


# ----------------------------------------------------------------------------- deals


class Deal(TypedDict):
    id: str
    name: str | None
    pipeline: str | None
    stage_kind: str | None
    amount: str | None
    currency: str | None
    closed_on: date | None
    created_at: datetime | None
    stage_changed_at: datetime | None
    contacts: list[Subject]
    assigned_to: list[Profile]


class DealSchema(Sent):
    id = RecordId(required=True)
    name = _text()
    pipeline = _text()
    stage_kind = _text()
    amount = optional_text()
    currency = _text()
    closed_on = fields.Date(format="iso", load_default=None, allow_none=True)
    created_at = _instant()
    stage_changed_at = _instant()
    contacts = Listed(fields.Nested(SubjectSchema), load_default=list)
    assigned_to = Listed(fields.Nested(ProfileSchema), load_default=list)


class DealAnswer(TypedDict):
    deal: Deal


class DealAnswerSchema(Sent):
    """``GET /api/opportunities/<id>/``"""

    deal = fields.Nested(DealSchema, required=True, data_key="opportunity_obj")


class DealPage(TypedDict):
    count: int
    deals: list[Deal]


class DealPageSchema(Sent):
    """``GET /api/opportunities/``, its deals not yet read."""

    count = fields.Integer(required=True, data_key="opportunities_count")
    deals = fields.List(fields.Raw(allow_none=True), required=True, data_key="opportunities")


# ------------------------------------------------------------------ lists and account


class DefinitionList(TypedDict):
    definitions: list[Definition]


class DefinitionListSchema(Sent):
    definitions = fields.List(fields.Nested(DefinitionSchema), required=True)


class Organisation(TypedDict):
    id: str
    name: str | None
    time_zone: str | None
    currency: str | None


class OrganisationSchema(Sent):
    """``GET /api/org/settings/``"""

    id = RecordId(required=True)
    name = _text()
    time_zone = _text("timezone")
    currency = _text("default_currency")


class Activity(TypedDict):
    record_id: str
    at: datetime


class ActivitySchema(Sent):
    """One doing on one record, in the organisation's feed."""

    record_id = RecordId(required=True, data_key="entity_id")
    at = fields.AwareDateTime(
        format="iso", default_timezone=UTC, required=True, data_key="timestamp"
    )


class Feed(TypedDict):
    activities: list[Activity]


class FeedSchema(Sent):
    """``GET /api/activities/``: the newest first, at most fifty."""

    activities = fields.List(fields.Nested(ActivitySchema), required=True)


# ---------------------------------------------------------------------------- errors


class ErrorPayload(TypedDict):
    detail: Any
    code: Any
    errors: Any


class ErrorSchema(Sent):
    """The body of an error answer; each key is taken as it comes, its forms differ by endpoint."""

    detail = fields.Raw(load_default=None)
    code = fields.Raw(load_default=None)
    errors = fields.Raw(load_default=None)
