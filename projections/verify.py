"""Proving a read model: fold the log again beside it and name every row that differs, with the event that explains it.

The comparison is one REPEATABLE READ transaction: it sees the live build at one checkpoint, brings the shadow build to
exactly that position within itself, and compares. Nothing is locked, the projector goes on meanwhile.
Imports `ledger` and asyncpg only. Read next: `rebuild.py`.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import msgspec

from ledger import ids
from ledger.errors import Conflict
from projections.advance import fold
from projections.builds import Build, create_build, drop_build, load_build, lock_name, move_checkpoint
from projections.log import LogPage, read_page, read_streams
from projections.projection import SCHEMA, Connection, Pool, Projection, Table

_PAGE: Final = 10_000
_TRIES: Final = 5
_ABANDONED: Final = "1 hour"
_LIVE: Final = """
SELECT b.build, b.position,
  ARRAY(SELECT d.stream FROM read_models.dead_letters d
        WHERE d.name = b.name AND d.build = b.build AND d.state = 'parked' ORDER BY d.id) AS parked,
  ARRAY(SELECT d.position FROM read_models.dead_letters d
        WHERE d.name = b.name AND d.build = b.build AND d.state = 'parked' ORDER BY d.id) AS parked_at,
  ARRAY(SELECT d.position FROM read_models.dead_letters d WHERE d.name = b.name AND d.state = 'skipped') AS skipped
FROM read_models.active a JOIN read_models.builds b USING (name, build)
WHERE a.name = $1 AND b.code_version = $2
"""


class Difference(msgspec.Struct, frozen=True, rename="camel"):
    """A column that is not what the log says. Of a row that is missing or too many, column is `*` and one side None.

    `position` is that of the event that explains the row.
    """

    table: str
    key: dict[str, Any]
    column: str
    live: Any
    expected: Any
    position: int | None


class _Live(msgspec.Struct, frozen=True):
    """The active build at one moment, and which events it has left out."""

    build: int
    position: int
    parked: dict[str, int]
    skipped: frozenset[int]

    def left_out(self, stream: str, position: int) -> bool:
        return position in self.skipped or (stream in self.parked and position >= self.parked[stream])

    def continues(self, before: "_Live") -> bool:
        """Whether what was left out before still is: nobody replayed or skipped a dead letter meanwhile."""
        same = before.build == self.build and before.skipped == self.skipped
        return same and before.parked.items() <= self.parked.items()


class _ChangedError(Exception):
    """The live build was repaired or replaced while its shadow was made: begin again."""


async def verify(pool: Pool, projection: Projection, streams: Sequence[str] | None = None) -> AsyncIterator[Difference]:
    """Every difference between the active build and the log; of these streams only, if given.

    A sample covers the tables whose rows belong to one stream. Raises what the fold raises where the log cannot be
    folded, `Conflict` where there is nothing to compare.
    """
    sample = None if streams is None else sorted(set(streams))
    async with pool.acquire() as connection:
        await _drop_abandoned(connection, projection)
        for _ in range(_TRIES):
            async with connection.transaction():
                await lock_name(connection, projection)
                shadow = await create_build(connection, projection, "verify")
            try:
                seen = await _catch_up(connection, shadow, sample)
                async with connection.transaction(isolation="repeatable_read"):
                    live = await _fold_to_live(connection, shadow, sample, seen)
                    for table in projection.tables:
                        async for difference in _compare(connection, table, live.build, shadow, sample):
                            yield difference
                return
            except _ChangedError:
                continue
            finally:
                async with connection.transaction():
                    await drop_build(connection, shadow)
    raise Conflict(f"The read model {projection.name} changes too often to be verified: dead letters or builds.")


async def _catch_up(connection: Connection, shadow: Build, sample: list[str] | None) -> _Live:
    """Pages, each in its own transaction, until the shadow is less than a page behind the live build."""
    seen = None
    while True:
        live = await _live(connection, shadow.projection, seen)
        if live.position - shadow.position < _PAGE:
            return live
        page = await _read(connection, shadow, live.position, sample)
        async with connection.transaction():
            await _write(connection, shadow, page, live)
        shadow.position = page.up_to
        seen = live


async def _fold_to_live(connection: Connection, shadow: Build, sample: list[str] | None, seen: _Live) -> _Live:
    """Bring the shadow to the live build's position as this transaction sees it."""
    live = await _live(connection, shadow.projection, seen)
    while shadow.position < live.position:
        page = await _read(connection, shadow, live.position, sample)
        await _write(connection, shadow, page, live)
        shadow.position = page.up_to
    return live


