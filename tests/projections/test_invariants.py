"""The books agree after anything that may happen; and each invariant says so when they do not."""

from typing import Any

import asyncpg
import pytest

from projections.catalogue import PROJECTIONS
from projections.invariants import INVARIANTS, check_invariants, list_invariants
from projections.runner import Runner
from tests.projections.payment_histories import History

NAMES = [invariant.name for invariant in INVARIANTS]
BREAKS = {
    "buckets_are_gross": "UPDATE read_models.rm_payments_v1 SET held = held + 1 WHERE payment_id = (SELECT min(payment_id) "
    "FROM read_models.rm_payments_v1)",
    "journal_sums_to_zero": "UPDATE read_models.rm_journal_accounts_v1 SET balance = balance + 1 WHERE account = 'issuance'",
    "escrow_is_held": "UPDATE read_models.rm_journal_accounts_v1 SET balance = balance + 1 WHERE account LIKE 'escrow:%'",
    "disputed_is_disputed": "UPDATE read_models.rm_payments_v1 SET disputed = disputed + 1",
    "reserved_is_instructed": "UPDATE read_models.rm_payments_v1 SET refunding = refunding + 1",
    "suspense_is_listed": "UPDATE read_models.rm_suspense_v1 SET rest_minor = rest_minor + 1 WHERE rest_minor > 0",
    "purchases_show_their_payment": "UPDATE read_models.rm_purchases_payments_v1 SET status = 'partial' "
    "WHERE status <> 'partial'",
    "journal_has_the_points": "UPDATE read_models.rm_journal_accounts_v1 SET balance = balance - 1 "
    "WHERE account LIKE 'member:%'",
    "points_are_lots": "UPDATE read_models.rm_points_v1 SET balance = balance + 1",
}


@pytest.fixture
async def as_worker(database_url: str) -> Any:
    """As the worker asks: with the right to write down what was found, and nothing else."""
    pool = await asyncpg.create_pool(database_url, min_size=0, max_size=2, server_settings={"role": "ledger_api"})
    yield pool
    await pool.close()


@pytest.fixture
async def books(ledger: Any, pool: asyncpg.Pool) -> None:
    """All read models after some hundred steps of everything."""
    history = History(ledger, 7)
    await history.begin()
    await history.run(500)
    await Runner(pool, PROJECTIONS).catch_up()


async def test_before_anything_was_built_nothing_is_said(as_worker: asyncpg.Pool) -> None:
    assert await check_invariants(as_worker) == []
    assert [(one.name, one.checked_at) for one in await list_invariants(as_worker)] == [(name, None) for name in NAMES]


async def test_after_anything_that_may_happen_the_books_agree(books: None, as_worker: asyncpg.Pool) -> None:
    assert await check_invariants(as_worker) == []
    found = await list_invariants(as_worker)
    assert [one.name for one in found] == NAMES
    assert all(one.checked_at and one.position and one.broken == 0 for one in found)


async def test_each_that_is_broken_is_named(books: None, pool: asyncpg.Pool, as_worker: asyncpg.Pool) -> None:
    """One database for all: it is broken a little more for each, and each is found by its own break."""
    assert set(BREAKS) == set(NAMES)
    for name, broken in BREAKS.items():
        tables = {row["relname"] for row in await pool.fetch("SELECT relname FROM pg_class WHERE relname LIKE 'rm_%'")}
        assert any(table in broken for table in tables), f"{name} breaks no table there is: {sorted(tables)}"
        before = {one.name: one.broken for one in await list_invariants(as_worker)}
        assert await pool.execute(broken) != "UPDATE 0", name
        assert name in await check_invariants(as_worker), name
        now = {one.name: one for one in await list_invariants(as_worker)}[name]
        assert now.broken > before[name], name
        assert now.examples, name
        assert len(now.examples) <= 5


async def test_out_of_step_nothing_is_compared(books: None, pool: asyncpg.Pool, as_worker: asyncpg.Pool) -> None:
    await pool.execute("UPDATE read_models.builds SET position = position - 1 WHERE name = 'journal'")
    await check_invariants(as_worker)
    asked = {one.name for one in await list_invariants(as_worker) if one.checked_at}
    assert asked == {one.name for one in INVARIANTS if "journal" not in one.reads or len(one.reads) == 1}
