"""What every store does, in memory and on PostgreSQL: append, load, read, the fence, times, the head lock."""

import asyncio

import asyncpg
import pytest

from ledger.store.append import PostgresStore
from ledger.store.memory import MemoryStore, Snapshot
from ledger.store.port import ALL_UNITS, DirectoryRow, RejectedAppendError, Store, StoreRewoundError
from tests.contract.batches import a_batch, a_command, an_event, many_events
from tests.contract.conftest import OpenStore


async def test_an_empty_log_has_head_zero_and_nothing_to_read(store: Store) -> None:
    assert await store.head() == 0
    assert await store.read(0, 10) == []
    assert await store.read_stream("a") == []
    assert await store.load([("a", 1)]) == (0, {})


async def test_what_is_appended_is_read_back_to_the_byte(store: Store) -> None:
    event = an_event("account-1", 1, data=b'{"b":1, "a":2}', metadata=b'{"who":"me"}')
    outcome = await store.append(a_batch(a_command("k", event), known=0))
    assert (outcome.head_before, outcome.head) == (0, 1)
    assert (outcome.bad_units, outcome.kept, outcome.taken, outcome.moved) == (frozenset(), [], [], [])
    (found,) = await store.read(0, 10)
    assert (found.position, found.stream, found.version, found.type) == (1, "account-1", 1, "tested.v1")
    assert (found.metadata, found.data, found.hash) == (event.metadata, event.data, event.hash)
    assert found.recorded_at == outcome.recorded_at
    assert found.recorded_at.utcoffset() is not None
    assert await store.head() == 1


async def test_positions_have_no_gap_and_follow_the_order_of_the_batch(store: Store) -> None:
    await store.append(a_batch(a_command("k1", an_event("a", 1), an_event("b", 1)), known=0))
    await store.append(
        a_batch(a_command("k2", an_event("b", 2), unit=0), a_command("k3", an_event("a", 2), unit=1), known=2)
    )
    log = await store.read(0, 10)
    assert [(e.position, e.stream, e.version) for e in log] == [(1, "a", 1), (2, "b", 1), (3, "b", 2), (4, "a", 2)]


async def test_positions_close_ranks_where_a_unit_was_refused(store: Store) -> None:
    await store.append(a_batch(a_command("k1", an_event("a", 1)), known=0))
    commands = [
        a_command("k2", an_event("b", 1), unit=0),
        a_command("k1", an_event("c", 1), unit=1),
        a_command("k3", an_event("d", 1), an_event("d", 2), unit=2),
    ]
    outcome = await store.append(a_batch(*commands, known=1))
    assert outcome.bad_units == {1}
    assert [(e.position, e.stream) for e in await store.read(1, 10)] == [(2, "b"), (3, "d"), (4, "d")]
    again = await store.append(a_batch(a_command("k3"), known=4, reads=[]))
    assert [(k.first_position, k.last_position) for k in again.kept] == [(3, 4)]


async def test_reading_goes_by_pages(store: Store) -> None:
    await store.append(a_batch(a_command("k", *many_events("a", 5), *many_events("b", 5)), known=0))
    assert [e.position for e in await store.read(0, 3)] == [1, 2, 3]
    assert [e.position for e in await store.read(8, 100)] == [9, 10]
    assert [e.version for e in await store.read_stream("b", 0, 2)] == [1, 2]
    assert [e.version for e in await store.read_stream("b", 3)] == [4, 5]


async def test_loading_gives_the_head_and_the_tails_of_streams_that_exist(store: Store) -> None:
    await store.append(a_batch(a_command("k", *many_events("a", 3), *many_events("b", 1)), known=0))
    head, tails = await store.load([("a", 1), ("b", 1), ("nowhere", 1)])
    assert head == 4
    assert sorted(tails) == ["a", "b"]
    assert (tails["a"].snapshot_version, tails["a"].snapshot_state) == (0, None)
    assert [version for version, *_ in tails["a"].events] == [1, 2, 3]
    assert tails["b"].events[0][1:3] == ("tested.v1", b"{}")


