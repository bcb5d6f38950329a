"""The store on PostgreSQL: one connection that appends, one that loads and locks, a small pool that reads. All SQL of the write side is here.

asyncpg only. Read next: `../../migrations/0001_store.sql` for the append function, `committer.py` for its caller.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import accumulate
from typing import Any, Final, TypeAlias, TypeVar

import asyncpg
from msgspec.structs import replace

from ledger.away import is_away
from ledger.store.append_line import AppendLine
from ledger.store.append_wire import APPEND, Answered
from ledger.store.migrate import MigrationError
from ledger.store.port import (
    AmbiguousAppendError,
    AppendBatch,
    Appended,
    Kept,
    Recorded,
    RejectedAppendError,
    StoreRewoundError,
    Tail,
)

T = TypeVar("T")
_Connection: TypeAlias = "asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]"

LOAD: Final = """
SELECT h.position, t.*
FROM ledger.head h
LEFT JOIN LATERAL (
  SELECT s.stream, p.version AS snapshot_version, p.state, coalesce(e.last_hash, p.last_hash) AS last_hash,
         e.versions, e.types, e.datas
  FROM unnest($1::text[], $2::integer[]) AS s(stream, state_schema)
  LEFT JOIN ledger.snapshots p ON p.stream = s.stream AND p.state_schema = s.state_schema
  LEFT JOIN LATERAL (
    SELECT array_agg(o.version) AS versions, array_agg(o.type) AS types,
           array_agg(o.data) AS datas, (array_agg(o.hash))[count(*)::integer] AS last_hash
    FROM (SELECT v.version, v.type, v.data, v.hash FROM ledger.events v
          WHERE v.stream = s.stream AND v.version > coalesce(p.version, 0) AND v.position > coalesce(p.position, 0)
            AND v.position <= h.position  -- leaves out the empty partitions ahead
          ORDER BY v.version) AS o
  ) AS e ON true
  WHERE p.stream IS NOT NULL OR e.versions IS NOT NULL
) AS t ON true
WHERE h.shard = 0
"""
READ: Final = """
SELECT position, stream, version, type, recorded_at, metadata, data, hash FROM ledger.events
WHERE position > $1 ORDER BY position LIMIT $2
"""
READ_STREAM: Final = """
SELECT position, stream, version, type, recorded_at, metadata, data, hash FROM ledger.events
WHERE stream = $1 AND version > $2 ORDER BY version LIMIT $3
"""
EVENTS_AT: Final = "SELECT position, type, data FROM ledger.events WHERE position = ANY ($1::bigint[])"
HEAD: Final = "SELECT position FROM ledger.head WHERE shard = 0"

NEEDED_MIGRATION: Final = 9
"""The first in which an append may follow another."""
_PLANNING: Final = {
    # Plans made while tables are empty would scan them sequentially for as long as the connection lives.
    "enable_seqscan": "off",
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
}
_WRITER_SETTINGS: Final = {
    "application_name": "ledger-writer",
    **_PLANNING,
    # A process stopped while it holds the head lock must not stop the others.
    "idle_in_transaction_session_timeout": "2000",
}


class _Writer:
    """The appender on one connection, inside or outside of a transaction."""

    def __init__(self, connection: _Connection, watchdog_seconds: float) -> None:
        self.connection = connection
        self._watchdog_seconds = watchdog_seconds

    async def load(self, streams: Sequence[tuple[str, int]]) -> tuple[int, dict[str, Tail]]:
        rows = await self.watched(self.connection.fetch(LOAD, [s for s, _ in streams], [v for _, v in streams]))
        tails = {
            stream: Tail(
                stream, version or 0, state, last_hash, [*zip(versions or (), types or (), datas or (), strict=True)]
            )
            for _, stream, version, state, last_hash, versions, types, datas in rows
            if stream is not None
        }
        return rows[0]["position"], tails

    async def append(self, batch: AppendBatch) -> Appended:
        row = await self.watched(self.connection.fetchrow(APPEND, *_arguments(batch)))
        assert row is not None, "the function returns one row"
        return await _appended(batch, Answered(*row), self.events_at)

    async def events_at(self, positions: Sequence[int]) -> Sequence[Any]:
        rows: Sequence[Any] = await self.watched(self.connection.fetch(EVENTS_AT, positions))
        return rows

    async def watched(self, call: Coroutine[Any, Any, T]) -> T:
        """What the server answers, or the connection is cut. Raises the port's errors."""
        try:
            return await _watched(call, self._watchdog_seconds, self.connection.terminate)
        except AttributeError as error:
            # What asyncpg says when it is cut after it has prepared a statement and before it executes it.
            if not self.connection.is_closed():
                raise
            raise AmbiguousAppendError("cut between preparing and executing") from error


