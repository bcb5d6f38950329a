"""The leaderboard against a brute-force fold of the log, in many zones and around the hours that come twice or never."""

import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from ledger.domain.points import EarnPoints, PointsEarned
from ledger.domain.purchases import STATUSES, ChangePurchaseStatus, RegisterPurchase
from ledger.domain.referrals import GenerateReferralCode
from ledger.handler import RegisterMember
from ledger.money import Money
from projections import leaderboard_page
from projections.leaderboard import Leaderboard, get_leaderboard
from projections.log import read_page
from projections.projection import LogEvent
from projections.runner import Runner
from projections.verify import verify

ZONES = ("UTC", "America/New_York", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "Asia/Beirut")
EDGES = (
    datetime(2026, 3, 8, 7, tzinfo=UTC),  # New York springs forward
    datetime(2026, 3, 29, 1, tzinfo=UTC),  # Berlin springs forward, a Sunday; Beirut at its midnight
    datetime(2026, 3, 1, tzinfo=UTC),
    datetime(2026, 4, 1, tzinfo=UTC),
    datetime(2026, 11, 1, 6, tzinfo=UTC),  # New York falls back, on the first of a month
    datetime(2027, 1, 1, tzinfo=UTC),
)
NOW = datetime(2027, 6, 1, tzinfo=UTC)


@pytest.fixture
async def runner(pool):
    return Runner(pool, [Leaderboard()])


def brute_force(log, period, at, zone, limit):
    """What the leaderboard is by definition: local dates compared, the log gone through from its beginning."""

    def bucket(moment):
        local = moment.astimezone(ZoneInfo(zone))
        return (local.year, local.month) if period == "month" else local.isocalendar()[:2]

    scores = defaultdict(lambda: [0, 0, datetime.min.replace(tzinfo=UTC), 0])
    for logged in log:
        event = logged.event
        if not isinstance(event, PointsEarned) or event.source != "referral" or event.referred_user is None:
            continue
        if event.occurred_at > at if period == "all" else bucket(event.occurred_at) != bucket(at):
            continue
        score = scores[event.user_id]
        score[0] += 1
        score[1] += event.amount
        score[2:] = max(score[2], event.occurred_at), max(score[3], logged.position)
    ranked = sorted(scores.items(), key=lambda item: (-item[1][0], -item[1][1], item[1][2], item[1][3]))
    return [(rank, user_id, s[0], s[1]) for rank, (user_id, s) in enumerate(ranked[:limit], 1)]


async def shown(models, period, zone, at, limit, now=NOW):
    view = (await get_leaderboard(models, period, zone, now, at=at, limit=limit)).value
    return [(entry.rank, entry.user_id, entry.referrals, entry.points_earned) for entry in view.entries]


def a_log(chance):
    """Rewards near the edges of days and months, not in the order of their instants, and earns that are no rewards."""
    log = []
    for position in range(1, chance.randint(2, 250)):
        at = chance.choice(EDGES) + timedelta(minutes=30 * chance.randint(-120, 120))
        referred = chance.choice([None, "friend", "friend", "friend"])
        source = "bonus" if chance.random() < 0.1 else "referral"
        user_id = f"user-{chance.randint(1, 8)}"
        amount = chance.choice([50, 100])
        event = PointsEarned(user_id, amount, source, f"r-{position}", at, None, 0, 0, referred_user=referred)
        log.append(LogEvent(position, f"account-{user_id}", 2, "points.earned.v1", at, event, b""))
    return log


def short_boards(monkeypatch):
    for name in ("_BOARD_OF_NOW", "_OFF_THE_BOARD"):
        shorter = getattr(leaderboard_page, name).replace(str(leaderboard_page.PLACES_ON_A_BOARD), "3")
        monkeypatch.setattr(leaderboard_page, name, shorter)


@pytest.mark.parametrize("seed", range(12))
async def test_every_period_is_what_the_log_says(models, runner, pool, seed, monkeypatch):
    if seed % 2:  # boards so short that members come and go on them
        short_boards(monkeypatch)
    places = [1, 3] if seed % 2 else [1, 3, 10]
    chance = random.Random(seed)
    log = a_log(chance)
    await runner.catch_up()  # makes the tables
    async with pool.acquire() as connection:
        rest = log
        while rest:
            size = chance.randint(1, 60)
            page = Leaderboard().page(1)
            for event in rest[:size]:
                page.apply(event)
            await page.flush(connection)
            rest = rest[size:]
    for _ in range(25):
        zone, limit = chance.choice(ZONES), chance.choice(places)
        at = chance.choice(EDGES) + timedelta(minutes=30 * chance.randint(-1000, 1000))
        for period in ("all", "month", "week"):
            expected = brute_force(log, period, at, zone, limit)
            assert await shown(models, period, zone, at, limit) == expected, (zone, period, at)
    assert await shown(models, "all", "UTC", None, 10) == brute_force(log, "all", NOW, "UTC", 10)


@pytest.mark.parametrize("seed", range(4))
async def test_the_tables_are_the_same_in_whatever_pages_the_log_came(runner, pool, seed, monkeypatch):
    short_boards(monkeypatch)
    chance = random.Random(seed)
    log = a_log(chance)
    tables = [table.in_build("leaderboard", 1) for table in Leaderboard().tables]
    seen = []
    for sizes in ([1], [300], [7, 30, 2]):
        await runner.catch_up()
        async with pool.acquire() as connection, connection.transaction():
            rest = log
            while rest:
                size = chance.choice(sizes)
                page = Leaderboard().page(1)
                for event in rest[:size]:
                    page.apply(event)
                await page.flush(connection)
                rest = rest[size:]
            rows = {}
            for table in tables:
                found = await connection.fetch(f"DELETE FROM read_models.{table} RETURNING *")
                rows[table] = sorted(map(tuple, found), key=repr)
            seen.append(rows)
    assert seen[0] == seen[1] == seen[2]
    rewarded = any(logged.event.referred_user and logged.event.source == "referral" for logged in log)
    assert bool(seen[0][tables[0]]) == rewarded


async def test_rewards_of_real_purchases_count_and_an_earn_named_referral_does_not(models, runner, ledger, pool):
    await ledger.open("ann", "bob", "sue")
    for number, user_id in enumerate(("ann", "bob")):
        await ledger(GenerateReferralCode(user_id, ("AB"[number] * 8,)))
    for number, code in enumerate("ABBAA"):
        await ledger(RegisterMember(f"friend-{number}", "Friend", None, code * 8))
    for number in (0, 1, 2, 3):
        await ledger(RegisterPurchase(f"p-{number}", f"friend-{number}", "sue", Money(1000, "USD")))
        for status in STATUSES[1:6]:
            await ledger(ChangePurchaseStatus(f"p-{number}", status))
    await ledger(EarnPoints("sue", 5000, "referral", "friend-9"))
    await runner.catch_up()
    now = datetime.now(UTC)
    view = (await get_leaderboard(models, "all", "UTC", now)).value
    # Both have two; bob had his second one first.
    assert [(e.rank, e.user_id, e.name, e.referrals, e.points_earned) for e in view.entries] == [
        (1, "bob", "Bob", 2, 200),
        (2, "ann", "Ann", 2, 200),
    ]
    async with pool.acquire() as connection:
        log = (await read_page(connection, 0, 10_000, metadata=False)).events
    for period in ("all", "month", "week"):
        assert await shown(models, period, "Asia/Tokyo", now, 5, now) == brute_force(log, period, now, "Asia/Tokyo", 5)
    assert [difference async for difference in verify(pool, Leaderboard())] == []
