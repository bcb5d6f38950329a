"""A year in the life of twenty members over HTTP: what the service says is what a book kept by hand says.

Purchases, referrals, redemptions, cancellations, expiries, a programme change, levels that change twice. YEAR_SEED
repeats a failure.
"""

import os
import random
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.scenarios.hand_kept_book import Purchase
from tests.scenarios.level_changes import change_the_levels, check_level_events, check_levels_were_lively
from tests.scenarios.running_ledger import RunningLedger
from tests.scenarios.year_over_http import NEW_YORK, SECRET, Year, money

pytestmark = [pytest.mark.slow, pytest.mark.services]

SEED = int(os.environ.get("YEAR_SEED", random.SystemRandom().randrange(10**6)))
MEMBERS = [f"m{n:02}" for n in range(20)]
LEVELS_CHANGE = {4: True, 8: False}
"""In these months; whether members go up by it, or down."""
SOON_MONTH = 8
SOON_SECONDS = 4
ABOUT = timedelta(seconds=30)


def live(year: Year) -> None:
    """Twelve months. Lots that expire while we look pass the time until the worker's clock comes round again."""
    chance, book = year.chance, year.book
    for month in range(12):
        for user in MEMBERS[:4] if month == 0 else MEMBERS[4 + 2 * (month - 1) : 4 + 2 * month]:
            year.join(user, chance.choice(list(book.people)) if month and chance.random() < 0.8 else None)
        if month == 6:
            year.change_the_programme()
            year.join(MEMBERS[1], MEMBERS[0])
        if month == SOON_MONTH:
            see_points_expire(year)
        if month in LEVELS_CHANGE:
            change_the_levels(year, up=LEVELS_CHANGE[month])
            if not LEVELS_CHANGE[month]:
                reach_again_what_was_lost(year)
        for user in list(book.people):
            book.now = datetime.now(UTC)
            if chance.random() < 0.6:
                year.earn(user, month)
            if chance.random() < 0.25:
                year.adjust(user)
            if chance.random() < 0.45:
                year.buy(user)


def reach_again_what_was_lost(year: Year) -> None:
    """Who has most was put two points short of the highest level, and gets them."""
    user = max(year.book.people, key=lambda one: year.book.people[one].lifetime)
    year.book.now = datetime.now(UTC)
    year.post("/api/points/admin/add", {"userId": user, "amount": 2, "reason": "Short of it"}, "root", "admin")
    year.book.add(user, 2, ("admin_grant", "admin"), None, None)


def see_points_expire(year: Year) -> None:
    """Six members get points that expire in seconds; half of them put them on a purchase that is cancelled too late."""
    book = year.book
    book.now = datetime.now(UTC)
    deadline = (book.now + timedelta(seconds=SOON_SECONDS)).replace(microsecond=0)
    for number, user in enumerate(MEMBERS[:6]):
        body = {"userId": user, "amount": 200, "reason": "For now", "expiresAt": deadline.isoformat()}
        year.post("/api/points/admin/add", body, "root", "admin")
        book.add(user, 200, ("admin_grant", "admin"), None, deadline)
        if number < 3:
            name = f"late-{number}"
            body = {"purchaseRequestId": name, "buyerId": user, "sellerId": "m09", "price": money(5000, "USD")}
            year.post("/api/purchases", body, status=201)
            book.purchases[name] = Purchase(user, "m09", 5000, "USD")
            year.redeem(name, 120)
    assert datetime.now(UTC) < deadline, "the machine stood still: the book does not know which points were spent"
    time.sleep(max(0.0, (deadline - datetime.now(UTC)).total_seconds()) + 0.05)
    for user in MEMBERS[:6]:
        seen = year.read("/api/points/my-points", user, "buyer")["data"]["balance"]
        book.now = deadline
        assert seen == book.available(user), "expired points are gone whether or not that is recorded"
    for number in range(3):
        year.go_on(f"late-{number}", "cancelled")
    for user in MEMBERS[:6]:
        book.now = datetime.now(UTC)
        year.post("/api/points/admin/add", {"userId": user, "amount": 1, "reason": "Touched"}, "root", "admin")
        book.add(user, 1, ("admin_grant", "admin"), None, None)


# ── what the service says of it ───────────────────────────────────────────────────────────────────────────────────


def check_member(year: Year, user: str) -> None:
    book, person = year.book, year.book.people[user]
    points = year.read("/api/points/my-points", user, "buyer")["data"]
    assert (points["balance"], points["lifetimePoints"]) == (book.available(user), person.lifetime)
    assert person.balance == book.available(user)
    level, ahead = book.level(user)
    assert points["level"]["name"] == level
    assert ahead == (points["nextLevel"] and (points["nextLevel"]["name"], points["nextLevel"]["pointsToGo"]))
    assert (points["referralCode"], points["referralsCount"]) == (person.code, len(person.brought))
    lines = year.all_of("/api/points/transactions", "transactions", user)
    found = [(t["type"], t["source"], t["amount"], t["balance"], t.get("reference")) for t in lines]
    assert found == [(line.type, line.source, line.amount, line.balance, line.reference) for line in person.lines]
    for seen, line in zip(lines, person.lines, strict=True):
        assert line.occurred is None or abs(instant(seen["occurredAt"]) - line.occurred) < ABOUT
    check_filters(year, user, lines)
    check_level_events(year, user)
    brought = year.all_of("/api/points/referrals", "referrals", user)
    assert [(r["userId"], r["pointsEarned"], r["status"]) for r in brought] == [
        (other, book.people[other].rewarded or 0, "pending" if book.people[other].rewarded is None else "rewarded")
        for other in person.brought
    ]
    check_expiring(year, user)


