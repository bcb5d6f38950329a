"""Proving a read model against the log: every row that differs is named, with the event that explains it."""

import asyncio

import pytest

from projections import dead_letters
from projections.audit_trail import AuditTrail
from projections.dead_letters import list_dead_letters, replay_dead_letter
from projections.points import Points
from projections.runner import Runner
from projections.transactions import Transactions
from projections.verify import verify
from tests.projections.broken_points import BrokenPoints

EVERYTHING = (Points(), Transactions(), AuditTrail())


@pytest.fixture
async def history(ledger, runner):
    await runner.catch_up()
    await ledger.open("ann", "bob")  # 1, 2
    await ledger.earn("ann", 100)  # 3
    await ledger.earn("bob", 70)  # 4
    await ledger.spend("ann", 30)  # 5
    await ledger.earn("ann", 10)  # 6
    await runner.catch_up()


async def differences(pool, projection, **options):
    return [difference async for difference in verify(pool, projection, **options)]


@pytest.mark.parametrize("projection", EVERYTHING, ids=lambda projection: projection.name)
async def test_an_untouched_read_model_has_no_difference_and_no_shadow_stays(history, pool, projection):
    assert await differences(pool, projection) == []
    assert await differences(pool, projection, streams=["account-ann"]) == []
    assert await pool.fetchval("SELECT count(*) FROM read_models.builds WHERE purpose = 'verify'") == 0
    assert await pool.fetchval("SELECT count(*) FROM pg_tables WHERE tablename ~ '^rm_.*_v[23]$'") == 0


async def test_a_tampered_row_is_named_with_the_event_that_explains_it(history, pool):
    await pool.execute("UPDATE read_models.rm_points_v1 SET balance = 999, locked = true WHERE user_id = 'ann'")
    await pool.execute("UPDATE read_models.rm_points_lots_v1 SET remaining = 99 WHERE user_id = 'ann' AND lot_id = 2")
    found = await differences(pool, Points())
    assert [(d.table, d.key, d.column, d.live, d.expected, d.position) for d in found] == [
        ("rm_points_v1", {"user_id": "ann"}, "balance", 999, 80, 6),
        ("rm_points_v1", {"user_id": "ann"}, "locked", True, False, 6),
        ("rm_points_lots_v1", {"user_id": "ann", "lot_id": 2}, "remaining", 99, 70, 5),
    ]


async def test_missing_rows_and_rows_too_many_are_named(history, pool):
    await pool.execute("DELETE FROM read_models.rm_transactions_v1 WHERE position = 5")
    await pool.execute("INSERT INTO read_models.rm_transactions_v1 VALUES ('bob', 6, 'earn', now())")
    found = {(d.key["user_id"], d.column, d.live is None, d.position) for d in await differences(pool, Transactions())}
    assert found == {("ann", "*", True, 5), ("bob", "*", False, 6)}


async def test_a_sample_looks_at_its_streams_only(history, pool):
    await pool.execute("UPDATE read_models.rm_points_v1 SET balance = 999")
    found = await differences(pool, Points(), streams=["account-bob", "programme", "account-nobody"])
    assert [(d.key, d.live, d.expected, d.position) for d in found] == [({"user_id": "bob"}, 999, 70, 4)]


async def test_a_verification_under_live_writes_finds_nothing(history, pool, ledger):
    runner = Runner(pool, [Points(), Transactions()])
    running = asyncio.create_task(runner.run())
    done = asyncio.Event()

    async def keep_writing():
        while not done.is_set():
            await ledger.earn("ann", 5)
            await ledger.spend("ann", 2)

    writing = asyncio.create_task(keep_writing())
    for _ in range(3):
        assert await differences(pool, Points()) == []
        assert await differences(pool, Transactions(), streams=["account-ann"]) == []
    done.set()
    await writing
    await runner.stop()
    await running


async def test_what_is_parked_is_no_difference_but_what_was_lost_is(pool, ledger, monkeypatch):
    broken = BrokenPoints()
    monkeypatch.setattr(dead_letters, "projection_named", lambda name: broken)
    runner = Runner(pool, [broken])
    await runner.catch_up()
    await ledger.open("ann")
    broken.fold_error_at = {(await ledger.earn("ann", 20)).position}
    await ledger.earn("ann", 30)
    await runner.catch_up()
    assert await differences(pool, broken) == []
    broken.fold_error_at = set()
    (letter,) = (await list_dead_letters(pool)).rows
    await replay_dead_letter(pool, letter.id)
    assert await differences(pool, broken) == []


async def test_a_verification_that_is_left_early_leaves_no_shadow(history, pool):
    await pool.execute("UPDATE read_models.rm_points_v1 SET balance = 999")
    verification = verify(pool, Points())
    async for _ in verification:
        break
    await verification.aclose()
    assert await pool.fetchval("SELECT count(*) FROM read_models.builds WHERE purpose = 'verify'") == 0
