"""What is loaded beside an append under way: it counts for the next one, unless it moved meanwhile."""

import asyncio
from collections.abc import Sequence

import pytest

from ledger.handler import Handler
from ledger.ids import account_stream
from ledger.store.port import AmbiguousAppendError, AppendBatch, Appended, Store, Tail
from tests.contract.conftest import OpenStore, StartCommitter
from tests.contract.members import asked, balances, earn, register, spend
from tests.contract.weather import Between


class Gated(Between):
    """An append that waits before it is sent, and a load beside it whose answer waits, once each."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.append_may_go, self.load_may_come = asyncio.Event(), asyncio.Event()
        self.appending, self.loaded = asyncio.Event(), asyncio.Event()
        self.beside: list[str] = []
        self.loads = 0
        self.lose = False

    async def append(self, batch: AppendBatch) -> Appended:
        self.appending.set()
        await self.append_may_go.wait()
        return await self._store.append(batch)

    async def load(self, streams: Sequence[tuple[str, int]]) -> tuple[int, dict[str, Tail]]:
        self.loads += 1
        return await self._store.load(streams)

    async def load_beside(self, streams: Sequence[tuple[str, int]]) -> tuple[int, dict[str, Tail]]:
        self.beside += [stream for stream, _ in streams]
        found = await self._store.load_beside(streams)
        self.loaded.set()
        await self.load_may_come.wait()
        if self.lose:
            raise AmbiguousAppendError
        return found


@pytest.fixture
async def gated(open_store: OpenStore, start_committer: StartCommitter) -> Gated:
    """On a log with three accounts of 10 points."""
    first = Handler(await start_committer())
    await register(first, "a", "b", "c")
    await asyncio.gather(*(first.handle(earn(user, 10, "r"), asked()) for user in "abc"))
    return Gated(await open_store())


async def two_appends(gated: Gated, handler: Handler) -> "list[asyncio.Task[object]]":
    """One under way, that earns for a, and what comes after it, which spends from b and c: both are being loaded."""
    tasks = [asyncio.create_task(handler.handle(earn("a", 1, "r2"), asked()))]
    await gated.appending.wait()
    tasks += [asyncio.create_task(handler.handle(spend(user, 9), asked())) for user in "bc"]
    await gated.loaded.wait()
    return tasks


async def test_what_was_loaded_beside_an_append_is_decided_upon(gated: Gated, start_committer: StartCommitter) -> None:
    committer = await start_committer(gated)
    tasks = await two_appends(gated, Handler(committer))
    loads = gated.loads
    gated.load_may_come.set()
    gated.append_may_go.set()
    await asyncio.gather(*tasks)
    assert set(gated.beside) == {account_stream("b"), account_stream("c")}
    assert (gated.loads, committer.conflicts) == (loads, 0), "they were loaded once, and that was good enough"
    assert await balances(gated) == {"a": 11, "b": 1, "c": 1}


@pytest.mark.parametrize("first", ["append", "load"])
async def test_what_moved_after_it_was_loaded_is_loaded_again(
    gated: Gated, start_committer: StartCommitter, first: str
) -> None:
    theirs = Handler(await start_committer())
    tasks = await two_appends(gated, Handler(await start_committer(gated)))
    await theirs.handle(spend("b", 5, "theirs"), asked())
    gates = [gated.append_may_go, gated.load_may_come]
    for gate in gates if first == "append" else reversed(gates):
        gate.set()
        await asyncio.wait(tasks, timeout=0.2)
    _, of_b, of_c = await asyncio.gather(*tasks, return_exceptions=True)
    assert "5 points available" in str(of_b)
    assert not isinstance(of_c, BaseException)
    assert gated.locks == 0, "a stale state was decided upon: only the log's own index refused what came of it"
    assert await balances(gated) == {"a": 11, "b": 5, "c": 1}


async def test_a_load_that_gets_lost_is_asked_again_in_its_turn(gated: Gated, start_committer: StartCommitter) -> None:
    tasks = await two_appends(gated, Handler(await start_committer(gated)))
    gated.lose = True
    gated.load_may_come.set()
    gated.append_may_go.set()
    await asyncio.gather(*tasks)
    assert await balances(gated) == {"a": 11, "b": 1, "c": 1}