@pytest.mark.parametrize(("of", "schema", "versions"), [(2, 1, [3]), (2, 2, [1, 2, 3]), (3, 1, [])])
async def test_a_snapshot_shortens_the_tail_and_one_of_another_schema_is_none(
    store: Store, store_url: str | None, of: int, schema: int, versions: list[int]
) -> None:
    events = many_events("a", 3)
    await store.append(a_batch(a_command("k", *events), known=0))
    if isinstance(store, MemoryStore):
        store.snapshots["a"] = Snapshot(of, of, 1, b"state", b"hash")
    else:
        connection = await asyncpg.connect(store_url)
        await connection.execute("INSERT INTO ledger.snapshots VALUES ('a', $1, $1::integer, 1, 'state', 'hash')", of)
        await connection.close()
    _, tails = await store.load([("a", schema)])
    assert [version for version, *_ in tails["a"].events] == versions
    assert tails["a"].snapshot_state == (b"state" if schema == 1 else None)
    assert tails["a"].last_hash == (events[-1].hash if versions else b"hash")


# ── the fence ──


async def test_a_stale_read_refuses_its_unit_and_no_other(open_store: OpenStore) -> None:
    mine, theirs = await open_store(), await open_store()
    await theirs.append(a_batch(a_command("k1", an_event("a", 1)), known=0))
    commands = [a_command("k2", an_event("a", 1), unit=0), a_command("k3", an_event("b", 1), unit=1)]
    outcome = await mine.append(a_batch(*commands, known=0))
    assert outcome.bad_units == {0}
    assert outcome.moved == ["a"]
    assert [(e.stream, e.version) for e in await mine.read(1, 10)] == [("b", 1)]


async def test_a_stream_that_is_written_is_fenced_though_nobody_names_it_as_read(open_store: OpenStore) -> None:
    ours, theirs = await open_store(), await open_store()
    await ours.append(a_batch(a_command("k1", an_event("a", 1), an_event("b", 1)), known=0))
    await theirs.append(a_batch(a_command("k2", *many_events("a", 2, after=1)), known=2, reads=[]))
    stale = a_command("k3", an_event("a", 2), an_event("a", 3), unit=0)
    fine = a_command("k4", an_event("b", 2), unit=1)
    outcome = await ours.append(a_batch(stale, fine, known=2, reads=[]))
    assert outcome.bad_units == {0}
    assert outcome.head == 5


async def test_a_read_of_a_stream_nobody_writes_is_fenced_too(open_store: OpenStore) -> None:
    mine, theirs = await open_store(), await open_store()
    await theirs.append(a_batch(a_command("k1", an_event("programme", 1)), known=0))
    outcome = await mine.append(
        a_batch(a_command("k2", an_event("a", 1)), known=0, reads=[("a", 0, 0), ("programme", 0, 0)])
    )
    assert outcome.bad_units == {0}


async def test_a_stale_read_of_all_units_refuses_the_whole_batch(open_store: OpenStore) -> None:
    mine, theirs = await open_store(), await open_store()
    await theirs.append(a_batch(a_command("k1", an_event("programme", 1)), known=0))
    commands = [a_command("k2", an_event("a", 1), unit=4), a_command("k3", an_event("b", 1), unit=7)]
    reads = [("a", 0, 4), ("b", 0, 7), ("programme", 0, ALL_UNITS)]
    outcome = await mine.append(a_batch(*commands, known=0, reads=reads))
    assert outcome.bad_units == {4, 7}
    assert outcome.head == 1
    fresh = await mine.append(a_batch(*commands, known=1, reads=reads))
    assert (fresh.bad_units, fresh.head) == (frozenset(), 3)


async def test_a_stream_loaded_after_it_moved_is_not_stale(open_store: OpenStore) -> None:
    mine, theirs = await open_store(), await open_store()
    await theirs.append(a_batch(a_command("k1", an_event("a", 1)), known=0))
    outcome = await mine.append(a_batch(a_command("k2", an_event("a", 2)), known=0, reads=[("a", 1, 0)]))
    assert outcome.bad_units == frozenset()
    assert outcome.moved == ["a"]


async def test_up_to_2000_positions_behind_the_moved_streams_are_named_and_beyond_they_are_too_many(
    open_store: OpenStore,
) -> None:
    mine, theirs = await open_store(), await open_store()
    await theirs.append(a_batch(a_command("k1", *many_events("a", 1500), *many_events("b", 500)), known=0))
    outcome = await mine.append(a_batch(known=0))
    assert outcome.moved is not None
    assert sorted(outcome.moved) == ["a", "b"]
    await theirs.append(a_batch(a_command("k2", an_event("c", 1)), known=2000))
    outcome = await mine.append(a_batch(a_command("k3", an_event("a", 1)), known=0))
    assert outcome.moved is None
    assert outcome.bad_units == {0}, "the reads are compared however far behind they are"


