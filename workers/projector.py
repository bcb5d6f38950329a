"""The projector process: keeps the read models at the head of the log, snapshots of long streams behind it, and tells
those who listen what was appended.

It watches itself: a reader that leads and does not move for a minute ends the process, and whoever supervises it
starts a new one. May import: the standard library, asyncpg, structlog, `ledger`, `projections`.
Read next: `../projections/runner.py`, `live_events.py`.
"""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, Final

import asyncpg
import structlog

from ledger.away import is_away
from ledger.store.snapshots import SnapshotFollower
from projections.catalogue import PROJECTIONS
from projections.runner import Health, Runner
from workers.live_events import LiveEvents, RedisPublisher

WATCH_SECONDS: Final = 5.0
STUCK_SECONDS: Final = 60.0
LAG_WORTH_A_WORD: Final = 50_000
"""Events. Less than that is caught up with in about a second."""
STOP_SECONDS: Final = 20.0
CANCEL_SECONDS: Final = 5.0

log = structlog.get_logger("projector")


class ProjectorStuckError(Exception):
    """The reader leads, is behind, and does not move."""


async def run_projector(project_url: str, direct_url: str, redis_url: str) -> None:
    """Until SIGINT or SIGTERM; the page at hand is finished. Raises what the reader ends with, if it ends by itself.

    `redis_url` empty: there is no Redis, so nobody is told anything live.
    """
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    pool = await asyncpg.create_pool(
        project_url,
        min_size=2,
        max_size=8,
        server_settings={"application_name": "ledger-projector", "role": "ledger_project"},
    )
    publisher = RedisPublisher(redis_url) if redis_url else None
    try:
        runner = Runner(pool, PROJECTIONS, direct_url=direct_url)
        log.info("projector_started", read_models=[projection.name for projection in PROJECTIONS])
        beside = [_watch(runner), SnapshotFollower(pool).run(stopping)]
        if publisher is not None:
            beside.append(LiveEvents(pool, direct_url, publisher).run(stopping))
        await _until(stopping, runner.run(), *beside)
        async with asyncio.timeout(STOP_SECONDS):
            await runner.stop()
        log.info("projector_stopped", position=runner.metrics.position)
    finally:
        if publisher is not None:
            await publisher.close()
        await _close(pool)


async def _until(stopping: asyncio.Event, *coroutines: Coroutine[Any, Any, Any]) -> None:
    """Run all of them until `stopping`; if one ends before that, end too, with what it raised.

    The first is left running for its own way to stop, the others are cancelled.
    """
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    stop = asyncio.create_task(stopping.wait())
    done, _ = await asyncio.wait([stop, *tasks], return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    for task in tasks[1:]:
        task.cancel()
    if tasks[1:]:
        # One that asks over a connection whose other end is gone ends when the pool is let go of.
        await asyncio.wait(tasks[1:], timeout=CANCEL_SECONDS)
    for task in done - {stop}:
        task.result()


async def _watch(runner: Runner) -> None:
    """Say when it is far behind; raise when it has stopped moving, or gets no answer from the database."""
    moved = (-1, 0)
    unmoved_seconds = 0.0
    looking: asyncio.Task[Health] | None = None
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        # Waited for and never cancelled: on a connection whose other end is gone, asyncpg waits for that as well.
        looking = looking or asyncio.create_task(runner.health())
        if not (await asyncio.wait([looking], timeout=WATCH_SECONDS))[0]:
            unmoved_seconds += 2 * WATCH_SECONDS  # whether it leads or waits for its turn
            log.warning("database_silent", seconds=unmoved_seconds)
            if unmoved_seconds >= STUCK_SECONDS:
                raise ProjectorStuckError(f"the database has said nothing for {STUCK_SECONDS:.0f} s.")
            continue
        looked, looking = looking, None
        try:
            health = looked.result()
        except Exception as error:
            if not is_away(error):
                raise
            log.warning("database_away", error=repr(error))
            continue
        if health.lag_events > LAG_WORTH_A_WORD:
            log.info("catching_up", position=health.position, head=health.head, lag_events=health.lag_events)
        now = (health.position, runner.metrics.pages)
        idle = now == moved and health.leading and health.reader_idle_seconds > WATCH_SECONDS
        unmoved_seconds = unmoved_seconds + WATCH_SECONDS if idle else 0.0
        moved = now
        if unmoved_seconds >= STUCK_SECONDS:
            raise ProjectorStuckError(f"the reader has not moved from {health.position} for {STUCK_SECONDS:.0f} s.")


async def _close(pool: Any) -> None:
    try:
        async with asyncio.timeout(5):
            await pool.close()
    except TimeoutError:
        pool.terminate()
