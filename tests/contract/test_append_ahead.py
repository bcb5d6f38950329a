"""Appends that are sent before the one in front of them is answered: good directly behind it, or not at all."""

import asyncio
import re
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from ledger.handler import Handler
from ledger.store.append import PostgresStore
from ledger.store.append_line import AppendLine
from ledger.store.committer import Committer
from ledger.store.port import (
    AmbiguousAppendError,
    AppendBatch,
    Appended,
    Command,
    DirectoryRow,
    RejectedAppendError,
    Store,
)
from tests.contract.batches import a_batch, a_command, an_event, many_events
from tests.contract.conftest import OpenStore, StartCommitter
from tests.contract.members import asked, balances, earn, register, spend
from tests.contract.weather import Between

FIRST, SECOND, OTHER = 11, 22, 33

# ── what a store makes of them ──


def first(*more: Command) -> AppendBatch:
    return a_batch(a_command("k1", an_event("a", 1)), *more, known=0, token=FIRST)


def second(known: int = 1) -> AppendBatch:
    command = a_command("k2", an_event("a", 2), unit=0)
    return a_batch(command, a_command("k3", an_event("b", 1), unit=1), known=known, token=SECOND, after=FIRST)


async def test_directly_behind_the_one_it_names_it_is_good(store: Store) -> None:
    await store.append(first())
    outcome = await store.append(second())
    assert (outcome.bad_units, outcome.head_before, outcome.head) == (frozenset(), 1, 3)
    third = a_batch(a_command("k4", an_event("a", 3)), known=3, token=OTHER, after=SECOND)
    assert (await store.append(third)).head == 4


async def test_without_the_one_it_names_nothing_of_it_is_done(store: Store) -> None:
    outcome = await store.append(second())
    assert (outcome.bad_units, outcome.head, outcome.moved) == ({0, 1}, 0, None)
    await store.append(a_batch(a_command("k0", an_event("z", 1)), known=0, token=OTHER))
    outcome = await store.append(second())
    assert (outcome.bad_units, outcome.head) == ({0, 1}, 1), "as far as it should be, by another append"


async def test_nothing_of_it_is_done_when_another_came_between(store: Store) -> None:
    await store.append(first())
    await store.append(a_batch(a_command("k0", an_event("z", 1)), known=1, token=OTHER))
    outcome = await store.append(second())
    assert (outcome.bad_units, outcome.head) == ({0, 1}, 2)
    assert [event.stream for event in await store.read(0, 10)] == ["a", "z"]


async def test_nothing_of_it_is_done_when_the_one_it_names_was_not_good_as_a_whole(store: Store) -> None:
    await store.append(a_batch(a_command("used", an_event("z", 1)), known=0))
    outcome = await store.append(
        a_batch(a_command("k1", an_event("a", 1), unit=0), a_command("used", unit=1), known=1, token=FIRST)
    )
    assert (outcome.bad_units, outcome.head) == ({1}, 2)
    outcome = await store.append(second(known=2))
    assert (outcome.bad_units, outcome.head) == ({0, 1}, 2)


async def test_nothing_of_it_is_done_when_the_one_it_names_came_behind_others(store: Store) -> None:
    await store.append(a_batch(a_command("k0", an_event("z", 1)), known=0, token=OTHER))
    assert (await store.append(first())).head == 2, "it did not know of the other, which did it no harm"
    outcome = await store.append(second(known=2))
    assert (outcome.bad_units, outcome.head) == ({0, 1}, 2), "what it was decided on did not know of the other either"


async def test_out_of_turn_its_keys_are_looked_up_all_the_same(store: Store) -> None:
    await store.append(a_batch(a_command("k2", an_event("z", 1)), known=0, token=OTHER))
    outcome = await store.append(second())
    assert outcome.bad_units == {0, 1}
    assert [(found.index, found.first_position) for found in outcome.kept] == [(0, 1)]


# ── on the wire ──


