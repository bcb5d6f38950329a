"""The projector: follows the log and keeps every read model up to date.

One process leads at a time (an advisory lock), but nothing depends on it: checkpoints are moved by compare-and-set.
NOTIFY is a hint, polling is the truth. The listening connection is never in a transaction: a full queue of
notifications would stop appends. Imports `ledger` and asyncpg only. Read next: `follow.py`, `rebuild.py`.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Final
from zlib import crc32

import asyncpg
import msgspec
import structlog

from ledger.errors import CorruptionError
from projections.builds import ensure_build, load_builds
from projections.follow import LIVE_PAGE, Metrics, Pipeline
from projections.projection import Connection, Pool, Projection
from projections.rebuild import RebuildStoppedError, rebuild_together

_LOCK_CLASS: Final = 0x5052  # "PR": projectors
_LEADERSHIP_SECONDS: Final = 1.0
_PAUSE_AFTER_ERROR_SECONDS: Final = 0.5
_log: Final = structlog.get_logger("projections")


class Health(msgspec.Struct, frozen=True, rename="camel"):
    """Two questions: how far behind the head are the read models, and does the reader itself move?"""

    head: int
    position: int
    lag_events: int
    reader_idle_seconds: float
    leading: bool


class Runner:
    """Follows the log for these projections until it is stopped."""

    def __init__(
        self,
        pool: Pool,
        projections: Sequence[Projection],
        *,
        direct_url: str | None = None,
        poll_seconds: float = 0.25,
        page_size: int = LIVE_PAGE,
    ) -> None:
        """`direct_url` leads past a pooler, for the lock and the listener; without one a pooled connection serves."""
        self._pool = pool
        self._projections = sorted(projections, key=lambda projection: projection.name)
        self._direct_url = direct_url
        self._poll_seconds = poll_seconds
        self._pipeline = Pipeline(pool, page_size=page_size)
        self._hint = asyncio.Event()
        self._stopping = asyncio.Event()
        self._rebuilds: dict[str, asyncio.Task[None]] = {}
        self._moved_at = monotonic()
        self._finished = asyncio.Event()
        self._finished.set()
        self.leading = False

    @property
    def metrics(self) -> Metrics:
        """Counters since the process began."""
        return self._pipeline.metrics

    async def run(self) -> None:
        """Until `stop`: lead if nobody else does, follow the log, come back after every failure."""
        self._finished.clear()
        try:
            while not self._stopping.is_set():
                try:
                    await self._run_connected()
                except Exception as error:
                    self.metrics.errors += 1
                    _log.warning("projector_interrupted", error=repr(error))
                    await self._sleep(_PAUSE_AFTER_ERROR_SECONDS)
        finally:
            self._finished.set()

    async def stop(self) -> None:
        """Finish the page at hand and return when everything is let go of."""
        self._stopping.set()
        self._pipeline.stopping = True
        self._hint.set()
        await self._finished.wait()

    async def catch_up(self) -> int:
        """Make builds where there are none, apply everything up to the head, return the position. Needs no leadership."""
        needed = [p for p in self._projections if await ensure_build(self._pool, p) is not None]
        if needed:
            await rebuild_together(self._pool, needed)
        position = await self._pipeline.drain(self._projections)
        self._moved_at = monotonic()
        return position

    async def health(self) -> Health:
        """Lag of the active build that is furthest behind, and for how long this reader has not looked at the log."""
        names = [projection.name for projection in self._projections]
        row = await self._pool.fetchrow(
            "SELECT h.position AS head, coalesce((SELECT min(b.position) FROM read_models.active a "
            "JOIN read_models.builds b USING (name, build) WHERE a.name = ANY ($1)), 0) AS position "
            "FROM ledger.head h WHERE h.shard = 0",
            names,
        )
        if row is None:
            raise CorruptionError("ledger.head is empty")
        lag = max(row["head"] - row["position"], 0)
        return Health(row["head"], row["position"], lag, monotonic() - self._moved_at, self.leading)

    async def _run_connected(self) -> None:
        direct, close = await self._open_direct()
        try:
            await direct.add_listener("ledger_head", self._notified)
            while not await direct.fetchval("SELECT pg_try_advisory_lock($1, $2)", _LOCK_CLASS, self._lock_key()):
                await self._sleep(_LEADERSHIP_SECONDS)
                if self._stopping.is_set():
                    return
            self.leading = True
            for projection in self._projections:
                await ensure_build(self._pool, projection)
            while not self._stopping.is_set():
                if direct.is_closed():
                    raise ConnectionError("the connection that holds the leadership is closed")
                self._hint.clear()
                await self._start_rebuilds()
                await self._pipeline.drain(self._projections)
                self._moved_at = monotonic()
                await self._wait_for_hint()
        finally:
            self.leading = False
            await self._stop_rebuilds()
            await close(direct)

    async def _open_direct(self) -> tuple[Any, Any]:
        """A connection of its own, and how to let go of it (which releases the lock)."""
        if self._direct_url is not None:
            return await asyncpg.connect(self._direct_url, server_settings={"application_name": "projector"}), _close
        return await self._pool.acquire(), self._release

    async def _release(self, connection: Any) -> None:
        with suppress(Exception):
            await connection.remove_listener("ledger_head", self._notified)
            await connection.execute("SELECT pg_advisory_unlock_all()")
        await self._pool.release(connection)

    def _lock_key(self) -> int:
        """One leader for each set of code versions: a release that makes new builds does not wait for the old one."""
        said = ",".join(f"{projection.name}:{projection.code_version}" for projection in self._projections)
        return crc32(said.encode()) - 2**31

    def _notified(self, _connection: Connection, _pid: int, _channel: str, _payload: object) -> None:
        self._hint.set()

    async def _wait_for_hint(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._hint.wait(), self._poll_seconds)

    async def _sleep(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _start_rebuilds(self) -> None:
        """Go on with every build that is being made and that nobody here is working on."""
        async with self._pool.acquire() as connection:
            builds = await load_builds(connection, self._projections, "building", "following")
        started = []
        for build in builds:
            running = self._rebuilds.get(build.projection.name)
            if build.purpose == "rebuild" and (running is None or running.done()):
                started.append(build.projection)
        if started:
            task = asyncio.create_task(self._rebuild(started))
            self._rebuilds |= {projection.name: task for projection in started}

    async def _rebuild(self, projections: Sequence[Projection]) -> None:
        names = [projection.name for projection in projections]
        try:
            numbers = await rebuild_together(self._pool, projections)
            _log.info("read_models_rebuilt", builds=dict(zip(names, numbers, strict=True)))
        except RebuildStoppedError as stopped:
            _log.warning("rebuild_stopped", read_models=names, reason=str(stopped))
        except Exception as error:
            self.metrics.errors += 1
            _log.warning("rebuild_interrupted", read_models=names, error=repr(error))

    async def _stop_rebuilds(self) -> None:
        for task in self._rebuilds.values():
            task.cancel()
        await asyncio.gather(*self._rebuilds.values(), return_exceptions=True)
        self._rebuilds.clear()


async def _close(connection: Any) -> None:
    with suppress(Exception):
        await connection.close(timeout=2)
