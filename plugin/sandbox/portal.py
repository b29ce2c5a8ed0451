"""What the stand-in's account is like: who works there, its pipelines, object types, standard
properties, what the app may do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from plugin.manifest import Text, manifest
from plugin.sandbox.properties import Choice, Group, Properties, Property
from plugin.sandbox.refusals import bad_input

CRM = "hubspot"

PORTAL_ID = 4_711_001
APP_ID = 50_780_459
TOKEN = "sandbox-token"
SECRET = "sandbox-secret"
TIME_ZONE = "Europe/Berlin"
CUSTOM_PROPERTIES = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectType:
    """``shown``: properties answered where none are asked for; ``always`` are answered besides."""

    plural: str
    singular: str
    type_id: str
    first_id: int
    modified: str
    created: str
    shown: tuple[str, ...]
    searched: tuple[str, ...]

    @property
    def always(self) -> tuple[str, ...]:
        return ("hs_object_id", self.created, self.modified)


CONTACTS = ObjectType(
    plural="contacts",
    singular="contact",
    type_id="0-1",
    first_id=541_935_488_001,
    modified="lastmodifieddate",
    created="createdate",
    shown=("email", "firstname", "lastname"),
    searched=("firstname", "lastname", "email", "phone", "company"),
)
DEALS = ObjectType(
    plural="deals",
    singular="deal",
    type_id="0-3",
    first_id=106_314_056_001,
    modified="hs_lastmodifieddate",
    created="createdate",
    shown=("dealname", "amount", "closedate", "pipeline", "dealstage"),
    searched=("dealname",),
)
TASKS = ObjectType(
    plural="tasks",
    singular="task",
    type_id="0-27",
    first_id=88_012_345_001,
    modified="hs_lastmodifieddate",
    created="hs_createdate",
    shown=(),
    searched=("hs_task_subject", "hs_task_body"),
)
OBJECT_TYPES = (CONTACTS, DEALS, TASKS)


def object_type(name: str) -> ObjectType:
    """By plural, singular or type id."""
    for known in OBJECT_TYPES:
        if name in (known.plural, known.singular, known.type_id):
            return known
    raise bad_input(f"Unable to infer object type from: {name}")


@dataclass(frozen=True, kw_only=True, slots=True)
class DealStage:
    key: str
    label: Text
    probability: str
    closed: bool = False

    @property
    def won(self) -> bool:
        return self.closed and self.probability == "1.0"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pipeline:
    key: str
    label: Text
    stages: tuple[DealStage, ...]


PIPELINES = (
    Pipeline(
        key="default",
        label=Text("Vertrieb", "Sales"),
        stages=(
            DealStage(
                key="appointmentscheduled",
                label=Text("Termin vereinbart", "Appointment scheduled"),
                probability="0.2",
            ),
            DealStage(
                key="presentationscheduled",
                label=Text("Angebot erstellt", "Offer made"),
                probability="0.6",
            ),
            DealStage(
                key="contractsent",
                label=Text("Vertrag gesendet", "Contract sent"),
                probability="0.9",
            ),
            DealStage(
                key="closedwon", label=Text("Gewonnen", "Won"), probability="1.0", closed=True
            ),
            DealStage(
                key="closedlost", label=Text("Verloren", "Lost"), probability="0.0", closed=True
            ),
        ),
    ),
    Pipeline(
        key="renewals",
        label=Text("Verlängerungen", "Renewals"),
        stages=(
            DealStage(key="renewal_due", label=Text("Fällig", "Due"), probability="0.8"),
            DealStage(
                key="renewal_won",
                label=Text("Verlängert", "Renewed"),
                probability="1.0",
                closed=True,
            ),
            DealStage(
                key="renewal_lost",
                label=Text("Gekündigt", "Cancelled"),
                probability="0.0",
                closed=True,
            ),
        ),
    ),
)


def stage(key: str) -> DealStage:
    return next(s for pipeline in PIPELINES for s in pipeline.stages if s.key == key)


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """A user of the CRM. ``id`` is what owner properties hold."""

    id: str
    user_id: int
    first_name: str
    last_name: str
    email: str
    archived: bool = False

    @property
    def name(self) -> str:
        return f"{self.first_name} {self.last_name}".strip()


def _manifest_scopes() -> frozenset[str]:
    return frozenset(manifest().crms[CRM].scopes)


@dataclass(frozen=True, kw_only=True, slots=True)
class Portal:
    """The account, the app in it, and how strict the stand-in is.

    ``scopes``: what the app was granted (default: what the manifest asks for). ``labels`` False:
    a tier without association labels, else ``label_limit`` of them. ``custom_properties``: how
    many an object may have. ``rate_limit``: calls in ten seconds, only told unless
    ``enforce_rate``. ``rates``: what one unit of a currency is worth in the account's own.
    """

    portal_id: int = PORTAL_ID
    app_id: int = APP_ID
    token: str = TOKEN
    secret: str = SECRET
    time_zone: str = TIME_ZONE
    currency: str = "EUR"
    rates: Mapping[str, Decimal] = field(
        default_factory=lambda: {
            "EUR": Decimal(1),
            "CHF": Decimal("1.05"),
            "USD": Decimal("0.90"),
        }
    )
    scopes: frozenset[str] = field(default_factory=_manifest_scopes)
    labels: bool = True
    label_limit: int = 50
    custom_properties: int = CUSTOM_PROPERTIES
    association_page: int = 500
    rate_limit: int = 100
    enforce_rate: bool = False


STAFF = (
    Owner(
        id="64492917",
        user_id=882_761_034,
        first_name="Lena",
        last_name="Brandt",
        email="lena.brandt@firma.example.com",
    ),
    Owner(
        id="64492918",
        user_id=882_761_035,
        first_name="Jonas",
        last_name="Keller",
        email="jonas.keller@firma.example.com",
    ),
)
"""Who works in a fresh account. The first is the one whose hands the pages are."""


def standard_properties(portal: Portal) -> Properties:
    """The properties every account has (those this stand-in knows)."""
    properties = Properties()
    properties.add(
        CONTACTS.plural,
        Group(name="contactinformation", label="Contact information"),
        [
            _text("email", "Email"),
            _text("firstname", "First Name"),
            _text("lastname", "Last Name"),
            _text("phone", "Phone Number", "phonenumber"),
            _text("mobilephone", "Mobile Phone Number", "phonenumber"),
            _text("company", "Company Name"),
            _text("jobtitle", "Job Title"),
            _text("city", "City"),
            _text("zip", "Postal Code"),
            _text("hubspot_owner_id", "Contact owner"),
            _text("hs_merged_object_ids", "Merged record IDs", read_only=True),
            *_bookkeeping(CONTACTS),
        ],
    )
    properties.add(
        DEALS.plural,
        Group(name="dealinformation", label="Deal information"),
        [
            _text("dealname", "Deal Name"),
            _number("amount", "Amount"),
            _number("amount_in_home_currency", "Amount in company currency", read_only=True),
            _choice("deal_currency_code", "Currency", list(portal.rates)),
            _choice("pipeline", "Pipeline", [p.key for p in PIPELINES]),
            _choice("dealstage", "Deal Stage", [s.key for p in PIPELINES for s in p.stages]),
            _time("closedate", "Close Date"),
            _text("hubspot_owner_id", "Deal owner"),
            _choice("hs_is_closed", "Is Deal Closed?", ["true", "false"], read_only=True),
            _choice("hs_is_closed_won", "Is Closed Won", ["true", "false"], read_only=True),
            _text("hs_merged_object_ids", "Merged record IDs", read_only=True),
            _time("hs_closed_won_date", "Closed Won Date", read_only=True),
            _time("hs_v2_date_entered_current_stage", "Date entered current stage", read_only=True),
            _number("hs_deal_stage_probability", "Deal probability", read_only=True),
            *_bookkeeping(DEALS),
        ],
    )
    properties.add(
        TASKS.plural,
        Group(name="task", label="Task Information"),
        [
            _text("hs_task_subject", "Task Title"),
            _text("hs_task_body", "Task Notes", "html"),
            _time("hs_timestamp", "Due date"),
            _choice(
                "hs_task_status",
                "Task Status",
                ["NOT_STARTED", "IN_PROGRESS", "WAITING", "COMPLETED", "DEFERRED"],
            ),
            _choice("hs_task_priority", "Priority", ["NONE", "LOW", "MEDIUM", "HIGH"]),
            _choice("hs_task_type", "Task Type", ["TODO", "CALL", "EMAIL"]),
            _text("hs_task_reminders", "Reminders"),
            _text("hubspot_owner_id", "Assigned to"),
            _time("hs_task_completion_date", "Completed at", read_only=True),
            *_bookkeeping(TASKS),
        ],
    )
    return properties


def _bookkeeping(of: ObjectType) -> list[Property]:
    return [
        _number("hs_object_id", "Record ID", read_only=True),
        _time(of.created, "Create Date", read_only=True),
        _time(of.modified, "Last Modified Date", read_only=True),
    ]


def _text(name: str, label: str, field_type: str = "text", *, read_only: bool = False) -> Property:
    return Property(
        name=name,
        label=label,
        type="string",
        field_type=field_type,
        read_only=read_only,
    )


def _number(name: str, label: str, *, read_only: bool = False) -> Property:
    return Property(name=name, label=label, type="number", field_type="number", read_only=read_only)


def _time(name: str, label: str, *, read_only: bool = False) -> Property:
    return Property(name=name, label=label, type="datetime", field_type="date", read_only=read_only)


def _choice(name: str, label: str, options: list[str], *, read_only: bool = False) -> Property:
    return Property(
        name=name,
        label=label,
        type="enumeration",
        field_type="select",
        options=tuple(Choice(value=o, label=o, display_order=i) for i, o in enumerate(options)),
        read_only=read_only,
    )
