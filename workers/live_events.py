"""The follower that tells the log to those who listen: reads it by position, sends it through Redis, moves its checkpoint.

In this order, so that a crash anywhere sends something twice and nothing never. If Redis is away it waits; nothing else
does. One process sends at a time (an advisory lock), and a second one would do no harm.

A page is one message on the channel that the API's Socket.IO managers listen to. Not sent by Socket.IO's own write-only
manager: that one logs a failed publish and goes on, and knows of no page, so that a listener could miss one unnoticed.
May import: the standard library, asyncpg, redis, structlog, `ledger`, `projections`.
Read next: `../projections/live_events.py` for what is told, `../api/live_pages.py` for the other end.
"""

import asyncio
import contextlib
from typing import Any, Final, Protocol

import asyncpg
import structlog
from redis.asyncio import Redis

from ledger.away import is_away
from ledger.redis_away import is_redis_away
from projections.live_checkpoint import channel_of, events_after, move_sent, sent_position, try_to_lead
from projections.live_events import encode_page
from projections.log import head_of
from projections.projection import LogEvent

POLL_SECONDS: Final = 0.25
LEADERSHIP_SECONDS: Final = 1.0
REDIS_SECONDS: Final = 2.0
PAUSES_SECONDS: Final = (0.1, 0.5, 1.0, 2.0)
"""Between tries while Redis or the database is away; the last for ever."""

log = structlog.get_logger(__name__)


class Publisher(Protocol):
    """Sends a page to all API processes, or raises. That nobody listens is no failure: they read what they missed."""

    async def publish(self, channel: str, body: bytes) -> None:
        """Send the page."""


class RedisPublisher:
    """Publishes to this Redis; an answer that does not come in time is a failure."""

    def __init__(self, redis_url: str) -> None:
        """Connects when there is something to publish."""
        self._redis = Redis.from_url(redis_url, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS)

    async def publish(self, channel: str, body: bytes) -> None:
        """Send the page; raises `RedisError` or `OSError`."""
        await self._redis.publish(channel, body)

    async def close(self) -> None:
        """Let go of the connection."""
        await self._redis.aclose()


class LiveEvents:
    """Follows the log and publishes it."""

    def __init__(self, pool: "asyncpg.Pool[Any]", direct_url: str, publisher: Publisher) -> None:
        """`pool` connects as ledger_project; `direct_url` leads past a pooler, for the lock and the listener."""
        self._pool = pool
        self._direct_url = direct_url
        self._publisher = publisher
        self._channel = ""
        self._hint = asyncio.Event()
        self._failures = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Until told to stop. Redis or a database that is away is waited for; anything else ends it, loudly."""
        while not stop.is_set():
            try:
                await self._lead(stop)
            except Exception as error:
                if not (is_away(error) or is_redis_away(error)):
                    raise
                if self._failures == 0:
                    log.warning("live events wait for Redis or the database", error=repr(error))
                pause = PAUSES_SECONDS[min(self._failures, len(PAUSES_SECONDS) - 1)]
                self._failures += 1
                await _wait(stop, pause)

    async def step(self) -> int:
        """Send one page; how many positions it had, 0 at the head."""
        async with self._pool.acquire() as connection:
            after = await sent_position(connection)
            head = await head_of(connection)
        if head <= after:
            return 0
        page = await events_after(self._pool, after, head)
        sent = encode_page(after, page.events, _cannot_tell)
        self._channel = self._channel or await channel_of(self._pool)
        await self._publisher.publish(self._channel, sent.body)
        if self._failures:
            log.info("live events go on", position=after)
            self._failures = 0
        async with self._pool.acquire() as connection:
            await move_sent(connection, after, sent.up_to)
        return sent.up_to - after

    async def _lead(self, stop: asyncio.Event) -> None:
        direct = await asyncpg.connect(self._direct_url, server_settings={"application_name": "live-events"})
        try:
            await direct.add_listener("ledger_head", self._notified)
            while not await try_to_lead(direct):
                await _wait(stop, LEADERSHIP_SECONDS)
                if stop.is_set():
                    return
            while not stop.is_set():
                if direct.is_closed():
                    raise ConnectionError("the connection that holds the leadership is closed")
                self._hint.clear()
                if not await self.step():
                    await _wait(self._hint, POLL_SECONDS)
        finally:
            with contextlib.suppress(Exception):
                await direct.close(timeout=2)

    def _notified(self, *_notification: object) -> None:
        self._hint.set()


def _cannot_tell(logged: LogEvent, error: Exception) -> None:
    log.error("an event is told to nobody", position=logged.position, type=logged.type, error=repr(error))


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