def check_filters(year: Year, user: str, lines: list[Any]) -> None:
    """By type, and by when it happened, whenever it was recorded."""
    for kind in ("earn", "expire", "restore"):
        of_kind = year.all_of("/api/points/transactions", "transactions", user, type=kind)
        assert of_kind == [line for line in lines if line["type"] == kind]
    since, until = year.start - timedelta(days=250), year.start - timedelta(days=100)
    within = year.all_of(
        "/api/points/transactions", "transactions", user, **{"from": since.isoformat(), "to": until.isoformat()}
    )
    assert within == [line for line in lines if since <= instant(line["occurredAt"]) < until]


def check_expiring(year: Year, user: str) -> None:
    """Every lot with a deadline, in order; with what never expires they are the balance."""
    pages = []
    while len(pages) * 100 == sum(len(page["data"]) for page in pages):
        pages.append(year.read("/api/points/expiring", user, "buyer", within="9999d", limit=100, page=len(pages) + 1))
    lots = [(lot["points"], instant(lot["expiresAt"])) for page in pages for lot in page["data"]]
    wanted = [lot for lot in year.book.people[user].lots if lot.left and lot.deadline is not None]
    wanted.sort(key=lambda lot: (lot.deadline, lot.number))
    assert [points for points, _ in lots] == [lot.left for lot in wanted]
    for (_, seen), lot in zip(lots, wanted, strict=True):
        assert seen == lot.deadline or (lot.about and abs(seen - lot.deadline) < ABOUT)
    never = sum(lot.left for lot in year.book.people[user].lots if lot.deadline is None)
    meta = pages[0]["meta"]
    assert (meta["expiring"], meta["later"], meta["neverExpiring"]) == (sum(p for p, _ in lots), 0, never)
    assert meta["balance"] == year.book.available(user)


def check_leaderboard(year: Year) -> None:
    wanted = year.book.leaderboard()
    for asked in ({}, {"limit": 100}, {"period": "month", "limit": 100}, {"period": "week"}):
        board = year.read("/api/points/leaderboard", MEMBERS[0], "buyer", **asked)["data"]
        found = [(e["rank"], e["userId"], e["referrals"], e["pointsEarned"]) for e in board["entries"]]
        assert found == wanted[: asked.get("limit", 10)]
        assert [e["name"] for e in board["entries"]] == [f"Member {user}" for _, user, _, _ in found]
        assert board["timezone"] == NEW_YORK
        if asked.get("period") == "month":
            first = instant(board["from"]).astimezone(ZoneInfo(NEW_YORK))
            assert (first.day, first.hour) == (1, 0)
    before = (year.start - timedelta(days=40)).isoformat()
    for period in ("all", "month", "week"):
        assert year.read("/api/points/leaderboard", "m00", "buyer", period=period, at=before)["data"]["entries"] == []


def check_purchases(year: Year) -> None:
    seen = {p["purchaseRequestId"]: p for p in year.all_of("/api/purchases", "", "shop", "service")}
    assert seen.keys() == year.book.purchases.keys()
    for name, wanted in year.book.purchases.items():
        expected = {
            "buyerId": wanted.buyer,
            "sellerId": wanted.seller,
            "status": wanted.status,
            "price": money(wanted.price, wanted.currency),
            "discount": money(wanted.discount, wanted.currency),
            "amountDue": money(wanted.price - wanted.discount, wanted.currency),
            "pointsEarned": wanted.earned,
            "pointsSpent": wanted.spent,
        }
        assert {field: seen[name][field] for field in expected} == expected, name
    for user in MEMBERS[:3]:
        mine = year.all_of("/api/purchases", "", user)
        wanted_mine = [name for name, p in year.book.purchases.items() if user in {p.buyer, p.seller}]
        assert [p["purchaseRequestId"] for p in mine] == wanted_mine


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_a_year_in_the_life_of_twenty_members(tmp_path):
    print("YEAR_SEED", SEED)
    began = time.monotonic()
    running = RunningLedger(tmp_path / "ledger", {"JWT_SECRET": SECRET, "RATE_LIMIT_GLOBAL": "1000000/minute"}).start()
    try:
        year = Year(running.url, SEED)
        live(year)
        for user in MEMBERS:
            check_member(year, user)
        check_leaderboard(year)
        check_purchases(year)
        print(f"{year.count} commands, {time.monotonic() - began:.1f} s")
    finally:
        assert running.stop() == 0
    kinds = {line.type for person in year.book.people.values() for line in person.lines}
    assert kinds == {"earn", "spend", "expire", "admin_grant", "admin_deduct", "restore"}, "the year was too quiet"
    check_levels_were_lively(year)
    assert len({points for _, points in year.book.rewards}) == 2, "rewards of both programmes"
