"""What a member has and how it came about."""

from typing import Any

import pytest
from dirty_equals import IsPartialDict, IsStr


async def test_a_user_without_an_account_reads_zeros(api: Any) -> None:
    answer = await api.get("/api/points/my-points", api.name("stranger"), "buyer")
    assert answer.status_code == 200
    assert answer.json()["data"] == {
        "balance": 0,
        "lifetimePoints": 0,
        "level": IsPartialDict(name="bronze", tier=1, minPoints=0),
        "nextLevel": {"name": "silver", "tier": 2, "minPoints": 1000, "pointsToGo": 1000},
        "referralCode": None,
        "referralsCount": 0,
        "expiringSoon": [],
    }
    assert "ETag" not in answer.headers


async def test_1280_lifetime_points_are_silver_with_1220_to_go(api: Any) -> None:
    user = await api.member()
    points = await api.points(user, await api.earn(user, 1280))
    assert (points["balance"], points["level"]["name"], points["nextLevel"]["pointsToGo"]) == (1280, "silver", 1220)


async def test_an_earn_answers_its_transaction_and_the_new_balance(api: Any) -> None:
    user = await api.member(points=100)
    answer = await api.earn(user, 20, source="purchase", reference="order-9", metadata={"channel": "web"})
    position = int(answer.headers["Ledger-Position"])
    assert answer.json()["data"] == {
        "transaction": {
            "id": f"txn_{position}",
            "type": "earn",
            "source": "purchase",
            "amount": 20,
            "balance": 120,
            "occurredAt": IsStr(),
            "createdAt": IsStr(),
            "position": position,
            "description": "",
            "metadata": {"channel": "web"},
            "reference": "order-9",
            "purchaseRequestId": "order-9",
            "expiresAt": IsStr(),
        },
        "newBalance": 120,
    }


async def test_the_history_shows_the_transaction_to_the_letter_as_the_command_answered_it(api: Any) -> None:
    user = await api.member()
    earned = await api.earn(user, 5)
    position = earned.headers["Ledger-Position"]
    listed = await api.get("/api/points/transactions", user, "buyer", minPosition=position)
    assert listed.json()["data"]["transactions"] == [earned.json()["data"]["transaction"]]


async def test_a_review_may_leave_out_the_amount_and_no_other_source_may(api: Any) -> None:
    user = await api.member()
    body = {"userId": user, "source": "review", "reference": "review-1"}
    assert (await api.post("/api/points/earn", body)).json()["data"]["transaction"]["amount"] == 10
    answer = await api.post("/api/points/earn", body | {"source": "bonus"})
    assert (answer.status_code, answer.json()["data"]) == (
        400,
        [{"field": "amount", "message": "is required for this source."}],
    )


async def test_the_same_source_and_reference_is_earned_once(api: Any) -> None:
    user = await api.member()
    await api.earn(user, 5, reference="once")
    body = {"userId": user, "amount": 5, "source": "bonus", "reference": "once"}
    answer = await api.post("/api/points/earn", body)
    assert (answer.status_code, answer.json()["error"]) == (409, "ALREADY_EARNED")


@pytest.mark.parametrize("expires_at", [None, "2999-01-01", "2999-01-01T00:00:00+02:00"])
async def test_a_lot_lasts_as_long_as_it_is_told_to(api: Any, expires_at: str | None) -> None:
    user = await api.member()
    transaction = (await api.earn(user, 5, expiresAt=expires_at)).json()["data"]["transaction"]
    wanted = {None: None, "2999-01-01": "2999-01-01T00:00:00Z"}.get(expires_at, "2998-12-31T22:00:00Z")
    assert transaction.get("expiresAt") == wanted


async def test_the_back_office_reads_any_account_and_an_unknown_one_is_404(api: Any) -> None:
    user = await api.member()
    earned = await api.earn(user, 7)
    path = f"/api/points/accounts/{user}"
    for role in ("service", "admin", "finance"):
        answer = await api.get(path, "office", role, minPosition=earned.headers["Ledger-Position"])
        assert answer.json()["data"]["balance"] == 7
        assert answer.headers["ETag"] == '"2"'
    unknown = await api.get("/api/points/accounts/nobody-at-all", "office", "admin")
    assert (unknown.status_code, unknown.json()["error"]) == (404, "USER_NOT_FOUND")


