"""Snapshots: what a cold load reads with and without them, when they are written, and that they only go forward."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from ledger.domain import points
from ledger.errors import CorruptionError, InsufficientPoints
from ledger.handler import Handler
from ledger.ids import account_stream
from ledger.store.append import PostgresStore
from ledger.store.codec import category_of
from ledger.store.committer import Committer
from ledger.store.folding import folded
from ledger.store.snapshots import BYTES_PER_EVENT, KEEP, SnapshotFollower
from tests.contract.batches import a_batch, a_command
from tests.contract.members import account_opened_at, asked, balances, earn, register, spend

pytestmark = pytest.mark.services

STREAM = account_stream("a")
SCHEMA = category_of(STREAM).schema


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Any]:
    async with asyncpg.create_pool(
        database_url, min_size=1, max_size=4, server_settings={"role": "ledger_project"}
    ) as pool:
        yield pool


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[PostgresStore]:
    store = await PostgresStore(database_url).open()
    yield store
    await store.close()


@pytest.fixture
async def handler(store: PostgresStore) -> AsyncIterator[Handler]:
    committer = await Committer(store).start()
    handler = Handler(committer)
    await register(handler, "a", "b")
    yield handler
    await committer.stop()


async def earn_and_spend(handler: Handler, count: int, seed: int = 1) -> None:
    """So many earns, and a spend of a part of what is there after every third."""
    chance = random.Random(seed)
    for begin in range(0, count, 500):
        commands: list[Any] = []
        for n in range(begin, min(begin + 500, count)):
            commands.append(earn("a", chance.randint(50, 99), f"{seed}-{n}"))
            if n % 3 == 0:
                commands.append(spend("a", chance.randint(1, 50)))
        await handler.handle_each([(command, asked()) for command in commands])


async def catch_up(follower: SnapshotFollower) -> int:
    """Step to the head; how many snapshots were written on the way."""
    before = follower.kept
    while await follower.step():
        pass
    return follower.kept - before


def same(one: points.PointsAccount, other: points.PointsAccount) -> bool:
    fields = ("version", "balance", "lifetime", "tier", "locked")
    return [getattr(one, f) for f in fields] == [getattr(other, f) for f in fields] and (
        one.live_lots() == other.live_lots()
    )


async def test_a_cold_load_reads_the_snapshot_and_the_tail_and_comes_to_the_same(
    store: PostgresStore, handler: Handler, pool: Any
) -> None:
    await earn_and_spend(handler, 600)
    _, without = await store.load([(STREAM, SCHEMA)])
    assert await catch_up(SnapshotFollower(pool)) == 1
    await earn_and_spend(handler, 30, seed=2)
    _, with_snapshot = await store.load([(STREAM, SCHEMA)])
    assert len(without[STREAM].events) > 600
    assert len(with_snapshot[STREAM].events) < 50
    _, full = await store.load([(STREAM, 999)])
    assert full[STREAM].snapshot_state is None
    one, other = folded(STREAM, with_snapshot[STREAM]), folded(STREAM, full[STREAM])
    assert (one.version, one.hash) == (other.version, other.hash)
    assert same(one.state, other.state)


async def test_a_process_that_starts_on_a_long_stream_decides_right(
    database_url: str, store: PostgresStore, handler: Handler, pool: Any
) -> None:
    await earn_and_spend(handler, 4000)
    await handler.handle(points.LockAccount("a", "stolen"), asked())
    await handler.handle(points.UnlockAccount("a", "found"), asked())
    assert len(await store.read_stream(STREAM, limit=10_000)) > 5000
    await catch_up(SnapshotFollower(pool))
    balance = (await balances(store))["a"]
    fresh = await PostgresStore(database_url).open()
    committer = await Committer(fresh).start()
    restarted = Handler(committer)
    with pytest.raises(InsufficientPoints, match=f"^{balance} points"):
        await restarted.handle(spend("a", balance + 1), asked())
    assert (await restarted.handle(spend("a", balance - 5), asked())).data.new_balance == 5
    assert (await handler.handle(spend("a", 5), asked())).data.new_balance == 0, "and so does the old one"
    await committer.stop()
    await fresh.close()
    assert (await balances(store))["a"] == 0


async def test_short_tails_are_left_alone(handler: Handler, pool: Any) -> None:
    await earn_and_spend(handler, 150)
    assert await catch_up(SnapshotFollower(pool)) == 0
    await earn_and_spend(handler, 100, seed=2)
    assert await catch_up(SnapshotFollower(pool)) == 1, "the tail counts from the last snapshot, not from the last page"
    await earn_and_spend(handler, 150, seed=3)
    assert await catch_up(SnapshotFollower(pool)) == 0


async def test_a_large_state_waits_for_a_longer_tail(handler: Handler, pool: Any) -> None:
    await asyncio.gather(*(handler.handle(earn("a", 1, f"r{n}"), asked()) for n in range(400)))
    follower = SnapshotFollower(pool, tail_at_least=10)
    assert await catch_up(follower) == 1
    size = await pool.fetchval("SELECT octet_length(state) FROM ledger.snapshots")
    assert size / BYTES_PER_EVENT > 50, "400 lots are worth more than fifty events"
    enough = size // BYTES_PER_EVENT
    await asyncio.gather(*(handler.handle(earn("a", 1, f"s{n}"), asked()) for n in range(enough - 1)))
    assert await catch_up(follower) == 0
    await handler.handle(earn("a", 1, "last"), asked())
    assert await catch_up(follower) == 1


@pytest.mark.parametrize(
    ("schema", "rewritten"), [(SCHEMA - 1, True), (SCHEMA + 1, False)], ids=["an older schema", "a newer schema"]
)
async def test_a_snapshot_of_another_schema_is_no_snapshot(
    database_url: str, store: PostgresStore, handler: Handler, pool: Any, schema: int, *, rewritten: bool
) -> None:
    await earn_and_spend(handler, 300)
    keep = "INSERT INTO ledger.snapshots VALUES ($1, 100, 102, $2, 'nonsense', '')"
    await pool.execute(keep, STREAM, schema)
    _, tails = await store.load([(STREAM, SCHEMA)])
    assert tails[STREAM].snapshot_state is None
    assert tails[STREAM].events[0][0] == 1
    assert await catch_up(SnapshotFollower(pool)) == rewritten
    assert await pool.fetchval("SELECT state_schema FROM ledger.snapshots") == (SCHEMA if rewritten else schema)
    fresh = await PostgresStore(database_url).open()
    committer = await Committer(fresh).start()
    answer = await Handler(committer).handle(earn("a", 1, "last"), asked())
    assert answer.data.new_balance == (await balances(store))["a"]
    await committer.stop()
    await fresh.close()


async def test_several_followers_at_once_write_the_same(handler: Handler, pool: Any) -> None:
    await earn_and_spend(handler, 400)
    followers = [SnapshotFollower(pool, tail_at_least=20, positions_a_page=50) for _ in range(3)]
    writing = asyncio.create_task(earn_and_spend(handler, 400, seed=2))
    while not writing.done():
        await asyncio.gather(*(follower.step() for follower in followers))
    await asyncio.gather(*(catch_up(follower) for follower in followers))
    row = await pool.fetchrow("SELECT * FROM ledger.snapshots")
    event = await pool.fetchrow(
        "SELECT position, hash FROM ledger.events WHERE stream = $1 AND version = $2", STREAM, row["version"]
    )
    assert (row["position"], row["last_hash"]) == tuple(event)
    assert await pool.fetchval("SELECT position FROM ledger.snapshot_checkpoint") == (
        await pool.fetchval("SELECT position FROM ledger.head")
    )


async def test_a_follower_that_is_late_does_not_take_a_snapshot_back(handler: Handler, pool: Any) -> None:
    await earn_and_spend(handler, 300)
    await catch_up(SnapshotFollower(pool))
    row = await pool.fetchrow("SELECT * FROM ledger.snapshots")
    late = (row["stream"], row["version"] - 1, row["position"] - 1, row["state_schema"], b"older", b"")
    await pool.execute(KEEP, *late)
    assert await pool.fetchrow("SELECT * FROM ledger.snapshots") == row
    await pool.execute("UPDATE ledger.snapshot_checkpoint SET position = 0")
    assert await catch_up(SnapshotFollower(pool)) == 0, "looking again from the start finds nothing to do"


async def test_a_stream_with_a_gap_stops_the_follower(store: PostgresStore, pool: Any) -> None:
    await store.append(a_batch(a_command("k", account_opened_at(1), account_opened_at(3)), known=0))
    with pytest.raises(CorruptionError, match="version 3 where 2 belongs"):
        await SnapshotFollower(pool, tail_at_least=1).step()


async def test_it_runs_until_it_is_told_to_stop(handler: Handler, pool: Any) -> None:
    await earn_and_spend(handler, 300)
    stop = asyncio.Event()
    follower = SnapshotFollower(pool)
    running = asyncio.create_task(follower.run(stop))
    async with asyncio.timeout(10):
        while not await pool.fetchval("SELECT EXISTS (SELECT 1 FROM ledger.snapshots)"):
            pass
    stop.set()
    await asyncio.wait_for(running, 5)


@pytest.mark.parametrize("state", ["25006", "40001", "40P01", "55P03", "58030"])
async def test_it_waits_for_what_is_nobody_s_mistake(
    handler: Handler, pool: Any, database_url: str, state: str
) -> None:
    await earn_and_spend(handler, 300)
    superuser = await asyncpg.connect(database_url)
    await superuser.execute(
        "CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$BEGIN RAISE EXCEPTION 'made up' USING ERRCODE = '{state}'; END$$;"
        "CREATE TRIGGER fails BEFORE INSERT ON ledger.snapshots EXECUTE FUNCTION fails()"
    )
    stop = asyncio.Event()
    running = asyncio.create_task(SnapshotFollower(pool).run(stop))
    assert (await asyncio.wait([running], timeout=0.3))[0] == set()
    await superuser.execute("DROP TRIGGER fails ON ledger.snapshots")
    await superuser.close()
    async with asyncio.timeout(10):
        while not await pool.fetchval("SELECT EXISTS (SELECT 1 FROM ledger.snapshots)"):
            pass
    stop.set()
    await asyncio.wait_for(running, 5)
