"""Following the log: exactly once, whoever follows; poison parks its stream and nothing else."""

import asyncio
from datetime import UTC, datetime

import asyncpg
import pytest

from ledger.errors import Conflict, NotFound
from projections import dead_letters
from projections.dead_letters import list_dead_letters, replay_dead_letter, skip_dead_letter
from projections.follow import Pipeline
from projections.journal import Journal
from projections.points import Points, get_points
from projections.read_model_list import list_read_models
from projections.runner import Runner
from projections.transactions import Transactions, list_transactions
from tests.projections.broken_points import BrokenPoints

NOW = datetime.now(UTC)


async def balance(models, user_id):
    return (await get_points(models, user_id, datetime.now(UTC))).value.balance


async def until(condition, seconds=10.0):
    for _ in range(int(seconds * 100)):
        if await condition():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError(condition)


async def test_a_running_projector_shows_a_write_soon_after_it(pool, models, ledger):
    runner = Runner(pool, [Points(), Transactions()])
    task = asyncio.create_task(runner.run())
    await ledger.open("ann")
    for n in range(1, 20):
        answer = await ledger.earn("ann", n)
        read = await get_points(models, "ann", datetime.now(UTC), min_position=answer.position)
        assert read.value.balance == n * (n + 1) // 2
    health = await runner.health()
    assert (health.lag_events, health.leading) == (0, True)
    assert health.reader_idle_seconds < 2
    assert runner.metrics.position == 20
    await runner.stop()
    assert task.done()


async def test_only_one_of_two_projectors_leads_and_the_other_takes_over(pool, database_url, models, ledger):
    first, second = (Runner(pool, [Points()], direct_url=database_url) for _ in range(2))
    one = asyncio.create_task(first.run())

    async def leads(runner):
        return runner.leading

    await until(lambda: leads(first))
    two = asyncio.create_task(second.run())
    await asyncio.sleep(0.1)
    assert not second.leading
    await first.stop()
    await until(lambda: leads(second))
    await ledger.open("ann")
    answer = await ledger.earn("ann", 7)
    assert (await get_points(models, "ann", NOW, min_position=answer.position)).value.lifetime_points == 7
    await second.stop()
    await asyncio.gather(one, two)


async def test_a_projector_comes_back_after_its_connection_is_cut(pool, database_url, models, ledger):
    runner = Runner(pool, [Points()], direct_url=database_url)
    await runner.catch_up()
    task = asyncio.create_task(runner.run())
    await ledger.open("ann")
    answer = await ledger.earn("ann", 7)
    await until(lambda: _led(runner))
    await asyncio.sleep(0.05)
    administrator = await asyncpg.connect(database_url)
    await administrator.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'projector' AND datname = current_database()"
    )
    await administrator.close()
    answer = await ledger.earn("ann", 8)

    async def there():
        return (await get_points(models, "ann", NOW)).position >= answer.position

    await until(there)
    assert await balance(models, "ann") == 15
    await runner.stop()
    await task


async def _led(runner):
    return runner.leading


async def test_two_followers_at_once_apply_each_event_once(pool, models, ledger):
    await Runner(pool, [Points(), Transactions()]).catch_up()
    await ledger.open(*(f"user-{n}" for n in range(10)))
    followers = [Pipeline(pool, page_size=7) for _ in range(3)]

    async def follow(follower):
        while not done.is_set():
            await follower.drain([Points(), Transactions()])
            await asyncio.sleep(0)

    def lost() -> int:
        return sum(follower.metrics.checkpoints_lost for follower in followers)

    done = asyncio.Event()
    tasks = [asyncio.create_task(follow(follower)) for follower in followers]
    rounds = 0
    while rounds < 10 or (rounds < 500 and not lost()):
        await asyncio.gather(*(ledger.earn(f"user-{n}", 3) for n in range(10)))
        await asyncio.gather(*(ledger.spend(f"user-{n}", 1) for n in range(10)))
        rounds += 1
    done.set()
    await asyncio.gather(*tasks)
    await Pipeline(pool).drain([Points(), Transactions()])
    for n in range(10):
        assert await balance(models, f"user-{n}") == 2 * rounds
        assert (await list_transactions(models, f"user-{n}")).value.total == 2 * rounds
    assert lost() > 0


