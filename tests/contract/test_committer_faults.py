"""What goes wrong, and what it does to others: conflicts, and answers that get lost."""

import asyncio
import random
from collections.abc import Awaitable
from contextlib import suppress
from time import sleep

import asyncpg
import pytest

from ledger.decision import Answer
from ledger.errors import InsufficientPoints, StoreUnavailable
from ledger.handler import Handler, RegisterMember
from ledger.store import patience
from ledger.store.append import PostgresStore
from ledger.store.committer import Committer
from ledger.store.port import AmbiguousAppendError, RejectedAppendError, Store
from tests.contract.conftest import OpenStore, StartCommitter
from tests.contract.members import as_json, asked, balances, earn, opens, register, spend, work
from tests.contract.weather import Between, bad_weather

# ── conflicts ──


async def test_a_conflict_between_two_processes_is_decided_again(store: Store, start_committer: StartCommitter) -> None:
    mine, theirs = await start_committer(), await start_committer()
    await register(Handler(mine), "a")
    await Handler(mine).handle(earn("a", 10, "r"), asked())
    await Handler(theirs).handle(spend("a", 8), asked())
    with pytest.raises(InsufficientPoints, match="2 points available"):
        await Handler(mine).handle(spend("a", 3), asked())
    assert mine.conflicts > 0, "it was decided on what its own cache knew, and refused by the fence"
    assert (await Handler(mine).handle(spend("a", 2), asked())).data.new_balance == 0
    assert await balances(store) == {"a": 0}


async def test_a_conflict_leaves_the_rest_of_the_batch_alone(store: Store, start_committer: StartCommitter) -> None:
    mine, theirs = await start_committer(), await start_committer()
    users = [f"u{n}" for n in range(10)]
    await register(Handler(mine), *users)
    await asyncio.gather(*(Handler(mine).handle(earn(user, 5, "r1"), asked()) for user in users))
    await Handler(theirs).handle(earn("u3", 5, "r2"), asked())
    before = mine.conflicts
    await asyncio.gather(*(Handler(mine).handle(spend(user, 1), asked()) for user in users))
    assert mine.conflicts - before == 1
    assert await balances(store) == {user: 9 if user == "u3" else 4 for user in users}


async def test_whoever_always_comes_late_is_decided_under_the_lock(
    open_store: OpenStore, start_committer: StartCommitter
) -> None:
    quick = Handler(await start_committer())
    await register(quick, "a")

    class AlwaysLate(Between):
        async def before(self) -> None:
            await quick.handle(earn("a", 1, f"r{random.random()}"), asked())

    late = AlwaysLate(await open_store())
    committer = await start_committer(late)
    answer = await Handler(committer).handle(earn("a", 100, "r"), asked())
    assert late.locks == 1
    assert committer.conflicts == 2
    assert answer.data.new_balance == 102


# ── answers that get lost ──


