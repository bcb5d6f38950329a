"""Which of a member's points are lost when: their lots by deadline, with what the deadlines do not tell.

Queries over the lots of `points.py`; whoever lists them all has the balance. Imports `ledger` only.
Read next: `points.py`.
"""

from datetime import datetime, timedelta
from typing import Final

import msgspec

from ledger import ids
from projections.cursor import Slice
from projections.points import POINTS, SOON
from projections.read_models import Answer, ReadModels

_QUERY: Final = """
SELECT n.*, l.lot_id, l.remaining, l.expires_at
FROM (
  SELECT count(*) FILTER (WHERE o.expires_at <= $3) AS total,
         coalesce(sum(o.remaining) FILTER (WHERE o.expires_at <= $3), 0)::bigint AS expiring,
         coalesce(sum(o.remaining) FILTER (WHERE o.expires_at > $3), 0)::bigint AS later,
         coalesce(sum(o.remaining) FILTER (WHERE o.expires_at IS NULL), 0)::bigint AS never
  FROM {lots} AS o WHERE o.user_id = $1 AND (o.expires_at IS NULL OR o.expires_at > $2)
) AS n
LEFT JOIN LATERAL (
  SELECT o.* FROM {lots} AS o WHERE o.user_id = $1 AND o.expires_at > $2 AND o.expires_at <= $3
  ORDER BY o.expires_at, o.lot_id LIMIT $4 OFFSET $5
) AS l ON true
ORDER BY l.expires_at, l.lot_id
"""


class ExpiringLot(msgspec.Struct, frozen=True, rename="camel"):
    """What is left of a lot, and until when."""

    lot_id: int
    points: int
    expires_at: datetime


async def list_expiring(
    models: ReadModels,
    user_id: str,
    now: datetime,
    within: timedelta = SOON,
    *,
    page: int = 1,
    limit: int = 20,
    min_position: int = 0,
) -> Answer[Slice[ExpiringLot]]:
    """The member's lots with a deadline in (now, now + within], the next to expire first.

    `meta` sums up all pages: `expiring` within, `later` and `neverExpiring` make the `balance`.
    """
    found = await models.read(
        POINTS,
        _QUERY,
        user_id,
        now,
        now + within,
        limit,
        (page - 1) * limit,
        min_position=min_position,
        stream=ids.account_stream(user_id),
    )
    first = found.rows[0]
    lots = [
        ExpiringLot(row["lot_id"], row["remaining"], row["expires_at"])
        for row in found.rows
        if row["lot_id"] is not None
    ]
    expiring, later, never = first["expiring"], first["later"], first["never"]
    sums = {
        "expiring": expiring,
        "later": later,
        "neverExpiring": never,
        "balance": expiring + later + never,
        "until": now + within,
    }
    answer = Slice(lots, first["total"], page, limit, None, page * limit < first["total"])
    return Answer(answer, found.position, 0, {**found.meta(), **sums})
