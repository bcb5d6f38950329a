"""A member's history: equal to the answers, filtered, paged, and stable while writes go on."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from ledger.domain import points
from ledger.errors import InvalidCommand
from projections.transactions import list_transactions

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


async def test_history_says_what_the_answers_said_to_the_letter(models, runner, ledger):
    await ledger.open("ann")
    answers = [
        await ledger.earn("ann", 500, description="Order 7", metadata={"sku": [1, 2]}),
        await ledger.spend("ann", 120),
        await ledger(points.GrantPoints("ann", 30, "sorry", metadata={"ticket": "T1"})),
        await ledger(points.DeductPoints("ann", 10, "mistake")),
    ]
    await runner.catch_up()
    history = (await list_transactions(models, "ann", sort_order="asc")).value.rows
    said = [msgspec.json.decode(msgspec.json.encode(answer.data))["transaction"] for answer in answers]
    assert [msgspec.json.decode(msgspec.json.encode(line)) for line in history] == said


async def test_an_expiry_is_a_line_and_a_level_or_a_lock_is_none(models, runner, ledger):
    await ledger.open("ann")
    await ledger.earn("ann", 1500, expires_at=NOW + DAY)
    await ledger(points.LockAccount("ann", "check"))
    await ledger(points.ExpireLots("ann"), now=NOW + 2 * DAY)
    await runner.catch_up()
    lines = (await list_transactions(models, "ann")).value.rows
    assert [(line.type, line.amount, line.balance) for line in lines] == [("expire", 1500, 0), ("earn", 1500, 1500)]


@pytest.mark.parametrize("sort_order", ["asc", "desc"])
async def test_pages_and_cursors_show_each_line_once_while_writes_go_on(models, runner, ledger, sort_order):
    await ledger.open("ann", "bob")
    for n in range(1, 8):
        await ledger.earn("ann", n)
        await ledger.earn("bob", 1000)
    await runner.catch_up()
    expected = sorted(range(1, 8), reverse=sort_order == "desc")
    paged = [
        [
            line.amount
            for line in (await list_transactions(models, "ann", page=p, limit=3, sort_order=sort_order)).value.rows
        ]
        for p in (1, 2, 3, 4)
    ]
    assert paged == [expected[:3], expected[3:6], expected[6:], []]
    seen = []
    after = None
    while True:
        answer = await list_transactions(models, "ann", limit=3, sort_order=sort_order, after=after)
        seen += [line.amount for line in answer.value.rows]
        after = answer.value.next_cursor
        assert answer.meta["nextCursor"] == after
        if after is None:
            break
        if len(seen) == 3:
            await ledger.earn("ann", 8)
            await runner.catch_up()
    assert seen == ([*expected, 8] if sort_order == "asc" else expected)


async def test_filters_change_rows_and_total_and_dates_are_half_open(models, runner, ledger):
    await ledger.open("ann")
    for days in (3, 2, 1):
        await ledger.earn("ann", days, occurred_at=NOW - days * DAY)
    await ledger.spend("ann", 1)
    await runner.catch_up()

    async def amounts(**filters):
        found = (await list_transactions(models, "ann", **filters)).value
        assert found.total == len(found.rows)
        return [line.amount for line in found.rows]

    assert await amounts(type_="earn") == [1, 2, 3]
    assert await amounts(type_="spend") == [1]
    assert await amounts(type_="clawback") == []
    assert await amounts(from_=NOW - 3 * DAY, to=NOW - DAY) == [2, 3]
    assert await amounts(from_=NOW - 2 * DAY, type_="earn") == [1, 2]


async def test_total_counts_all_that_match_and_an_empty_history_is_an_empty_list(models, runner, ledger):
    await ledger.open("ann")
    for n in range(5):
        await ledger.earn("ann", n + 1)
    await runner.catch_up()
    found = (await list_transactions(models, "ann", limit=2)).value
    assert (found.total, found.total_pages, found.has_more) == (5, 3, True)
    none = (await list_transactions(models, "bob")).value
    assert (none.rows, none.total, none.total_pages, none.has_more) == ([], 0, 0, False)


@pytest.mark.parametrize("cursor", ["", "x", "ZGVzYzo", "YXNjOjU", "ZGVzYzo1IA", "ZGVzYzo1\x00", "é", "ZGVzYzrZow"])
async def test_a_cursor_that_is_not_of_this_list_and_order_is_refused(models, cursor):
    with pytest.raises(InvalidCommand, match="after"):
        await list_transactions(models, "ann", after=cursor)