class PostgresStore:
    """A `Store` on one PostgreSQL. `dsn` must reach the server directly: a transaction pooler breaks the locks."""

    def __init__(self, dsn: str, *, role: str | None = "ledger_api", watchdog_seconds: float = 30.0) -> None:
        """`role` is taken on by SET ROLE at connecting, for databases reached with one powerful login."""
        self._dsn = dsn
        self._role = {"role": role} if role else {}
        self._watchdog_seconds = watchdog_seconds
        self._writer: _Writer | None = None
        self._line: AppendLine | None = None
        self._readers: asyncpg.Pool[Any] | None = None

    async def open(self) -> "PostgresStore":
        """Connect both halves; raises what asyncpg raises, and `MigrationError` for a database that is behind this code."""
        try:
            await self._connect_writers()
            await _check_migrated(self._write.connection)
            self._readers = await asyncpg.create_pool(
                self._dsn,
                min_size=1,
                max_size=4,
                server_settings={"application_name": "ledger-reader", **_PLANNING, **self._role},
            )
        except BaseException:
            self._cut()
            raise
        return self

    async def _connect_writers(self) -> None:
        settings = {**_WRITER_SETTINGS, **self._role}
        connection = await asyncpg.connect(self._dsn, server_settings=settings)
        self._writer = _Writer(connection, self._watchdog_seconds)
        self._line = await AppendLine.over(await asyncpg.connect(self._dsn, server_settings=settings))

    @property
    def _write(self) -> _Writer:
        assert self._writer is not None, "open() first"
        return self._writer

    @property
    def _read(self) -> "asyncpg.Pool[Any]":
        assert self._readers is not None, "open() first"
        return self._readers

    async def load(self, streams: Sequence[tuple[str, int]]) -> tuple[int, dict[str, Tail]]:
        """As the port says, on the writing connection: never older than its last append."""
        return await self._write.load(streams)

    async def load_beside(self, streams: Sequence[tuple[str, int]]) -> tuple[int, dict[str, Tail]]:
        """As the port says."""
        return await self._reading(lambda reader: reader.load(streams))

    async def _reading(self, ask: Callable[[_Writer], Coroutine[Any, Any, T]]) -> T:
        try:
            async with self._read.acquire() as connection:
                return await ask(_Writer(connection, self._watchdog_seconds))
        except asyncpg.PostgresError as error:
            raise _translated(error) from error
        except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
            # The second is what a pool may say that puts back a connection cut in the middle.
            raise AmbiguousAppendError(str(error)) from error

    async def append(self, batch: AppendBatch) -> Appended:
        """As the port says; one round trip."""
        line = self._line
        assert line is not None, "open() first"
        answered = await _watched(line.append(batch), self._watchdog_seconds, line.terminate)
        return await _appended(batch, answered, self._events_at)

    async def _events_at(self, positions: Sequence[int]) -> Sequence[Any]:
        return await self._reading(lambda reader: reader.events_at(positions))

    def locked(self) -> AbstractAsyncContextManager[_Writer]:
        """As the port says."""
        return self._locked()

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[_Writer]:
        writer = self._write
        try:
            transaction = await writer.watched(_with_head_locked(writer.connection))
            yield writer
            await writer.watched(transaction.commit())
        except BaseException:
            # Whatever was under way ends with the connection; whether COMMIT was heard, only the keys know.
            writer.connection.terminate()
            raise

    async def reconnect(self) -> None:
        """New writing connections, tried for as long as it takes, a little slower each time. Nothing may be under way."""
        pause_seconds = 0.02
        while True:
            self._cut()
            try:
                async with asyncio.timeout(self._watchdog_seconds):
                    await self._connect_writers()
            except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
                await asyncio.sleep(pause_seconds)
                pause_seconds = min(pause_seconds * 2, 1.0)
            else:
                return

    def _cut(self) -> None:
        """Break both writing connections."""
        if self._writer is not None:
            self._writer.connection.terminate()
        if self._line is not None:
            self._line.terminate()

    async def head(self) -> int:
        """Position of the last event."""
        return int(await self._read.fetchval(HEAD))

    async def read(self, after: int, limit: int) -> Sequence[Recorded]:
        """A page of the log."""
        return [Recorded(*row) for row in await self._read.fetch(READ, after, limit)]

    async def read_stream(self, stream: str, after_version: int = 0, limit: int = 1000) -> Sequence[Recorded]:
        """A page of one stream."""
        return [Recorded(*row) for row in await self._read.fetch(READ_STREAM, stream, after_version, limit)]

    async def forget_member(self, user_id: str) -> bool:
        """Empty the member's directory row; whether there was one. Events hold no names, so nothing else is to do."""
        return bool(await self._read.fetchval("SELECT ledger.forget_member($1)", user_id))

    async def close(self) -> None:
        """Let go of all connections."""
        if self._writer is not None:
            await self._writer.connection.close()
        if self._line is not None:
            self._line.close()
        if self._readers is not None:
            await self._readers.close()