async def test_cut_connections_lose_nothing_and_double_nothing(
    open_store: OpenStore, start_committer: StartCommitter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "RESEND_PAUSE_SECONDS", 0.001)
    seed = random.SystemRandom().randrange(10**6)
    stores = [await open_store(), await open_store()]
    committers = [await start_committer(store, batch_limit=8, small_batch=1) for store in stores]
    handlers = [Handler(committer) for committer in committers]
    await register(handlers[0], "a", "b")

    def one(n: int) -> Awaitable[Answer]:
        return handlers[n % 2].handle(earn("ab"[n % 3 == 0], 1, f"r{n}"), asked(f"k{n}"))

    outcomes: list[Answer] = []
    async with bad_weather(stores, seed):
        # Connections are cut at any moment, also when nothing is under way: as long as it takes to lose some.
        while sum(committer.resent for committer in committers) < 5 and len(outcomes) < 40_000:
            outcomes += await asyncio.gather(*(one(n) for n in range(len(outcomes), len(outcomes) + 400)))
    assert sum(committer.resent for committer in committers) >= 5, f"seed {seed}: nothing got lost"
    assert {answer.replayed for answer in outcomes} == {False}, f"seed {seed}"
    assert sum((await balances(stores[0])).values()) == len(outcomes), f"seed {seed}"
    for n in range(0, len(outcomes), 37):
        assert as_json(await one(n)) == as_json(outcomes[n]), f"seed {seed}"


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_an_append_whose_answer_is_lost_is_answered_as_the_first_one(
    open_store: OpenStore, start_committer: StartCommitter, moment: str
) -> None:
    lost = False

    class LosesOne(Between):
        async def _lose(self) -> None:
            nonlocal lost
            if not lost and await self.head() > 0:
                lost = True
                raise AmbiguousAppendError

    setattr(LosesOne, moment, LosesOne._lose)
    store = LosesOne(await open_store())
    committer = await start_committer(store)
    handler = Handler(committer)
    await register(handler, "a")
    outcomes = await asyncio.gather(
        handler.handle(earn("a", 5, "r"), asked("k1")),
        handler.handle(spend("a", 6), asked("k2")),
        handler.handle_all([(earn("a", 2, "r2"), asked("k3")), (earn("a", 3, "r3"), asked("k4"))]),
        return_exceptions=True,
    )
    assert committer.resent > 0
    assert outcomes[0].replayed is False  # type: ignore[union-attr]  # not an error
    assert [answer.replayed for answer in outcomes[2]] == [False, False]  # type: ignore[union-attr]  # as above
    assert as_json(outcomes[0]) == as_json(await handler.handle(earn("a", 5, "r"), asked("k1")))  # type: ignore[arg-type]  # passed on as they came
    assert await balances(store) == {"a": 10 if isinstance(outcomes[1], InsufficientPoints) else 4}


async def test_a_repeated_request_is_a_replay_also_when_its_append_is_sent_twice(
    open_store: OpenStore, start_committer: StartCommitter
) -> None:
    lose = False

    class LosesOne(Between):
        async def after(self) -> None:
            nonlocal lose
            if lose:
                lose = False
                raise AmbiguousAppendError

    handler = Handler(await start_committer(LosesOne(await open_store())))
    await register(handler, "a")
    first = await handler.handle(earn("a", 5, "r"), asked("k"))
    lose = True
    again = await handler.handle(earn("a", 5, "r"), asked("k"))
    assert not lose
    assert (again.replayed, as_json(again)) == (True, as_json(first))


async def test_clients_are_told_when_the_database_stays_away_and_may_repeat(
    open_store: OpenStore, start_committer: StartCommitter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "CLIENT_PATIENCE_SECONDS", 0.05)
    back = asyncio.Event()

    class Away(Between):
        async def after(self) -> None:
            if not back.is_set() and await self.head() > 1:
                raise AmbiguousAppendError

        async def reconnect(self) -> None:
            await back.wait()
            await self._store.reconnect()

    store = Away(await open_store())
    committer = await start_committer(store, batch_limit=1)
    handler = Handler(committer)
    await register(handler, "a")
    waiting = [asyncio.create_task(handler.handle(earn("a", 1, f"r{n}"), asked(f"k{n}"))) for n in range(4)]
    await asyncio.wait(waiting, timeout=2)
    back.set()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 4
    answers = await asyncio.gather(*(handler.handle(earn("a", 1, f"r{n}"), asked(f"k{n}")) for n in range(4)))
    assert [answer.status for answer in answers] == [201] * 4
    assert await balances(store) == {"a": 4}