class ByteByByte(AppendLine):
    """A network that hands over one byte at a time."""

    def data_received(self, data: bytes) -> None:
        for byte in data:
            super().data_received(bytes((byte,)))


@pytest.fixture
async def postgres(database_url: str) -> AsyncIterator[PostgresStore]:
    store = await PostgresStore(database_url).open()
    yield store
    await store.close()


@pytest.fixture
async def line(database_url: str, postgres: PostgresStore) -> AsyncIterator[AppendLine]:
    line = await ByteByByte.over(await asyncpg.connect(database_url, server_settings={"role": "ledger_api"}))
    yield line
    line.close()


@pytest.mark.services
async def test_two_at_once_are_answered_in_order(line: AppendLine, postgres: PostgresStore) -> None:
    one, two = await asyncio.gather(line.append(first()), line.append(second()))
    assert (one.head_before, one.head, one.bad_units) == (0, 1, [])
    assert (two.head_before, two.head, two.bad_units) == (1, 3, [])
    assert two.recorded_at > one.recorded_at
    assert [event.recorded_at for event in await postgres.read(0, 10)] == [one.recorded_at, *[two.recorded_at] * 2]


@pytest.mark.services
async def test_behind_a_refused_one_the_next_is_answered_and_nothing_of_it_is_done(
    line: AppendLine, postgres: PostgresStore
) -> None:
    bad = first(a_command("k0", an_event("z", 1, kind="\0")))
    one, two = await asyncio.gather(line.append(bad), line.append(second()), return_exceptions=True)
    assert isinstance(one, asyncpg.CharacterNotInRepertoireError)
    assert "0x00" in str(one)
    assert not isinstance(two, BaseException)
    assert (two.bad_units, two.head) == ([0, 1], 0)
    assert (await line.append(first())).head == 1, "the line is as good as before"


@pytest.mark.services
@pytest.mark.parametrize(
    "command",
    [a_command("k", directory=DirectoryRow("u", "\ud800", None)), a_command("k", an_event("a", 2**31))],
    ids=["half a pair", "large"],
)
async def test_what_cannot_be_said_is_refused_and_not_sent(line: AppendLine, command: Command) -> None:
    with pytest.raises(asyncpg.DataError):
        await line.append(a_batch(command, known=0, reads=[]))
    assert (await line.append(first())).head == 1


@pytest.mark.services
async def test_who_does_not_wait_any_more_disturbs_nobody(line: AppendLine) -> None:
    leaving = asyncio.ensure_future(line.append(first()))
    staying = asyncio.ensure_future(line.append(second()))
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying).head == 3, "its own answer, and not that of the one before"


@pytest.mark.services
async def test_of_two_under_way_when_it_is_cut_neither_has_an_answer(line: AppendLine) -> None:
    waiting = [asyncio.ensure_future(line.append(batch)) for batch in (first(), second())]
    await asyncio.sleep(0)
    line.terminate()
    outcomes = await asyncio.gather(*waiting, line.append(first()), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ConnectionError] * 3


