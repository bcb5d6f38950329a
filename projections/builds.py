"""Builds of read models: which exist, how far each is, which one answers. Everything that writes `read_models.builds`.

A build's checkpoint is moved by compare-and-set in the transaction that writes its rows: whoever finds it elsewhere
has lost and changes nothing. Hence any number of projectors may run. Imports `ledger` and asyncpg only.
Read next: `advance.py`, which moves checkpoints, `rebuild.py`, which makes builds.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec

from ledger.errors import Conflict
from projections.log import head_of
from projections.projection import SCHEMA, Connection, Pool, Projection, table_names

_SELECT: Final = """
SELECT b.name, b.build, b.code_version, b.position, b.state, b.purpose, a.build IS NOT NULL AS active,
  ARRAY(SELECT d.stream FROM read_models.dead_letters d
        WHERE d.name = b.name AND d.build = b.build AND d.state = 'parked') AS parked,
  ARRAY(SELECT d.position FROM read_models.dead_letters d WHERE d.name = b.name AND d.state = 'skipped') AS skipped
FROM read_models.builds b LEFT JOIN read_models.active a USING (name, build)
"""
# A read model's rows are made again after a crash, so nobody waits for the disk. The plans: whatever a page merges, it
# finds by key; a plan made while the table was small would scan it for as long as the connection lives.
_BEGIN: Final = (
    "SET LOCAL synchronous_commit = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; "
    "SET LOCAL enable_seqscan = off; SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL jit = off"
)


class Build(msgspec.Struct):
    """One build as it was read. `parked` streams wait, `skipped` positions are left out for ever."""

    projection: Projection
    number: int
    position: int
    state: str
    purpose: str
    active: bool
    parked: frozenset[str] = frozenset()
    skipped: frozenset[int] = frozenset()

    @property
    def key(self) -> tuple[str, int]:
        """Name and number; builds are locked in this order."""
        return (self.projection.name, self.number)


# A plan made while a table was empty goes through all of it for each row of a page, and is kept while the table grows:
# 20,000 rows against 100,000 took half a minute.
_PLAN_ANEW: Final = "; DISCARD PLANS"


@asynccontextmanager
async def page_transaction(connection: Connection, *, plan_anew: bool = False) -> AsyncIterator[None]:
    """A transaction that writes pages. `plan_anew` for full ones: whoever has fallen behind makes tables grow."""
    async with connection.transaction():
        await connection.execute(_BEGIN + _PLAN_ANEW if plan_anew else _BEGIN)
        yield


async def load_builds(connection: Connection, projections: Iterable[Projection], *states: str) -> list[Build]:
    """The builds in these states that this code can write: those of its own code version, in order of their keys."""
    known = {projection.name: projection for projection in projections}
    rows = await connection.fetch(
        _SELECT + " WHERE b.name = ANY ($1) AND b.state = ANY ($2) ORDER BY b.name, b.build", list(known), list(states)
    )
    return [_build(known[row["name"]], row) for row in rows if row["code_version"] == known[row["name"]].code_version]


async def load_build(
    connection: Connection, projection: Projection, number: int, *, lock: bool = False
) -> Build | None:
    """One build, held until the transaction ends if `lock`; None if there is none (any more)."""
    row = await connection.fetchrow(
        _SELECT + " WHERE b.name = $1 AND b.build = $2" + (" FOR UPDATE OF b" if lock else ""), projection.name, number
    )
    return None if row is None else _build(projection, row)


async def move_checkpoint(connection: Connection, build: Build, position: int, rate: float | None = None) -> bool:
    """Compare-and-set: False if somebody else moved, paused or dropped the build."""
    tag = await connection.execute(
        "UPDATE read_models.builds SET position = $3, moved_at = clock_timestamp(), rate_per_second = "
        "coalesce($6, rate_per_second) WHERE name = $1 AND build = $2 AND position = $4 AND state = $5",
        build.projection.name,
        build.number,
        position,
        build.position,
        build.state,
        rate,
    )
    return bool(tag == "UPDATE 1")


async def set_state(connection: Connection, build: Build, state: str) -> bool:
    """Change the state; False if it is no longer what it was."""
    tag = await connection.execute(
        "UPDATE read_models.builds SET state = $4 WHERE name = $1 AND build = $2 AND state = $3",
        build.projection.name,
        build.number,
        build.state,
        state,
    )
    return bool(tag == "UPDATE 1")


async def create_build(connection: Connection, projection: Projection, purpose: str) -> Build:
    """Bare tables and a row for a new build at position 0. Inside a transaction, with `lock_name` taken."""
    name = projection.name
    number: int = await connection.fetchval(
        "SELECT coalesce(max(build), 0) + 1 FROM read_models.builds WHERE name = $1", name
    )
    for table in projection.tables:
        in_build = table.in_build(name, number)
        await connection.execute(f"DROP TABLE IF EXISTS {SCHEMA}.{in_build}")
        await connection.execute(table.create(in_build))
        await connection.execute(f"GRANT SELECT ON {SCHEMA}.{in_build} TO ledger_api, ledger_read")
        if table.upserted:
            await connection.execute(table.create_key(in_build))
    await connection.execute(
        "INSERT INTO read_models.builds (name, build, code_version, state, purpose, target) "
        "VALUES ($1, $2, $3, 'building', $4, $5)",
        name,
        number,
        projection.code_version,
        purpose,
        await head_of(connection),
    )
    return Build(projection, number, 0, "building", purpose, active=False)


async def make_indexes(connection: Connection, build: Build) -> None:
    """Every index the build does not have yet, and statistics. Inside a transaction, with `lock_name` taken."""
    for table in build.projection.tables:
        in_build = table.in_build(build.projection.name, build.number)
        for statement in [table.create_key(in_build), *table.create_indexes(in_build)]:
            await connection.execute(statement)
        await connection.execute(f"ANALYZE {SCHEMA}.{in_build}")


async def lock_name(connection: Connection, projection: Projection) -> None:
    """One at a time makes, indexes or drops builds of a read model, until the transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtext('read_models'), hashtext($1))", projection.name)