@pytest.mark.services
@pytest.mark.parametrize(
    "in_the_way",
    [
        "LOCK TABLE ledger.snapshots IN ACCESS EXCLUSIVE MODE",
        "SELECT FROM ledger.head WHERE shard = 0 FOR UPDATE",
    ],
    ids=["loads", "appends and the head lock"],
)
@pytest.mark.parametrize("watchdog_seconds", [0.4, 30.0], ids=["cut again and again", "waited for"])
async def test_clients_are_told_whatever_it_is_that_the_database_does_not_answer(
    database_url: str, monkeypatch: pytest.MonkeyPatch, in_the_way: str, watchdog_seconds: float
) -> None:
    """A cold command and one behind it, and one that has lost so often that it needs the head lock."""
    monkeypatch.setattr(patience, "CLIENT_PATIENCE_SECONDS", 0.5)
    store = await PostgresStore(database_url, watchdog_seconds=watchdog_seconds).open()
    committer = await Committer(store).start()
    handler = Handler(committer)
    await register(handler, "warm")
    superuser = await asyncpg.connect(database_url)
    starved = work(opens("starved"), "k3")
    starved.attempts = 2
    transaction = superuser.transaction()
    await transaction.start()
    await superuser.execute(in_the_way)
    asking = [
        asyncio.create_task(handler.handle(RegisterMember("cold", "C"), asked("k1"))),
        asyncio.create_task(handler.handle(earn("warm", 1, "r"), asked("k2"))),
        asyncio.create_task(committer.submit(starved)),
    ]
    done, _ = await asyncio.wait(asking, timeout=10)
    assert len(done) == 3, "somebody is left waiting"
    assert {type(asker.exception()) for asker in asking} == {StoreUnavailable}
    await transaction.rollback()
    answers = [
        await handler.handle(RegisterMember("cold", "C"), asked("k1")),
        await handler.handle(earn("warm", 1, "r"), asked("k2")),
        await committer.submit(work(opens("starved"), "k3")),
    ]
    assert [answer.status for answer in answers] == [201, 201, 200]
    assert await balances(store) == {"warm": 1, "cold": 0, "starved": 0}
    await superuser.close()
    await committer.stop()
    await store.close()


@pytest.mark.parametrize("repeated", ["the batch", "another request under its key"])
async def test_who_repeats_while_the_database_is_away_is_told_again(
    open_store: OpenStore, start_committer: StartCommitter, monkeypatch: pytest.MonkeyPatch, repeated: str
) -> None:
    monkeypatch.setattr(patience, "CLIENT_PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(patience, "_LOOK_SECONDS", 0.02)
    back = asyncio.Event()

    class Silent(Between):
        async def before(self) -> None:
            if await self.head() > 1:
                await back.wait()

    handler = Handler(await start_committer(Silent(await open_store())))
    await register(handler, "a", "b")
    batch = [(earn("a", 1, "r1"), asked("k1")), (earn("b", 1, "r2"), asked("k2"))]
    async with asyncio.timeout(10):
        with pytest.raises(StoreUnavailable):
            await handler.handle_all(batch)
        other = handler.handle(earn("a", 1, "r1"), asked("k1", body="another"))
        with pytest.raises(StoreUnavailable):
            await (other if repeated == "another request under its key" else handler.handle_all(batch))
        other.close()
    back.set()
    async with asyncio.timeout(10):
        while True:
            with suppress(StoreUnavailable):
                answers = await handler.handle_all(batch)
                break
    assert [answer.status for answer in answers] == [201, 201]


async def test_rejecting_many_one_after_the_other_is_progress(
    open_store: OpenStore, start_committer: StartCommitter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each costs a connection; whoever is fine among them waits longer than for a database that is away."""
    monkeypatch.setattr(patience, "CLIENT_PATIENCE_SECONDS", 0.3)

    class Slow(Between):
        async def reconnect(self) -> None:
            await asyncio.sleep(0.02)
            await self._store.reconnect()

    handler = Handler(await start_committer(Slow(await open_store())))
    asking = [handler.handle(RegisterMember(f"u{n}", "nul \0"), asked()) for n in range(40)]
    outcomes = await asyncio.gather(
        *asking, handler.handle(RegisterMember("fine", "F"), asked()), return_exceptions=True
    )
    assert {type(outcome) for outcome in outcomes[:-1]} == {RejectedAppendError}
    assert isinstance(outcomes[-1], Answer)


def test_a_process_that_was_stopped_has_not_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks late, once, and what was answered meanwhile has not been read yet."""
    loop = asyncio.new_event_loop()
    told: list[int] = []
    silent = patience.ClientPatience(lambda: 1, lambda: told.append(1))

    async def stands_still() -> None:
        silent.begin()
        await asyncio.sleep(0.03)
        sleep(0.3)  # noqa: ASYNC251  # as a process that is stopped: its loop as well
        await asyncio.sleep(0)
        assert told == []
        for _ in range(500):
            if told:
                break
            await asyncio.sleep(0.02)
        silent.end()
        assert told

    monkeypatch.setattr(patience, "CLIENT_PATIENCE_SECONDS", 0.2)
    loop.run_until_complete(stands_still())
    loop.close()
