"""An account as it stood: by position, by instant, and every line that leads to its balance."""

import random
import time
from datetime import UTC, datetime, timedelta

import pytest
from msgspec import structs

from ledger.domain import points
from ledger.domain.programme import DEFAULT_PROGRAMME, Level, ReplaceProgramme
from ledger.domain.purchases import ChangePurchaseStatus, RegisterPurchase
from ledger.domain.redemptions import RedeemPoints
from ledger.errors import InvalidCommand, LedgerError, UserNotFound
from ledger.money import Money
from ledger.store.snapshots import SnapshotFollower
from projections import account_as_of
from projections.account_as_of import explain_account, get_account_as_of

DAY = timedelta(days=1)


def now() -> datetime:
    return datetime.now(UTC)


async def recorded_at(pool, position):
    return await pool.fetchval("SELECT recorded_at FROM ledger.events WHERE position = $1", position)


async def test_an_admin_sees_the_live_lots_in_the_order_they_are_spent(pool, ledger):
    at = now()
    await ledger.open("ann")
    await ledger.earn("ann", 100, expires_at=None)
    await ledger.earn("ann", 60, expires_at=at + 20 * DAY)
    await ledger.earn("ann", 40, expires_at=at + 10 * DAY)
    await ledger.spend("ann", 50)
    position = (await ledger(points.LockAccount("ann", "fraud"))).position
    answer = await get_account_as_of(pool, "ann", None, at := now())
    state = answer.value
    assert [(lot.lot_id, lot.points, lot.remaining) for lot in state.lots] == [(3, 60, 50), (2, 100, 100)]
    assert (state.balance, state.locked, state.level, state.lots_total) == (150, True, "bronze", 2)
    assert (state.position, state.as_of, answer.version) == (position, at, state.version) == (position, at, 6)


async def test_a_position_and_the_instant_it_was_recorded_at_name_the_same_account(pool, ledger):
    await ledger.open("ann")
    earned = (await ledger.earn("ann", 100, expires_at=None)).position
    spent = (await ledger.spend("ann", 30)).position
    for position, balance in ((earned, 100), (spent, 70)):
        by_position = (await get_account_as_of(pool, "ann", position, now())).value
        by_instant = (await get_account_as_of(pool, "ann", await recorded_at(pool, position), now())).value
        assert by_position == by_instant
        assert (by_position.balance, by_position.position) == (balance, position)
    between = await recorded_at(pool, spent) - timedelta(microseconds=1)
    assert (await get_account_as_of(pool, "ann", between, now())).value.balance == 100


async def test_what_is_recorded_later_does_not_change_what_was(pool, ledger):
    await ledger.open("ann")
    position = (await ledger.earn("ann", 100, expires_at=None)).position
    moment = await recorded_at(pool, position)
    before = [(await explain_account(pool, "ann", as_of, now())).value for as_of in (position, moment)]
    await ledger.spend("ann", 100)
    await ledger.earn("ann", 5, occurred_at=now() - 30 * DAY, expires_at=None)  # it occurred before; it was not known
    assert [(await explain_account(pool, "ann", as_of, now())).value for as_of in (position, moment)] == before


async def test_the_level_is_that_of_the_programme_of_then(pool, ledger):
    await ledger.open("ann")
    position = (await ledger.earn("ann", 100)).position
    levels = (Level("low", 1, 0), Level("high", 2, 100))
    await ledger(ReplaceProgramme(structs.replace(DEFAULT_PROGRAMME, levels=levels)))
    assert (await get_account_as_of(pool, "ann", position, now())).value.level == "bronze"
    assert (await get_account_as_of(pool, "ann", None, now())).value.level == "high"


async def test_a_lot_that_expired_and_was_not_recorded_is_a_line_without_a_position(pool, ledger):
    await ledger.open("ann")
    await ledger.earn("ann", 40, expires_at=None)
    await ledger.earn("ann", 100, expires_at=now() + 2 * DAY)
    last = (await ledger.spend("ann", 30)).position
    later = now() + 3 * DAY
    said = (await explain_account(pool, "ann", None, later)).value
    assert [(line.position, line.type, line.change, line.balance_after) for line in said.events[-2:]] == [
        (last, "points.spent.v1", -30, 110),
        (None, "points.expired.v1", -70, 40),
    ]
    assert (said.balance, said.residual, said.events_total) == (40, 0, 4)
    assert [lot.remaining for lot in said.lots] == [40]
    # As of the spend the lot had not expired, however late one asks.
    assert (await explain_account(pool, "ann", last, later)).value.balance == 110


async def test_what_has_not_happened_is_refused_and_who_was_not_there_is_not_found(pool, ledger):
    await ledger.open("ann")
    head = (await ledger.earn("ann", 10)).position
    for wrong in (head + 1, 0, now() + DAY):
        with pytest.raises(InvalidCommand) as refused:
            await get_account_as_of(pool, "ann", wrong, now())
        assert refused.value.data[0]["field"] == "asOf"
    await ledger.open("bob")
    for moment in (head, await recorded_at(pool, head), datetime(2000, 1, 1, tzinfo=UTC)):
        with pytest.raises(UserNotFound):
            await get_account_as_of(pool, "bob", moment, now())


