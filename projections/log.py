"""Reading the log page by page: positions have no gap, so a page is a range, and a hole in it is corruption.

Imports `ledger` and asyncpg only. Read next: `advance.py`, which hands the events to projections.
"""

import asyncio
from typing import Any, Final

import msgspec

from ledger.errors import CorruptionError
from ledger.store import codec
from projections.projection import Connection, LogEvent, Pool, Undecodable

_SLICE: Final = 500
"""So many events are decoded between two looks at the event loop: pages are written meanwhile."""
_COLUMNS: Final = "position, stream, version, type, recorded_at, data"
_PAGE: Final = """
SELECT {columns} FROM ledger.events WHERE position > $1 AND position <= $2 ORDER BY position
"""
_STREAM_PAGE: Final = """
SELECT {columns} FROM ledger.events
WHERE stream = $1 AND version > $2 AND position >= $3 AND position <= $4 ORDER BY version LIMIT $5
"""
_STREAMS_PAGE: Final = """
SELECT {columns} FROM ledger.events WHERE stream = ANY ($1) AND position > $2 AND position <= $3 ORDER BY position
"""
_POSITIONS: Final = "SELECT {columns} FROM ledger.events WHERE position = ANY ($1) ORDER BY position"
_STREAM_TAIL: Final = """
SELECT {columns} FROM (
  SELECT * FROM ledger.events WHERE stream = $1 AND position <= $3 ORDER BY version DESC LIMIT $4
) AS tail WHERE position > $2 ORDER BY position
"""

_PARTITIONS_AHEAD: Final = """
SELECT count(*) FROM ledger.partitions AS p JOIN ledger.head AS h ON p.lower_position > h.position + 1 WHERE h.shard = 0
"""


class LogPage(msgspec.Struct, frozen=True):
    """Events with positions in (after, up_to], all of them. `undecodable` says that there is one among them."""

    after: int
    up_to: int
    events: list[LogEvent]
    undecodable: bool = False


async def head_of(connection: Connection) -> int:
    """Position of the last event, 0 for an empty log."""
    position: int = await connection.fetchval("SELECT position FROM ledger.head WHERE shard = 0")
    return position


async def partitions_ahead(pool: Pool) -> int:
    """So many partitions lie behind the one that is being written; without the next one, appends would be refused."""
    count: int = await pool.fetchval(_PARTITIONS_AHEAD)
    return count


async def read_page(connection: Connection, after: int, up_to: int, *, metadata: bool) -> LogPage:
    """The events in (after, up_to]; fewer only where the log ends."""
    rows = await connection.fetch(_PAGE.format(columns=_columns(metadata)), after, up_to)
    if rows and (rows[0][0] != after + 1 or rows[-1][0] != after + len(rows)):
        msg = f"events are missing between positions {after + 1} and {rows[-1][0]}: {len(rows)} found"
        raise CorruptionError(msg)
    return await _page(after, after + len(rows), rows)


async def read_stream(
    connection: Connection, stream: str, after_version: int, start: int, up_to: int, limit: int, *, metadata: bool
) -> LogPage:
    """Events of one stream with positions in [start, up_to] and a version above `after_version`, at most `limit`."""
    rows = await connection.fetch(
        _STREAM_PAGE.format(columns=_columns(metadata)), stream, after_version, start, up_to, limit
    )
    return await _page(start - 1, rows[-1][0] if rows else up_to, rows)


async def read_stream_tail(connection: Connection, stream: str, after: int, up_to: int, limit: int) -> LogPage:
    """The last `limit` events of one stream in (after, up_to]: read from its end, however long it is."""
    rows = await connection.fetch(_STREAM_TAIL.format(columns=_columns(False)), stream, after, up_to, limit)
    return await _page(after, up_to, rows)


async def read_streams(
    connection: Connection, streams: list[str], after: int, up_to: int, *, metadata: bool
) -> LogPage:
    """Events of these streams in (after, up_to]."""
    rows = await connection.fetch(_STREAMS_PAGE.format(columns=_columns(metadata)), streams, after, up_to)
    return await _page(after, up_to, rows)


async def read_positions(connection: Connection, positions: list[int]) -> LogPage:
    """The events at these positions, which are in order."""
    rows = await connection.fetch(_POSITIONS.format(columns=_columns(False)), positions)
    return await _page(positions[0] - 1 if positions else 0, positions[-1] if positions else 0, rows)


def _columns(metadata: bool) -> str:
    return _COLUMNS + (", metadata, hash" if metadata else ", ''::bytea, ''::bytea")


async def _page(after: int, up_to: int, rows: list[Any]) -> LogPage:
    decode = codec.decode
    events = []
    undecodable = False
    for start in range(0, len(rows), _SLICE):
        for position, stream, version, kind, recorded_at, data, metadata, hash_ in rows[start : start + _SLICE]:
            try:
                event = decode(kind, data)
            except CorruptionError as error:  # one event that cannot be read parks its stream; the others go on
                event = Undecodable(error)
                undecodable = True
            events.append(LogEvent(position, stream, version, kind, recorded_at, event, metadata, hash_))
        await asyncio.sleep(0)
    return LogPage(after, up_to, events, undecodable)
