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
from ledger.decision import Answer
from ledger.errors import InsufficientPoints
from ledger.handler import Handler, RegisterMember
from ledger.huge_pages import huge_pages
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
        load_of = _Load(self._handler, ask)
        before = (self._committer.flushes, self._committer.commands, time.process_time())
        took = await load_of.run()
        found = load.measured(load_of.times, took, errors=load_of.refused)
        flushes, commands = self._committer.flushes - before[0], self._committer.commands - before[1]
        found.note = f"{commands / max(1, flushes):.1f} a flush, own CPU {(time.process_time() - before[2]) / took:.2f}"
        return found


class _Load:
    """So many callers, each of whom asks again as soon as it is told: as connections of the API do, without HTTP."""

    def __init__(self, handler: Handler, ask: Ask) -> None:
        """Nothing is asked yet."""
        self.handler = handler
        self.times: list[float] = []
        self.refused = 0
        self.seconds = ask.seconds
        users: dict[str, Callable[[], str]] = {"uniform": load.uniform, "lots": lambda: LOTS_MEMBER}
        self.user_id = users.get(ask.kind, load.hot_member)
        self.makers = itertools.cycle([load.earn, load.spend] if ask.kind in {"mixed", "lots"} else [load.earn])
        self.busy = ask.in_flight
        self.end = 0.0

    async def run(self) -> float:
        """Ask until the time is over; the seconds until the last was told."""
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        begin = time.perf_counter()
        self.end = begin + self.seconds
        for _ in range(self.busy):
            _Caller(self).ask()
        await self.over
        return time.perf_counter() - begin

    def one_less(self) -> None:
        """A caller has asked for the last time. One that failed for another reason than a refusal ends it all."""
        self.busy -= 1
        if self.busy == 0 and not self.over.done():
            self.over.set_result(None)


class _Caller:
    """Who waits for one command at a time."""

    __slots__ = ("_at", "_load")

    def __init__(self, of: _Load) -> None:
        self._load = of
        self._at = 0.0

    def ask(self) -> None:
        """The next command, as long as there is time."""
        of = self._load
        self._at = at = time.perf_counter()
        if at >= of.end:
            of.one_less()
            return
        key = load.random_key()
        of.handler.handle_for(next(of.makers)(of.user_id(), key), load.origin(key), self)

    def done(self) -> bool:
        """It always listens."""
        return False

    def set_result(self, _outcome: Answer) -> None:
        """Told: the next one."""
        self._load.times.append(time.perf_counter() - self._at)
        self.ask()

    def set_exception(self, outcome: BaseException) -> None:
        """Refused: a spend may come before its earn. Anything else is no measurement."""
        if isinstance(outcome, InsufficientPoints):
            self._load.refused += 1
            self._load.times.append(time.perf_counter() - self._at)
            self.ask()
        elif not self._load.over.done():
            self._load.over.set_exception(outcome)


async def main(dsn: str, cache_limit: int) -> None:
    """Answer until stdin ends."""
    store = await PostgresStore(dsn, role=None).open()
    committer = await Committer(store, queue_limit=FILL_IN_FLIGHT * 2, cache_limit=cache_limit).start()
    engine = Engine(Handler(committer), committer)
    gc.set_threshold(*GC_THRESHOLD)
    loop = asyncio.get_running_loop()
    async with huge_pages():  # as the API does
        while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
            found = await engine.answer(msgspec.json.decode(line, type=Ask))
            sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")
            sys.stdout.buffer.flush()
    await committer.stop()
    await store.close()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
