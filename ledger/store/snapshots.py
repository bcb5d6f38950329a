"""The follower that writes snapshots, so that a cold load of a long stream is its state and a short tail.

It only ever repeats what the log says: several may run at once, it may be stopped anywhere and begin anew. The append
writes none, so nobody waits for it. Imports asyncpg. Read next: `append.py`, whose load reads them.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Final

import asyncpg
import structlog

from ledger.audit.chain import GENESIS
from ledger.away import is_away
from ledger.errors import CorruptionError
from ledger.store.cache import Entry
from ledger.store.codec import CATEGORIES, category_of, decode

CHECKPOINT: Final = "SELECT position FROM ledger.snapshot_checkpoint WHERE shard = 0"
MOVE_CHECKPOINT: Final = "UPDATE ledger.snapshot_checkpoint SET position = $1 WHERE shard = 0 AND position < $1"
# Streams of a page whose tail has grown long. A snapshot costs what its state is large, so a large state waits for a
# longer tail: the cost per event stays the same. A live lot is some 80 bytes, so `bytes_per_event` 320 is one event for
# four lots. A snapshot of an older schema is none; one of a newer schema belongs to the next version of this service.
LONG_TAILS: Final = """
WITH page AS (
  SELECT stream, max(version) AS version, max(position) AS position FROM ledger.events
  WHERE position > $1 AND position <= $2 GROUP BY stream
)
SELECT p.stream
FROM page p
JOIN unnest($3::text[], $4::integer[]) AS c(category, state_schema) ON c.category = split_part(p.stream, '-', 1)
LEFT JOIN ledger.snapshots s ON s.stream = p.stream
WHERE coalesce(s.state_schema <= c.state_schema, true)
  AND p.version - (CASE WHEN s.state_schema = c.state_schema THEN s.version ELSE 0 END)
      >= greatest($5, coalesce(octet_length(s.state), 0) / $6)
ORDER BY p.stream
"""
END_OF_PAGE: Final = "SELECT least(h.position, $1::bigint + $2::bigint) FROM ledger.head h WHERE h.shard = 0"
SNAPSHOT: Final = """
SELECT version, position, state, last_hash FROM ledger.snapshots WHERE stream = $1 AND state_schema = $2
"""
TAIL: Final = """
SELECT position, version, type, data, hash FROM ledger.events
WHERE stream = $1 AND version > $2 AND position > $3 ORDER BY version LIMIT $4
"""
KEEP: Final = """
INSERT INTO ledger.snapshots AS s (stream, version, position, state_schema, state, last_hash)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (stream) DO UPDATE
SET version = excluded.version, position = excluded.position, state_schema = excluded.state_schema,
    state = excluded.state, last_hash = excluded.last_hash
WHERE (excluded.state_schema, excluded.version) > (s.state_schema, s.version)
"""

TAIL_AT_LEAST: Final = 256
"""A tail shorter than this is loaded in less than a millisecond: not worth a snapshot."""
BYTES_PER_EVENT: Final = 320
POSITIONS_A_PAGE: Final = 10_000
EVENTS_AT_ONCE: Final = 5_000
IDLE_SECONDS: Final = 1.0

log = structlog.get_logger(__name__)


class SnapshotFollower:
    """Looks through the log page by page and keeps the state of streams whose tail has grown long."""

    def __init__(
        self,
        pool: "asyncpg.Pool[Any]",
        *,
        tail_at_least: int = TAIL_AT_LEAST,
        positions_a_page: int = POSITIONS_A_PAGE,
    ) -> None:
        """`pool` connects as ledger_project (or whoever may write snapshots)."""
        self._pool = pool
        self._tail_at_least = tail_at_least
        self._positions_a_page = positions_a_page
        self.kept = 0
        """Snapshots written since the start."""

    async def step(self) -> int:
        """Look through one page; how many positions it had, 0 at the head. Raises `CorruptionError`."""
        after = await self._pool.fetchval(CHECKPOINT)
        # The head first: what is committed later than this look belongs to the next page.
        end = await self._pool.fetchval(END_OF_PAGE, after, self._positions_a_page)
        if end <= after:
            return 0
        rows = await self._pool.fetch(
            LONG_TAILS,
            after,
            end,
            [*CATEGORIES],
            [category.schema for category in CATEGORIES.values()],
            self._tail_at_least,
            BYTES_PER_EVENT,
        )
        for row in rows:
            await self._keep(row["stream"])
        await self._pool.execute(MOVE_CHECKPOINT, end)
        return int(end - after)

    async def _keep(self, stream: str) -> None:
        """Fold what is there by now, a piece at a time, and keep the state as of the last event."""
        category = category_of(stream)
        found = await self._pool.fetchrow(SNAPSHOT, stream, category.schema)
        if found is None:
            entry, position = Entry(0, GENESIS, category.initial(), category), 0
        else:
            entry = Entry(found["version"], found["last_hash"], category.decode_state(found["state"]), category)
            position = found["position"]
        begun_at = entry.version
        while rows := await self._pool.fetch(TAIL, stream, entry.version, position, EVENTS_AT_ONCE):
            fold(stream, entry, rows)
            position = rows[-1]["position"]
        if entry.version == begun_at:
            return
        state = category.encode_state(entry.state)
        await self._pool.execute(KEEP, stream, entry.version, position, category.schema, state, entry.hash)
        self.kept += 1

    async def run(self, stop: asyncio.Event) -> None:
        """Step until told to stop. A database that is away is waited for; anything else ends it, loudly."""
        while not stop.is_set():
            try:
                moved = await self.step()
            except Exception as error:
                if not is_away(error):
                    raise
                log.warning("snapshots wait for the database", error=repr(error))
                moved = 0
            if not moved:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), IDLE_SECONDS)


def fold(stream: str, entry: Entry, rows: Sequence[Any]) -> None:
    """Take the events in, checked to follow each other without gap."""
    evolve = category_of(stream).evolve
    for row in rows:
        if row["version"] != entry.version + 1:
            raise CorruptionError(f"{stream} has version {row['version']} where {entry.version + 1} belongs")
        entry.state = evolve(entry.state, decode(row["type"], row["data"]))
        entry.version, entry.hash = row["version"], row["hash"]