async def test_a_read_waits_for_the_position_of_a_write_and_no_longer_than_two_seconds(api: Any) -> None:
    answer = await api.get("/api/points/my-points", "anybody", "buyer", minPosition=10**12)
    assert (answer.status_code, answer.json()["error"]) == (503, "READ_MODEL_BEHIND")
    assert int(answer.headers["Retry-After"]) >= 1


async def test_levels_say_where_they_end(api: Any) -> None:
    levels = (await api.get("/api/points/levels", "anybody", "buyer")).json()["data"]["levels"]
    assert [(level["name"], level["minPoints"], level["maxPoints"]) for level in levels] == [
        ("bronze", 0, 999),
        ("silver", 1000, 2499),
        ("gold", 2500, 9999),
        ("platinum", 10000, None),
    ]


ETAGS = [('"2"', 201), ("2", 201), ("*", 201), ('"1"', 412), ('W/"2"', 412), ('"abc"', 412), ('"1", "2"', 400)]


@pytest.mark.parametrize(("etag", "status"), ETAGS, ids=[etag for etag, _ in ETAGS])
async def test_if_match_lets_a_command_through_at_that_version_only(api: Any, etag: str, status: int) -> None:
    user = await api.member(points=5)
    body = {"userId": user, "amount": 1, "source": "bonus", "reference": "conditional"}
    answer = await api.post("/api/points/earn", body, headers={"If-Match": etag})
    assert answer.status_code == status, answer.text
    if status == 412:
        assert answer.json()["error"] == "STALE_VERSION"


async def test_an_admin_grants_and_deducts_and_nobody_goes_below_zero(api: Any) -> None:
    user = await api.member()

    async def add(amount: int) -> Any:
        return await api.post(
            "/api/points/admin/add", {"userId": user, "amount": amount, "reason": "Goodwill"}, "root", "admin", key=None
        )

    granted, deducted, refused = await add(50), await add(-20), await add(-31)
    assert granted.json()["data"]["transaction"] == IsPartialDict(type="admin_grant", amount=50, balance=50)
    assert "expiresAt" not in granted.json()["data"]["transaction"]
    assert deducted.json()["data"]["transaction"] == IsPartialDict(type="admin_deduct", amount=20, balance=30)
    assert (refused.status_code, refused.json()["error"]) == (400, "WOULD_GO_BELOW_ZERO")
    assert refused.json()["message"] == "30 points available, 31 to be deducted."
    assert (await add(0)).json()["data"] == [{"field": "amount", "message": "must not be 0."}]


async def test_a_deduction_has_no_deadline(api: Any) -> None:
    body = {"userId": await api.member(5), "amount": -1, "reason": "Typo", "expiresAt": "2999-01-01"}
    answer = await api.post("/api/points/admin/add", body, "root", "admin")
    assert (answer.status_code, answer.json()["data"][0]["field"]) == (400, "expiresAt")


async def test_a_locked_account_spends_nothing_until_it_is_unlocked(api: Any) -> None:
    user = await api.member(points=10)
    spend = {"atomic": True, "items": [{"type": "spend", "userId": user, "amount": 1, "reference": "r"}]}

    async def spent() -> int:
        spend["items"][0]["key"] = api.name("key")  # type: ignore[index]  # a list, as written above
        return int((await api.post("/api/points/batch", spend, key=None)).status_code)

    locked = await api.post(f"/api/admin/accounts/{user}/lock", {"reason": "Stolen"}, "root", "admin")
    assert locked.json()["data"] == {"userId": user, "locked": True, "reason": "Stolen"}
    assert await spent() == 423
    await api.post(f"/api/admin/accounts/{user}/unlock", {"reason": "Found"}, "root", "admin")
    assert await spent() == 200
