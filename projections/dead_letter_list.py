"""Everything that waits for somebody: deliveries that could not be true, and events a read model could not apply.

One list, newest first. Imports `ledger` only. Read next: `webhook_letters.py`, `dead_letters.py`.
"""

from datetime import datetime
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from ledger.money import MoneyText, money_text
from projections.audit_trail import COUNTED_AT_MOST
from projections.cursor import Slice, SortOrder
from projections.read_models import Answer, ReadModels
from projections.webhook_letters import WebhookLetters

LetterKind = Literal["webhook", "projection"]
LetterStatus = Literal["waiting", "replayed", "skipped"]
CANNOT_BE_APPLIED: Final = "CANNOT_BE_APPLIED"


class DeliveryDetails(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What the provider told."""

    provider: str
    webhook_id: str
    type: str
    payment_id: str
    amount: MoneyText
    tx_hash: str | UnsetType = UNSET


class EventDetails(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Which event waits in which build of which read model, and its stream with it."""

    read_model: str
    build: int
    stream: str
    position: int
    type: str
    tries: int


class DeadLetterView(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Of a webhook there is a `delivery`, of a projection an `event`. `suspense_id` is where its money waits."""

    id: str
    kind: LetterKind
    code: str
    message: str
    status: LetterStatus
    reason: str | UnsetType = UNSET
    delivery: DeliveryDetails | UnsetType = UNSET
    event: EventDetails | UnsetType = UNSET
    suspense_id: str | UnsetType = UNSET
    created_at: datetime


_LETTERS: Final = WebhookLetters()
_WEBHOOKS: Final = """
SELECT 'webhook' AS kind, letter_id AS id, code, message, status, reason, created_at, provider, webhook_id,
       type, payment_id, amount_minor, currency, tx_hash, suspense_id,
       NULL::text AS read_model, NULL::integer AS build, NULL::text AS stream, NULL::bigint AS position,
       NULL::integer AS tries
FROM {main}
"""
_PROJECTIONS: Final = """
SELECT 'projection', 'projection-' || id, NULL, NULL, CASE state WHEN 'parked' THEN 'waiting' ELSE state END, '', at,
       NULL, NULL, event_type, NULL, NULL, NULL, NULL, '', name, build, stream, position, tries
FROM read_models.dead_letters
"""


async def list_letters(
    models: ReadModels,
    *,
    kind: LetterKind | None = None,
    status: LetterStatus | None = None,
    page: int = 1,
    limit: int = 20,
    sort_order: SortOrder = "desc",
    min_position: int = 0,
) -> Answer[Slice[DeadLetterView]]:
    """All dead letters, of one kind or both, by the time they were written."""
    source = {None: f"{_WEBHOOKS} UNION ALL {_PROJECTIONS}", "webhook": _WEBHOOKS, "projection": _named()}[kind]
    found = await models.read(
        _LETTERS,
        _list_query(source, sort_order),
        status,
        limit + 1,  # one more tells whether there is a next page
        (page - 1) * limit,
        min_position=min_position,
    )
    rows = [row for row in found.rows[:limit] if row["id"] is not None]
    answer = Slice([_view(row) for row in rows], found.rows[0]["total"], page, limit, None, len(found.rows) > limit)
    return Answer(answer, found.position, 0, found.meta())


def _named() -> str:
    """Those of projections alone, under the names that the columns of webhooks give them in the union."""
    return f"SELECT * FROM ({_WEBHOOKS} WHERE false UNION ALL {_PROJECTIONS}) AS p"


def _list_query(source: str, order: SortOrder) -> str:
    where = "($1::text IS NULL OR t.status = $1)"
    return f"""
SELECT n.total, l.*
FROM (SELECT count(*) AS total FROM (SELECT 1 FROM ({source}) AS t WHERE {where} LIMIT {COUNTED_AT_MOST}) AS c) AS n
LEFT JOIN LATERAL (
  SELECT * FROM ({source}) AS t WHERE {where}
  ORDER BY t.created_at {order}, t.id {order} LIMIT $2 OFFSET $3
) AS l ON true
ORDER BY l.created_at {order}, l.id {order}
"""


def _view(row: Any) -> DeadLetterView:
    if row["kind"] == "projection":
        where = f"read model {row['read_model']}, build {row['build']}"
        event = EventDetails(
            read_model=row["read_model"],
            build=row["build"],
            stream=row["stream"],
            position=row["position"],
            type=row["type"],
            tries=row["tries"],
        )
        return DeadLetterView(
            id=row["id"],
            kind="projection",
            code=CANNOT_BE_APPLIED,
            message=f"The event at position {event.position} of {event.stream} cannot be applied to {where}.",
            status=row["status"],
            event=event,
            created_at=row["created_at"],
        )
    return DeadLetterView(
        id=row["id"],
        kind="webhook",
        code=row["code"],
        message=row["message"],
        status=row["status"],
        reason=row["reason"] or UNSET,
        delivery=DeliveryDetails(
            provider=row["provider"],
            webhook_id=row["webhook_id"],
            type=row["type"],
            payment_id=row["payment_id"],
            amount=money_text(row["amount_minor"], row["currency"]),
            tx_hash=row["tx_hash"] or UNSET,
        ),
        suspense_id=row["suspense_id"] or UNSET,
        created_at=row["created_at"],
    )