@pytest.mark.parametrize("kind", ["fold_error_at", "flush_error_at"])
async def test_a_poison_event_parks_its_stream_and_the_others_go_on(pool, models, ledger, kind):
    broken = BrokenPoints()
    runner = Runner(pool, [broken, Transactions()])
    await runner.catch_up()
    await ledger.open("ann", "bob")
    await ledger.earn("ann", 10)
    poison = (await ledger.earn("ann", 20)).position
    await ledger.earn("bob", 5)
    await ledger.earn("ann", 30)
    getattr(broken, kind).add(poison)
    head = await runner.catch_up()

    ann = await get_points(models, "ann", datetime.now(UTC))
    assert (ann.value.balance, ann.meta, ann.position) == (10, {"parkedAt": poison}, head)
    assert await balance(models, "bob") == 5
    assert (await get_points(models, "bob", NOW)).meta == {}
    assert (await list_transactions(models, "ann")).value.total == 3
    (letter,) = (await list_dead_letters(pool)).rows
    assert (letter.read_model, letter.stream, letter.position, letter.tries) == ("points", "account-ann", poison, 3)
    assert runner.metrics.poisoned >= 1

    # Still parked after a restart, and after the mistake is mended: order is kept.
    getattr(broken, kind).clear()
    await ledger.earn("ann", 40)
    await ledger.spend("ann", 15)
    await Runner(pool, [broken, Transactions()]).catch_up()
    assert await balance(models, "ann") == 10
    assert [m.dead_letters for m in await list_read_models(pool)] == [1, 0]

    await replay_dead_letter(pool, letter.id)
    mended = await get_points(models, "ann", datetime.now(UTC))
    assert (mended.value.balance, mended.meta) == (85, {})
    assert (await list_dead_letters(pool)).rows == []
    assert (await list_dead_letters(pool, state="replayed")).total == 1
    with pytest.raises(Conflict):
        await replay_dead_letter(pool, letter.id)
    with pytest.raises(NotFound):
        await replay_dead_letter(pool, 10**6)


async def test_a_replay_that_still_fails_changes_nothing(pool, models, ledger, monkeypatch):
    broken = BrokenPoints()
    monkeypatch.setattr(dead_letters, "projection_named", lambda name: broken)
    runner = Runner(pool, [broken])
    await runner.catch_up()
    await ledger.open("ann")
    poison = (await ledger.earn("ann", 20)).position
    later = (await ledger.earn("ann", 30)).position
    broken.fold_error_at = {poison}
    await runner.catch_up()
    (letter,) = (await list_dead_letters(pool)).rows
    with pytest.raises(Conflict, match="still cannot be applied"):
        await replay_dead_letter(pool, letter.id)
    assert [row.id for row in (await list_dead_letters(pool)).rows] == [letter.id]

    # A later one that fails is a dead letter of its own.
    broken.fold_error_at = {later}
    await replay_dead_letter(pool, letter.id)
    assert await balance(models, "ann") == 20
    (second,) = (await list_dead_letters(pool)).rows
    assert second.position == later


async def test_a_skipped_event_is_left_out_for_ever_and_the_later_ones_are_applied(pool, models, ledger, append_raw):
    runner = Runner(pool, [Points(), Transactions()])
    await runner.catch_up()
    await ledger.open("ann")
    await ledger.earn("ann", 20)
    poison = await append_raw("account-ann", 3, "points.unheard-of.v9", b"{}")
    await append_raw(
        "account-ann",
        4,
        "points.earned.v1",
        b'{"userId":"ann","amount":5,"source":"bonus","reference":"r","occurredAt":"2026-01-01T00:00:00Z",'
        b'"expiresAt":null,"balance":25,"lifetime":25}',
    )
    await runner.catch_up()
    assert await balance(models, "ann") == 20
    letters = (await list_dead_letters(pool)).rows
    assert sorted((letter.read_model, letter.position) for letter in letters) == [
        ("points", poison),
        ("transactions", poison),
    ]
    for letter in letters:
        await skip_dead_letter(pool, letter.id)
    assert await balance(models, "ann") == 25
    assert (await list_transactions(models, "ann")).value.total == 2
    assert (await list_dead_letters(pool)).total == 0


@pytest.mark.parametrize(("page_size", "looked_up"), [(400, True), (10_000, False)])
async def test_a_plan_made_while_a_table_was_small_is_not_kept_for_full_pages(
    database_url, pool, ledger, page_size, looked_up
):
    """With plans that are kept, the second case, a page goes through the whole table for each of its rows."""
    members = [f"m{number}" for number in range(400)]
    runner = Runner(pool, [Journal()], page_size=page_size)
    await runner.catch_up()
    await pool.execute("ALTER TABLE read_models.rm_journal_accounts_v1 SET (autovacuum_enabled = off)")
    await ledger.open(*members)
    for page in (members[:1], members, members):
        await asyncio.gather(*(ledger.earn(member, 5) for member in page))
        await runner.catch_up()
    await pool.close()  # a connection tells its statistics when it ends
    looks = "SELECT idx_scan FROM pg_stat_user_tables WHERE relname ~ '^rm_journal_accounts_'"
    administrator = await asyncpg.connect(database_url)
    assert (await administrator.fetchval(looks) >= 2 * len(members)) == looked_up
    await administrator.close()
