"""Disputes in the hands of somebody who tries: their own judge, twice, too much, too late."""

import asyncio
from typing import Any

import pytest

from tests.api.paying import Deal, bought, deliver, error, events_of, funded, money, opened, told


async def resolve(api: Any, home: str, user: str = "judge", role: str = "resolver", **more: Any) -> Any:
    body = {"action": "compensation", "note": "So it is"} | more
    return await api.post(f"{home}/resolve", body, user, role)


@pytest.mark.parametrize("role", ["resolver", "admin"])
async def test_a_party_is_never_its_own_judge(api: Any, role: str) -> None:
    deal = await funded(api)
    home = await deal.disputed()
    for party in (deal.buyer, deal.seller):
        assert error(await resolve(api, home, party, role)) == (403, "NOT_YOUR_DISPUTE")
        assigned = await api.post(f"{home}/assign", {"resolverId": party}, "root", role)
        assert error(assigned) == (400, "VALIDATION_FAILED")
    assert (await resolve(api, home, "somebody-else", role)).status_code == 200


@pytest.mark.parametrize("role", ["buyer", "seller", "service"])
async def test_nobody_else_decides_or_assigns(api: Any, role: str) -> None:
    home = await (await funded(api)).disputed()
    assert error(await resolve(api, home, "judge", role)) == (403, "FORBIDDEN")
    assert error(await api.post(f"{home}/assign", {"resolverId": "judge"}, "judge", role)) == (403, "FORBIDDEN")


async def test_only_a_party_opens_one_whatever_others_may(api: Any) -> None:
    deal = await funded(api)
    body = {"purchaseRequestId": deal.purchase, "category": "other", "priority": "low", "reason": "Hm."}
    for user, role in (("root", "admin"), ("judge", "resolver"), ("shop", "service"), (await api.member(), "buyer")):
        assert error(await api.post("/api/disputes", body, user, role)) == (403, "NOT_YOUR_PURCHASE")
    assert error(await api.post("/api/disputes", body | {"purchaseRequestId": "nobodys"}, deal.buyer, "buyer")) == (
        404, "PURCHASE_NOT_FOUND"
    )  # fmt: skip
    assert (await api.post("/api/disputes", body, deal.seller, "resolver")).status_code == 201


async def test_of_twenty_disputes_at_once_one_is_open_and_holds_once(api: Any) -> None:
    deal = await funded(api)
    answers = await asyncio.gather(*(deal.dispute("60.00") for _ in range(20)))
    assert sorted(error(answer) for answer in answers if answer.status_code != 201) == [(409, "DISPUTE_EXISTS")] * 19
    standing = await deal.standing()
    assert (standing["held"], standing["disputed"]) == (4000, 6000)


async def test_a_dispute_on_one_purchase_holds_nothing_of_another(api: Any) -> None:
    one = await funded(api)
    other = Deal(api, api.name("purchase"), one.buyer, one.seller)
    body = {"purchaseRequestId": other.purchase, "buyerId": one.buyer, "sellerId": one.seller, "price": money("50.00")}
    assert (await api.post("/api/purchases", body)).status_code == 201
    payment = {"purchaseRequestId": other.purchase, "provider": "stripe"}
    other.payment = (await api.post("/api/payment", payment, one.buyer, "buyer")).json()["data"]["id"]
    await deliver(api, told(other.payment, "confirmed", "50.00", api.name("tx")))
    await one.disputed()
    assert (await other.paid_out("release")).json()["data"]["amount"] == money("50.00")
    assert error(await one.instruct("release")) == (409, "ON_HOLD")
    assert error(await other.dispute()) == (409, "AMOUNT_NOT_AVAILABLE")


SPLITS: dict[str, tuple[dict[str, Any], int, dict[str, int]]] = {
    "both": ({"toBuyer": money("45.00"), "toSeller": money("25.00")}, 200, {"refunding": 4500, "releasing": 2500}),
    "one and nothing": ({"toBuyer": money("70.00"), "toSeller": money("0.00")}, 200, {"refunding": 7000}),
    "one alone": ({"toSeller": money("70.00")}, 200, {"releasing": 7000}),
    "too little": ({"toBuyer": money("69.99")}, 400, {"disputed": 7000}),
    "too much": ({"toBuyer": money("70.00"), "toSeller": money("0.01")}, 400, {"disputed": 7000}),
    "all of the payment": ({"toBuyer": money("100.00")}, 400, {"disputed": 7000}),
    "nothing to both": ({"toBuyer": money("0.00"), "toSeller": money("0.00")}, 400, {"disputed": 7000}),
    "another currency": ({"toBuyer": money("70.00", "EUR")}, 400, {"disputed": 7000}),
    "neither": ({}, 200, {}),
    "a refund": ({"action": "refund"}, 200, {"refunding": 7000}),
    "no action": ({"action": "no_action"}, 200, {}),
    "a ban": ({"action": "ban_seller"}, 200, {}),
}


