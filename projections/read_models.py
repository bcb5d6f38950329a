"""Reading a read model: the active build, its checkpoint and the rows in one statement, hence of one moment.

No views: a query names the active build's tables. If another build has become the active one meanwhile, the statement
says so and is repeated. Imports `ledger` and asyncpg only. Read next: `points.py`, `transactions.py`.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, Final, Generic, TypeVar

import asyncpg
import msgspec

from ledger.errors import ReadModelBehind
from projections.projection import Connection, Pool, Projection, table_names

STREAMED_AT_ONCE: Final = 500
"""Rows of a stream that are in memory at a time."""

Value = TypeVar("Value")

# Code of one version never reads tables of another: during a release both run side by side, each on its own build.
_ACTIVE: Final = """
SELECT b.build, b.position FROM read_models.builds b
WHERE b.name = '{name}' AND b.build = coalesce(
  (SELECT a.build FROM read_models.active a JOIN read_models.builds o USING (name, build)
   WHERE a.name = '{name}' AND o.code_version = {code_version}),
  (SELECT max(o.build) FROM read_models.builds o
   WHERE o.name = '{name}' AND o.code_version = {code_version} AND o.purpose = 'live'))
"""
_READ: Final = """
WITH rm_build AS MATERIALIZED ({active})
SELECT m.build AS rm_build, m.position AS rm_position,
  (SELECT min(d.position) FROM read_models.dead_letters d
   WHERE d.name = '{name}' AND d.build = m.build AND d.stream = ${stream} AND d.state = 'parked') AS rm_parked,
  q.*
FROM rm_build m LEFT JOIN LATERAL (SELECT true AS rm_found, x.* FROM ({query}) AS x) AS q ON true
"""


class Answer(msgspec.Struct, Generic[Value]):
    """What a query answers: the thing, the position it was read at, and what the reader must know besides.

    `version` is the stream version for the ETag, 0 where there is no stream. `meta` goes into the envelope as it is.
    """

    value: Value
    position: int
    version: int = 0
    meta: dict[str, Any] = {}


class Rows(msgspec.Struct, frozen=True):
    """Rows and the position they were read at. `parked_at`: an event of the asked stream waits there, unapplied."""

    rows: list[Any]
    position: int
    parked_at: int | None

    def meta(self) -> dict[str, Any]:
        """What the envelope's `meta` says about rows that are behind for a reason."""
        return {} if self.parked_at is None else {"parkedAt": self.parked_at}


class Stream(msgspec.Struct, frozen=True):
    """Rows that are still to come, and the position they are read at."""

    rows: AsyncIterable[Any]
    position: int


class Snapshot(msgspec.Struct, frozen=True):
    """One moment of a read model: its tables by part, as query templates name them, and how far it is."""

    connection: Connection
    tables: Mapping[str, str]
    build: int
    position: int


class ReadModels:
    """Reads from whatever build is active. One per process."""

    def __init__(self, pool: Pool, wait_seconds: float = 2.0, poll_seconds: float = 0.02) -> None:
        """`wait_seconds` is how long a read waits for `min_position`."""
        self.pool = pool
        self._wait_seconds = wait_seconds
        self._poll_seconds = poll_seconds
        self._builds: dict[str, int] = {}
        self._texts: dict[tuple[str, str, int], str] = {}

    async def read(
        self, projection: Projection, query: str, *args: Any, min_position: int = 0, stream: str = ""
    ) -> Rows:
        """Rows of `query`, whose tables are written `{main}` or `{<part>}`, at `min_position` or later.

        Raises `ReadModelBehind` if the read model does not get there in time, or has no build yet.
        """
        deadline = monotonic() + self._wait_seconds
        while True:
            found = await self._read_once(projection, query, args, stream)
            if found is not None and found.position >= min_position:
                return found
            position = -1 if found is None else found.position
            while position < min_position:
                if monotonic() >= deadline:
                    raise ReadModelBehind(
                        f"The read model {projection.name} is at position {max(position, 0)}, not yet at {min_position}."
                    )
                await asyncio.sleep(self._poll_seconds)
                position = await self._find_build(projection)

    @asynccontextmanager
    async def stream(
        self, projection: Projection, query: str, *args: Any, min_position: int = 0
    ) -> AsyncIterator[Stream]:
        """Rows of `query`, however many, as they are asked for: all of one moment, and never more than a few in memory.

        Holds a connection, and what it sees, until the block ends. `query` and refusal as in `read`.
        """
        async with self.snapshot(projection, min_position=min_position) as seen:
            text = query.format_map(seen.tables)
            yield Stream(seen.connection.cursor(text, *args, prefetch=STREAMED_AT_ONCE), seen.position)

    @asynccontextmanager
    async def snapshot(self, projection: Projection, *, min_position: int = 0) -> AsyncIterator[Snapshot]:
        """A connection that sees the read model as it is now until the block ends, whatever is written or rebuilt."""
        await self.read(projection, "SELECT 1 WHERE false", min_position=min_position)
        async with (
            self.pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            seen = await snapshot_of(connection, projection)
            if seen is None:
                raise ReadModelBehind(f"The read model {projection.name} has no build yet.")
            yield seen

    async def _read_once(self, projection: Projection, query: str, args: tuple[Any, ...], stream: str) -> Rows | None:
        """None: there is no build, or another one became active while we asked for this one."""
        build = self._builds.get(projection.name)
        if build is None:
            await self._find_build(projection)
            build = self._builds.get(projection.name)
            if build is None:
                return None
        try:
            rows = await self.pool.fetch(self._text(projection, query, build, len(args) + 1), *args, stream)
        except asyncpg.UndefinedTableError:  # dropped after another build took over
            rows = []
        if not rows or rows[0]["rm_build"] != build:
            del self._builds[projection.name]
            return None
        first = rows[0]
        return Rows([row for row in rows if row["rm_found"]], first["rm_position"], first["rm_parked"])

    async def _find_build(self, projection: Projection) -> int:
        """Learn the active build; answers its position, -1 if there is none."""
        row = await self.pool.fetchrow(_active(projection))
        if row is None:
            self._builds.pop(projection.name, None)
            return -1
        self._builds[projection.name] = row["build"]
        position: int = row["position"]
        return position

    def _text(self, projection: Projection, query: str, build: int, stream_parameter: int) -> str:
        known = self._texts.get((projection.name, query, build))
        if known is None:
            known = _READ.format(
                active=_active(projection),
                name=projection.name,
                stream=stream_parameter,
                query=query.format_map(table_names(projection, build)),
            )
            self._texts[projection.name, query, build] = known
        return known


async def snapshot_of(connection: Connection, projection: Projection) -> Snapshot | None:
    """The read model as the connection's transaction sees it; None if there is no build of it yet."""
    build = await connection.fetchrow(_active(projection))
    if build is None:
        return None
    return Snapshot(connection, table_names(projection, build["build"]), build["build"], build["position"])


def _active(projection: Projection) -> str:
    return _ACTIVE.format(name=projection.name, code_version=projection.code_version)
