"""Where the log is cut for an answer as of a moment: a position, and the clock by which deadlines are read there.

Times of recording grow with positions, so an instant names one position and an answer as of it never changes; it is
found by halving, in the log itself. Imports `ledger` only. Read next: `account_as_of.py`.
"""

from datetime import datetime
from typing import Final

import msgspec

from ledger.errors import CorruptionError, InvalidCommand
from projections.projection import Connection

FIELD: Final = "asOf"

_HEAD: Final = "SELECT position FROM ledger.head WHERE shard = 0"
_RECORDED: Final = "SELECT recorded_at FROM ledger.events WHERE position = $1"
# Thirty look-ups by the key of a log of a billion. `low` was recorded by then, whatever is behind `high` was not.
_LAST_BY: Final = """
WITH RECURSIVE halves(low, high) AS (
  SELECT 0::bigint, h.position FROM ledger.head AS h WHERE h.shard = 0
  UNION ALL
  SELECT CASE WHEN e.recorded_at <= $1 THEN m.middle ELSE s.low END,
         CASE WHEN e.recorded_at <= $1 THEN s.high ELSE m.middle - 1 END
  FROM halves AS s
  CROSS JOIN LATERAL (SELECT (s.low + s.high + 1) / 2 AS middle) AS m
  JOIN ledger.events AS e ON e.position = m.middle
  WHERE s.low < s.high
)
SELECT low FROM halves WHERE low = high
"""


class Cut(msgspec.Struct, frozen=True):
    """Everything up to `position`, 0 for nothing, looked at when it was `at`."""

    position: int
    at: datetime


async def find_cut(connection: Connection, as_of: int | datetime | None, now: datetime) -> Cut:
    """The cut at a position (when it was recorded), at an instant, or now. Refused: what has not happened yet."""
    if isinstance(as_of, datetime):
        if as_of > now:
            raise InvalidCommand.field(FIELD, "must not lie in the future.")
        return Cut(await last_position_by(connection, as_of), as_of)
    head = await connection.fetchval(_HEAD)
    if as_of is None:
        return Cut(head, now)
    if not 1 <= as_of <= head:
        raise InvalidCommand.field(FIELD, f"must be a position from 1 to {head}, the last one, or an instant.")
    return Cut(as_of, await connection.fetchval(_RECORDED, as_of))


async def last_position_by(connection: Connection, at: datetime) -> int:
    """Position of the last event recorded at that instant or before it; 0 if there is none."""
    found: int | None = await connection.fetchval(_LAST_BY, at)
    if found is None:
        raise CorruptionError("an event is missing from the log")
    return found
