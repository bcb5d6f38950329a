"""The engine without HTTP: `Handler` and `Committer` over `PostgresStore`, as one API process holds them.

A process of its own that answers requests on stdin with measurements on stdout, a line each: it stays warm between
rounds. The load is inside it, so its figures include making the commands. Read next: `load.py`.
"""

import asyncio
import gc
import itertools
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Literal, TypeVar

import msgspec
import uvloop

from benchmarks import load, paying
from ledger.errors import InsufficientPoints
from ledger.handler import Handler, RegisterMember
from ledger.store.append import PostgresStore
from ledger.store.committer import Committer

T = TypeVar("T")
Kind = Literal["uniform", "hot", "mixed", "lots"]
LOTS: Final = 100_000
LOTS_MEMBER: Final = "lots000000"
COLD_CACHE_STREAMS: Final = 256
FILL_IN_FLIGHT: Final = 4096
GC_THRESHOLD: Final = (50_000, 20, 50)
"""As `api/app.py` sets it; states that live on are frozen before each cell, as the service does at its start."""


class Ask(msgspec.Struct):
    """One request: measure this, or prepare for it."""

    what: Literal["members", "warm", "lots", "payments", "measure"]
    kind: Kind = "uniform"
    in_flight: int = 64
    seconds: float = 1.0


class Engine:
    """One committer and those who load it."""

    def __init__(self, handler: Handler, committer: Committer) -> None:
        """Both are started."""
        self._handler = handler
        self._committer = committer

    async def answer(self, ask: Ask) -> Any:
        """Do what is asked."""
        match ask.what:
            case "members":
                names = [*map(load.member, range(load.ACCOUNTS)), load.hot_member(), LOTS_MEMBER]
                return await self._all(self._register, names)
            case "warm":
                # One earn each: every account is folded and cached, as it is in a service that has run for a while.
                return await self._all(self._earn, [*map(load.member, range(load.ACCOUNTS)), load.hot_member()])
            case "lots":
                return await self._all(self._earn, [LOTS_MEMBER] * LOTS)
            case "payments":
                return await self._all(self._pay, range(paying.UNPAID + paying.PAID))
            case "measure":
                return await self._measure(ask)

    async def _register(self, user_id: str) -> None:
        await self._handler.handle(RegisterMember(user_id, "A member of the bench"), load.origin(load.random_key()))

    async def _earn(self, user_id: str) -> None:
        key = load.random_key()
        await self._handler.handle(load.earn(user_id, key), load.origin(key))

    async def _pay(self, number: int) -> None:
        for command in paying.seeds(number):
            await self._handler.handle(command, load.origin(load.random_key()))

    async def _all(self, call: Callable[[T], Awaitable[None]], each: Sequence[T]) -> load.Measured:
        begin = time.perf_counter()
        waiting = iter(each)

        async def worker() -> None:
            for one in waiting:
                await call(one)

        await asyncio.gather(*(worker() for _ in range(FILL_IN_FLIGHT)))
        return load.measured([0.0] * len(each), time.perf_counter() - begin)

    async def _measure(self, ask: Ask) -> load.Measured:
        gc.collect()
        gc.freeze()
        times: list[float] = []
        refused = 0
        clock = time.perf_counter
        handle = self._handler.handle
        users: dict[str, Callable[[], str]] = {"uniform": load.uniform, "lots": lambda: LOTS_MEMBER}
        user_id = users.get(ask.kind, load.hot_member)
        makers = itertools.cycle([load.earn, load.spend] if ask.kind in {"mixed", "lots"} else [load.earn])
        begin = clock()
        end = begin + ask.seconds

        async def worker() -> None:
            nonlocal refused
            while (at := clock()) < end:
                key = load.random_key()
                try:
                    await handle(next(makers)(user_id(), key), load.origin(key))
                except InsufficientPoints:
                    refused += 1  # a spend that came before its earn
                times.append(clock() - at)

        before = (self._committer.flushes, self._committer.commands, time.process_time())
        await asyncio.gather(*(worker() for _ in range(ask.in_flight)))
        took = clock() - begin
        found = load.measured(times, took, errors=refused)
        flushes, commands = self._committer.flushes - before[0], self._committer.commands - before[1]
        found.note = f"{commands / max(1, flushes):.1f} a flush, own CPU {(time.process_time() - before[2]) / took:.2f}"
        return found


async def main(dsn: str, cache_limit: int) -> None:
    """Answer until stdin ends."""
    store = await PostgresStore(dsn, role=None).open()
    committer = await Committer(store, queue_limit=FILL_IN_FLIGHT * 2, cache_limit=cache_limit).start()
    engine = Engine(Handler(committer), committer)
    gc.set_threshold(*GC_THRESHOLD)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
        found = await engine.answer(msgspec.json.decode(line, type=Ask))
        sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")
        sys.stdout.buffer.flush()
    await committer.stop()
    await store.close()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
