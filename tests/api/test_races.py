"""Everybody at once over HTTP: whatever order it comes to, what is answered and what is there afterwards agree."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from tests.api.test_purchases import money, redeem, register, registered, step
from tests.api.test_referrals import code_of, join

STEPS = ("pending_payment", "active", "delivery", "delivered", "completed", "cancelled")


def outcomes(answers: list[Any]) -> Counter[tuple[int, str]]:
    return Counter((answer.status_code, answer.json().get("error", "")) for answer in answers)


def latest(answers: list[Any]) -> Any:
    return max(answers, key=lambda answer: int(answer.headers.get("Ledger-Position", "0")))


@pytest.mark.parametrize(
    "start", [(), ("pending_payment", "active", "delivery", "delivered")], ids=["new", "delivered"]
)
async def test_registering_redeeming_completing_and_cancelling_at_once(api: Any, start: tuple[str, ...]) -> None:
    buyer, seller, purchase = await api.member(points=500), await api.member(), api.name("purchase")
    if start:
        await register(api, purchase, buyer, seller, money("50.00"))
        await step(api, purchase, *start)
    path = f"/api/purchases/{purchase}/status"
    answers = await asyncio.gather(
        *(register(api, purchase, buyer, seller, money("50.00")) for _ in range(5)),
        *(redeem(api, purchase, buyer, 100) for _ in range(10)),
        *(api.post(path, {"status": status}) for status in STEPS * 4),
    )
    assert all(answer.status_code in {200, 201, 404, 409} for answer in answers), outcomes(answers)
    done = latest(answers)
    position = done.headers["Ledger-Position"]
    seen = (await api.get(f"/api/purchases/{purchase}", minPosition=position)).json()["data"]
    balance = (await api.points(buyer, done))["balance"]
    assert balance == 500 + seen["pointsEarned"] - seen["pointsSpent"]
    made = outcomes(answers[:5])
    redeemed = outcomes(answers[5:15])[200, ""]
    assert made[201, ""] == (0 if start else 1)
    assert redeemed <= (0 if start else 1)
    if seen["status"] == "cancelled":
        assert (seen["pointsEarned"], seen["pointsSpent"]) == (0, 0)
    if start:
        assert (seen["status"], seen["pointsEarned"]) == ("completed", 50)
        assert outcomes(answers[15:])[200, ""] == 1


async def test_one_key_at_once_on_two_routes_does_one_of_them(api: Any) -> None:
    purchase, buyer, _ = await registered(api, points=100)
    key = api.name("key")
    answers = await asyncio.gather(
        *(redeem(api, purchase, buyer, 100, key=key) for _ in range(5)),
        *(api.post("/api/points/generate-referral-code", {"force": True}, buyer, "buyer", key=key) for _ in range(5)),
    )
    assert outcomes(answers) == {(200, ""): 5, (422, "IDEMPOTENCY_KEY_REUSED"): 5}
    seen = await api.points(buyer, latest(answers))
    assert (seen["balance"] == 0) != (seen["referralCode"] is not None)


async def test_one_member_joins_at_once_by_three_codes_and_is_brought_by_one(api: Any) -> None:
    referrers = [await api.member() for _ in range(3)]
    codes = [await code_of(api, user) for user in referrers]
    newcomer = api.name("user")
    answers = await asyncio.gather(*(join(api, newcomer, code) for code in codes * 5))
    assert outcomes(answers) == {(201, ""): 1, (200, ""): 4, (409, "REFERRER_ALREADY_BOUND"): 10}
    counts = [(await api.points(user, latest(answers)))["referralsCount"] for user in referrers]
    assert sorted(counts) == [0, 0, 1]


async def test_three_who_refer_each_other_at_once_make_no_circle(api: Any) -> None:
    users = [await api.member() for _ in range(3)]
    codes = [await code_of(api, user) for user in users]
    pairs = [(users[n], codes[(n + 1) % 3]) for n in range(3)] * 4
    answers = await asyncio.gather(*(join(api, user, code) for user, code in pairs))
    assert outcomes(answers) == {(200, ""): 8, (400, "REFERRAL_CYCLE"): 4}
    counts = [(await api.points(user, latest(answers)))["referralsCount"] for user in users]
    assert sum(counts) == 2
