"""Stores under bad weather: something happens around an append, connections are cut, messages and answers get lost."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from ledger.store.memory import MemoryStore
from ledger.store.port import AmbiguousAppendError, AppendBatch, Appended, Appender, Store


class Between:
    """A store that is another one but for what happens around its appends."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.locks = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def append(self, batch: AppendBatch) -> Appended:
        await self.before()
        outcome = await self._store.append(batch)
        await self.after()
        return outcome

    async def before(self) -> None:
        """Nothing yet is sent."""

    async def after(self) -> None:
        """It is committed, and the answer not heard yet."""

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[Appender]:
        self.locks += 1
        async with self._store.locked() as appender:
            yield appender


@asynccontextmanager
async def bad_weather(stores: Sequence[Store], seed: int) -> AsyncIterator[None]:
    """Connections are cut at random moments; in memory, messages and answers get lost."""
    chance = random.Random(seed)

    async def lose(moment: str) -> None:
        await asyncio.sleep(0)
        if "reconnect" not in moment and chance.random() < 0.1:
            raise AmbiguousAppendError(moment)

    async def cut() -> None:
        while True:
            await asyncio.sleep(chance.random() * 0.02)
            store: Any = chance.choice(stores)  # only with PostgreSQL
            chance.choice((store._write.connection, store._line)).terminate()

    if isinstance(stores[0], MemoryStore):
        fair, stores[0].network = stores[0].network, lose
        yield
        stores[0].network = fair
    else:
        cutter = asyncio.create_task(cut())
        yield
        cutter.cancel()
        await asyncio.wait([cutter])
