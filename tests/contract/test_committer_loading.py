"""What is loaded beside an append under way: it counts for the next one, unless it moved meanwhile."""

import asyncio
from collections.abc import Sequence

import pytest

from ledger.errors import InsufficientPoints
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


# ── the next append follows at once ──


class Noted(Between):
    """Appends that wait to be sent until they may, each noted when the database gets it."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.may_go, self.sending = asyncio.Event(), asyncio.Event()
        self.sent: list[int] = []
        self.told: list[str] = []
        self.told_when_sent: list[list[str]] = []

    async def append(self, batch: AppendBatch) -> Appended:
        self.sent.append(len(batch.commands))
        self.told_when_sent.append([*self.told])
        self.sending.set()
        await self.may_go.wait()
        return await self._store.append(batch)

    async def tell(self, handler: Handler, name: str, command: object) -> None:
        try:
            await handler.handle(command, asked())
        finally:
            self.told.append(name)


async def test_the_next_append_goes_out_before_those_of_the_last_are_told(
    open_store: OpenStore, start_committer: StartCommitter
) -> None:
    noted = Noted(await open_store())
    noted.may_go.set()
    handler = Handler(await start_committer(noted))
    await register(handler, "a", "b")
    await asyncio.gather(*(handler.handle(earn(user, 10, "r"), asked()) for user in "ab"))
    noted.may_go.clear()
    noted.sending.clear()
    noted.sent.clear()
    noted.told_when_sent.clear()
    first = asyncio.create_task(noted.tell(handler, "first", spend("a", 4)))
    await noted.sending.wait()
    others = [asyncio.create_task(noted.tell(handler, name, spend("a", 3))) for name in ("second", "third")]
    for _ in range(5):
        await asyncio.sleep(0)
    noted.may_go.set()
    await asyncio.gather(first, *others)
    assert noted.sent == [1, 2]
    assert noted.told_when_sent == [[], []], "nobody was told when the second was sent"
    assert noted.told == ["first", "second", "third"]
    assert await balances(noted) == {"a": 0, "b": 10}


async def test_what_was_decided_on_an_append_that_lost_is_not_sent_behind_it(
    open_store: OpenStore, start_committer: StartCommitter
) -> None:
    noted = Noted(await open_store())
    noted.may_go.set()
    ours, theirs = Handler(await start_committer(noted)), Handler(await start_committer())
    await register(ours, "a")
    await ours.handle(earn("a", 10, "r"), asked())
    noted.may_go.clear()
    noted.sending.clear()
    noted.sent.clear()
    first = asyncio.create_task(noted.tell(ours, "first", spend("a", 8)))
    await noted.sending.wait()
    second = asyncio.create_task(noted.tell(ours, "second", spend("a", 2)))
    await theirs.handle(spend("a", 5), asked())  # 5 are left, and what the two have decided is as of 10
    noted.may_go.set()
    outcomes = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [InsufficientPoints, type(None)]
    assert await balances(noted) == {"a": 3}


class AsksAgain:
    """Who is told within the committer, and asks for more before it returns."""

    def __init__(self, handler: Handler, times: int) -> None:
        self.handler, self.left = handler, times
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def done(self) -> bool:
        return False

    def set_result(self, _outcome: object) -> None:
        self.left -= 1
        if self.left:
            self.handler.handle_for(earn("a", 1, f"again-{self.left}"), asked(), self)
        else:
            self.over.set_result(None)

    def set_exception(self, outcome: BaseException) -> None:
        self.over.set_exception(outcome)


async def test_who_asks_again_as_soon_as_it_is_told_takes_no_lock_and_loads_nothing(
    gated: Gated, start_committer: StartCommitter
) -> None:
    gated.append_may_go.set()
    handler = Handler(await start_committer(gated))
    await handler.handle(earn("a", 1, "warm"), asked())
    loads = gated.loads
    asking = AsksAgain(handler, 20)
    handler.handle_for(earn("a", 1, "first"), asked(), asking)
    await asking.over
    assert (gated.locks, gated.loads) == (0, loads)
    assert await balances(gated) == {"a": 31, "b": 10, "c": 10}
