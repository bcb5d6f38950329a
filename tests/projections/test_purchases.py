"""Purchases as read: what every step leaves, whose they are, and that every row is what the log says."""

import random

import pytest

from ledger.domain.purchases import STATUSES, ChangePurchaseStatus, RegisterPurchase
from ledger.domain.redemptions import RedeemPoints
from ledger.errors import InvalidCommand, NotYourPurchase, PurchaseNotFound
from ledger.money import Money
from projections.log import read_page
from projections.projection import LogEvent
from projections.purchases import Purchases, get_purchase, list_purchases
from projections.purchases_page import PurchasesPage
from projections.runner import Runner
from projections.verify import verify

STEPS = STATUSES[1:6]


@pytest.fixture
async def runner(pool):
    return Runner(pool, [Purchases()])


async def register(ledger, purchase_id, buyer="ann", seller="sue", price=10_000, currency="USD"):
    await ledger(RegisterPurchase(purchase_id, buyer, seller, Money(price, currency)))


async def step(ledger, purchase_id, *statuses):
    for status in statuses:
        answer = await ledger(ChangePurchaseStatus(purchase_id, status))
    return answer


async def test_a_purchase_shows_price_discount_status_and_points_and_says_there_is_no_payment(models, runner, ledger):
    await ledger.open("ann", "sue")
    await ledger.earn("ann", 500)
    await register(ledger, "p-1")
    await ledger(RedeemPoints("ann", 320, "p-1"))
    done = await step(ledger, "p-1", *STEPS)
    await runner.catch_up()
    answer = await get_purchase(models, "p-1", min_position=done.position)
    seen = answer.value
    assert (seen.price.amount, seen.discount.amount, seen.amount_due.amount) == ("100.00", "3.20", "96.80")
    assert (seen.status, seen.points_earned, seen.points_spent) == ("completed", 96, 320)
    assert (seen.payment_status, seen.escrow_state, seen.hold) == ("none", "none", False)
    assert (answer.version, seen.version) == (7, 7)  # registered, redeemed, five steps
    assert seen.created_at < seen.updated_at


async def test_a_cancelled_purchase_has_no_points_spent(models, runner, ledger):
    await ledger.open("ann", "sue")
    await ledger.earn("ann", 500)
    await register(ledger, "p-1", price=7, currency="JPY")
    await ledger(RedeemPoints("ann", 300, "p-1"))
    await runner.catch_up()
    assert (await get_purchase(models, "p-1", "sue")).value.points_spent == 300
    await step(ledger, "p-1", "cancelled")
    await runner.catch_up()
    seen = (await get_purchase(models, "p-1", "ann")).value
    assert (seen.status, seen.points_spent, seen.price.amount) == ("cancelled", 0, "7")


async def test_only_its_parties_are_shown_a_purchase(models, runner, ledger):
    await ledger.open("ann", "sue", "eve")
    await register(ledger, "p-1")
    await runner.catch_up()
    with pytest.raises(NotYourPurchase):
        await get_purchase(models, "p-1", "eve")
    for party in (None, "eve"):
        with pytest.raises(PurchaseNotFound):
            await get_purchase(models, "p-2", party)


@pytest.mark.parametrize("sort_order", ["asc", "desc"])
async def test_a_party_lists_what_they_buy_and_sell_in_pages_and_by_status(models, runner, ledger, sort_order):
    await ledger.open("ann", "sue", "eve")
    sides = [("ann", "sue"), ("sue", "ann"), ("eve", "sue"), ("ann", "eve"), ("sue", "ann"), ("eve", "sue")]
    for number, (buyer, seller) in enumerate(sides, 1):
        await register(ledger, f"p-{number}", buyer, seller)
    for number in (1, 2, 6):
        await step(ledger, f"p-{number}", "cancelled")
    await runner.catch_up()

    async def numbers(party, status=None):
        listed = (await list_purchases(models, party, status=status, sort_order=sort_order)).value
        assert listed.total == len(listed.rows)
        found = [int(row.purchase_request_id[2:]) for row in listed.rows]
        assert found == sorted(found, reverse=sort_order == "desc")
        return set(found)

    assert await numbers("ann") == {1, 2, 4, 5}
    assert await numbers("eve") == {3, 4, 6}
    assert await numbers(None) == {1, 2, 3, 4, 5, 6}
    assert await numbers("ann", "cancelled") == {1, 2}
    assert await numbers(None, "pending") == {3, 4, 5}
    assert await numbers("nobody") == set()

    seen, after = [], None
    for _ in range(10):
        answer = await list_purchases(models, "ann", limit=1, sort_order=sort_order, after=after)
        seen += [row.purchase_request_id for row in answer.value.rows]
        after = answer.meta["nextCursor"]
        if after is None:
            break
        if sort_order == "desc":
            await register(ledger, f"new-{len(seen)}")
            await runner.catch_up()
    ordered = sorted(["p-1", "p-2", "p-4", "p-5"], reverse=sort_order == "desc")
    assert seen == ordered
    pages = [
        (await list_purchases(models, "eve", page=page, limit=2, sort_order=sort_order)).value for page in (1, 2, 3)
    ]
    assert [len(page.rows) for page in pages] == [2, 1, 0]
    with pytest.raises(InvalidCommand):
        await list_purchases(models, after="nonsense")


async def test_rows_do_not_depend_on_where_pages_are_cut_and_verify_agrees(models, runner, ledger, pool):
    chance = random.Random(7)
    await ledger.open("ann", "sue")
    await ledger.earn("ann", 100_000)
    for number in range(6):
        await register(ledger, f"p-{number}")
        if chance.random() < 0.7:
            await ledger(RedeemPoints("ann", 100 * (number + 1), f"p-{number}"))
        steps = STEPS[: chance.randint(0, 5)]
        if len(steps) < 4:
            steps = (*steps, "cancelled")
        await step(ledger, f"p-{number}", *steps)
        if number % 2:
            await runner.catch_up()
    await runner.catch_up()
    assert [difference async for difference in verify(pool, Purchases())] == []
    expected = await pool.fetch("SELECT * FROM read_models.rm_purchases_v1 ORDER BY purchase_id")
    async with pool.acquire() as connection:
        events: list[LogEvent] = (await read_page(connection, 0, 10_000, metadata=False)).events
        for size in (1, 2, 3, 7, len(events)):
            await connection.execute("TRUNCATE read_models.rm_purchases_v1")
            for start in range(0, len(events), size):
                page = PurchasesPage("read_models.rm_purchases_v1", "read_models.rm_purchases_payments_v1")
                for event in events[start : start + size]:
                    page.apply(event)
                await page.flush(connection)
            assert await connection.fetch("SELECT * FROM read_models.rm_purchases_v1 ORDER BY purchase_id") == expected
