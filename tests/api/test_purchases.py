"""Purchases as the shop's back end takes them along, and what that means for the points of those who take part."""

import asyncio
from typing import Any

import pytest

USD = "USD"


async def registered(api: Any, price: str = "12.34", *, points: int = 0) -> tuple[str, str, str]:
    """A new purchase: its id, its buyer with so many points, its seller."""
    purchase, buyer, seller = api.name("purchase"), await api.member(points), await api.member()
    answer = await register(api, purchase, buyer, seller, price)
    assert answer.status_code == 201, answer.text
    return purchase, buyer, seller


async def register(api: Any, purchase: str, buyer: str, seller: str, price: Any = "12.34", **more: Any) -> Any:
    money = price if isinstance(price, dict) else {"amount": price, "currency": USD}
    body = {"purchaseRequestId": purchase, "buyerId": buyer, "sellerId": seller, "price": money}
    return await api.post("/api/purchases", body, **more)


async def step(api: Any, purchase: str, *statuses: str, role: str = "service") -> Any:
    for status in statuses:
        answer = await api.post(f"/api/purchases/{purchase}/status", {"status": status}, role=role)
        assert answer.status_code == 200, answer.text
    return answer


async def redeem(api: Any, purchase: str, user: str, points: int, **more: Any) -> Any:
    body = {"pointsToUse": points, "purchaseRequestId": purchase}
    return await api.post("/api/points/redeem", body, user, "buyer", **({"key": None} | more))


def money(amount: str, currency: str = USD) -> dict[str, str]:
    return {"amount": amount, "currency": currency}


# ── registering ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_registered_purchase_is_pending_at_its_price(api: Any) -> None:
    purchase, buyer, seller = api.name("purchase"), await api.member(), await api.member()
    answer = await register(api, purchase, buyer, seller, "12.3", key="register-once")
    data = answer.json()["data"]
    assert data.pop("createdAt") == data.pop("updatedAt")
    assert (answer.status_code, data) == (
        201,
        {
            "purchaseRequestId": purchase,
            "buyerId": buyer,
            "sellerId": seller,
            "status": "pending",
            "price": money("12.30"),
            "discount": money("0.00"),
            "amountDue": money("12.30"),
            "pointsEarned": 0,
            "pointsSpent": 0,
            "paymentStatus": "none",
            "escrowState": "none",
            "hold": False,
            "version": 1,
        },
    )
    again = await register(api, purchase, buyer, seller, "12.3", key="register-once")
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (201, "true")
    taken = await register(api, purchase, buyer, seller, "12.3")
    assert (taken.status_code, taken.json()["error"]) == (409, "PURCHASE_EXISTS")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (money("5", "JPY"), "5"),
        (money("0.01"), "0.01"),
        (money("1.5", "USDT"), "1.500000"),
        (money("90071992547409.91"), "90071992547409.91"),
    ],
    ids=str,
)
async def test_money_comes_back_with_exactly_the_decimals_of_its_currency(
    api: Any, given: dict[str, str], shown: str
) -> None:
    answer = await register(api, api.name("purchase"), await api.member(), await api.member(), given)
    assert answer.json()["data"]["price"] == money(shown, given["currency"])


@pytest.mark.parametrize(
    ("price", "field"),
    [
        *((money(amount), "price.amount") for amount in ("", "-1", "+1", "1e3", "1.", ".5", "01", "1,5", "1.234", "0")),
        *((money(amount), "price.amount") for amount in ("90071992547409.92", "0.00", " 1", "1\n", "٣")),
        ({"amount": 12.34, "currency": USD}, "price.amount"),
        ({"amount": 12, "currency": USD}, "price.amount"),
        (money("1.5", "JPY"), "price.amount"),
        *((money("1", currency), "price.currency") for currency in ("usd", "", "XXX", "DOLLAR")),
        ({"amount": "1"}, "price.currency"),
        ({"amount": "1", "currency": USD, "minor": 1}, "price.minor"),
    ],
    ids=str,
)
async def test_a_price_that_is_none_is_refused_and_named(api: Any, price: dict[str, Any], field: str) -> None:
    answer = await register(api, "never", "user-1", "user-2", price)
    assert (answer.status_code, answer.json()["error"]) == (400, "VALIDATION_FAILED"), answer.text
    assert [problem["field"] for problem in answer.json()["data"]] == [field]


