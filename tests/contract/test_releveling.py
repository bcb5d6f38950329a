"""After a change of levels: whoever stands on another one is moved, once, however often the job is killed or doubled."""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest
from msgspec import structs

from ledger.decision import Origin
from ledger.domain.points import GrantPoints
from ledger.domain.programme import DEFAULT_PROGRAMME, Level, Programme, ReplaceProgramme, level_at
from ledger.handler import Handler, RegisterMember
from ledger.store.append import PostgresStore
from ledger.store.codec import Actor
from ledger.store.committer import Committer
from ledger.store.port import RejectedAppendError
from projections.live_checkpoint import events_after
from projections.live_events import messages_of
from projections.points import Points
from projections.programme import read_programme
from projections.releveling import get_releveling
from projections.runner import Runner
from workers import relevel
from workers.relevel import Releveler

ROOT = Path(__file__).parents[2]
MEMBERS = 60


def programme(*least: int) -> Programme:
    """Levels l1, l2, … that begin at 0 and at these points."""
    levels = tuple(Level(f"l{tier}", tier, points) for tier, points in enumerate((0, *least), 1))
    return structs.replace(DEFAULT_PROGRAMME, levels=levels)


class House:
    """Sixty members with 0, 50, … 2950 lifetime points, a projector that is told when, and relevelers."""

    def __init__(self, url: str, pool: asyncpg.Pool, store: PostgresStore, committer: Committer) -> None:
        self.url = url
        self.pool = pool
        self.store = store
        self.committer = committer
        self.handler = Handler(committer)
        self.projector = Runner(pool, [Points()])
        self.lifetimes = {f"m{number:03}": number * 50 for number in range(MEMBERS)}

    async def fill(self) -> None:
        for user_id in self.lifetimes:
            await self.do(RegisterMember(user_id, "M"))
        for user_id, points in self.lifetimes.items():
            if points:
                await self.do(GrantPoints(user_id, points, "a gift", None))
        await self.projector.catch_up()

    async def do(self, command: object) -> None:
        await self.handler.handle(command, Origin(Actor("root", "admin"), datetime.now(UTC), bytes(32), "r", "c"))

    async def replace(self, wanted: Programme) -> None:
        await self.do(ReplaceProgramme(wanted))
        await self.projector.catch_up()

    def releveler(self, committer: Committer | None = None) -> Releveler:
        return Releveler(self.pool, committer or self.committer)

    async def moves(self) -> list[tuple[str, str, int]]:
        """(event, user, tier reached) of every level event that a job caused."""
        rows = await self.pool.fetch(
            "SELECT type, data ->> 'userId' AS user_id, coalesce(data ->> 'nowTier', data ->> 'tier')::integer AS tier "
            "FROM ledger.event_log WHERE type LIKE 'points.level-%' AND metadata -> 'actor' ->> 'id' = 'releveler' "
            "ORDER BY position"
        )
        return [(row["type"].removeprefix("points.level-").removesuffix(".v1"), *row[1:]) for row in rows]

    async def everybody_stands_right(self) -> None:
        now = (await read_programme(self.pool)).programme
        await self.projector.catch_up()
        rows = await self.pool.fetch("SELECT user_id, lifetime, tier FROM read_models.rm_points_v1")
        assert {row["user_id"]: row["tier"] for row in rows} == {
            row["user_id"]: level_at(now, row["lifetime"]).tier for row in rows
        }
        assert len(rows) == MEMBERS