async def _live(connection: Connection, projection: Projection, seen: _Live | None) -> _Live:
    row = await connection.fetchrow(_LIVE, projection.name, projection.code_version)
    if row is None:
        raise Conflict(f"The read model {projection.name} has no build of this release yet.")
    parked = dict(zip(row["parked"], row["parked_at"], strict=True))
    live = _Live(row["build"], row["position"], parked, frozenset(row["skipped"]))
    if seen is not None and not live.continues(seen):
        raise _ChangedError
    return live


async def _read(connection: Connection, shadow: Build, live_position: int, sample: list[str] | None) -> LogPage:
    metadata = shadow.projection.reads_metadata
    if sample is None:
        up_to = min(shadow.position + _PAGE, live_position)
        return await read_page(connection, shadow.position, up_to, metadata=metadata)
    # A few streams: found by name, so the range may be wide.
    up_to = min(shadow.position + 100 * _PAGE, live_position)
    return await read_streams(connection, sample, shadow.position, up_to, metadata=metadata)


async def _write(connection: Connection, shadow: Build, page: LogPage, live: _Live) -> None:
    events = [event for event in page.events if not live.left_out(event.stream, event.position)]
    await move_checkpoint(connection, shadow, page.up_to)
    await fold(shadow, events).flush(connection)


async def _compare(
    connection: Connection, table: Table, live: int, shadow: Build, sample: list[str] | None
) -> AsyncIterator[Difference]:
    """One table's differences, streamed."""
    name = shadow.projection.name
    where, arguments = _sampled(table, sample)
    if where is None:
        return
    columns = [column for column, _ in table.columns]
    rest = [column for column in columns if column not in table.key]
    picked = ", ".join(f"l.{c} AS live_{c}, e.{c} AS expected_{c}" for c in columns)
    tests = " OR ".join(["l.here IS NULL", "e.here IS NULL", *(f"l.{c} IS DISTINCT FROM e.{c}" for c in rest)])
    query = f"""
    SELECT l.here AS live_here, e.here AS expected_here, {picked}
    FROM (SELECT true AS here, t.* FROM {SCHEMA}.{table.in_build(name, live)} AS t {where}) AS l
    FULL JOIN (SELECT true AS here, t.* FROM {SCHEMA}.{table.in_build(name, shadow.number)} AS t {where}) AS e
      ON {" AND ".join(f"l.{c} = e.{c}" for c in table.key)}
    WHERE {tests}
    """
    async for row in connection.cursor(query, *arguments, prefetch=500):
        side = "expected" if row["expected_here"] else "live"
        key = {c: row[f"{side}_{c}"] for c in table.key}
        position = row[f"{side}_{table.explained_by}"]
        if row["live_here"] and row["expected_here"]:
            for c in rest:
                if row[f"live_{c}"] != row[f"expected_{c}"]:
                    yield Difference(
                        table.in_build(name, live), key, c, row[f"live_{c}"], row[f"expected_{c}"], position
                    )
        else:
            whole = {c: row[f"{side}_{c}"] for c in columns}
            live_row, expected_row = (whole, None) if side == "live" else (None, whole)
            yield Difference(table.in_build(name, live), key, "*", live_row, expected_row, position)


def _sampled(table: Table, sample: list[str] | None) -> tuple[str | None, tuple[Any, ...]]:
    """The condition that picks the sample's rows; None for a table that has no rows of single streams."""
    if sample is None:
        return "", ()
    if table.subject is None:
        return None, ()
    category, column = table.subject
    subjects = [ids.stream_subject(s) for s in sample if ids.category(s) == category] if category else sample
    return f"WHERE t.{column} = ANY ($1)", (subjects,)


async def _drop_abandoned(connection: Connection, projection: Projection) -> None:
    """Shadows whose process died: nobody has moved them for long."""
    rows = await connection.fetch(
        "SELECT build FROM read_models.builds WHERE name = $1 AND purpose = 'verify' "
        f"AND moved_at < clock_timestamp() - interval '{_ABANDONED}'",
        projection.name,
    )
    for row in rows:
        async with connection.transaction():
            build = await load_build(connection, projection, row["build"])
            if build is not None:
                await drop_build(connection, build)
