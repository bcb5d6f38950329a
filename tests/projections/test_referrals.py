"""Who brought whom: pending until the first purchase, rewarded once, and a name only while it may be known."""

from datetime import UTC, datetime

import asyncpg
import pytest

from ledger.domain.purchases import STATUSES, ChangePurchaseStatus, RegisterPurchase
from ledger.domain.referrals import GenerateReferralCode
from ledger.errors import InvalidCommand
from ledger.handler import RegisterMember
from ledger.money import Money
from projections.points import Points, get_points
from projections.referrals import Referrals, list_referrals
from projections.runner import Runner
from projections.verify import verify

FIRST, SECOND = "AAAAAAAA", "BBBBBBBB"


@pytest.fixture
async def runner(pool):
    return Runner(pool, [Points(), Referrals()])


async def complete(ledger, purchase_id, buyer, seller):
    await ledger(RegisterPurchase(purchase_id, buyer, seller, Money(1000, "USD")))
    for status in STATUSES[1:6]:
        answer = await ledger(ChangePurchaseStatus(purchase_id, status))
    return answer


async def seen(models, user_id, **how):
    rows = (await list_referrals(models, user_id, **how)).value.rows
    return [(row.user_id, row.name, row.status, row.points_earned) for row in rows]


async def test_a_referral_is_pending_until_the_first_purchase_completes(models, runner, ledger, pool):
    await ledger.open("ann", "sue")
    await ledger(GenerateReferralCode("ann", (FIRST,)))
    for user_id in ("bob", "eve"):
        await ledger(RegisterMember(user_id, user_id.title(), None, FIRST))
    await runner.catch_up()
    assert await seen(models, "ann") == [("eve", "Eve", "pending", 0), ("bob", "Bob", "pending", 0)]
    await complete(ledger, "p-1", "bob", "sue")
    await runner.catch_up()
    assert await seen(models, "ann") == [("eve", "Eve", "pending", 0), ("bob", "Bob", "rewarded", 100)]
    await complete(ledger, "p-2", "bob", "sue")
    await runner.catch_up()
    assert await seen(models, "ann", sort_order="asc") == [
        ("bob", "Bob", "rewarded", 100),
        ("eve", "Eve", "pending", 0),
    ]
    assert await seen(models, "bob") == []
    assert [difference async for difference in verify(pool, Referrals())] == []
    assert [difference async for difference in verify(pool, Points())] == []


async def test_my_points_show_the_current_code_and_how_many_came(models, runner, ledger):
    await ledger.open("ann")
    await runner.catch_up()
    assert (await get_points(models, "ann", datetime.now(UTC))).value.referral_code is None
    await ledger(GenerateReferralCode("ann", (FIRST,)))
    await ledger(RegisterMember("bob", "Bob", None, FIRST))
    await runner.catch_up()
    await ledger(GenerateReferralCode("ann", (SECOND,), force=True))
    answer = await ledger(RegisterMember("eve", "Eve", None, FIRST))
    await runner.catch_up()
    read = await get_points(models, "ann", datetime.now(UTC), min_position=answer.position)
    assert (read.value.referral_code, read.value.referrals_count) == (SECOND, 2)
    assert read.version == 5  # opened, code, came, code, came
    other = await get_points(models, "eve", datetime.now(UTC))
    assert (other.value.referral_code, other.value.referrals_count, other.version) == (None, 0, 2)


async def test_a_forgotten_member_has_no_name(models, runner, ledger, database_url):
    await ledger.open("ann")
    await ledger(GenerateReferralCode("ann", (FIRST,)))
    await ledger(RegisterMember("bob", "Bob", None, FIRST))
    await runner.catch_up()
    connection = await asyncpg.connect(database_url)
    await connection.execute("DELETE FROM ledger.directory WHERE user_id = 'bob'")
    await connection.close()
    assert await seen(models, "ann") == [("bob", None, "pending", 0)]


@pytest.mark.parametrize("sort_order", ["asc", "desc"])
async def test_pages_and_cursors_show_each_member_once_while_others_sign_up(models, runner, ledger, sort_order):
    await ledger.open("ann")
    await ledger(GenerateReferralCode("ann", (FIRST,)))
    for number in range(5):
        await ledger(RegisterMember(f"user-{number}", "Bob", None, FIRST))
    await runner.catch_up()
    found, after = [], None
    while True:
        answer = await list_referrals(models, "ann", limit=2, sort_order=sort_order, after=after)
        found += [row.user_id for row in answer.value.rows]
        after = answer.meta["nextCursor"]
        if after is None:
            break
        if sort_order == "desc":
            await ledger(RegisterMember(f"late-{len(found)}", "Bob", None, FIRST))
            await runner.catch_up()
    assert found == sorted((f"user-{number}" for number in range(5)), reverse=sort_order == "desc")
    page = (await list_referrals(models, "ann", page=2, limit=2, sort_order=sort_order)).value
    assert len(page.rows) == 2
    with pytest.raises(InvalidCommand):
        await list_referrals(models, "ann", after="x")