@pytest.fixture
async def house(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    monkeypatch.setattr(relevel, "PAGE", 7)
    store = await PostgresStore(database_url).open()
    committer = await Committer(store).start()
    async with asyncpg.create_pool(database_url, min_size=1, max_size=4) as pool:
        house = House(database_url, pool, store, committer)
        await house.fill()
        yield house
    await committer.stop()
    await store.close()


async def progress(house: House) -> tuple[int, str, int, int, int]:
    version = (await read_programme(house.pool)).version
    said = await get_releveling(house.pool, version)
    return said.programme_version, said.state, said.done, said.total, said.moved


async def test_the_affected_go_up_and_down_one_event_a_level_and_nobody_else_is_touched(house):
    # silver 1000 → 500, gold 2500 → 2600, platinum 10000 → 2700: some go up, some go down, most stay.
    before = await house.store.head()
    await house.replace(programme(500, 2600, 2700))
    await house.releveler().relevel()
    expected = []
    for user_id, lifetime in house.lifetimes.items():
        was = level_at(DEFAULT_PROGRAMME, lifetime).tier
        now = level_at(programme(500, 2600, 2700), lifetime).tier
        expected += [("crossed", user_id, tier) for tier in range(was + 1, now + 1)]
        expected += [("left", user_id, now)] if now < was else []
    assert await house.moves() == expected
    assert {kind for kind, *_ in expected} == {"crossed", "left"}
    assert {tier for _, _, tier in expected} >= {2, 4}
    assert await house.store.head() == before + 1 + len(expected)
    moved = len({user_id for _, user_id, _ in expected})
    assert await progress(house) == (1, "done", MEMBERS, MEMBERS, moved)
    await house.everybody_stands_right()


async def test_what_is_done_is_done_once(house):
    await house.replace(programme(100, 200, 300))
    await house.releveler().relevel()
    first = await house.moves()
    # Another process, whose read model may be as old as the change: nothing is left to do.
    assert await house.releveler().relevel() == 0
    await house.pool.execute("UPDATE ledger.releveling SET after_user = '', state = 'running'")
    await house.releveler().relevel()
    assert await house.moves() == first


async def test_levels_that_nobody_stands_wrong_on_cause_no_event(house):
    await house.replace(structs.replace(DEFAULT_PROGRAMME, review_reward=11))
    assert await progress(house) == (1, "waiting", 0, 0, 0)
    await house.releveler().relevel()
    assert await house.moves() == []
    assert await progress(house) == (1, "done", MEMBERS, MEMBERS, 0)


async def test_without_a_change_of_programme_there_is_nothing_to_look_at(house, monkeypatch):
    monkeypatch.setattr(relevel, "look_for_astray", None)
    assert await house.releveler().relevel() == 0
    assert await progress(house) == (0, "done", 0, 0, 0)


async def test_killed_half_way_it_goes_on_where_it_was(house):
    await house.replace(programme(100, 200, 300))
    program = [sys.executable, str(ROOT / "tests/contract/killed_releveler.py"), house.url, "10"]
    process = await asyncio.create_subprocess_exec(*program, env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=ROOT)
    assert await process.wait() == -signal.SIGKILL
    version, state, done, total, _ = await progress(house)
    assert (version, state, done, total) == (1, "running", 20, MEMBERS)
    done_before = await house.moves()
    assert {user_id for _, user_id, _ in done_before} > {f"m{number:03}" for number in range(20, 30)}, "not mid-page"
    looked_at = []
    look_for_astray = relevel.look_for_astray

    async def watched(*args):
        looked_at.append(args[1].after_user)
        return await look_for_astray(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relevel, "look_for_astray", watched)
        await house.releveler().relevel()
    assert looked_at[0] == "m019", "it began anew"
    moves = await house.moves()
    assert moves[: len(done_before)] == done_before
    assert max(Counter(moves).values()) == 1, "something happened twice"
    assert (await progress(house))[1:4] == ("done", MEMBERS, MEMBERS)
    await house.everybody_stands_right()


async def test_two_at_once_do_nothing_twice(house):
    await house.replace(programme(100, 200, 300))
    stores = [await PostgresStore(house.url).open() for _ in range(2)]
    committers = [await Committer(store).start() for store in stores]
    relevelers = [house.releveler(committer) for committer in committers]
    while (await progress(house))[1] != "done":  # who was slower at a page leaves; by the clock it comes back
        await asyncio.gather(*(releveler.relevel() for releveler in relevelers))
    assert max(Counter(await house.moves()).values()) == 1
    assert (await progress(house))[2:4] == (MEMBERS, MEMBERS)
    await house.everybody_stands_right()
    for committer, store in zip(committers, stores, strict=True):
        await committer.stop()
        await store.close()


async def test_a_programme_that_changes_half_way_begins_anew(house, monkeypatch):
    pages = 0
    advance_job = relevel.advance_job

    async def changed_meanwhile(*args):
        nonlocal pages
        pages += 1
        if pages == 3:
            await house.replace(programme(2000, 2400, 2900))
        return await advance_job(*args)

    monkeypatch.setattr(relevel, "advance_job", changed_meanwhile)
    await house.replace(programme(100, 200, 300))
    await house.releveler().relevel()
    assert await progress(house) == (2, "done", MEMBERS, MEMBERS, (await progress(house))[4])
    moves = await house.moves()
    assert ("crossed", "m005", 3) in moves, "the first programme was not at work"
    assert ("left", "m005", 1) in moves, "what the first programme gave was not taken back"
    await house.everybody_stands_right()


async def test_it_waits_for_a_read_model_that_is_behind_the_programme(house):
    # m010 has 500 points; 450 more come under the old levels, and the read model does not know.
    await house.do(GrantPoints("m010", 450, "a gift", None))
    await house.do(ReplaceProgramme(programme(900)))
    assert await house.releveler().relevel() == 0
    assert (await progress(house))[1:3] == ("running", 0)
    await house.projector.catch_up()
    await house.releveler().relevel()
    assert ("crossed", "m010", 2) in await house.moves()
    await house.everybody_stands_right()


async def test_who_listens_is_told_of_every_level_on_the_way_up(house):
    before = await house.store.head()
    await house.replace(programme(100, 200, 300))
    await house.releveler().relevel()
    page = await events_after(house.pool, before, await house.store.head())
    told = [m for logged in page.events for m in messages_of(logged) if "user-m006" in m.rooms]
    assert [(m.event, m.payload["data"]["level"]["tier"]) for m in told] == [("level-up", n) for n in (2, 3, 4)]


async def test_the_worker_process_does_it_by_the_clock(house, redis_url):
    program = [sys.executable, "-m", "api.cli", "work"]
    place = {"DATABASE_URL": house.url, "REDIS_URL": redis_url, "PYTHONPATH": str(ROOT), "LOG_LEVEL": "info"}
    process = await asyncio.create_subprocess_exec(*program, env={**os.environ, **place}, cwd=ROOT)
    try:
        await house.replace(programme(100, 200, 300))
        async with asyncio.timeout(40):
            while (await progress(house))[1] != "done":
                await house.pool.execute("SELECT pg_sleep(0.1)")
    finally:
        process.terminate()
        assert await process.wait() == 0
    await house.everybody_stands_right()


async def test_what_nobody_expected_does_not_end_as_done(house):
    """As while the database is changed under it: the checkpoint stays, and all are decided when it is over."""
    await house.replace(programme(500, 2600, 2700))
    superuser = await asyncpg.connect(house.url)
    await superuser.execute("REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA ledger FROM PUBLIC, ledger_api")
    with pytest.raises(RejectedAppendError):
        await house.releveler().relevel()
    assert (await progress(house))[1] == "running"
    await superuser.execute("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA ledger TO ledger_api")
    await superuser.close()
    assert await house.releveler().relevel() > 0
    await house.everybody_stands_right()
