"""The tables. Instants are UTC milliseconds since 1970, days are calendar days of the account.

``contact_id``, ``deal_id`` and the like are ids in the CRM, as text.
"""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Instant = sa.BigInteger
Id = sa.String(64)
Identity = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _partial(name: str, *columns: str, where: str) -> sa.Index:
    """An index of only some rows."""
    return sa.Index(name, *columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


account = sa.Table(
    "account",
    metadata,
    sa.Column("id", Identity, primary_key=True),
    sa.Column("crm", sa.String(32), nullable=False),
    sa.Column("crm_id", Id, nullable=False),
    sa.Column("name", sa.Text, nullable=False, default=""),
    sa.Column("token", sa.Text, nullable=False),  # encrypted
    sa.Column("app_id", sa.Text, nullable=False, default=""),
    sa.Column("base_url", sa.Text),  # of the API; null: the one of the settings
    sa.Column("endpoint", Id),  # last part of the address of its own; null: it shares one
    sa.Column("own_secrets", sa.Text),  # encrypted; what signs deliveries to its own address
    sa.Column("subscribed_at", Instant),  # when its webhooks were last seen to be in order
    sa.Column("subscribe_after", Instant),  # not before: the CRM refused
    sa.Column("allowance", sa.JSON(none_as_null=True)),  # of the CRM's daily budget
    sa.Column("mode", sa.String(16), nullable=False, default="write"),
    sa.Column("paused", sa.Boolean, nullable=False, default=False),
    sa.Column("language", sa.String(2), nullable=False, default="de"),
    sa.Column("fallback_owner", Id),
    sa.Column("rating_property", sa.Text),
    sa.Column("rating_kind", sa.String(8)),
    sa.Column("policy", sa.Text, nullable=False, default=""),
    sa.Column("time_zone", sa.Text, nullable=False, default="Europe/Berlin"),
    sa.Column("currency", sa.String(8), nullable=False, default="EUR"),
    sa.Column("record_url", sa.Text),
    sa.Column(
        "fields", sa.JSON(none_as_null=True)
    ),  # keys of our fields there; null: not installed
    sa.Column("facts", sa.JSON(none_as_null=True), nullable=False, default=dict),
    sa.Column("connected_at", Instant, nullable=False),
    sa.Column("directory_cursor", sa.Text),
    sa.Column("directory_read_at", Instant),
    sa.Column("users_read_at", Instant),
    sa.Column("swept_at", Instant),
    sa.Column("tasks_read_at", Instant),
    sa.Column("ids_checked_at", Instant),
    sa.Column("ids_cursor", Id),  # the last id of the check under way
    sa.Column("sweep", sa.JSON(none_as_null=True)),  # the sweep under way (pipeline.upkeep)
    sa.Column("asks_planned_week", sa.Integer),  # ordinal of the Monday of the week last planned
    sa.Column("asks_to_plan", sa.Boolean, nullable=False, default=False),
    sa.Column("blocked_until", Instant),
    sa.Column("blocked_reason", sa.Text),
    sa.Column("failures", sa.Integer, nullable=False, default=0),
    sa.UniqueConstraint("crm", "crm_id"),
    sa.UniqueConstraint("crm", "endpoint"),
)

lane = sa.Table(
    "lane",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("account_id", Identity),  # whose lane it is; null: it is no account's
    sa.Column("token", sa.BigInteger, nullable=False),  # fencing: rises with every holder
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("until", Instant, nullable=False),
    sa.Column("due_at", Instant),  # when there is something to do; null: not by itself
    sa.Index("ix_lane_due", "due_at", "account_id"),
)

delivery = sa.Table(
    "delivery",
    metadata,
    sa.Column("id", Identity, primary_key=True),
    sa.Column("crm", sa.String(32), nullable=False),
    sa.Column("endpoint", Id, nullable=False),  # "" or the account whose own address was called
    sa.Column("topic", sa.String(64), nullable=False, server_default=""),  # rest of the address
    sa.Column("sender", sa.String(128), nullable=False, server_default=""),  # to be fair between
    sa.Column("received_at", Instant, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),  # new | done | quarantined
    sa.Column("reason", sa.Text),
    sa.Column("digested_at", Instant),  # for people, and for bench/digest.py
    sa.Index("ix_delivery_state_sender_id", "state", "sender", "id"),
    _partial("ix_delivery_done", "id", where="state = 'done'"),
    sqlite_autoincrement=True,
)

counter = sa.Table(
    "counter",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("subject", sa.String(128), primary_key=True),
    sa.Column("n", sa.BigInteger, nullable=False),
    sa.Column("last_at", Instant, nullable=False),
)

hint = sa.Table(
    "hint",
    metadata,
    sa.Column("account_id", Identity, primary_key=True),
    sa.Column("kind", sa.String(8), primary_key=True),  # contact | deal | erase
    sa.Column("record_id", Id, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),  # rises with every mark
    sa.Column("due_at", Instant, nullable=False),
    sa.Column("history", sa.Boolean, nullable=False),  # read the property history too
    sa.Column("deleted", sa.Boolean, nullable=False),  # the CRM said so: no grace when missing
    sa.Column("heard_at", Instant),  # when a delivery last told that the record had changed
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("parked", sa.Text),  # why it waits for a person
    _partial("ix_hint_due", "account_id", "kind", "due_at", "record_id", where="parked IS NULL"),
)

alias = sa.Table(
    "alias",
    metadata,
    sa.Column("account_id", Identity, primary_key=True),
    sa.Column("old_id", Id, primary_key=True),
    sa.Column("new_id", Id, nullable=False),
    sa.Column("applied", sa.Boolean, nullable=False),
    sa.Index("ix_alias_account_id_new_id", "account_id", "new_id"),
)

tombstone = sa.Table(
    "tombstone",
    metadata,
    sa.Column("account_id", Identity, primary_key=True),
    sa.Column("hash", sa.String(64), primary_key=True),
)

retired_key = sa.Table(
    "retired_key",  # what is kept of a former SECRET_KEY, encrypted: see plugin.secrets
    metadata,
    sa.Column("id", Identity, primary_key=True),
    sa.Column("token", sa.Text, nullable=False),
)

user = sa.Table(
    "crm_user",
    metadata,
    sa.Column("account_id", Identity, primary_key=True),
    sa.Column("crm_id", Id, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("email", sa.Text, nullable=False),
    sa.Column("active", sa.Boolean, nullable=False),
)

contact = sa.Table(
    "contact",
    metadata,
    sa.Column("account_id", Identity, primary_key=True),
    sa.Column("crm_id", Id, primary_key=True),
    sa.Column("first_name", sa.Text, nullable=False),
    sa.Column("last_name", sa.Text, nullable=False),
    sa.Column("email", sa.Text, nullable=False),
    sa.Column("phones", sa.JSON(none_as_null=True), nullable=False),
    sa.Column("company", sa.Text, nullable=False),
    sa.Column("city", sa.Text, nullable=False),
    sa.Column("owner_id", Id),
    sa.Column("created_at", Instant),
    sa.Column("seen_at", Instant),  # first read in full; null: known from the directory only
    sa.Column("gone_at", Instant),
    sa.Column(
        "outcome", sa.JSON(none_as_null=True)
    ),  # what others' decisions need of this one (pipeline.casebook)
    sa.Column(
        "decision", sa.JSON(none_as_null=True)
    ),  # the last decision, for `explain` and `status`
    sa.Column("review_on", sa.Date),
    sa.Column("ask_owner", Id),  # set while this contact may be asked: whose week it counts in
    sa.Column("ask", sa.JSON(none_as_null=True)),
    sa.Index("ix_contact_account_id_review_on", "account_id", "review_on"),
    sa.Index("ix_contact_account_id_ask_owner", "account_id", "ask_owner"),
)

contact_key = sa.Table(
    "contact_key",
    metadata,
    sa.Column("account_id", Identity, primary_key=True),
    sa.Column("key", sa.String(160), primary_key=True),
    sa.Column("contact_id", Id, primary_key=True),
    sa.Index("ix_contact_key_account_id_contact_id", "account_id", "contact_id"),
)

field_change = sa.Table(
    "field_change",
    metadata,
    sa.Column("account_id", Identity, primary_key=True),
    sa.Column("contact_id", Id, primary_key=True),
    sa.Column("field", sa.String(64), primary_key=True),
    sa.Column("at", Instant, primary_key=True),
    sa.Column("value", sa.String(1024), primary_key=True),
)

deal = sa.Table(
    "deal",
    metadata,
    sa.Column("account_id", Identity, primary_key=True),
    sa.Column("crm_id", Id, primary_key=True),
    sa.Column("snapshot", sa.JSON(none_as_null=True), nullable=False),
    sa.Column("open_seen_on", sa.Date),
    sa.Column("won_seen_on", sa.Date),
    sa.Column("lost_seen_on", sa.Date),
)

contact_deal = sa.Table(
    "contact_deal",
    metadata,
    sa.Column("account_id", Identity, primary_key=True),
    sa.Column("contact_id", Id, primary_key=True),
    sa.Column("deal_id", Id, primary_key=True),
    sa.Index("ix_contact_deal_deal", "account_id", "deal_id", "contact_id"),
)

referral = sa.Table(
    "referral",
    metadata,
    sa.Column("id", Identity, primary_key=True),
    sa.Column("account_id", Identity, nullable=False),
    sa.Column("referred_id", Id, nullable=False),
    sa.Column("text_key", sa.String(240), nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("said_at", Instant, nullable=False),
    sa.Column("outcome", sa.String(24), nullable=False),
    sa.Column("referrer_id", Id),
    sa.Column("referrer_is_user", sa.Boolean, nullable=False, default=False),
    sa.Column("confirmed", sa.Boolean, nullable=False, default=False),  # referrer seen since linked
    sa.Column("candidates", sa.JSON(none_as_null=True), nullable=False, default=list),
    # What the search went by that found nobody for sure; NULL: it may find more today.
    sa.Column("searched_by", sa.String(64)),
    sa.UniqueConstraint("account_id", "referred_id", "text_key"),
    sa.Index("ix_referral_account_id_referrer_id", "account_id", "referrer_id"),
)

referral_key = sa.Table(
    "referral_key",
    metadata,
    sa.Column("account_id", Identity, primary_key=True),
    sa.Column("key", sa.String(160), primary_key=True),
    sa.Column("referral_id", Identity, primary_key=True),
    sa.Index("ix_referral_key_referral_id", "referral_id"),
)

task = sa.Table(
    "task",
    metadata,
    sa.Column("id", Identity, primary_key=True),
    sa.Column("account_id", Identity, nullable=False),
    sa.Column("key", sa.String(32), nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("cause", sa.String(400), nullable=False),
    sa.Column("subject_id", Id, nullable=False),  # whose decision wants it
    sa.Column("target_id", Id, nullable=False),  # on whose record it stands
    sa.Column("also_on", sa.JSON(none_as_null=True), nullable=False, default=list),
    sa.Column("mentions", sa.JSON(none_as_null=True), nullable=False, default=list),
    sa.Column("deal_id", Id),
    sa.Column("owner_id", Id),
    sa.Column("state", sa.String(16), nullable=False),  # plugin.storage.tasks.TaskState
    sa.Column("crm_id", Id),
    sa.Column("subject", sa.Text),  # until the CRM has it
    sa.Column("body", sa.Text),
    sa.Column("priority", sa.String(8), nullable=False),
    sa.Column("due_on", sa.Date, nullable=False),
    sa.Column("planned_on", sa.Date, nullable=False),
    sa.Column("sent_at", Instant),
    sa.Column("doubtful", sa.Boolean, nullable=False, default=False),  # may exist twice
    sa.Column("done_on", sa.Date),
    sa.Column("reason", sa.Text),
    sa.UniqueConstraint("account_id", "key"),
    sa.Index("ix_task_account_id_state", "account_id", "state"),
    sa.Index("ix_task_account_id_subject_id", "account_id", "subject_id"),
    sa.Index("ix_task_account_id_target_id", "account_id", "target_id"),
)
