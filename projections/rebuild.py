"""Making a read model again beside the one that answers, and changing over. Also going back, and cleaning up.

Bulk first (bigger pages, indexes last), then old and new advance in the same transactions, then one UPDATE makes the
new one active. The head lock is never taken, appends notice nothing. A rebuild can be stopped anywhere and goes on
from its checkpoint. Imports `ledger` and asyncpg only. Read next: `verify.py`.
"""

from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Final

import msgspec

from ledger.errors import Conflict
from projections.builds import (
    Build,
    activate,
    create_build,
    drop_build,
    load_build,
    load_builds,
    lock_name,
    make_indexes,
    set_state,
)
from projections.follow import BULK_PAGE, Pipeline
from projections.log import head_of
from projections.projection import Pool, Projection

_SMOOTHING: Final = 0.3
_FLIP_TRIES: Final = 100


class Progress(msgspec.Struct, frozen=True):
    """How far a rebuild is. `target` is the head when last looked at; rate in events per second."""

    name: str
    position: int
    target: int
    rate: float
    eta_seconds: float


OnProgress = Callable[[Progress], None]
Throttle = Callable[[float], Awaitable[None]]
"""Awaited after each page with the seconds its flush took."""


class RebuildStoppedError(Exception):
    """The rebuild was cancelled, paused, or met an event that it cannot apply; the message says which."""


async def start_rebuild(pool: Pool, projection: Projection) -> int:
    """Make a new, empty build, or find the one that is being made; a projector or `rebuild` catches it up."""
    async with pool.acquire() as connection, connection.transaction():
        await lock_name(connection, projection)
        for build in await load_builds(connection, [projection], "building", "following", "paused", "stuck"):
            if build.purpose == "rebuild":
                if build.state == "stuck":
                    await set_state(connection, build, "building")
                return build.number
        return (await create_build(connection, projection, "rebuild")).number


async def rebuild(
    pool: Pool,
    projection: Projection,
    *,
    on_progress: OnProgress | None = None,
    throttle: Throttle | None = None,
    page_size: int = BULK_PAGE,
) -> int:
    """Start or resume a rebuild, catch up, and make it the active build; answers its number.

    Cancelling the task stops it; the next call goes on. Raises `RebuildStoppedError`.
    """
    numbers = await rebuild_together(
        pool, [projection], on_progress=on_progress, throttle=throttle, page_size=page_size
    )
    return numbers[0]


async def rebuild_together(
    pool: Pool,
    projections: Sequence[Projection],
    *,
    on_progress: OnProgress | None = None,
    throttle: Throttle | None = None,
    page_size: int = BULK_PAGE,
) -> list[int]:
    """As `rebuild`, for several at once: the log is read and decoded once for all of them."""
    builds = []
    for projection in projections:
        number = await start_rebuild(pool, projection)
        async with pool.acquire() as connection:
            build = await load_build(connection, projection, number)
        if build is None:
            raise RebuildStoppedError(f"build {number} of {projection.name} is gone")
        builds.append(build)
    pipeline = Pipeline(pool, page_size=page_size)
    pace = _Pace(pool, builds, on_progress, throttle)
    await _catch_up(pool, pipeline, pace, builds, page_size)
    for build in builds:
        async with pool.acquire() as connection, connection.transaction():
            await lock_name(connection, build.projection)
            await make_indexes(connection, build)
    await _catch_up(pool, pipeline, pace, builds, page_size)
    for build in builds:
        async with pool.acquire() as connection:
            if build.state == "building" and not await set_state(connection, build, "following"):
                raise RebuildStoppedError(f"build {build.number} of {build.projection.name} is no longer being built")
        await _flip(pool, build.projection, build.number, pipeline)
        await drop_old_builds(pool, build.projection)
    pace.report(pace.target)  # the last stretch was followed together with the live build
    return [build.number for build in builds]


async def _catch_up(pool: Pool, pipeline: Pipeline, pace: "_Pace", builds: Sequence[Build], within: int) -> None:
    """Pages until the builds are less than a page behind the head."""
    while True:
        behind = []
        async with pool.acquire() as connection:
            pace.target = await head_of(connection)
            for build in builds:
                found = await load_build(connection, build.projection, build.number)
                if found is None or found.state not in ("building", "following"):
                    what = "cancelled" if found is None else found.state
                    raise RebuildStoppedError(f"the rebuild of {build.projection.name} is {what}")
                build.position, build.state = found.position, found.state
                build.parked, build.skipped = found.parked, found.skipped
                near = pace.target - build.position < within and (build.position > 0 or pace.target == 0)
                if build.state == "building" and not near:
                    behind.append(build)
        pace.report(min(build.position for build in builds))  # also of pages that another process wrote
        if not behind:
            return
        await pipeline.run(behind, up_to=pace.target, after_page=pace.after_page)


