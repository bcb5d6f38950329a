"""Commands at the wrong moment of a payment: each has its refusal, and what was true before stays true."""

import asyncio
from typing import Any

import pytest

from tests.api.paying import bought, deliver, error, events_of, funded, money, opened, told


async def test_what_is_unpaid_is_neither_released_nor_refunded_nor_disputed(api: Any) -> None:
    deal = await opened(api)
    await deliver(api, told(deal.payment, "processing", "100.00"))
    for answer in (await deal.instruct("release"), await deal.instruct("refund", "0.01"), await deal.dispute()):
        assert error(answer) == (409, "AMOUNT_NOT_AVAILABLE")
    bare = await bought(api)
    assert error(await bare.dispute()) == (409, "AMOUNT_NOT_AVAILABLE")


async def test_what_is_released_is_not_refunded(api: Any) -> None:
    deal = await funded(api)
    await deal.paid_out("release")
    for answer in (
        await deal.instruct("refund"),
        await deal.instruct("refund", "0.01"),
        await deal.instruct("release"),
        await deal.dispute(),
        await deal.dispute("1.00"),
    ):
        assert error(answer) == (409, "AMOUNT_NOT_AVAILABLE")
    body = {"purchaseRequestId": deal.purchase, "provider": "stripe"}
    assert error(await api.post("/api/payment", body, deal.buyer, "buyer")) == (409, "PAYMENT_EXISTS")


async def test_all_in_dispute_nothing_leaves(api: Any) -> None:
    deal = await funded(api)
    home = await deal.disputed()
    for kind in ("release", "refund"):
        for amount in (None, "0.01", "100.00"):
            assert error(await deal.instruct(kind, amount)) == (409, "ON_HOLD"), (kind, amount)
        assert error(await deal.instruct(kind, "100.01")) == (409, "AMOUNT_NOT_AVAILABLE")
    root = {"user": "root", "role": "admin"}
    assert error(await deal.instruct("release", **root)) == (409, "ON_HOLD")
    resolved = await api.post(f"{home}/resolve", {"action": "no_action", "note": "So"}, "judge", "resolver")
    assert resolved.json()["data"]["status"] == "closed"
    assert (await deal.paid_out("release")).json()["data"]["amount"] == money("100.00")


PURCHASE_CANCELLED: dict[str, tuple[list[tuple[str, str]], str, dict[str, int]]] = {
    "nothing yet": ([], "cancelled", {}),
    "processing": ([("processing", "100.00")], "cancelled", {}),
    "failed": ([("failed", "100.00")], "cancelled", {}),
    "a part": ([("partial", "40.00")], "partial", {"gross": 4000, "refunding": 4000}),
    "all": ([("confirmed", "100.00")], "confirmed", {"gross": 10000, "refunding": 10000}),
    "too much": ([("confirmed", "110.00")], "confirmed", {"gross": 10000, "refunding": 10000, "suspense": 1000}),
}


@pytest.mark.parametrize("state", PURCHASE_CANCELLED)
async def test_a_purchase_is_cancelled_at_every_state_of_its_payment(api: Any, state: str) -> None:
    told_before, status, buckets = PURCHASE_CANCELLED[state]
    deal = await opened(api)
    for kind, amount in told_before:
        await deliver(api, told(deal.payment, kind, amount, api.name("tx")))
    answer = await deal.status("cancelled")
    assert answer.json()["data"]["paymentStatus"] == status
    standing = await deal.standing()
    assert {name: value for name, value in standing.items() if isinstance(value, int)} == buckets
    if buckets.get("refunding"):
        instruction = (await deal.events())[-1]["data"]["instructionId"]
        assert (await deal.confirm("refund", instruction, api.name("tx"))).status_code == 200
    body = {"purchaseRequestId": deal.purchase, "provider": "stripe"}
    second = await api.post("/api/payment", body, deal.buyer, "buyer")
    assert second.status_code == 409, second.text
    late = await deliver(api, told(deal.payment, "completed", "60.00", api.name("tx")))
    assert late.status_code == 202
    if status == "cancelled":
        letter = (await events_of(api, f"letter-{late.json()['data']['deadLetter']}"))[0]["data"]
        assert (letter["code"], letter["suspenseId"]) == ("PAYMENT_CANCELLED", letter["letterId"])
    redo = await api.post(f"/api/purchases/{deal.purchase}/status", {"status": "cancelled"})
    assert error(redo) == (409, "INVALID_TRANSITION")