async def ensure_build(pool: Pool, projection: Projection) -> Build | None:
    """Make sure that this code has a build. Answers the one that is still to be caught up, None if there is nothing to do.

    With an empty log, the new build is the active one at once.
    """
    async with pool.acquire() as connection, connection.transaction():
        await lock_name(connection, projection)
        newest = await connection.fetchval(
            "SELECT max(build) FROM read_models.builds WHERE name = $1 AND code_version = $2 AND purpose <> 'verify'",
            projection.name,
            projection.code_version,
        )
        if newest is not None:
            build = await load_build(connection, projection, newest)
            return build if build is not None and build.purpose == "rebuild" and build.state != "paused" else None
        newer = await connection.fetchval(
            "SELECT max(code_version) FROM read_models.builds WHERE name = $1 AND purpose = 'live'", projection.name
        )
        if newer is not None and newer > projection.code_version:
            return None  # an older release beside a newer one: it leaves the read model alone
        build = await create_build(connection, projection, "rebuild")
        if await head_of(connection) > 0:
            return build
        await make_indexes(connection, build)
        await activate(connection, build)
        return None


async def activate(connection: Connection, build: Build) -> None:
    """Make this build the one that answers. Inside the transaction that found it equal to the one before."""
    await connection.execute(
        "INSERT INTO read_models.active VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET build = excluded.build",
        build.projection.name,
        build.number,
    )
    await connection.execute(
        "UPDATE read_models.builds SET state = 'following', purpose = 'live' WHERE name = $1 AND build = $2",
        build.projection.name,
        build.number,
    )


async def drop_build(connection: Connection, build: Build) -> None:
    """The build's tables, row and dead letters. Inside a transaction. The active build is refused."""
    if await connection.fetchval("SELECT true FROM read_models.active WHERE name = $1 AND build = $2", *build.key):
        raise Conflict(f"Build {build.number} of {build.projection.name} is the active one.")
    await connection.execute("DELETE FROM read_models.builds WHERE name = $1 AND build = $2", *build.key)
    await connection.execute(
        "DELETE FROM read_models.dead_letters WHERE name = $1 AND build = $2 AND state = 'parked'", *build.key
    )
    # The tables' names follow from this code's definition; those an older definition had are found by their suffix.
    rows = await connection.fetch(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'read_models' AND tablename ~ $1",
        f"^rm_{build.projection.name}_(.+_)?v{build.number}$",
    )
    expected = {table.partition(".")[2] for table in table_names(build.projection, build.number).values()}
    for table in sorted(expected | {row["tablename"] for row in rows}):
        await connection.execute(f"DROP TABLE IF EXISTS {SCHEMA}.{table}")


async def pause(pool: Pool, projection: Projection) -> None:
    """Stop all builds of a read model where they are. Reads go on, of older and older rows."""
    await pool.execute(
        "UPDATE read_models.builds SET state = 'paused' WHERE name = $1 AND state IN ('following', 'building') "
        "AND purpose <> 'verify'",
        projection.name,
    )


async def resume(pool: Pool, projection: Projection) -> None:
    """Go on after a pause, or after what stuck a rebuild was repaired."""
    await pool.execute(
        "UPDATE read_models.builds SET state = CASE purpose WHEN 'live' THEN 'following' ELSE 'building' END "
        "WHERE name = $1 AND state IN ('paused', 'stuck')",
        projection.name,
    )


def _build(projection: Projection, row: Any) -> Build:
    return Build(
        projection,
        row["build"],
        row["position"],
        row["state"],
        row["purpose"],
        row["active"],
        frozenset(row["parked"]),
        frozenset(row["skipped"]),
    )