async def _flip(pool: Pool, projection: Projection, number: int, pipeline: Pipeline) -> None:
    """Make the build active in a transaction that holds both checkpoints, where it is not behind the one before."""
    for _ in range(_FLIP_TRIES):
        await pipeline.drain([projection])
        async with pool.acquire() as connection, connection.transaction():
            active = await connection.fetchval("SELECT build FROM read_models.active WHERE name = $1", projection.name)
            # Locked in the order in which pages lock them. A page that moves both waits these few microseconds.
            locked = {
                n: await load_build(connection, projection, n, lock=True)
                for n in sorted({number, number if active is None else active})
            }
            new = locked[number]
            old = locked.get(active)
            if new is None or new.state != "following":
                raise RebuildStoppedError(f"build {number} of {projection.name} is not following the log")
            # Equal, where the old one moves at all; one that is paused, or of an older release, may have stayed behind.
            if old is None or new.position >= old.position:
                await activate(connection, new)
                return
    raise RebuildStoppedError(f"build {number} of {projection.name} does not reach the active one")


async def rollback(pool: Pool, projection: Projection) -> int:
    """Make the build before the active one active again; it was projected all the time. Answers its number."""
    async with pool.acquire() as connection:
        builds = await load_builds(connection, [projection], "following", "paused")
    candidates = [build for build in builds if build.purpose == "live" and not build.active]
    if not candidates:
        raise Conflict(f"{projection.name} has no other build of this release to go back to.")
    number = candidates[-1].number
    try:
        await _flip(pool, projection, number, Pipeline(pool))
    except RebuildStoppedError as error:
        raise Conflict(f"{projection.name} cannot go back to build {number}: it is not following the log.") from error
    return number


async def cancel_rebuild(pool: Pool, projection: Projection) -> None:
    """Drop the build that is being made. Whoever is making it stops at its next page."""
    async with pool.acquire() as connection, connection.transaction():
        await lock_name(connection, projection)
        for build in await load_builds(connection, [projection], "building", "following", "paused", "stuck"):
            if build.purpose == "rebuild":
                await drop_build(connection, build)


async def drop_old_builds(pool: Pool, projection: Projection, keep: int = 1) -> None:
    """Drop what came before, but for the newest `keep` builds beside the active one."""
    async with pool.acquire() as connection, connection.transaction():
        await lock_name(connection, projection)
        rows = await connection.fetch(
            "SELECT b.build FROM read_models.builds b WHERE b.name = $1 AND b.purpose = 'live' AND NOT EXISTS "
            "(SELECT 1 FROM read_models.active a WHERE a.name = b.name AND a.build = b.build) "
            "ORDER BY b.build DESC OFFSET $2",
            projection.name,
            keep,
        )
        for row in rows:
            build = await load_build(connection, projection, row["build"])
            if build is not None:
                await drop_build(connection, build)


class _Pace:
    """Measures, reports and throttles rebuilds that advance together."""

    def __init__(
        self, pool: Pool, builds: Sequence[Build], on_progress: OnProgress | None, throttle: Throttle | None
    ) -> None:
        self._pool = pool
        self._builds = builds
        self._on_progress = on_progress
        self._throttle = throttle
        self._rate = 0.0
        self._last = (monotonic(), min(build.position for build in builds))
        self._kept_at = 0.0
        self._reported = 0
        self.target = 0

    def report(self, position: int) -> None:
        self._reported = position = max(position, self._reported)
        if self._on_progress is not None:
            name = ", ".join(build.projection.name for build in self._builds)
            eta = max(self.target - position, 0) / max(self._rate, 1e-6) if self._rate else 0.0
            self._on_progress(Progress(name, position, self.target, self._rate, eta))

    async def after_page(self, position: int, flush_seconds: float) -> None:
        now = monotonic()
        at, before = self._last
        self._last = (now, position)
        rate = (position - before) / max(now - at, 1e-6)
        self._rate = rate if self._rate == 0 else self._rate + _SMOOTHING * (rate - self._rate)
        self.report(position)
        if now - self._kept_at > 1:
            self._kept_at = now
            await self._pool.executemany(
                "UPDATE read_models.builds SET rate_per_second = $3, target = $4 WHERE name = $1 AND build = $2",
                [(*build.key, self._rate, self.target) for build in self._builds],
            )
        if self._throttle is not None:
            await self._throttle(flush_seconds)
