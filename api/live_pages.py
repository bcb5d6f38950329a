"""What an API process hears of the log, and tells its own clients: pages from Redis, and whatever it missed from the log.

Redis is a hint, the log is the truth. Pages follow each other without gap, so this process knows up to which position
its clients were told everything (`seen`). Where a page does not follow, after every subscription, and where the sender's
checkpoint has gone on without us, the missing events are read from the log: a Redis that was restarted, or a connection
that died silently, costs a delay and no event. socketio, redis and asyncpg. Read next: `realtime.py`.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import asyncpg
import socketio
import structlog
from redis.asyncio import Redis

from ledger.redis_away import is_redis_away
from projections.live_checkpoint import channel_of, events_after, sent_position
from projections.live_events import LivePage, Message, decode_page, messages_of

NAMESPACE: Final = "/"
CONNECT_SECONDS: Final = 2.0
PAUSE_SECONDS: Final = 0.5
"""Between two tries to reach Redis."""

log = structlog.get_logger(__name__)


class LivePages(socketio.AsyncRedisManager):  # type: ignore[misc]  # untyped there
    """Socket.IO's Redis manager, which also knows the log. One per process."""

    def __init__(self, redis_url: str) -> None:
        """Nothing is connected before `start`."""
        super().__init__(redis_url, redis_options={"socket_connect_timeout": CONNECT_SECONDS})
        self.seen = 0
        self._behind_at = -1
        self._pool: asyncpg.Pool[Any] | None = None
        self._sending = asyncio.Lock()

    async def start(self, pool: "asyncpg.Pool[Any]") -> None:
        """Learn where the log is; to be called before the first client comes."""
        self._pool = pool
        self.channel = await channel_of(pool)
        self.seen = await sent_position(pool)
        self.initialize()

    async def stop(self) -> None:
        """Hear no more."""
        self.thread.cancel()
        await asyncio.gather(self.thread, return_exceptions=True)
        if self.redis is not None:
            await self.redis.aclose()

    @property
    def pool(self) -> "asyncpg.Pool[Any]":
        """Connections to read the log with."""
        if self._pool is None:
            raise RuntimeError("live events are not started")
        return self._pool

    def held_back(self) -> AbstractAsyncContextManager[None]:
        """Inside, nothing is sent to any room and `seen` stays. Not for long: all clients wait."""
        return self._sending

    async def look(self) -> None:
        """Tell what was sent and not heard here."""
        async with self._sending:
            await self._read_up_to(await sent_position(self.pool))

    async def keep_up(self) -> None:
        """To be called now and then: look, if the sender has gone on and nothing was heard since the last time."""
        behind = await sent_position(self.pool) > self.seen
        if behind and self._behind_at == self.seen:
            log.warning("live events are read from the log: Redis brings none", position=self.seen)
            await self.look()
        self._behind_at = self.seen if behind else -1

    async def deliver(self, page: LivePage) -> None:
        """Tell what is new in the page, and before that what is missing before it."""
        async with self._sending:
            if page.after > self.seen:
                await self._read_up_to(page.after)
            if page.up_to > self.seen:
                await self._tell(page.up_to, page.messages)

    async def _listen(self) -> AsyncIterator[bytes]:
        """Hear the channel for ever. Pages stop here; what Socket.IO's managers say to each other goes on to theirs."""
        away = False
        while True:
            redis = Redis.from_url(self.redis_url, socket_connect_timeout=CONNECT_SECONDS)
            try:
                async with redis.pubsub() as subscription:
                    await subscription.subscribe(self.channel)
                    async for heard in subscription.listen():
                        away = False
                        if (other := await self._hear(heard)) is not None:
                            yield other
            except Exception as error:
                if not is_redis_away(error):
                    raise
                if not away:
                    log.warning("live events wait for Redis", error=repr(error))
                away = True
            finally:
                await redis.aclose()
            await asyncio.sleep(PAUSE_SECONDS)

    async def _hear(self, heard: dict[str, Any]) -> bytes | None:
        """One message of the subscription; answers what is not for us."""
        try:
            if heard["type"] == "subscribe":  # also after redis has come back by itself
                await self.look()
            elif heard["type"] == "message":
                page = decode_page(heard["data"])
                if page is None:
                    data: bytes = heard["data"]
                    return data
                await self.deliver(page)
        except Exception as error:
            # Mostly a database that is away. `seen` has not moved past what was not told: the next page, or the next
            # look, begins there.
            log.warning("live events were not told yet", position=self.seen, error=repr(error))
        return None

    async def _read_up_to(self, position: int) -> None:
        while self.seen < position:
            if not self.rooms.get(NAMESPACE):
                self.seen = position  # nobody is here to be told
                return
            page = await events_after(self.pool, self.seen, position)
            if not page.events:
                return
            await self._tell(page.up_to, _messages(page.events))

    async def _tell(self, up_to: int, messages: Iterable[Message]) -> None:
        # `seen` first: who enters a room while this page is being told reads it from the log, and is told a part of it
        # twice, rather than never.
        before, self.seen = self.seen, up_to
        occupied = self.rooms.get(NAMESPACE, {})
        for message in messages:
            rooms = [room for room in message.rooms if room in occupied]
            if rooms and message.position > before:
                await self.emit(message.event, message.payload, namespace=NAMESPACE, room=rooms, ignore_queue=True)


def _messages(events: Iterable[Any]) -> list[Message]:
    """The messages of all events that can be told; the sender has complained about the others."""
    found: list[Message] = []
    for event in events:
        try:
            found += messages_of(event)
        except Exception:
            log.debug("an event is told to nobody", position=event.position)
    return found
