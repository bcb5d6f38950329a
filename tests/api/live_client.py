"""A real Socket.IO client that writes down what it hears, and the follower that makes it hear something."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import socketio

from workers.live_events import LiveEvents, Publisher, RedisPublisher

PATIENCE_SECONDS = 15
EVENTS = ("points-updated", "level-up", "purchase-updated", "payment-updated", "dispute-updated")


class Listener:
    """One connection. `heard` is in order of arrival, repeats included."""

    def __init__(self, **options: Any) -> None:
        self.client = socketio.AsyncClient(reconnection=False, **options)
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self._more = asyncio.Condition()
        self.gone = asyncio.Event()
        for event in EVENTS:
            self.client.on(event, self._hearing(event))
        self.client.on("disconnect", self._left)

    async def _left(self, *_reason: object) -> None:
        self.gone.set()

    def _hearing(self, event: str) -> Any:
        async def hear(payload: dict[str, Any]) -> None:
            async with self._more:
                self.heard.append((event, payload))
                self._more.notify_all()

        return hear

    async def connect(self, url: str, token: str | None, *, transports: Any = ("websocket",), query: str = "") -> None:
        auth = None if token is None else {"token": token}
        await self.client.connect(url + query, auth=auth, transports=list(transports), wait_timeout=5)

    async def join(self, kind: str, id_: str, after: int | None = None) -> Any:
        payload = {"id": id_} if after is None else {"id": id_, "afterPosition": after}
        return await self.client.call(f"join-{kind}-room", payload, timeout=PATIENCE_SECONDS)

    async def until(self, position: int, event: str = "points-updated") -> dict[str, Any]:
        """The payload of that position, once it is there."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._more:
            while True:
                for name, payload in self.heard:
                    if payload["position"] == position and name == event:
                        return payload
                await self._more.wait()

    @property
    def positions(self) -> list[int]:
        return [payload["position"] for _, payload in self.heard]


@asynccontextmanager
async def listening(url: str, token: str, **options: Any) -> AsyncIterator[Listener]:
    listener = Listener()
    await listener.connect(url, token, **options)
    try:
        yield listener
    finally:
        await listener.client.disconnect()


@asynccontextmanager
async def following(database_url: str, redis_url: str, publisher: Publisher | None = None) -> AsyncIterator[LiveEvents]:
    """The follower, until the block ends."""
    pool = await asyncpg.create_pool(database_url, min_size=1, max_size=3, server_settings={"role": "ledger_project"})
    ours = RedisPublisher(redis_url)
    stop = asyncio.Event()
    follower = LiveEvents(pool, database_url, publisher or ours)
    task = asyncio.create_task(follower.run(stop))
    try:
        yield follower
    finally:
        stop.set()
        await task
        await ours.close()
        await pool.close()
