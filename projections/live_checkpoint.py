"""How far the log has been told to those who listen, and what they missed. The SQL of live events.

The checkpoint is moved after sending, by compare-and-set: what was sent is told again after a crash, and nothing is
left out. Imports `ledger` and asyncpg only. Read next: `live_events.py`.
"""

from typing import Final

import msgspec

from ledger.errors import CorruptionError
from projections.log import LogPage, read_page, read_stream_tail
from projections.projection import Connection, Pool

LEADER: Final = (0x4C45, 0)  # "LE": live events
EVENTS_AT_ONCE: Final = 500


_LAG: Final = """
SELECT l.position, h.position - l.position AS behind,
  extract(epoch FROM clock_timestamp() - e.recorded_at)::float8 AS waiting_seconds
FROM read_models.live_events AS l
CROSS JOIN ledger.head AS h
LEFT JOIN ledger.events AS e ON e.position = l.position + 1
WHERE l.shard = 0 AND h.shard = 0
"""


class SenderLag(msgspec.Struct, frozen=True, rename="camel"):
    """How far the sender of live events is behind the log, and for how many seconds the next event has waited for it."""

    position: int
    lag_events: int
    lag_seconds: float


async def get_sender_lag(pool: Pool) -> SenderLag:
    """Of this moment."""
    row = await pool.fetchrow(_LAG)
    if row is None:
        raise CorruptionError("read_models.live_events is empty")
    return SenderLag(row["position"], max(row["behind"], 0), round(max(row["waiting_seconds"] or 0.0, 0.0), 3))


async def sent_position(connection: Connection | Pool) -> int:
    """Everything up to this position has been sent at least once."""
    position: int = await connection.fetchval("SELECT position FROM read_models.live_events WHERE shard = 0")
    return position


async def move_sent(connection: Connection, before: int, position: int) -> bool:
    """Compare-and-set; False if somebody else has moved it. Losing it in a crash costs a repetition, so no disk wait."""
    async with connection.transaction():
        await connection.execute("SET LOCAL synchronous_commit = off")
        tag = await connection.execute(
            "UPDATE read_models.live_events SET position = $2, moved_at = clock_timestamp() "
            "WHERE shard = 0 AND position = $1",
            before,
            position,
        )
    return bool(tag == "UPDATE 1")


async def try_to_lead(connection: Connection) -> bool:
    """Whether this connection is now the one of the only sender. Two would only repeat each other."""
    leads: bool = await connection.fetchval("SELECT pg_try_advisory_lock($1, $2)", *LEADER)
    return leads


async def channel_of(pool: Pool) -> str:
    """The Redis channel of this ledger, and of no other that shares the Redis: channels know no database numbers."""
    name: str = await pool.fetchval(
        "SELECT 'ledger:live:' || system_identifier || ':' || current_database() FROM pg_control_system()"
    )
    return name


async def events_after(pool: Pool, after: int, up_to: int) -> LogPage:
    """The next events in (after, up_to], some hundred at most."""
    async with pool.acquire() as connection:
        return await read_page(connection, after, min(after + EVENTS_AT_ONCE, up_to), metadata=False)


async def stream_events_after(pool: Pool, stream: str, after: int, up_to: int, at_most: int) -> LogPage | None:
    """The stream's events in (after, up_to]; None if they are more than `at_most`."""
    async with pool.acquire() as connection:
        page = await read_stream_tail(connection, stream, after, up_to, at_most + 1)
    return page if len(page.events) <= at_most else None
