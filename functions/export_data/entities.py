"""What can be exported: every entity, with its columns and its filters, is declared here.

An expression in here goes into the SQL as it is written; nothing of a payload ever does. A payload
only chooses among the names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, LiteralString

Kind = Literal["text", "number", "time", "json"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the file. `usual` columns are there when a payload chooses none; the others
    may hold what not everyone may see, such as a link that resets a password. A workbook's heading
    has the `unit`; times are in UTC."""

    expression: LiteralString
    kind: Kind = "text"
    usual: bool = True
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition with one parameter, `%s`: a list of texts, or a time."""

    condition: LiteralString
    kind: Literal["texts", "time"] = "texts"


@dataclass(frozen=True, slots=True)
class Entity:
    """A table that can be exported. `order` makes two exports of the same rows the same file."""

    table: LiteralString
    order: LiteralString
    columns: dict[str, Column]
    filters: dict[str, Filter]


_CREATED = {
    "createdFrom": Filter("created_at >= %s", "time"),
    "createdBefore": Filter("created_at < %s", "time"),
}
_OWNER = {
    "userId": Filter("user_id = ANY(%s)"),
    "organizationId": Filter("organization_id = ANY(%s)"),
}

EXECUTIONS = Entity(
    table="job_executions",
    order="created_at, job_id",
    columns={
        "jobId": Column("job_id"),
        "jobType": Column("job_type"),
        "status": Column("status"),
        "attempt": Column("attempt", "number"),
        "maxAttempts": Column("max_attempts", "number", usual=False),
        "run": Column("run", "number", usual=False),
        "userId": Column("user_id"),
        "organizationId": Column("organization_id"),
        "createdAt": Column("created_at", "time"),
        "availableAt": Column("available_at", "time", usual=False),
        "startedAt": Column("started_at", "time"),
        "completedAt": Column("completed_at", "time"),
        "updatedAt": Column("updated_at", "time", usual=False),
        # Of the last attempt.
        "duration": Column(
            "round(extract(epoch FROM completed_at - started_at), 3)::float", "number", unit="s"
        ),
        "error": Column("error"),
        "payload": Column("payload", "json", usual=False),
        "result": Column("result", "json", usual=False),
        "errors": Column("errors", "json", usual=False),
        "metadata": Column("metadata", "json", usual=False),
        "idempotencyKey": Column("idempotency_key", usual=False),
        "messageId": Column("message_id", usual=False),
        "scheduleId": Column("schedule_id", usual=False),
    },
    filters={
        "jobType": Filter("job_type = ANY(%s)"),
        "status": Filter("status = ANY(%s)"),
        **_OWNER,
        **_CREATED,
    },
)

NOTIFICATIONS = Entity(
    table="notifications",
    order="notification_id",
    columns={
        "notificationId": Column("notification_id", "number"),
        "jobId": Column("job_id", usual=False),
        "userId": Column("user_id"),
        "organizationId": Column("organization_id"),
        "type": Column("type"),
        "priority": Column("priority"),
        "title": Column("title"),
        "message": Column("message"),
        "link": Column("link", usual=False),
        "createdAt": Column("created_at", "time"),
        "expiresAt": Column("expires_at", "time", usual=False),
        "readAt": Column("read_at", "time"),
    },
    filters={
        "type": Filter("type = ANY(%s)"),
        "priority": Filter("priority = ANY(%s)"),
        **_OWNER,
        **_CREATED,
    },
)

SUBSCRIPTIONS = Entity(
    table="subscriptions",
    order="started_at, subscription_id",
    columns={
        "subscriptionId": Column("subscription_id"),
        "customerId": Column("customer_id"),
        "userId": Column("user_id"),
        "organizationId": Column("organization_id"),
        "status": Column("status"),
        "priceId": Column("price_id"),
        "productId": Column("product_id", usual=False),
        "quantity": Column("quantity", "number"),
        # As at Stripe: cents of a euro, and yen.
        "unitAmount": Column("unit_amount", "number", unit="smallest unit of the currency"),
        "currency": Column("currency"),
        "billingInterval": Column("billing_interval"),
        "intervalCount": Column("interval_count", "number", usual=False),
        "startedAt": Column("started_at", "time"),
        "currentPeriodEnd": Column("current_period_end", "time"),
        "trialEnd": Column("trial_end", "time", usual=False),
        "cancelAt": Column("cancel_at", "time", usual=False),
        "canceledAt": Column("canceled_at", "time", usual=False),
        "endedAt": Column("ended_at", "time"),
        "latestInvoiceStatus": Column("latest_invoice_status", usual=False),
    },
    filters={
        "status": Filter("status = ANY(%s)"),
        "priceId": Filter("price_id = ANY(%s)"),
        "currency": Filter("currency = ANY(%s)"),
        **_OWNER,
        "startedFrom": Filter("started_at >= %s", "time"),
        "startedBefore": Filter("started_at < %s", "time"),
    },
)

ENTITIES = {
    "executions": EXECUTIONS,
    "notifications": NOTIFICATIONS,
    "subscriptions": SUBSCRIPTIONS,
}