async def test_a_log_shorter_than_what_was_read_stops_everything(store: Store) -> None:
    await store.append(a_batch(a_command("k1", an_event("a", 1)), known=0))
    with pytest.raises(StoreRewoundError):
        await store.append(a_batch(a_command("k2", an_event("a", 2)), known=2))
    assert await store.head() == 1


async def test_a_version_twice_is_refused_by_the_index_even_if_the_fence_was_told_wrong(store: Store) -> None:
    await store.append(a_batch(a_command("k1", an_event("a", 1)), known=0))
    with pytest.raises(RejectedAppendError):
        await store.append(a_batch(a_command("k2", an_event("b", 1), an_event("a", 1)), known=1, reads=[]))
    assert await store.head() == 1, "nothing of the batch was kept"
    assert (await store.append(a_batch(a_command("k2", an_event("b", 1)), known=1))).head == 2


# ── time, the directory, the lock ──


async def test_every_append_is_recorded_later_than_the_one_before(store: Store) -> None:
    known, instants = 0, []
    for n in range(20):
        outcome = await store.append(a_batch(a_command(f"k{n}", *many_events("a", 2, after=2 * n)), known=known))
        known = outcome.head
        instants.append(outcome.recorded_at)
    assert instants == sorted(set(instants))
    assert [e.recorded_at for e in await store.read(0, 40)] == [at for at in instants for _ in range(2)]


async def test_the_last_directory_row_of_a_batch_wins_unless_its_unit_is_refused(
    store: Store, store_url: str | None
) -> None:
    await store.append(a_batch(a_command("used", an_event("a", 1)), known=0))
    commands = [
        a_command("k1", unit=0, directory=DirectoryRow("u", "One", None)),
        a_command("k2", unit=1, directory=DirectoryRow("u", "Two", "face.png")),
        a_command("used", unit=2, directory=DirectoryRow("u", "Three", None)),
    ]
    await store.append(a_batch(*commands, known=1))
    if isinstance(store, MemoryStore):
        row = store.directory["u"]
        assert (row.name, row.avatar) == ("Two", "face.png")
    elif isinstance(store, PostgresStore):
        found = await store._read.fetchrow("SELECT name, avatar FROM ledger.directory WHERE user_id = 'u'")
        assert tuple(found) == ("Two", "face.png")


async def test_whoever_holds_the_head_lock_excludes_all_others(open_store: OpenStore) -> None:
    mine, theirs, third = await open_store(), await open_store(), await open_store()
    order: list[str] = []

    async def append_theirs() -> None:
        await theirs.append(a_batch(a_command("k1", an_event("b", 1)), known=0))
        order.append("theirs")

    async def lock_third() -> None:
        async with third.locked() as appender:
            order.append("third")
            head, _ = await appender.load([])
            await appender.append(a_batch(a_command("k2", an_event("c", 1)), known=head))

    async with mine.locked() as appender:
        waiting = [asyncio.create_task(append_theirs()), asyncio.create_task(lock_third())]
        await asyncio.sleep(0.1)
        head, _ = await appender.load([("a", 1)])
        await appender.append(a_batch(a_command("k3", an_event("a", 1)), known=head))
        _, tails = await appender.load([("a", 1)])
        assert len(tails["a"].events) == 1, "it sees its own writes"
        assert await third.head() == 0, "nobody else does before the block ends"
        await asyncio.sleep(0.1)
        assert order == []
        order.append("mine")
    await asyncio.gather(*waiting)
    assert order[0] == "mine"
    assert [e.position for e in await mine.read(0, 10)] == [1, 2, 3]


async def test_a_block_under_the_lock_that_fails_leaves_nothing(open_store: OpenStore) -> None:
    mine, theirs = await open_store(), await open_store()

    async def append_and_fail() -> None:
        async with mine.locked() as appender:
            await appender.append(a_batch(a_command("k", an_event("a", 1), claims=["x"]), known=0))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await append_and_fail()
    outcome = await theirs.append(a_batch(a_command("k", an_event("a", 1), claims=["x"]), known=0))
    assert (outcome.head, outcome.bad_units) == (1, frozenset())
