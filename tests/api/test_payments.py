"""Payments over HTTP: opened, funded, released, refunded, disputed; who may, how much, and what is answered."""

import asyncio
from typing import Any

import pytest

from tests.api.paying import bought, deliver, error, funded, money, opened, told


async def test_a_payment_is_opened_for_what_is_due(api: Any) -> None:
    deal = await bought(api, "40.00")
    await api.earn(deal.buyer, 1000)
    redeemed = await api.post(
        "/api/points/redeem", {"pointsToUse": 1000, "purchaseRequestId": deal.purchase}, deal.buyer, "buyer"
    )
    assert redeemed.status_code == 200, redeemed.text
    body = {"purchaseRequestId": deal.purchase, "provider": "stripe"}
    answer = await api.post("/api/payment", body, deal.buyer, "buyer")
    data = answer.json()["data"]
    assert (answer.status_code, data["amount"], data["status"], data["escrowState"]) == (
        201, money("30.00"), "pending", "none"
    )  # fmt: skip
    assert set(data["buckets"]) == {
        "gross", "providerFees", "platformFees", "held", "disputed", "releasing", "refunding", "released", "refunded",
        "suspense",
    }  # fmt: skip
    assert error(await api.post("/api/payment", body, deal.buyer, "buyer")) == (409, "PAYMENT_EXISTS")


async def test_who_may_open_one(api: Any) -> None:
    deal = await bought(api)
    body = {"purchaseRequestId": deal.purchase, "provider": "stripe"}
    assert error(await api.post("/api/payment", body, deal.seller, "seller")) == (403, "NOT_YOUR_PURCHASE")
    assert error(await api.post("/api/payment", body, "root", "admin")) == (403, "NOT_YOUR_PURCHASE")
    assert error(await api.post("/api/payment", body | {"provider": "nobody"}, deal.buyer, "buyer")) == (
        400, "VALIDATION_FAILED"
    )  # fmt: skip
    assert error(await api.post("/api/payment", body, deal.buyer, "buyer", key=None)) == (
        400, "IDEMPOTENCY_KEY_REQUIRED"
    )  # fmt: skip
    assert (await api.post("/api/payment", body, "shop", "service")).status_code == 201


async def test_release_and_refund_in_two_steps(api: Any) -> None:
    deal = await funded(api)
    assert error(await deal.instruct("release", user=deal.seller, role="seller")) == (403, "NOT_YOUR_PAYMENT")
    assert error(await deal.instruct("refund", user=deal.buyer, role="buyer")) == (403, "NOT_YOUR_PAYMENT")
    assert error(await deal.instruct("release", user="shop", role="service")) == (403, "NOT_YOUR_PAYMENT")
    assert error(await deal.instruct("release", "100.01")) == (409, "AMOUNT_NOT_AVAILABLE")
    released = await deal.instruct("release", "60.00")
    assert released.json()["data"]["status"] == "reserved"
    assert error(await deal.instruct("refund", "40.01")) == (409, "AMOUNT_NOT_AVAILABLE")
    refund = await deal.instruct("refund")
    assert refund.json()["data"]["amount"] == money("40.00")
    tx = api.name("tx")
    first = await deal.confirm("release", released.json()["data"]["instructionId"], tx)
    again = await deal.confirm("release", released.json()["data"]["instructionId"], tx)
    assert (first.status_code, first.json()["data"]) == (200, again.json()["data"])
    assert error(await deal.confirm("refund", released.json()["data"]["instructionId"], api.name("tx"))) == (
        404, "INSTRUCTION_NOT_FOUND"
    )  # fmt: skip
    assert error(await deal.confirm("refund", refund.json()["data"]["instructionId"], tx)) == (409, "TX_HASH_USED")
    done = await deal.confirm("refund", refund.json()["data"]["instructionId"], api.name("tx"))
    assert done.status_code == 200


@pytest.mark.parametrize("kind", ["release", "refund"])
async def test_a_cancelled_instruction_is_held_again(api: Any, kind: str) -> None:
    deal = await funded(api)
    instruction = (await deal.instruct(kind)).json()["data"]["instructionId"]
    path = f"{deal.path}/{kind}/cancel"
    for _ in range(2):
        answer = await api.post(path, {"instructionId": instruction}, "judge", "resolver")
        assert (answer.status_code, answer.json()["data"]["status"]) == (200, "cancelled")
    assert error(await deal.confirm(kind, instruction, api.name("tx"))) == (409, "INVALID_TRANSITION")
    assert (await deal.paid_out(kind)).json()["data"]["amount"] == money("100.00")
    other = await api.post(path, {"instructionId": "ins_nobody"}, "judge", "resolver")
    assert error(other) == (404, "INSTRUCTION_NOT_FOUND")


