"""Searching the log, and one event under the microscope."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from ledger.errors import EventNotFound
from projections.audit_event import get_event
from projections.audit_trail import list_events
from projections.directory import get_names


@pytest.fixture
async def history(ledger, runner):
    await ledger.open("ann", "bob")  # positions 1, 2
    await ledger.earn("ann", 1500)  # 3, 4: earned, level crossed
    await ledger.spend("ann", 200)  # 5
    await ledger.earn("bob", 10)  # 6
    await runner.catch_up()


async def positions(models, **filters):
    found = (await list_events(models, **filters)).value
    assert found.total == len(found.rows)
    return [event.position for event in found.rows]


async def test_events_are_listed_newest_first_with_everything_around_them(history, models):
    assert await positions(models) == [6, 5, 4, 3, 2, 1]
    event = (await list_events(models, limit=1)).value.rows[0]
    shape = msgspec.json.decode(msgspec.json.encode(event))
    assert set(shape) == {
        *("position", "stream", "version", "type", "recordedAt", "occurredAt", "actor", "requestId"),
        *("commandId", "correlationId", "causationId", "data", "hash"),
    }
    assert shape["stream"] == "account-bob"
    assert shape["actor"] == {"id": "shop", "role": "service"}
    assert shape["data"]["amount"] == 10
    assert len(shape["hash"]) == 64


async def test_each_filter_finds_its_events(history, models):
    assert await positions(models, stream="account-ann") == [5, 4, 3, 1]
    assert await positions(models, type_="points.earned.v1") == [6, 3]
    assert await positions(models, actor="shop", stream="account-bob") == [6, 2]
    assert await positions(models, actor="nobody") == []
    third = (await get_event(models, 3)).value.event
    assert await positions(models, correlation_id=third.correlation_id) == [4, 3]
    assert await positions(models, from_=third.recorded_at) == [6, 5, 4, 3]
    assert await positions(models, to=third.recorded_at) == [2, 1]
    assert await positions(models, from_=datetime.now(UTC) + timedelta(days=1)) == []
    assert await positions(models, to=datetime.now(UTC) + timedelta(days=1), sort_order="asc") == [1, 2, 3, 4, 5, 6]


async def test_a_cursor_goes_through_the_log_event_by_event(history, models):
    seen = []
    after = None
    while True:
        found = (await list_events(models, limit=4, after=after)).value
        seen += [event.position for event in found.rows]
        after = found.next_cursor
        if after is None:
            break
    assert seen == [6, 5, 4, 3, 2, 1]
    assert [e.position for e in (await list_events(models, page=2, limit=4)).value.rows] == [2, 1]


async def test_an_event_shows_the_state_before_and_after_and_that_the_chain_holds(history, models):
    detail = msgspec.json.decode(msgspec.json.encode((await get_event(models, 5)).value))
    assert (detail["stateBefore"]["balance"], detail["stateAfter"]["balance"]) == (1500, 1300)
    lot = {"lotId": 2, "points": 1500}
    chunks = detail["stateBefore"]["chunks"], detail["stateAfter"]["chunks"]
    assert [
        [{**lot, "remaining": left, "expiresAt": chunk[0][0]["expiresAt"]}]
        for chunk, left in zip(chunks, (1500, 1300), strict=True)
    ] == [chunk[0] for chunk in chunks], "the lots are legible"
    assert detail["chainValid"] is True
    assert detail["previousHash"] == (await get_event(models, 4)).value.hash
    first = msgspec.json.decode(msgspec.json.encode((await get_event(models, 1)).value))
    assert first["stateBefore"] is None
    assert first["previousHash"] == "0" * 64


async def test_an_event_whose_hash_is_not_its_own_is_seen(history, models, append_raw):
    position = await append_raw("account-bob", 3, "points.account-locked.v1", b'{"userId":"bob","reason":"x"}')
    assert (await get_event(models, position)).value.chain_valid is False


async def test_there_is_no_event_beyond_the_head(history, models):
    with pytest.raises(EventNotFound):
        await get_event(models, 7)


async def test_names_come_in_one_query_and_the_forgotten_are_left_out(history, models, ledger, pool):
    names = await get_names(models.pool, ["ann", "bob", "ann", "nobody"])
    assert {user_id: name.name for user_id, name in names.items()} == {"ann": "Ann", "bob": "Bob"}
    assert await get_names(models.pool, []) == {}
