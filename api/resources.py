"""What routes work with: made at the start, handed to each call, let go at the end.

Read next: `app.py`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
from redis.asyncio import ConnectionPool, Redis

from api.in_turn import InTurn
from api.webhooks import Signatures
from ledger.handler import Handler
from ledger.settings import Settings
from ledger.store.append import PostgresStore
from ledger.store.committer import Committer
from projections.programme import Programmes
from projections.read_models import ReadModels

READERS_AT_MOST = 10
EXPORTS_AT_ONCE = 4
"""Each holds one of the readers' connections for as long as somebody takes to read it."""
BATCH_BYTES_AT_ONCE = 196_608
"""Some nine hundred items: two appends full of them, one under way and one being decided."""
BATCH_BYTES_WAITING = 67_108_864
REDIS_PATIENCE_SECONDS = 0.25


class Resources:
    """Everything a route may ask for. The settings are those the process was started with."""

    def __init__(
        self,
        settings: Settings,
        store: PostgresStore,
        committer: Committer,
        pool: "asyncpg.Pool[Any]",
        redis: ConnectionPool,
    ) -> None:
        """All of them are started."""
        self.settings = settings
        self.store = store
        self.committer = committer
        self.handler = Handler(committer)
        self.pool = pool
        self.models = ReadModels(pool)
        self.exports = asyncio.Semaphore(EXPORTS_AT_ONCE)
        self.batches = InTurn(BATCH_BYTES_AT_ONCE, BATCH_BYTES_WAITING)
        self.programmes = Programmes(pool)
        self.signatures = Signatures.from_settings(settings)
        self.redis = Redis(connection_pool=redis)
        self.last_health: tuple[float, Any] = (float("-inf"), None)


def redis_pool(url: str) -> ConnectionPool:
    """Connections to Redis, made when needed. It is never the truth, so nobody waits long for it."""
    return ConnectionPool.from_url(
        url, socket_timeout=REDIS_PATIENCE_SECONDS, socket_connect_timeout=REDIS_PATIENCE_SECONDS, max_connections=64
    )


@asynccontextmanager
async def started(settings: Settings, redis: ConnectionPool) -> AsyncIterator[Resources]:
    """The resources of one process: connected at entering, flushed and closed at leaving, in the opposite order."""
    if settings.database_url is None or settings.database_direct_url is None:
        raise ValueError("DATABASE_URL must be known by now: the embedded PostgreSQL is started before the API.")
    async with AsyncExitStack() as stack:
        stack.push_async_callback(redis.disconnect)
        pool = await asyncpg.create_pool(
            settings.database_url,
            min_size=1,
            max_size=READERS_AT_MOST,
            server_settings={"application_name": "ledger-api", "role": "ledger_api"},
        )
        stack.push_async_callback(_closed, pool)
        store = await PostgresStore(settings.database_direct_url).open()
        stack.push_async_callback(store.close)
        committer = await Committer(store).start()
        stack.push_async_callback(committer.stop)
        yield Resources(settings, store, committer, pool, redis)


async def _closed(pool: "asyncpg.Pool[Any]") -> None:
    """Close politely; a reader that does not end in time is cut off."""
    try:
        await asyncio.wait_for(pool.close(), 5)
    except TimeoutError:
        pool.terminate()