async def test_of_many_lines_the_last_are_listed_and_still_add_up(pool, ledger, monkeypatch):
    monkeypatch.setattr(account_as_of, "MOST_LINES", 3)
    monkeypatch.setattr(account_as_of, "_EVENTS_AT_ONCE", 2)
    await ledger.open("ann")
    positions = [(await ledger.earn("ann", amount, expires_at=None)).position for amount in (1, 20, 300, 4, 50)]
    said = (await explain_account(pool, "ann", None, now())).value
    first, *rest = [(line.position, line.type, line.change, line.balance_after) for line in said.events]
    assert first == (positions[1], "brought-forward", 21, 21)
    assert [line[0] for line in rest] == positions[2:]
    assert sum(line.change for line in said.events) == said.balance == 375
    assert (said.events_total, said.residual) == (5, 0)


async def test_a_snapshot_shortens_the_fold_and_changes_nothing(pool, ledger):
    await ledger.open("ann")
    positions = [(await ledger.earn("ann", 10, expires_at=None)).position for _ in range(30)]
    plain = [(await get_account_as_of(pool, "ann", position, now())).value for position in positions]
    follower = SnapshotFollower(pool, tail_at_least=20)
    while await follower.step():
        pass
    assert follower.kept == 1
    positions.append((await ledger.spend("ann", 5)).position)
    seen = [(await get_account_as_of(pool, "ann", position, now())).value for position in positions]
    assert seen[:-1] == plain
    assert (seen[-1].balance, seen[-1].version) == (295, 32)


async def test_an_account_of_a_hundred_thousand_lots_is_shown_in_its_first_thousand(pool, ledger, append_raw):
    await ledger.open("ann")
    await ledger.earn("ann", 1, expires_at=None)
    state = (await get_account_as_of(pool, "ann", None, now())).value
    await pool.execute(
        "INSERT INTO ledger.snapshots SELECT 'account-ann', 2, 2, $1, convert_to(jsonb_build_object("
        "'version', 2, 'balance', 100000, 'lifetime', 100000, 'chunks', jsonb_build_array((SELECT jsonb_agg("
        "jsonb_build_object('lotId', n, 'points', 1, 'remaining', 1, 'expiresAt', NULL) ORDER BY n) "
        "FROM generate_series(1, 100000) n)))::text, 'UTF8'), $2",
        account_as_of._ACCOUNTS.schema,
        bytes(32),
    )
    seconds = []
    for _ in range(3):
        started = time.monotonic()
        state = (await get_account_as_of(pool, "ann", None, now())).value
        seconds.append(time.monotonic() - started)
    assert min(seconds) < 2
    assert (len(state.lots), state.lots_total, state.balance) == (1000, 100_000, 100_000)


@pytest.mark.parametrize("seed", range(6))
async def test_the_lines_add_up_to_the_balance_and_the_lots_at_every_position(pool, ledger, seed):
    chance = random.Random(seed)
    print(f"seed {seed}")
    await ledger.open("ann", "sue")
    clock = now() - 400 * DAY
    purchases = 0
    for _ in range(chance.randint(15, 45)):
        clock += chance.choice([timedelta(hours=1), DAY, 5 * DAY])
        lasts = chance.choice([None, clock + DAY, clock + 6 * DAY, clock + 900 * DAY])
        what = chance.random()
        try:
            if what < 0.4:
                await ledger.earn("ann", chance.randint(1, 300), clock, expires_at=lasts)
            elif what < 0.5:
                await ledger(points.GrantPoints("ann", chance.randint(1, 300), "gift", None, expires_at=lasts), clock)
            elif what < 0.65:
                await ledger.spend("ann", chance.randint(1, 200), clock)
            elif what < 0.7:
                await ledger(points.DeductPoints("ann", chance.randint(1, 200), "mistake", None), clock)
            elif what < 0.8:
                await ledger(points.ExpireLots("ann"), clock)
            elif what < 0.9:
                purchases += 1
                await ledger(RegisterPurchase(f"p-{purchases}", "ann", "sue", Money(1000, "USD")), clock)
                await ledger(RedeemPoints("ann", chance.randint(100, 400), f"p-{purchases}"), clock)
            elif purchases:
                await ledger(ChangePurchaseStatus(f"p-{chance.randint(1, purchases)}", "cancelled"), clock)
        except LedgerError:
            continue  # refused: nothing has happened
    head = await pool.fetchval("SELECT position FROM ledger.head")
    for position in [*range(3, head + 1), None]:
        said = (await explain_account(pool, "ann", position, now())).value
        assert said.residual == 0
        assert sum(line.change for line in said.events) == said.balance == sum(lot.remaining for lot in said.lots)
        running = 0
        for line in said.events:
            running += line.change
            assert line.balance_after == running >= 0
        state = (await get_account_as_of(pool, "ann", position, said.as_of)).value
        assert structs.replace(state, as_of=said.as_of) == account_as_of.AccountState(
            **{field: getattr(said, field) for field in account_as_of.AccountState.__struct_fields__}
        )
