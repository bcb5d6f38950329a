"""What a member has: balances, levels, lots and deadlines, as of the asked moment."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from ledger.domain import points
from ledger.errors import ReadModelBehind, UserNotFound
from projections.expiring import list_expiring
from projections.points import get_account, get_points, list_due_accounts
from projections.read_models import ReadModels

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


async def test_a_member_without_an_account_reads_zeros(models, runner):
    await runner.catch_up()
    answer = await get_points(models, "nobody", NOW)
    assert (answer.value.balance, answer.value.lifetime_points, answer.version) == (0, 0, 0)
    assert answer.value.level.name == "bronze"
    assert answer.value.next_level.points_to_go == 1000
    assert answer.value.expiring_soon == []


async def test_an_unknown_account_is_not_found_by_name(models, runner):
    await runner.catch_up()
    with pytest.raises(UserNotFound):
        await get_account(models, "nobody", NOW)


async def test_balance_lifetime_level_and_version_follow_the_events(models, runner, ledger):
    await ledger.open("ann")
    await ledger.earn("ann", 1280)
    answer = await ledger.spend("ann", 80)
    await runner.catch_up()
    read = await get_points(models, "ann", datetime.now(UTC), min_position=answer.position)
    summary = read.value
    assert (summary.balance, summary.lifetime_points) == (1200, 1280)
    assert (summary.level.name, summary.level.tier) == ("silver", 2)
    assert (summary.next_level.name, summary.next_level.points_to_go) == ("gold", 1220)
    assert read.version == 4  # opened, earned, level crossed, spent
    assert read.position == answer.position
    assert read.meta == {}


async def test_a_lot_past_its_deadline_is_not_counted_though_nobody_recorded_its_expiry(models, runner, ledger):
    await ledger.open("ann")
    await ledger.earn("ann", 100, expires_at=NOW + 10 * DAY)
    await ledger.earn("ann", 50, expires_at=None)
    await runner.catch_up()
    assert (await get_points(models, "ann", NOW + 9 * DAY)).value.balance == 150
    assert (await get_points(models, "ann", NOW + 10 * DAY)).value.balance == 50
    assert (await get_points(models, "ann", NOW + 10 * DAY)).value.lifetime_points == 150


async def test_what_expires_within_thirty_days_is_grouped_by_deadline(models, runner, ledger):
    await ledger.open("ann")
    first, second, later = NOW + 5 * DAY, NOW + 20 * DAY, NOW + 40 * DAY
    for amount, deadline in ((10, second), (20, first), (30, second), (40, later), (50, None)):
        await ledger.earn("ann", amount, expires_at=deadline)
    await runner.catch_up()
    soon = (await get_points(models, "ann", NOW)).value.expiring_soon
    assert [(e.points, e.expires_at) for e in soon] == [(20, first), (40, second)]
    lots = (await list_expiring(models, "ann", NOW, timedelta(days=60))).value.rows
    assert [(lot.points, lot.expires_at) for lot in lots] == [(20, first), (10, second), (30, second), (40, later)]


async def test_the_sweeper_finds_members_with_overdue_lots_and_none_after_they_are_recorded(models, runner, ledger):
    await ledger.open("ann", "bob", "eve")
    await ledger.earn("ann", 10, expires_at=NOW + 2 * DAY)
    await ledger.earn("bob", 10, expires_at=NOW + 1 * DAY)
    await ledger.earn("eve", 10, expires_at=NOW + 9 * DAY)
    await runner.catch_up()
    moment = NOW + 3 * DAY
    assert (await list_due_accounts(models, moment)).value.lots == {"bob": 1, "ann": 1}
    assert (await list_due_accounts(models, moment, lots=1)).value.lots == {"bob": 1}
    for user_id in ("ann", "bob"):
        await ledger(points.ExpireLots(user_id), now=moment)
    await runner.catch_up()
    assert (await list_due_accounts(models, moment)).value.lots == {}
    assert (await get_points(models, "ann", NOW)).value.balance == 0


async def test_a_read_waits_for_its_position_and_then_says_how_far_the_model_is(models, runner, ledger):
    await ledger.open("ann")
    await runner.catch_up()
    answer = await ledger.earn("ann", 10)
    started = time.monotonic()
    with pytest.raises(ReadModelBehind, match=f"position 1, not yet at {answer.position}"):
        await get_points(ReadModels(models.pool, wait_seconds=0.2), "ann", NOW, min_position=answer.position)
    assert time.monotonic() - started >= 0.2


async def test_before_the_first_build_reads_are_refused_for_now(models):
    with pytest.raises(ReadModelBehind):
        await get_points(ReadModels(models.pool, wait_seconds=0.1), "ann", NOW)


async def test_a_member_with_a_hundred_thousand_lots_reads_fast(models, runner, ledger, pool):
    await ledger.open("ann")
    await ledger.earn("ann", 100)
    await runner.catch_up()
    await pool.execute(
        "INSERT INTO read_models.rm_points_lots_v1 "
        "SELECT 'ann', n, 10, 10, $1::timestamptz + n * interval '5 minutes', n FROM generate_series(3, 100000) n",
        NOW,
    )
    await pool.execute("ANALYZE read_models.rm_points_lots_v1")
    seconds = []
    for _ in range(5):
        started = time.monotonic()
        summary = (await get_points(models, "ann", NOW)).value
        seconds.append(time.monotonic() - started)
    assert min(seconds) < 0.25
    assert len(summary.expiring_soon) == 30 * 24 * 12 - 2
