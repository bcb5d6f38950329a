"""Which points are lost when: lots by deadline, and that nothing is left out of the sum."""

from datetime import UTC, datetime, timedelta

from ledger.domain.purchases import ChangePurchaseStatus, RegisterPurchase
from ledger.domain.redemptions import RedeemPoints
from ledger.money import Money
from projections.account_as_of import get_account_as_of
from projections.expiring import list_expiring
from projections.points import get_points
from projections.transactions import list_transactions

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


async def test_deadlines_and_never_expiring_points_make_the_balance(models, runner, ledger):
    await ledger.open("ann")
    deadlines = [None, NOW + 40 * DAY, NOW + 5 * DAY, NOW + 5 * DAY, NOW + 30 * DAY, NOW + 2 * DAY, None]
    for n, deadline in enumerate(deadlines):
        await ledger.earn("ann", 10**n, expires_at=deadline)
    await runner.catch_up()
    for within in (timedelta(hours=1), 5 * DAY, 30 * DAY, 9999 * DAY):
        for moment in (NOW, NOW + 3 * DAY, NOW + 100 * DAY):
            answer = await list_expiring(models, "ann", moment, within, limit=100)
            balance = (await get_points(models, "ann", moment)).value.balance
            meta = answer.meta
            assert sum(lot.points for lot in answer.value.rows) == meta["expiring"]
            assert meta["expiring"] + meta["later"] + meta["neverExpiring"] == meta["balance"] == balance
            assert all(moment < lot.expires_at <= moment + within for lot in answer.value.rows)
    soon = (await list_expiring(models, "ann", NOW)).value
    assert [lot.points for lot in soon.rows] == [10**5, 10**2, 10**3, 10**4]
    assert (soon.total, soon.has_more) == (4, False)


async def test_lots_come_in_pages(models, runner, ledger):
    await ledger.open("ann")
    for n in range(1, 6):
        await ledger.earn("ann", n, expires_at=NOW + n * DAY)
    await runner.catch_up()
    pages = [(await list_expiring(models, "ann", NOW, page=page, limit=2)).value for page in (1, 2, 3, 4)]
    assert [[lot.points for lot in page.rows] for page in pages] == [[1, 2], [3, 4], [5], []]
    assert [page.has_more for page in pages] == [True, True, False, False]
    assert {page.total for page in pages} == {5}


async def test_nobody_has_nothing(models, runner):
    await runner.catch_up()
    answer = await list_expiring(models, "nobody", NOW)
    assert (answer.value.rows, answer.value.total, answer.meta["balance"]) == ([], 0, 0)


async def test_a_cancelled_purchase_gives_lots_their_points_back_also_those_used_up(models, runner, ledger):
    await ledger.open("ann", "sue")
    await ledger.earn("ann", 100, expires_at=NOW + 2 * DAY)
    await ledger.earn("ann", 300, expires_at=NOW + 9 * DAY)
    await ledger(RegisterPurchase("p-1", "ann", "sue", Money(1000, "USD")))
    await ledger(RedeemPoints("ann", 150, "p-1"))
    await runner.catch_up()
    lots = (await list_expiring(models, "ann", NOW)).value.rows
    assert [(lot.lot_id, lot.points) for lot in lots] == [(3, 250)]
    await ledger(ChangePurchaseStatus("p-1", "cancelled"))
    await runner.catch_up()
    lots = (await list_expiring(models, "ann", NOW)).value.rows
    assert [(lot.lot_id, lot.points, lot.expires_at) for lot in lots] == [
        (2, 100, NOW + 2 * DAY),
        (3, 300, NOW + 9 * DAY),
    ]
    state = (await get_account_as_of(models.pool, "ann", None, NOW)).value
    assert [(lot.lot_id, lot.points, lot.remaining) for lot in state.lots] == [(2, 100, 100), (3, 300, 300)]
    assert (state.balance, state.lifetime_points) == (400, 400)
    line = (await list_transactions(models, "ann", type_="restore")).value.rows[0]
    assert (line.type, line.source, line.amount, line.balance) == ("restore", "redemption", 150, 400)
    assert line.purchase_request_id == "p-1"


async def test_points_restored_to_a_lot_past_its_deadline_expire_at_once(models, runner, ledger):
    await ledger.open("ann", "sue")
    await ledger.earn("ann", 100, expires_at=NOW + 2 * DAY)
    await ledger.earn("ann", 300, expires_at=None)
    await ledger(RegisterPurchase("p-1", "ann", "sue", Money(1000, "USD")))
    await ledger(RedeemPoints("ann", 150, "p-1"))
    await runner.catch_up()
    await ledger(ChangePurchaseStatus("p-1", "cancelled"), NOW + 3 * DAY)
    await runner.catch_up()
    answer = await list_expiring(models, "ann", NOW)
    assert (answer.value.rows, answer.meta["neverExpiring"]) == ([], 300)
    lines = (await list_transactions(models, "ann")).value.rows
    assert [(line.type, line.amount, line.balance) for line in lines[:2]] == [
        ("expire", 100, 300),
        ("restore", 150, 400),
    ]