async def test_a_dispute_holds_and_its_decision_pays(api: Any) -> None:
    deal = await funded(api)
    assert error(await deal.dispute("100.01")) == (409, "AMOUNT_NOT_AVAILABLE")
    dispute = await deal.dispute("70.00")
    assert (dispute.status_code, dispute.json()["data"]["status"]) == (201, "pending")
    assert error(await deal.dispute()) == (409, "DISPUTE_EXISTS")
    assert error(await deal.instruct("release")) != (409, "ON_HOLD")
    assert error(await deal.instruct("release", "31.00")) == (409, "ON_HOLD")
    home = f"/api/disputes/{dispute.json()['data']['id']}"
    cancelled = await api.post(f"/api/purchases/{deal.purchase}/status", {"status": "cancelled"})
    assert error(cancelled) == (409, "ON_HOLD")
    assigned = await api.post(f"{home}/assign", {"resolverId": "judge"}, "judge", "resolver")
    assert assigned.json()["data"]["status"] == "in_progress"
    evidence = await api.post(f"{home}/evidence", {"text": "Look."}, deal.seller, "seller")
    assert [piece["text"] for piece in evidence.json()["data"]["evidence"]] == ["Look."]
    body = {"action": "compensation", "note": "Half", "toBuyer": money("35.00"), "toSeller": money("35.01")}
    assert error(await api.post(f"{home}/resolve", body, "judge", "resolver")) == (400, "VALIDATION_FAILED")
    assert error(await api.post(f"{home}/resolve", body, deal.buyer, "resolver")) == (403, "NOT_YOUR_DISPUTE")
    body["toSeller"] = money("35.00")
    resolved = await api.post(f"{home}/resolve", body, "judge", "resolver")
    assert (resolved.status_code, resolved.json()["data"]["status"]) == (200, "resolved")
    decided = [one for one in resolved.json()["data"]["instructions"] if one.get("disputeId")]
    assert {(one["kind"], one["amount"]["amount"]) for one in decided} == {("refund", "35.00"), ("release", "35.00")}
    for one in decided:
        assert (await deal.confirm(one["kind"], one["instructionId"], api.name("tx"))).status_code == 200
    assert error(await api.post(f"{home}/evidence", {"text": "Late."}, deal.seller, "seller")) == (
        409, "INVALID_TRANSITION"
    )  # fmt: skip


async def test_only_while_nothing_is_paid_a_payment_is_cancelled(api: Any) -> None:
    deal = await opened(api)
    assert error(await api.post(f"{deal.path}/cancel", {}, deal.seller, "seller")) == (403, "NOT_YOUR_PAYMENT")
    answer = await api.post(f"{deal.path}/cancel", {}, deal.buyer, "buyer")
    assert (answer.status_code, answer.json()["data"]["status"]) == (200, "cancelled")
    late = await deliver(api, told(deal.payment, "confirmed", "100.00", api.name("tx")))
    assert "deadLetter" in late.json()["data"]
    paid = await funded(api)
    assert error(await api.post(f"{paid.path}/cancel", {}, paid.buyer, "buyer")) == (409, "PAYMENT_ALREADY_PAID")


async def test_if_match_names_the_version_of_the_payment(api: Any) -> None:
    deal = await funded(api)
    stale = {"headers": {"If-Match": '"1"'}}
    answer = await api.post(f"{deal.path}/release", {}, deal.buyer, "buyer", **stale)
    assert error(answer) == (412, "STALE_VERSION")
    answer = await api.post(f"{deal.path}/release", {}, deal.buyer, "buyer", headers={"If-Match": '"3"'})
    assert answer.status_code == 201


async def test_of_a_hundred_releases_and_refunds_at_once_no_more_leaves_than_there_is(api: Any) -> None:
    deal = await funded(api, "100.00")
    kinds = ["release", "refund"] * 50
    answers = await asyncio.gather(*(deal.instruct(kind, "7.00") for kind in kinds))
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(201), statuses.count(409)) == (14, 86)