async def test_after_a_cancelled_or_failed_payment_comes_another_and_the_first_stays_shut(api: Any) -> None:
    for end in ("cancel", "fail"):
        deal = await opened(api)
        if end == "cancel":
            assert (await api.post(f"{deal.path}/cancel", {}, "shop", "service")).status_code == 200
        else:
            await deliver(api, told(deal.payment, "failed", "100.00"))
        body = {"purchaseRequestId": deal.purchase, "provider": "chain"}
        second = await api.post("/api/payment", body, deal.buyer, "buyer")
        assert second.status_code == 201, second.text
        late = await deliver(api, told(deal.payment, "confirmed", "100.00", api.name("tx")))
        assert "deadLetter" in late.json()["data"]
        assert (await deal.types())[-1] == "cancelled"
        second_id = second.json()["data"]["id"]
        paid = await deliver(api, told(second_id, "confirmed", "100.00", api.name("tx")), provider="chain")
        assert "deadLetter" not in paid.json()["data"]
        assert error(await api.post("/api/payment", body, deal.buyer, "buyer")) == (409, "PAYMENT_EXISTS")


async def test_after_a_refund_of_all_nothing_more_is_paid(api: Any) -> None:
    deal = await funded(api)
    await deal.paid_out("refund")
    body = {"purchaseRequestId": deal.purchase, "provider": "stripe"}
    assert error(await api.post("/api/payment", body, deal.buyer, "buyer")) == (409, "PURCHASE_NOT_IN_PROGRESS")
    for status in ("delivery", "completed", "cancelled", "refunded"):
        answer = await api.post(f"/api/purchases/{deal.purchase}/status", {"status": status})
        assert error(answer) == (409, "INVALID_TRANSITION")


async def test_of_twenty_payments_at_once_one_is_opened(api: Any) -> None:
    deal = await bought(api)
    body = {"purchaseRequestId": deal.purchase, "provider": "stripe"}
    answers = await asyncio.gather(*(api.post("/api/payment", body, deal.buyer, "buyer") for _ in range(20)))
    assert sorted({error(answer) for answer in answers}, key=str) == [(201, None), (409, "PAYMENT_EXISTS")]
    assert sum(answer.status_code == 201 for answer in answers) == 1


async def test_points_are_redeemed_before_there_is_a_live_payment_or_after_it_failed(api: Any) -> None:
    deal = await opened(api, "40.00")
    await api.earn(deal.buyer, 1000)
    redeem = {"pointsToUse": 1000, "purchaseRequestId": deal.purchase}

    async def tried() -> tuple[int, str]:
        return error(await api.post("/api/points/redeem", redeem, deal.buyer, "buyer"))

    assert await tried() == (409, "PURCHASE_NOT_IN_PROGRESS")
    await deliver(api, told(deal.payment, "processing", "40.00"))
    assert await tried() == (409, "PURCHASE_NOT_IN_PROGRESS")
    await deliver(api, told(deal.payment, "failed", "40.00"))
    answer = await api.post("/api/points/redeem", redeem, deal.buyer, "buyer")
    assert error(answer) == (200, None)
    position = answer.json()["data"]["transaction"]["position"]
    event = (await api.get(f"/api/admin/events/{position}", "root", "admin")).json()["data"]["event"]
    assert (event["type"], event["stream"]) == ("points.spent.v1", f"account-{deal.buyer}"), "not the payment's end"
    assert (await deal.types())[-1] == "cancelled"
    body = {"purchaseRequestId": deal.purchase, "provider": "stripe"}
    second = await api.post("/api/payment", body, deal.buyer, "buyer")
    assert second.json()["data"]["amount"] == money("30.00")


async def test_redeeming_and_opening_at_once_never_meet(api: Any) -> None:
    """Either the payment is for the discounted amount, or the points are kept: no payment of a price no more due."""
    for _ in range(10):
        deal = await bought(api, "40.00")
        await api.earn(deal.buyer, 1000)
        redeem = {"pointsToUse": 1000, "purchaseRequestId": deal.purchase}
        body = {"purchaseRequestId": deal.purchase, "provider": "stripe"}
        redeemed, payment = await asyncio.gather(
            api.post("/api/points/redeem", redeem, deal.buyer, "buyer"),
            api.post("/api/payment", body, deal.buyer, "buyer"),
        )
        due = payment.json()["data"]["amount"]["amount"]
        assert (redeemed.status_code, due) in ((200, "30.00"), (409, "40.00"))


async def test_a_price_that_points_pay_leaves_nothing_to_open(api: Any) -> None:
    deal = await bought(api, "5.00")
    await api.earn(deal.buyer, 1000)
    redeem = {"pointsToUse": 1000, "purchaseRequestId": deal.purchase}
    assert (await api.post("/api/points/redeem", redeem, deal.buyer, "buyer")).json()["data"]["remainingPoints"] == 500
    body = {"purchaseRequestId": deal.purchase, "provider": "stripe"}
    assert error(await api.post("/api/payment", body, deal.buyer, "buyer")) == (409, "NOTHING_DUE")
    unknown = {"purchaseRequestId": "nobodys", "provider": "stripe"}
    assert error(await api.post("/api/payment", unknown, deal.buyer, "buyer")) == (404, "PURCHASE_NOT_FOUND")