async def test_buyer_and_seller_are_two_members(api: Any) -> None:
    known, unknown = await api.member(), api.name("stranger")
    same = await register(api, api.name("purchase"), known, known)
    assert (same.status_code, same.json()["data"][0]["field"]) == (400, "sellerId")
    for buyer, seller in ((known, unknown), (unknown, known)):
        answer = await register(api, api.name("purchase"), buyer, seller)
        assert (answer.status_code, answer.json()["error"]) == (404, "USER_NOT_FOUND")


# ── statuses ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_purchase_goes_step_by_step_and_earns_its_buyer_points_at_the_end(api: Any) -> None:
    purchase, buyer, _ = await registered(api, "99.99")
    steps = ("pending_payment", "active", "delivery", "delivered")
    answer = await step(api, purchase, *steps, role="admin")
    assert (answer.json()["data"]["status"], answer.json()["data"]["pointsEarned"]) == ("delivered", 0)
    answer = await step(api, purchase, "completed")
    assert (answer.json()["data"]["status"], answer.json()["data"]["pointsEarned"]) == ("completed", 99)
    assert (await api.points(buyer, answer))["balance"] == 99


@pytest.mark.parametrize(
    ("status", "named"),
    [("pending", "pending"), ("active", "active"), ("completed", "completed"), ("refunded", "refunded")],
)
async def test_any_other_step_is_refused_and_names_both(api: Any, status: str, named: str) -> None:
    purchase, _, _ = await registered(api)
    answer = await api.post(f"/api/purchases/{purchase}/status", {"status": status})
    assert (answer.status_code, answer.json()["error"]) == (409, "INVALID_TRANSITION")
    assert answer.json()["message"] == f"Purchase {purchase} is pending and does not become {named}."


async def test_a_status_is_a_known_word_on_a_known_purchase(api: Any) -> None:
    purchase, _, _ = await registered(api)
    word = await api.post(f"/api/purchases/{purchase}/status", {"status": "paid"})
    assert (word.status_code, word.json()["data"][0]["field"]) == (400, "status")
    assert "pending_payment" in word.json()["data"][0]["message"]
    unknown = await api.post("/api/purchases/nobody-bought-it/status", {"status": "active"})
    assert (unknown.status_code, unknown.json()["error"]) == (404, "PURCHASE_NOT_FOUND")
    malformed = await api.post("/api/purchases/a%20b/status", {"status": "active"})
    assert (malformed.status_code, malformed.json()["data"][0]["field"]) == (400, "purchaseRequestId")


async def test_if_match_is_about_the_purchase(api: Any) -> None:
    purchase, _, _ = await registered(api)
    path, body = f"/api/purchases/{purchase}/status", {"status": "pending_payment"}
    stale = await api.post(path, body, headers={"If-Match": '"2"'})
    assert (stale.status_code, stale.json()["error"]) == (412, "STALE_VERSION")
    assert (await api.post(path, body, headers={"If-Match": '"1"'})).status_code == 200


# ── redeeming ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_320_points_are_a_discount_of_3_20(api: Any) -> None:
    purchase, buyer, _ = await registered(api, points=500)
    answer = await redeem(api, purchase, buyer, 320)
    data = answer.json()["data"]
    assert answer.status_code == 200, answer.text
    assert data["discount"] == {"creditAmount": 3.2, "creditMinor": 320, "currency": USD}
    assert b'"creditAmount":3.20,' in answer.content, "a number, written with the currency's decimals"
    assert data["remainingPoints"] == 180
    transaction = data["transaction"]
    assert (transaction["type"], transaction["source"], transaction["amount"]) == ("spend", "redemption", 320)
    assert (transaction["balance"], transaction["purchaseRequestId"]) == (180, purchase)
    after = await step(api, purchase, "pending_payment")
    assert after.json()["data"] | {"discount": money("3.20"), "amountDue": money("9.14")} == after.json()["data"]
    assert after.json()["data"]["pointsSpent"] == 320