@pytest.mark.services
async def test_an_end_by_the_server_leaves_the_outcome_open(postgres: PostgresStore, database_url: str) -> None:
    superuser = await asyncpg.connect(database_url)
    async with superuser.transaction():
        await superuser.execute("SELECT FROM ledger.head FOR UPDATE")
        waiting = [asyncio.ensure_future(postgres.append(batch)) for batch in (first(), second())]
        for _ in range(200):
            if ended := await superuser.fetchval(
                "SELECT sum(pg_terminate_backend(pid)::integer) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            ):
                break
            await asyncio.sleep(0.01)
        assert ended == 1
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    await superuser.close()
    assert [type(outcome) for outcome in outcomes] == [AmbiguousAppendError] * 2
    with pytest.raises(AmbiguousAppendError):
        await postgres.append(first())
    await postgres.reconnect()
    assert (await postgres.append(first())).head == 1


async def written(postgres: PostgresStore, name: str) -> list[str]:
    """What rows of that name hold, but for what differs between two appends."""
    found = []
    for table, text in (("commands", "key"), ("claims", "value"), ("events", "stream"), ("directory", "user_id")):
        rows = await postgres._read.fetch(f"SELECT * FROM ledger.{table} WHERE {text} LIKE '{name}%'")
        kept = [
            [(c, str(v).replace(name, "-")) for c, v in row.items() if not re.search("position|digest|hash|_at$", c)]
            for row in rows
        ]
        assert kept, f"nothing was written into {table}"
        found.append(str(sorted(kept)))
    return found


@pytest.mark.services
async def test_both_ways_to_the_function_say_the_same(postgres: PostgresStore) -> None:
    """Under the head lock an append goes through asyncpg, otherwise through our own words: every kind of value."""
    long = "ü" * 3000

    def batch(name: str, known: int) -> AppendBatch:
        return a_batch(
            a_command(f"{name}1", *many_events(name, 3), unit=0, claims=[name, f"{name}{long}"]),
            a_command(f"{name}2", unit=1, answer=None, claims=[]),
            a_command(
                f"{name}3", an_event(name + long, 1, b"", b"\xff\0"), unit=2, directory=DirectoryRow(name, long, None)
            ),
            a_command(f"{name}4", unit=3, answer=b"", directory=DirectoryRow(name + "2", "", "http://a")),
            known=known,
            reads=[(f"read-{name}", 0, -1)],
            token=2**63 - 1,
        )

    ours = await postgres.append(batch("ours", 0))
    async with postgres.locked() as appender:
        theirs = await appender.append(batch("theirs", ours.head))
    assert (ours.head, theirs.head_before, theirs.head) == (4, 4, 8)
    assert await written(postgres, "ours") == await written(postgres, "theirs")
    again_ours, again_theirs = await postgres.append(batch("ours", 8)), None
    async with postgres.locked() as appender:
        again_theirs = await appender.append(batch("ours", 8))
    assert again_ours.kept == again_theirs.kept
    assert len(again_ours.kept) == 3
    assert (again_ours.taken, again_ours.bad_units) == (again_theirs.taken, again_theirs.bad_units)
    assert again_ours.taken == [(0, 0), (0, 1)]
    stale = a_batch(a_command("z", an_event("z", 1)), known=0)
    moved = await postgres.append(stale)
    assert sorted(moved.moved or ()) == ["ours", "ours" + long, "theirs", "theirs" + long]


# ── what the committer makes of them ──


class FarAway(Between):
    """It takes a while to reach."""

    async def before(self) -> None:
        await asyncio.sleep(0.002)


async def test_under_load_appends_are_sent_ahead(store: Store, start_committer: StartCommitter) -> None:
    committer = await start_committer(FarAway(store))
    handler = Handler(committer)
    users = [f"u{n}" for n in range(40)]
    await register(handler, *users)
    assert committer.sent_ahead == 0, "one at a time there is nothing to send ahead"

    async def earns(user: str) -> None:
        for n in range(20):
            await handler.handle(earn(user, 1, f"r{n}"), asked())

    await asyncio.gather(*(earns(user) for user in users))
    assert committer.sent_ahead > 5
    assert await balances(store) == dict.fromkeys(users, 20)


class ComesBetween(Between):
    """Somebody else appends just before an append that was sent ahead."""

    def __init__(self, store: Store, other: Handler) -> None:
        super().__init__(store)
        self._other = other
        self.between = 0

    async def append(self, batch: AppendBatch) -> Appended:
        if batch.after is not None and self.between < 3:
            self.between += 1
            await self._other.handle(spend("a", 1), asked())
        return await super().append(batch)


async def test_what_was_sent_ahead_in_vain_is_decided_again(
    open_store: OpenStore, start_committer: StartCommitter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.store.concluding.CROWDED_APPENDS", 0)
    store = ComesBetween(await open_store(), Handler(await start_committer()))
    committer = await start_committer(store, batch_limit=8, small_batch=1)
    handler = Handler(committer)
    await register(handler, "a", "b")
    await handler.handle(earn("a", 3, "first"), asked())
    outcomes = await asyncio.gather(
        *(handler.handle(earn("ab"[n % 2], 1, f"r{n}"), asked(f"k{n}")) for n in range(100))
    )
    assert store.between == 3
    assert committer.conflicts > 0
    assert {outcome.replayed for outcome in outcomes} == {False}
    assert await balances(store) == {"a": 50, "b": 50}


async def test_among_others_appends_wait_their_turn(open_store: OpenStore, start_committer: StartCommitter) -> None:
    store = ComesBetween(await open_store(), Handler(await start_committer()))
    committer = await start_committer(store, batch_limit=2, small_batch=1)
    handler = Handler(committer)
    await register(handler, "a", "b")
    await handler.handle(earn("a", 3, "first"), asked())
    await asyncio.gather(*(handler.handle(earn("b", 1, f"r{n}"), asked()) for n in range(60)))
    # What follows the one in vain may have gone ahead as well. Thirty appends later that is not forgotten.
    assert 1 <= store.between == committer.sent_ahead <= 2


class RefusesOne(Between):
    """The database does not take the first of two appends under way."""

    refused = 0

    async def append(self, batch: AppendBatch) -> Appended:
        if self.refused == 0 and any(command.key == "k3" for command in batch.commands):
            self.refused = 1
            await asyncio.sleep(0.05)  # the next one is sent meanwhile
            raise RejectedAppendError("made up")
        return await super().append(batch)


async def test_behind_an_append_the_database_refuses_all_is_decided_again(
    open_store: OpenStore, start_committer: StartCommitter
) -> None:
    store = RefusesOne(await open_store())
    committer = await start_committer(store, batch_limit=4, small_batch=1)
    handler = Handler(committer)
    await register(handler, "a")
    outcomes = await asyncio.gather(*(handler.handle(earn("a", 1, f"r{n}"), asked(f"k{n}")) for n in range(40)))
    assert store.refused == 1
    assert committer.sent_ahead > 0
    assert [outcome.status for outcome in outcomes] == [201] * 40
    assert await balances(store) == {"a": 40}


class LosesTheMiddleOne(Between):
    """Of three appends in a row the second is committed and its answer lost; the third is heard."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.lost_token = -1

    async def append(self, batch: AppendBatch) -> Appended:
        outcome = await super().append(batch)
        if self.lost_token == -1 and batch.after is not None and not outcome.bad_units:
            self.lost_token = batch.token
            await asyncio.sleep(0.02)  # the third is sent meanwhile, behind this one
            raise AmbiguousAppendError("made up")
        return outcome


async def test_behind_an_append_that_was_sent_again_nothing_is_taken_for_granted(
    open_store: OpenStore, start_committer: StartCommitter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def the_alarm(_: Committer, units: object, error: RejectedAppendError) -> None:
        pytest.fail(f"decided on what is not so, which only the last index noticed: {error}")

    monkeypatch.setattr(Committer, "_halve", the_alarm)
    store = LosesTheMiddleOne(await open_store())
    committer = await start_committer(store, batch_limit=4, small_batch=1)
    handler = Handler(committer)
    users = [f"u{n}" for n in range(9)]
    await register(handler, *users)
    outcomes = await asyncio.gather(
        *(handler.handle(earn(user, 1, f"r{n}"), asked()) for n in range(4) for user in users)
    )
    assert store.lost_token > 0
    assert committer.resent > 0
    assert {(outcome.status, outcome.replayed) for outcome in outcomes} == {(201, False)}
    spent = await asyncio.gather(*(handler.handle(spend(user, 4), asked()) for user in users))
    assert {outcome.data.new_balance for outcome in spent} == {0}, "each was decided on all four"


class OlderServer(Between):
    """After a failover: once, what is loaded is of a server that lags behind the one that appends."""

    lag = 0

    async def load(self, streams: Any) -> Any:
        head, tails = await self._store.load(streams)
        if self.lag:
            self.lag = 0
            return head - 1, {}
        return head, tails


async def test_a_load_from_before_what_is_known_is_not_decided_upon(
    open_store: OpenStore, start_committer: StartCommitter
) -> None:
    store = OlderServer(await open_store())
    committer = await start_committer(store, cache_limit=2)
    handler = Handler(committer)
    await register(handler, "a", "b", "c")
    for user in "abc":
        await handler.handle(earn(user, 5, "r"), asked())
    store.lag = 1
    assert (await handler.handle(spend("a", 5), asked())).data.new_balance == 0
    assert store.lag == 0


# ── connections ──


async def writers(superuser: Any) -> int:
    return int(
        await superuser.fetchval(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE application_name = 'ledger-writer' AND datname = current_database()"
        )
    )


@pytest.mark.services
async def test_what_cannot_be_prepared_leaves_no_connection_behind(postgres: PostgresStore, database_url: str) -> None:
    superuser = await asyncpg.connect(database_url)
    assert await writers(superuser) == 2
    await superuser.execute("ALTER FUNCTION ledger.append RENAME TO another")
    with pytest.raises(asyncpg.UndefinedFunctionError):
        await PostgresStore(database_url).open()
    again = asyncio.ensure_future(postgres.reconnect())
    await asyncio.sleep(1)
    assert not again.done()
    assert await writers(superuser) <= 2
    await superuser.execute("ALTER FUNCTION ledger.another RENAME TO append")
    await asyncio.wait_for(again, 5)
    assert (await postgres.append(first())).head == 1
    await superuser.close()


@pytest.mark.services
async def test_a_server_that_falls_silent_after_the_login_is_not_waited_for_for_ever(
    postgres: PostgresStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    over, tries = AppendLine.over, 0

    async def silent_once(connection: Any) -> AppendLine:
        nonlocal tries
        tries += 1
        if tries == 1:
            await connection.fetchval("SELECT pg_sleep(60)")
        return await over(connection)

    monkeypatch.setattr(AppendLine, "over", silent_once)
    monkeypatch.setattr(postgres, "_watchdog_seconds", 0.3)
    await asyncio.wait_for(postgres.reconnect(), 5)
    assert tries == 2
    assert (await postgres.append(first())).head == 1


@pytest.mark.services
async def test_a_kept_answer_whose_events_are_not_there_yet_is_asked_for_again(
    postgres: PostgresStore, start_committer: StartCommitter, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = Handler(await start_committer(postgres))
    await register(handler, "a")
    before = await handler.handle(earn("a", 5, "r"), asked("k"))
    events_at, tries = postgres._events_at, 0

    async def behind_once(positions: Any) -> Any:
        nonlocal tries
        tries += 1
        return [] if tries == 1 else await events_at(positions)

    monkeypatch.setattr(postgres, "_events_at", behind_once)
    again = await handler.handle(earn("a", 5, "r"), asked("k"))
    assert (again.replayed, again.data, tries) == (True, before.data, 2)


async def test_whoever_answers_with_a_length_that_cannot_be_is_not_listened_to() -> None:
    """No PostgreSQL does; it would be read for ever."""
    aborted: list[bool] = []
    transport = SimpleNamespace(set_protocol=lambda _: None, write=lambda _: None, abort=lambda: aborted.append(True))
    line = AppendLine(SimpleNamespace(_transport=transport, terminate=lambda: None), (1,) * 5)  # type: ignore[arg-type]  # all it asks of one
    waiting = asyncio.ensure_future(line.append(first()))
    await asyncio.sleep(0)
    line.data_received(b"N\xff\xff\xff\xffxxxxxxxx")
    assert aborted
    with pytest.raises(OSError, match="connection lost"):
        await waiting
