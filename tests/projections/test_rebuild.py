"""Making read models again beside the live ones, under live writes, and going back."""

import asyncio
import itertools
from datetime import UTC, datetime

import pytest

from ledger.errors import Conflict, ReadModelBehind
from projections.builds import pause, resume
from projections.points import Points, get_points
from projections.read_model_list import list_read_models
from projections.read_models import ReadModels
from projections.rebuild import RebuildStoppedError, cancel_rebuild, rebuild, rollback, start_rebuild
from projections.runner import Runner
from projections.transactions import Transactions
from tests.projections.broken_points import BrokenPoints, NewerPoints


async def balance(models, user_id):
    return (await get_points(models, user_id, datetime.now(UTC))).value.balance


async def rows_that_differ(pool, old, new):
    """EXCEPT both ways, over every table of the read model."""
    return await pool.fetchval(
        " SELECT sum(n) FROM ("
        + " UNION ALL ".join(
            f"SELECT count(*) AS n FROM (TABLE read_models.{left} EXCEPT ALL TABLE read_models.{right}) d"
            for table in ("rm_points", "rm_points_lots")
            for left, right in [(f"{table}_v{old}", f"{table}_v{new}"), (f"{table}_v{new}", f"{table}_v{old}")]
        )
        + ") AS all_of_them"
    )


async def active(pool, name="points"):
    return await pool.fetchval("SELECT build FROM read_models.active WHERE name = $1", name)


@pytest.fixture
async def some_history(ledger, runner):
    await runner.catch_up()
    await ledger.open(*(f"user-{n}" for n in range(20)))
    for _ in range(5):
        await asyncio.gather(*(ledger.earn(f"user-{n}", 30) for n in range(20)))
        await asyncio.gather(*(ledger.spend(f"user-{n}", 7) for n in range(20)))
    await runner.catch_up()


@pytest.mark.parametrize("projector", ["with a projector", "without one"])
async def test_a_rebuild_under_live_writes_is_equal_to_the_live_build(pool, models, ledger, some_history, projector):
    runner = Runner(pool, [Points(), Transactions()])
    running = asyncio.create_task(runner.run()) if projector == "with a projector" else None
    done = asyncio.Event()

    async def keep_writing():
        n = 0
        while not done.is_set():
            await ledger.earn(f"user-{n % 20}", 30)
            await ledger.spend(f"user-{n % 20}", 3)
            n += 1

    writing = asyncio.create_task(keep_writing())
    seen = []
    assert await rebuild(pool, Points(), on_progress=seen.append, page_size=17) == 2
    assert await active(pool) == 2
    assert seen[-1].position >= 200
    assert all(later.position >= earlier.position for earlier, later in itertools.pairwise(seen))
    await asyncio.sleep(0.2)
    done.set()
    await writing
    if running:
        await runner.stop()
        await running
    await Runner(pool, [Points(), Transactions()]).catch_up()
    # The one before is projected on: both are equal, to the row.
    assert await rows_that_differ(pool, 1, 2) == 0
    assert (await get_points(models, "user-0", datetime.now(UTC))).position > 220


async def test_reads_notice_the_flip_and_go_back_with_a_rollback(pool, models, ledger, some_history):
    assert await balance(models, "user-3") == 115
    await rebuild(pool, Points())
    assert await balance(models, "user-3") == 115
    await pool.execute("UPDATE read_models.rm_points_v2 SET balance = 1 WHERE user_id = 'user-3'")
    assert await balance(models, "user-3") == 1
    await ledger.earn("user-4", 5)
    assert await rollback(pool, Points()) == 1
    assert await balance(models, "user-3") == 115
    assert await balance(models, "user-4") == 120


async def test_only_one_build_before_the_active_one_is_kept(pool, models, some_history):
    for expected in (2, 3, 4):
        assert await rebuild(pool, Points()) == expected
    assert [
        r[0] for r in await pool.fetch("SELECT build FROM read_models.builds WHERE name = 'points' ORDER BY 1")
    ] == [3, 4]
    tables = await pool.fetch("SELECT tablename FROM pg_tables WHERE tablename ~ '^rm_points_' ORDER BY 1")
    assert [row[0] for row in tables] == ["rm_points_lots_v3", "rm_points_lots_v4", "rm_points_v3", "rm_points_v4"]
    assert await balance(models, "user-3") == 115