@pytest.mark.parametrize("split", SPLITS)
async def test_a_decision_sends_exactly_what_was_disputed(api: Any, split: str) -> None:
    parts, status, buckets = SPLITS[split]
    deal = await funded(api)
    home = await deal.disputed("70.00")
    answer = await resolve(api, home, **parts)
    assert answer.status_code == status, answer.text
    standing = await deal.standing()
    moved = {name: standing[name] for name in ("disputed", "releasing", "refunding") if name in standing}
    assert moved == buckets
    assert standing["held"] == 10000 - sum(buckets.values())
    if status == 200:
        assert answer.json()["data"]["status"] == ("resolved" if buckets else "closed")


async def test_two_judges_at_once_decide_once(api: Any) -> None:
    deal = await funded(api)
    home = await deal.disputed()
    answers = await asyncio.gather(
        *(resolve(api, home, f"judge-{n}", action="refund" if n % 2 else "no_action") for n in range(10))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 9
    types = await deal.types()
    assert len(types) == 5, types


async def test_decided_it_is_over_and_a_new_one_may_come(api: Any) -> None:
    deal = await funded(api)
    home = await deal.disputed()
    await resolve(api, home, action="no_action")
    assert error(await resolve(api, home)) == (409, "INVALID_TRANSITION")
    assigned = await api.post(f"{home}/assign", {"resolverId": "judge"}, "root", "admin")
    assert error(assigned) == (409, "INVALID_TRANSITION")
    evidence = await api.post(f"{home}/evidence", {"text": "But"}, deal.buyer, "buyer")
    assert error(evidence) == (409, "INVALID_TRANSITION")
    again = await deal.disputed("10.00")
    assert again != home


async def test_it_closes_with_its_last_instruction_however_that_ends(api: Any) -> None:
    deal = await funded(api)
    home = await deal.disputed()
    answer = await resolve(api, home, toBuyer=money("60.00"), toSeller=money("40.00"))
    ids = {one["kind"]: one["instructionId"] for one in answer.json()["data"]["instructions"]}
    assert (await deal.confirm("refund", ids["refund"], api.name("tx"))).status_code == 200
    stream = f"dispute-{home.rpartition('/')[2]}"
    assert (await events_of(api, stream))[-1]["type"] == "dispute.resolved.v1"
    cancel = {"instructionId": ids["release"]}
    assert (await api.post(f"{deal.path}/release/cancel", cancel, "judge", "resolver")).status_code == 200
    assert (await events_of(api, stream))[-1]["type"] == "dispute.closed.v1"
    assert (await deal.standing())["held"] == 4000


async def test_what_was_reserved_before_it_is_listed_and_can_be_taken_back(api: Any) -> None:
    deal = await funded(api)
    before = (await deal.instruct("release", "80.00")).json()["data"]["instructionId"]
    answer = await deal.dispute()
    assert [one["instructionId"] for one in answer.json()["data"]["instructions"]] == [before]
    assert answer.json()["data"]["amount"] == money("20.00")
    cancel = {"instructionId": before}
    assert (await api.post(f"{deal.path}/release/cancel", cancel, "judge", "resolver")).status_code == 200
    standing = await deal.standing()
    assert (standing["held"], standing["disputed"]) == (8000, 2000)


async def test_it_is_opened_about_a_part_that_is_paid_and_the_rest_may_still_come(api: Any) -> None:
    deal = await opened(api)
    await deliver(api, told(deal.payment, "partial", "40.00", api.name("tx")))
    home = await deal.disputed()
    await deliver(api, told(deal.payment, "confirmed", "60.00", api.name("tx")))
    standing = await deal.standing()
    assert (standing["held"], standing["disputed"], standing["status"]) == (6000, 4000, "confirmed")
    assert error(await deal.instruct("release", "60.01")) == (409, "ON_HOLD")
    assert (await resolve(api, home, toBuyer=money("40.00"))).status_code == 200


async def test_evidence_has_a_limit_and_is_told_as_it_was_given(api: Any) -> None:
    deal = await funded(api)
    home = await deal.disputed()
    text = "<script>alert('1')</script> =cmd|'/c calc'!A1 \N{RIGHT-TO-LEFT OVERRIDE} \N{PILE OF POO}"
    told_text = await api.post(f"{home}/evidence", {"text": text, "url": "https://a.example/ü"}, deal.buyer, "buyer")
    assert [piece["text"] for piece in told_text.json()["data"]["evidence"]] == [text]
    answers = [await api.post(f"{home}/evidence", {"text": "again"}, deal.seller, "seller") for _ in range(200)]
    assert [answer.status_code for answer in answers] == [200] * 199 + [400]


async def test_a_purchase_without_any_payment_has_nothing_to_dispute(api: Any) -> None:
    deal = await bought(api)
    assert error(await deal.dispute()) == (409, "AMOUNT_NOT_AVAILABLE")
    assert error(await deal.dispute("1.00")) == (409, "AMOUNT_NOT_AVAILABLE")
