"""The sweeper: what is overdue is recorded once, however often and however late one sweeps."""

from asyncio import create_task, gather, get_running_loop, sleep, timeout
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from signal import SIGINT, SIGTERM

import asyncpg
import pytest

from ledger.decision import Origin
from ledger.domain.points import EarnPoints, SpendPoints
from ledger.errors import StoreUnavailable
from ledger.handler import Handler, RegisterMember
from ledger.store.append import PostgresStore
from ledger.store.codec import Actor
from ledger.store.committer import Committer
from ledger.store.port import StoreRewoundError
from projections.catalogue import PROJECTIONS
from projections.runner import Runner
from workers import expiry
from workers import main as worker_main
from workers.expiry import Sweeper
from workers.main import run_worker

NOW = datetime.now(UTC)


class Shop:
    """Members whose lots end a moment after they were given, a projector to ask, and a sweeper."""

    def __init__(self, pool, committer: Committer) -> None:
        self.handler = Handler(committer)
        self.another_sweeper = lambda: Sweeper(pool, committer)
        self.sweeper = Sweeper(pool, committer)
        self.projector = Runner(pool, PROJECTIONS)

    async def give(self, user_id: str, points: int, reference: str, *, expires_in_seconds: float) -> None:
        """As if an hour ago: so that a lot that is overdue now was not when it was recorded."""
        then = NOW - timedelta(hours=1)
        await self.handler.handle(RegisterMember(user_id, "M"), origin(then))
        deadline = NOW + timedelta(seconds=expires_in_seconds)
        await self.handler.handle(EarnPoints(user_id, points, "bonus", reference, then, deadline), origin(then))

    async def sweep(self) -> tuple[int, int]:
        await self.projector.catch_up()
        swept = await self.sweeper.sweep()
        return swept.accounts, swept.lots


def origin(now: datetime) -> Origin:
    return Origin(Actor("shop", "service"), now, bytes(32), "r", "c")


@pytest.fixture
async def shop(database_url) -> AsyncIterator[Shop]:
    store = await PostgresStore(database_url).open()
    committer = await Committer(store).start()
    async with asyncpg.create_pool(database_url, min_size=1, max_size=4) as pool:
        yield Shop(pool, committer)
    await committer.stop()
    await store.close()


async def expiries(url: str) -> list[str]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch(
        "SELECT data ->> 'userId' AS user_id FROM ledger.event_log WHERE type = 'points.expired.v1' ORDER BY 1"
    )
    await connection.close()
    return [row["user_id"] for row in rows]


async def test_every_overdue_lot_is_recorded_once_and_the_others_are_left_alone(shop, database_url):
    await shop.give("ann", 5, "a", expires_in_seconds=-60)
    await shop.give("ann", 6, "b", expires_in_seconds=-30)
    await shop.give("bob", 7, "c", expires_in_seconds=-60)
    await shop.give("cid", 8, "d", expires_in_seconds=3600)
    assert await shop.sweep() == (2, 3)
    assert await expiries(database_url) == ["ann", "ann", "bob"]
    assert await shop.sweep() == (0, 0)
    assert await expiries(database_url) == ["ann", "ann", "bob"]


async def test_sweeping_on_a_read_model_that_is_behind_records_nothing_twice(shop, database_url):
    await shop.give("ann", 5, "a", expires_in_seconds=-60)
    await shop.sweep()
    # The read model does not know of the expiry yet. Who swept does; another process finds nothing left to record.
    swept = await shop.sweeper.sweep()
    assert (swept.accounts, swept.lots, swept.failed) == (0, 0, 0)
    swept = await shop.another_sweeper().sweep()
    assert (swept.accounts, swept.lots, swept.failed) == (1, 0, 0)
    assert await expiries(database_url) == ["ann"]


async def test_a_command_that_came_first_has_recorded_it_already(shop, database_url):
    await shop.give("ann", 5, "a", expires_in_seconds=-60)
    await shop.give("ann", 9, "b", expires_in_seconds=3600)
    await shop.projector.catch_up()
    await shop.handler.handle(SpendPoints("ann", 4, "s"), origin(NOW))
    swept = await shop.sweeper.sweep()
    assert swept.lots == 0
    assert await expiries(database_url) == ["ann"]


