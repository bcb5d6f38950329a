"""What a member loses when, over HTTP."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest


async def test_own_lots_by_deadline_within_thirty_days_unless_asked_otherwise(api: Any) -> None:
    user = await api.member()
    now = datetime.now(UTC)
    for points, days in ((10, 20), (20, 5), (30, 200)):
        await api.earn(user, points, expiresAt=(now + timedelta(days=days)).isoformat())
    done = await api.earn(user, 40, expiresAt=None)
    position = done.headers["Ledger-Position"]
    answer = await api.get("/api/points/expiring", user, "buyer", minPosition=position)
    body = answer.json()
    assert answer.status_code == 200
    assert [lot["points"] for lot in body["data"]] == [20, 10]
    assert set(body["data"][0]) == {"lotId", "points", "expiresAt"}
    assert body["pagination"] == {"page": 1, "limit": 20, "total": 2, "totalPages": 1, "hasMore": False}
    sums = {key: body["meta"][key] for key in ("expiring", "later", "neverExpiring", "balance")}
    assert sums == {"expiring": 30, "later": 30, "neverExpiring": 40, "balance": 100}
    year = await api.get("/api/points/expiring", user, "buyer", within="365d", limit=2)
    assert [lot["points"] for lot in year.json()["data"]] == [20, 10]
    assert year.json()["pagination"]["hasMore"] is True
    week = await api.get("/api/points/expiring", user, "buyer", within="144h")
    assert [lot["points"] for lot in week.json()["data"]] == [20]


@pytest.mark.parametrize("within", ["", "0d", "30", "-1d", "1.5d", "10000d", "30D", "d", "٣d"])
async def test_a_span_that_is_none_is_refused(api: Any, within: str) -> None:
    answer = await api.get("/api/points/expiring", "anyone", "buyer", within=within)
    assert (answer.status_code, answer.json()["data"][0]["field"]) == (400, "within")


async def test_a_stranger_loses_nothing(api: Any) -> None:
    answer = await api.get("/api/points/expiring", api.name("stranger"), "seller")
    assert (answer.json()["data"], answer.json()["meta"]["balance"]) == ([], 0)
