"""What came of referring others: the list of members, the count, and the places on the leaderboard."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dirty_equals import IsPartialDict, IsStr

from tests.api.test_purchases import register, step
from tests.api.test_referrals import code_of, join

ALL_THE_WAY = ("pending_payment", "active", "delivery", "delivered", "completed")


async def brought(api: Any, referrer: str, code: str, *, rewarded: bool) -> tuple[str, Any]:
    """A new member with that code, and the last write."""
    user, purchase = api.name("friend"), api.name("purchase")
    done = await join(api, user, code)
    assert done.status_code == 201, done.text
    if rewarded:
        await register(api, purchase, user, referrer)
        done = await step(api, purchase, *ALL_THE_WAY)
    return user, done


async def test_members_brought_are_listed_with_what_came_of_it(api: Any) -> None:
    user = await api.member()
    code = await code_of(api, user)
    first, _ = await brought(api, user, code, rewarded=True)
    second, done = await brought(api, user, code, rewarded=False)
    position = done.headers["Ledger-Position"]
    answer = await api.get("/api/points/referrals", user, "buyer", minPosition=position)
    entry = {"name": "Grace", "joinedAt": IsStr()}
    assert answer.json()["data"]["referrals"] == [
        entry | {"userId": second, "pointsEarned": 0, "status": "pending"},
        entry | {"userId": first, "pointsEarned": 100, "status": "rewarded"},
    ]
    assert answer.json()["pagination"]["total"] == 2
    points = await api.points(user, done)
    assert (points["referralCode"], points["referralsCount"], points["balance"]) == (code, 2, 100)
    await api.http.delete(f"/api/members/{first}", headers=api.bearer())
    answer = await api.get("/api/points/referrals", user, "buyer", sortOrder="asc")
    assert answer.json()["data"]["referrals"][0]["name"] is None
    assert (await api.get("/api/points/referrals", first, "buyer")).json()["data"]["referrals"] == []


@pytest.mark.parametrize("period", ["all", "month", "week"])
async def test_places_of_a_period(api: Any, period: str) -> None:
    user = await api.member()
    code = await code_of(api, user)
    for _ in range(3):
        _, done = await brought(api, user, code, rewarded=True)
    position = done.headers["Ledger-Position"]
    answer = await api.get("/api/points/leaderboard", "x", "buyer", period=period, minPosition=position, limit=100)
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    assert [entry["rank"] for entry in data["entries"]] == list(range(1, len(data["entries"]) + 1))
    mine = next(entry for entry in data["entries"] if entry["userId"] == user)
    assert mine == IsPartialDict(name="Ada", avatar=None, referrals=3, pointsEarned=300)
    assert (data["period"], data["timezone"], data["from"] is None) == (period, IsStr(), period == "all")
    before = (datetime.now(UTC) - timedelta(days=400)).isoformat()
    then = await api.get("/api/points/leaderboard", "x", "buyer", period=period, at=before)
    assert then.json()["data"]["entries"] == []


async def test_the_window_is_the_whole_month_around_an_instant(api: Any) -> None:
    answer = await api.get("/api/points/leaderboard", "x", "buyer", period="month", at="2026-02-10")
    data = answer.json()["data"]
    assert (data["from"], data["to"]) == ("2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z")
    week = (await api.get("/api/points/leaderboard", "x", "buyer", period="week", at="2026-02-10")).json()["data"]
    assert (week["from"], week["to"]) == ("2026-02-09T00:00:00Z", "2026-02-16T00:00:00Z")


@pytest.mark.parametrize(
    "params", [{"period": "year"}, {"at": "yesterday"}, {"at": "1969-12-31"}, {"at": "9999-06-01"}, {"limit": 101}]
)
async def test_a_question_that_is_none_is_refused(api: Any, params: dict[str, Any]) -> None:
    answer = await api.get("/api/points/leaderboard", "x", "buyer", **params)
    assert (answer.status_code, answer.json()["data"][0]["field"]) == (400, next(iter(params)))
