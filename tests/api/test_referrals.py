"""Referral codes: made, replaced, followed by a link, and what they bring to whoever gave them away."""

import re
from typing import Any

import pytest

from tests.api.test_purchases import registered, step

SIGN_UP = "https://shop.example/auth/jwt/sign-up?ref="


async def code_of(api: Any, user: str, body: Any = None, **more: Any) -> str:
    answer = await api.post("/api/points/generate-referral-code", body or {}, user, "buyer", **({"key": None} | more))
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    assert data["link"] == f"http://localhost:5001/r/{data['referralCode']}"
    return str(data["referralCode"])


async def join(api: Any, user: str, code: str) -> Any:
    return await api.post("/api/members", {"userId": user, "name": "Grace", "referralCode": code})


async def test_a_code_is_made_once_and_stays(api: Any) -> None:
    user = await api.member()
    code = await code_of(api, user)
    assert re.fullmatch("[A-HJ-NP-Z2-9]{8}", code)
    assert await code_of(api, user) == code
    assert await code_of(api, user, {"force": False}) == code
    assert await code_of(api, user, b"") == code, "a body may be left away"


async def test_force_makes_another_one_and_both_links_work(api: Any) -> None:
    user = await api.member()
    first = await code_of(api, user)
    second = await code_of(api, user, {"force": True}, key="rotate-once")
    assert second != first
    assert await code_of(api, user, {"force": True}, key="rotate-once") == second
    assert await code_of(api, user) == second
    for code in (first, second):
        answer = await api.http.get(f"/r/{code}")
        assert (answer.status_code, answer.headers["Location"], answer.content) == (302, SIGN_UP + code, b"")


async def test_who_has_no_account_has_no_code(api: Any) -> None:
    answer = await api.post("/api/points/generate-referral-code", {}, api.name("stranger"), "buyer", key=None)
    assert (answer.status_code, answer.json()["error"]) == (404, "USER_NOT_FOUND")
    for body in ({"force": "yes"}, {"userId": "user-1"}):
        answer = await api.post("/api/points/generate-referral-code", body, await api.member(), "buyer", key=None)
        assert (answer.status_code, answer.json()["data"][0]["field"]) == (400, next(iter(body)))


async def test_a_link_that_leads_nowhere_is_404(api: Any) -> None:
    for code in ("ABCDEFGH", "abcdefgh", "short", "ABCDEFG0", "%00", "account-1"):
        answer = await api.http.get(f"/r/{code}")
        assert (answer.status_code, answer.json()["error"]) == (404, "REFERRAL_CODE_NOT_FOUND"), code


async def test_the_first_completed_purchase_of_the_referred_rewards_the_referrer_once(api: Any) -> None:
    referrer = await api.member()
    old = await code_of(api, referrer)
    await code_of(api, referrer, {"force": True})
    purchase, buyer, seller = await registered(api)
    bound = await join(api, buyer, old)
    assert bound.status_code == 200, "a replaced code still leads to its owner"
    assert (await join(api, buyer, old)).status_code == 200, "the same owner again changes nothing"
    delivered = await step(api, purchase, "pending_payment", "active", "delivery", "delivered")
    assert (await api.points(referrer, delivered))["balance"] == 0
    completed = await step(api, purchase, "completed")
    assert (await api.points(referrer, completed))["balance"] == 100
    body = {"buyerId": buyer, "sellerId": seller, "price": {"amount": "5.00", "currency": "USD"}}
    second = api.name("purchase")
    assert (await api.post("/api/purchases", body | {"purchaseRequestId": second})).status_code == 201
    again = await step(api, second, "pending_payment", "active", "delivery", "delivered", "completed")
    assert (await api.points(referrer, again))["balance"] == 100


async def test_a_code_is_not_for_oneself_nor_for_who_brought_one_nor_for_the_bound(api: Any) -> None:
    first, second, third = await api.member(), await api.member(), await api.member()
    codes = {user: await code_of(api, user) for user in (first, second, third)}
    own = await join(api, first, codes[first])
    assert (own.status_code, own.json()["error"]) == (400, "SELF_REFERRAL")
    assert (await join(api, second, codes[first])).status_code == 200
    circle = await join(api, first, codes[second])
    assert (circle.status_code, circle.json()["error"]) == (400, "REFERRAL_CYCLE")
    other = await join(api, second, codes[third])
    assert (other.status_code, other.json()["error"]) == (409, "REFERRER_ALREADY_BOUND")


@pytest.mark.parametrize("query", ["fbclid=IwAR0", "utm_source=a&utm_source=b", "x=%00", "%ff", "&".join(["a=1"] * 99)])
async def test_a_short_link_leads_on_whatever_is_hung_onto_it(api: Any, query: str) -> None:
    code = await code_of(api, await api.member())
    answer = await api.http.get(f"/r/{code}?{query}", follow_redirects=False)
    assert answer.status_code == 302
    assert answer.headers["Location"] == f"https://shop.example/auth/jwt/sign-up?ref={code}"