async def test_more_lots_than_a_page_are_swept_page_by_page_and_each_account_once(shop, database_url, monkeypatch):
    monkeypatch.setattr(expiry, "PAGE", 3)
    for number in range(5):
        for lot in range(4):  # of some members two lots end at once; those of one member lie on several pages
            await shop.give(f"m{number}", 5, f"r{lot}", expires_in_seconds=-60 + 7 * (lot // 2) + number % 2)
    assert await shop.sweep() == (5, 20)
    assert await shop.sweep() == (0, 0)
    assert await expiries(database_url) == [f"m{number}" for number in range(5) for _ in range(4)]


async def test_two_sweeps_at_once_record_nothing_twice(shop, database_url, monkeypatch):
    monkeypatch.setattr(expiry, "PAGE", 3)
    for number in range(20):
        await shop.give(f"m{number:02}", 5, "a", expires_in_seconds=-60)
    await shop.projector.catch_up()
    one, again, other = await gather(shop.sweeper.sweep(), shop.sweeper.sweep(), shop.another_sweeper().sweep())
    assert again.accounts == 0, "one process sweeps once at a time"
    assert one.lots + other.lots == 20
    assert await expiries(database_url) == [f"m{number:02}" for number in range(20)]


async def test_an_account_whose_lots_cannot_be_recorded_does_not_keep_the_others(shop, database_url, monkeypatch):
    monkeypatch.setattr(expiry, "PAGE", 1)
    for number in range(4):
        await shop.give(f"m{number}", 5, "r", expires_in_seconds=-60 + number)
    superuser = await asyncpg.connect(database_url)
    await superuser.execute(
        "CREATE FUNCTION refuses() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN"
        " IF NEW.stream = 'account-m0' THEN RAISE EXCEPTION 'made up'; END IF; RETURN NEW; END$$;"
        "CREATE TRIGGER refuses BEFORE INSERT ON ledger.events FOR EACH ROW EXECUTE FUNCTION refuses()"
    )
    await shop.projector.catch_up()
    swept = await shop.sweeper.sweep()
    assert (swept.lots, swept.failed) == (3, 1)
    await superuser.execute("DROP TRIGGER refuses ON ledger.events")
    await superuser.close()
    assert await shop.sweep() == (1, 1)
    assert await expiries(database_url) == ["m0", "m1", "m2", "m3"]


async def test_a_sweep_ends_where_nothing_can_be_appended(shop, database_url, monkeypatch):
    monkeypatch.setattr(expiry, "PAGE", 1)
    for number in range(4):
        await shop.give(f"m{number}", 5, "r", expires_in_seconds=-60 + number)
    await shop.projector.catch_up()
    asked_for = []

    async def away(commands):
        asked_for.extend(commands)
        return [StoreUnavailable("away")] * len(commands)

    with monkeypatch.context() as broken:
        broken.setattr(shop.sweeper._handler, "handle_each", away)
        swept = await shop.sweeper.sweep()
    assert (swept.lots, swept.failed, len(asked_for)) == (0, 0, 1)
    assert await shop.sweep() == (4, 4)


@pytest.mark.filterwarnings("ignore:Call to deprecated close:DeprecationWarning")  # arq's own
async def test_a_worker_whose_committer_has_ended_ends(database_url, redis_url, monkeypatch):
    """As after a failover to a log that is shorter: nothing would be done any more, and nobody would know."""
    committers = []

    def kept(*args, **options):
        committers.append(Committer(*args, **options))
        return committers[-1]

    monkeypatch.setattr(worker_main, "Committer", kept)
    running = create_task(run_worker(redis_url, database_url, database_url))
    for _ in range(2000):
        if committers and committers[0]._flusher is not None:
            break
        await sleep(0.01)
    committers[0]._known = 10**6
    with suppress(StoreUnavailable):
        await Handler(committers[0]).handle(RegisterMember("ann", "A"), origin(NOW))
    async with timeout(20):
        with pytest.raises(StoreRewoundError):
            await running
    for number in (SIGINT, SIGTERM):  # arq has taken them
        get_running_loop().remove_signal_handler(number)
