"""The queue before the committer: its limit, clients that hang up, and stopping."""

import asyncio

import pytest

from ledger.errors import Overloaded, StoreUnavailable
from ledger.handler import Handler, RegisterMember
from ledger.store.port import Store
from tests.contract.conftest import OpenStore, StartCommitter
from tests.contract.members import asked, balances, earn, register
from tests.contract.weather import Between


class Gate(Between):
    """Appends wait until it opens."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.opened = asyncio.Event()

    async def before(self) -> None:
        await self.opened.wait()


async def settled() -> None:
    """Whatever can happen without a reply of the store has happened."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_full_queue_refuses_at_once(open_store: OpenStore, start_committer: StartCommitter) -> None:
    gate = Gate(await open_store())
    committer = await start_committer(gate, queue_limit=5, batch_limit=1)
    handler = Handler(committer)
    tasks = []
    for n in range(20):
        tasks.append(asyncio.create_task(handler.handle(RegisterMember(f"u{n}", "N"), asked())))
        await settled()
    assert committer.waiting == 5
    refused = [task for task in tasks if task.done()]
    assert len(refused) >= 20 - 5 - 2, "one is being appended, one may be decided already"
    assert all(isinstance(task.exception(), Overloaded) for task in refused)
    gate.opened.set()
    taken = await asyncio.gather(*(task for task in tasks if task not in refused))
    assert {answer.status for answer in taken} == {201}


async def test_a_client_that_hangs_up_stops_nobody_else(
    store: Store, open_store: OpenStore, start_committer: StartCommitter
) -> None:
    gate = Gate(await open_store())
    committer = await start_committer(gate)
    handler = Handler(committer)
    tasks = [asyncio.create_task(handler.handle(RegisterMember(f"u{n}", "N"), asked(f"k{n}"))) for n in range(6)]
    same = asyncio.create_task(handler.handle(RegisterMember("u1", "N"), asked("k1")))
    group = asyncio.create_task(handler.handle_all([(RegisterMember(f"g{n}", "N"), asked()) for n in range(2)]))
    await settled()
    tasks[1].cancel()
    tasks[4].cancel()
    group.cancel()
    gate.opened.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [n for n, outcome in enumerate(outcomes) if isinstance(outcome, asyncio.CancelledError)] == [1, 4]
    assert (await same).status == 201, "another client with the same request still hears of it"
    assert committer.broken is None
    assert (await handler.handle(RegisterMember("u4", "N"), asked("k4"))).replayed is True, "what was asked was done"
    assert len(await balances(store)) == 8


async def test_stopping_finishes_what_was_taken_and_takes_no_more(
    store: Store, open_store: OpenStore, start_committer: StartCommitter
) -> None:
    gate = Gate(await open_store())
    committer = await start_committer(gate, batch_limit=2)
    handler = Handler(committer)
    tasks = [asyncio.create_task(handler.handle(RegisterMember(f"u{n}", "N"), asked())) for n in range(9)]
    await settled()
    stopping = asyncio.create_task(committer.stop())
    await settled()
    with pytest.raises(StoreUnavailable):
        await handler.handle(RegisterMember("late", "N"), asked())
    gate.opened.set()
    await stopping
    assert [task.result().status for task in tasks] == [201] * 9
    assert await store.head() == 9


async def test_an_idle_process_answers_one_command_without_waiting_for_more(
    start_committer: StartCommitter,
) -> None:
    committer = await start_committer()
    handler = Handler(committer)
    await register(handler, "a")
    await handler.handle(earn("a", 1, "r"), asked())
    assert (committer.flushes, committer.waiting) == (2, 0)