async def test_the_discount_is_capped_at_the_price_and_takes_the_fewest_points(api: Any) -> None:
    purchase, buyer, _ = await registered(api, "1.50", points=500)
    data = (await redeem(api, purchase, buyer, 500)).json()["data"]
    assert (data["discount"]["creditMinor"], data["transaction"]["amount"], data["remainingPoints"]) == (150, 150, 350)


async def test_a_cancelled_purchase_returns_what_was_redeemed(api: Any) -> None:
    purchase, buyer, _ = await registered(api, points=500)
    await redeem(api, purchase, buyer, 320)
    cancelled = await step(api, purchase, "cancelled")
    assert cancelled.json()["data"]["pointsSpent"] == 0
    assert (await api.points(buyer, cancelled))["balance"] == 500


async def test_whose_purchase_it_is_is_asked_before_anything_else(api: Any) -> None:
    purchase, _, seller = await registered(api)
    await step(api, purchase, "cancelled")
    for stranger in (seller, await api.member(points=5), api.name("stranger")):
        answer = await redeem(api, purchase, stranger, 1000)
        assert (answer.status_code, answer.json()["error"]) == (403, "NOT_YOUR_PURCHASE")
    unknown = await redeem(api, "nobody-bought-it", seller, 1)
    assert (unknown.status_code, unknown.json()["error"]) == (404, "PURCHASE_NOT_FOUND")


async def test_points_are_redeemed_before_the_purchase_is_paid(api: Any) -> None:
    purchase, buyer, _ = await registered(api, points=500)
    await step(api, purchase, "pending_payment", "active")
    answer = await redeem(api, purchase, buyer, 100)
    assert (answer.status_code, answer.json()["error"]) == (409, "PURCHASE_NOT_IN_PROGRESS")


async def test_more_than_there_is_and_nothing_at_all_are_400(api: Any) -> None:
    purchase, buyer, _ = await registered(api, points=50)
    answer = await redeem(api, purchase, buyer, 51)
    assert (answer.status_code, answer.json()["error"]) == (400, "INSUFFICIENT_POINTS")
    assert answer.json()["message"] == "50 points available, 51 asked for."
    in_yen = api.name("purchase")
    await register(api, in_yen, buyer, await api.member(), money("500", "JPY"))
    nothing = await redeem(api, in_yen, buyer, 50)
    assert (nothing.status_code, nothing.json()["error"]) == (400, "REDEMPTION_WORTH_NOTHING")
    none = await redeem(api, purchase, buyer, 0)
    assert (none.status_code, none.json()["data"][0]["field"]) == (400, "pointsToUse")


async def test_a_locked_account_redeems_nothing(api: Any) -> None:
    purchase, buyer, _ = await registered(api, points=50)
    await api.post(f"/api/admin/accounts/{buyer}/lock", {"reason": "Stolen"}, "root", "admin")
    answer = await redeem(api, purchase, buyer, 50)
    assert (answer.status_code, answer.json()["error"]) == (423, "ACCOUNT_LOCKED")


async def test_one_redemption_a_purchase_however_many_come_at_once(api: Any) -> None:
    purchase, buyer, _ = await registered(api, points=1000)
    answers = await asyncio.gather(*(redeem(api, purchase, buyer, 100) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 19
    refused = {answer.json()["error"] for answer in answers if answer.status_code == 409}
    assert refused == {"REDEMPTION_ALREADY_CLAIMED"}
    done = next(answer for answer in answers if answer.status_code == 200)
    assert (await api.points(buyer, done))["balance"] == 900


async def test_a_key_replays_a_redemption_instead_of_refusing_it(api: Any) -> None:
    purchase, buyer, _ = await registered(api, points=100)
    first = await redeem(api, purchase, buyer, 100, key="redeem-once")
    again = await redeem(api, purchase, buyer, 100, key="redeem-once")
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (200, "true")
    assert again.json()["data"] == first.json()["data"]
    assert b'"creditAmount":1.00,' in again.content