async def _with_head_locked(connection: _Connection) -> asyncpg.transaction.Transaction:
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("SELECT ledger.lock_head()")
    return transaction


async def _check_migrated(connection: _Connection) -> None:
    """Refuse an append function that expects what is not named any more: it would fence too little."""
    there = await connection.fetchval("SELECT to_regclass('public.ledger_migrations')")
    at = await connection.fetchval("SELECT max(version) FROM public.ledger_migrations") if there else None
    if at is None or at < NEEDED_MIGRATION:
        at = 0 if at is None else at
        msg = f"the database is at migration {at}, {NEEDED_MIGRATION} is needed: stop all its processes, run `ledger migrate`."
        raise MigrationError(msg)


async def _watched(call: Awaitable[T], watchdog_seconds: float, terminate: Callable[[], object]) -> T:
    # asyncpg's own timeout would send a cancel, which during a wait for a synchronous replica leaves a commit that
    # is here but not there. Cutting the socket leaves the outcome to the keys.
    watchdog = asyncio.get_running_loop().call_later(watchdog_seconds, terminate)
    try:
        return await call
    except asyncpg.PostgresError as error:
        raise _translated(error) from error
    except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
        raise AmbiguousAppendError(str(error)) from error
    finally:
        watchdog.cancel()


async def _appended(
    batch: AppendBatch, row: Answered, events_at: Callable[[Sequence[int]], Awaitable[Sequence[Any]]]
) -> Appended:
    kept: list[Kept] = []
    if row.kept_index is not None:
        columns: tuple[Any, ...] = (
            row.kept_index,
            row.kept_fingerprint,
            row.kept_answer,
            row.kept_first,
            row.kept_last,
            row.kept_at,
        )
        kept = await _with_events([Kept(index - 1, *found) for index, *found in zip(*columns, strict=True)], events_at)
    taken: list[tuple[int, int]] = []
    if row.taken:
        owners = [(c, k) for c, command in enumerate(batch.commands) for k in range(len(command.claims))]
        taken = [owners[index - 1] for index in row.taken]
    return Appended(row.head_before, row.head, row.recorded_at, frozenset(row.bad_units), kept, taken, row.moved)


async def _with_events(kept: list[Kept], events_at: Callable[[Sequence[int]], Awaitable[Sequence[Any]]]) -> list[Kept]:
    """The same, with the events that an answer is rendered from; they are there for ever, so any look will do.

    Raises `AmbiguousAppendError` where they are not: whoever was asked is behind the one that appended.
    """
    positions = [p for k in kept if k.needs_events for p in range(k.first_position, k.last_position + 1)]
    if not positions:
        return kept
    events = {position: (kind, data) for position, kind, data in await events_at(positions)}
    if len(events) < len(positions):
        raise AmbiguousAppendError("the events of a kept answer are not there yet")
    return [
        replace(k, events=[events[p] for p in range(k.first_position, k.last_position + 1)]) if k.needs_events else k
        for k in kept
    ]


def _translated(error: asyncpg.PostgresError) -> Exception:
    state = error.sqlstate or ""
    if state == "LG001":
        return StoreRewoundError(str(error))
    # Also a log that has run out of partitions is for the operator to mend: until then, send again.
    if is_away(error) or (state == "23514" and "no partition" in str(error)):
        return AmbiguousAppendError(str(error))
    return RejectedAppendError(str(error))


def _arguments(batch: AppendBatch) -> tuple[Any, ...]:
    """The rows of `ledger.append`, as tuples: asyncpg looks twice at every element of an array, once at a tuple."""
    commands = batch.commands
    counts = [len(c.events) for c in commands]
    return (
        batch.known,
        [(r.stream, r.version, r.unit) for r in batch.reads],
        [
            (c.unit, c.caller, c.key, c.digest, c.fingerprint, c.answer, count, so_far)
            for c, count, so_far in zip(commands, counts, accumulate(counts), strict=True)
        ],
        [(n, c.unit, k.scope, k.value, k.digest) for n, c in enumerate(commands, 1) for k in c.claims],
        [(c.unit, e.stream, e.version, e.type, e.metadata, e.data, e.hash) for c in commands for e in c.events],
        [(c.unit, d.user_id, d.name, d.avatar) for c in commands if (d := c.directory) is not None],
        batch.token,
        batch.after,
    )
