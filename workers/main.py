"""The worker process: jobs that come back by the clock, on arq. Jobs are plain functions, none keeps anything in Redis.

arq is imported here and nowhere else. A job may run twice, late, or die half-way: each must bear that.
May import: the standard library, arq, asyncpg, structlog, `ledger`, `projections`.
Read next: `expiry.py` and `relevel.py` for jobs, `../ledger/store/migrate.py` for the other.
"""

import asyncio
from datetime import UTC
from typing import Any, Final

import asyncpg
import structlog
from arq.connections import RedisSettings
from arq.cron import CronJob, cron
from arq.worker import Worker

from ledger.store.append import PostgresStore
from ledger.store.committer import Committer
from ledger.store.migrate import ensure_partitions
from workers.expiry import Sweeper
from workers.invariants import watch_invariants
from workers.relevel import Releveler

QUEUE: Final = "ledger:jobs"
COMPLETION_WAIT_SECONDS: Final = 15
"""How long jobs may take to finish when the worker is told to stop."""

log = structlog.get_logger("worker")


async def make_partitions(ctx: dict[str, Any]) -> None:
    """Partitions of the log ahead of its head: without one, appends would be refused."""
    async with ctx["pool"].acquire() as connection:
        made = await ensure_partitions(connection)
    if made:
        log.info("partitions_made", count=made)


async def sweep_expired_lots(ctx: dict[str, Any]) -> None:
    """Record the expiry of lots that nobody touched since their deadline."""
    swept = await ctx["sweeper"].sweep()
    if swept.lots or swept.failed:
        log.info("lots_expired", accounts=swept.accounts, lots=swept.lots, failed=swept.failed)


async def relevel_accounts(ctx: dict[str, Any]) -> None:
    """After the levels were changed: put every account on the level that its lifetime points reach now."""
    await ctx["releveler"].relevel()


async def check_invariants(ctx: dict[str, Any]) -> None:
    """Ask whether the books agree with each other."""
    await watch_invariants(ctx)


JOBS: Final[tuple[CronJob, ...]] = (
    cron(make_partitions, second=50, run_at_startup=True, timeout=50),
    cron(sweep_expired_lots, second={0, 30}, run_at_startup=True, timeout=300),
    cron(relevel_accounts, second=set(range(5, 60, 10)), run_at_startup=True, timeout=300),
    cron(check_invariants, minute=set(range(0, 60, 5)), second=20, timeout=600),
)


async def run_worker(redis_url: str, database_url: str, direct_url: str) -> None:
    """Until SIGINT or SIGTERM; jobs at hand are given some seconds to finish."""
    store = await PostgresStore(direct_url).open()
    committer = await Committer(store, cache_limit=20_000).start()
    pool = await asyncpg.create_pool(
        database_url,
        min_size=1,
        max_size=4,
        server_settings={"application_name": "ledger-worker", "role": "ledger_api"},
    )
    try:
        worker = Worker(
            cron_jobs=JOBS,
            queue_name=QUEUE,
            redis_settings=RedisSettings.from_dsn(redis_url),
            job_completion_wait=COMPLETION_WAIT_SECONDS,
            keep_result=0,
            max_tries=1,  # the next time by the clock is the next try
            timezone=UTC,
            ctx={"pool": pool, "sweeper": Sweeper(pool, committer), "releveler": Releveler(pool, committer)},
        )
        log.info("worker_started", jobs=[job.name.removeprefix("cron:") for job in JOBS])
        try:
            await _run(worker, committer)
        finally:
            await worker.close()
    finally:
        await committer.stop()
        await pool.close()
        await store.close()


async def _run(worker: Worker, committer: Committer) -> None:
    """Until the worker is told to stop; raises what the committer ends with, if it ends before: no job is done then."""
    working = asyncio.ensure_future(worker.async_run())
    ended = asyncio.create_task(committer.ended())
    await asyncio.wait([working, ended], return_when=asyncio.FIRST_COMPLETED)
    ended.cancel()
    if not working.done():
        working.cancel()
        await asyncio.wait([working])
        assert committer.broken is not None, "nobody else ends it"
        raise committer.broken
    if working.cancelled():
        log.info("worker_stopped")  # arq ends its own task when it is told to stop
    else:
        working.result()