async def test_there_is_no_way_back_from_the_first_build(pool, some_history):
    with pytest.raises(Conflict):
        await rollback(pool, Points())


async def test_a_cancelled_rebuild_goes_on_where_it_was(pool, some_history):
    positions = []

    async def stop_soon(_seconds):
        if len(positions) == 4:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await rebuild(pool, Points(), on_progress=positions.append, throttle=stop_soon, page_size=20)
    reached = await pool.fetchval("SELECT position FROM read_models.builds WHERE build = 2")
    assert 0 < reached < 220
    assert await active(pool) == 1
    resumed = []
    assert await rebuild(pool, Points(), on_progress=resumed.append, page_size=20) == 2
    assert resumed[0].position == reached
    assert await rows_that_differ(pool, 1, 2) == 0


async def test_a_dropped_rebuild_stops_and_leaves_nothing(pool, some_history):
    async def drop_it(_seconds):
        await cancel_rebuild(pool, Points())

    with pytest.raises(RebuildStoppedError):
        await rebuild(pool, Points(), throttle=drop_it, page_size=20)
    assert await active(pool) == 1
    assert await pool.fetchval("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'rm_points%v2'") == 0


async def test_a_poison_event_stops_a_rebuild_and_mending_it_lets_it_finish(pool, models, some_history):
    broken = BrokenPoints(fold_error_at={100})
    with pytest.raises(RebuildStoppedError, match="stuck"):
        await rebuild(pool, broken, page_size=20)
    assert await pool.fetchval("SELECT position FROM read_models.builds WHERE build = 2") == 99
    points = next(model for model in await list_read_models(pool) if model.name == "points")
    assert (points.state, points.version, points.rebuild.version) == ("stuck", 1, 2)
    assert await balance(models, "user-3") == 115
    assert await rebuild(pool, Points()) == 2
    assert await rows_that_differ(pool, 1, 2) == 0


async def test_a_newer_code_version_makes_a_build_beside_and_takes_over(pool, models, ledger, some_history):
    runner = Runner(pool, [NewerPoints(), Transactions()])
    running = asyncio.create_task(runner.run())
    for _ in range(1000):
        if await active(pool) == 2:
            break
        await asyncio.sleep(0.01)
    await ledger.earn("user-3", 5)
    await runner.stop()
    await running
    await Runner(pool, [NewerPoints()]).catch_up()
    # The older release goes on reading its own build, from where nobody projects it any more.
    assert await balance(models, "user-3") == 115
    await Runner(pool, [Points()]).catch_up()
    assert await balance(models, "user-3") == 120
    assert await active(pool) == 2
    with pytest.raises(Conflict):
        await rollback(pool, NewerPoints())


async def test_a_first_build_beside_an_existing_log_is_read_only_when_it_is_complete(pool, models, ledger):
    await ledger.open("ann")
    await ledger.earn("ann", 5)
    await start_rebuild(pool, Points())
    with pytest.raises(ReadModelBehind):
        await balance(ReadModels(models.pool, wait_seconds=0.1), "ann")
    await Runner(pool, [Points()]).catch_up()
    assert await balance(models, "ann") == 5


async def test_a_paused_read_model_stays_where_it_is_until_it_is_resumed(pool, models, ledger, some_history):
    await pause(pool, Points())
    await ledger.earn("user-3", 5)
    runner = Runner(pool, [Points(), Transactions()])
    await runner.catch_up()
    assert await balance(models, "user-3") == 115
    points, transactions = (m for m in await list_read_models(pool) if m.name != "audit_trail")
    assert (points.state, points.lag_events) == ("paused", 1)
    assert points.lag_seconds >= 0
    assert (transactions.state, transactions.lag_events) == ("live", 0)
    await resume(pool, Points())
    await runner.catch_up()
    assert await balance(models, "user-3") == 120
