"""Payments in the hands of somebody who tries: other people's money, versions of yesterday, transactions used before."""

import asyncio
from typing import Any

import pytest

from tests.api.paying import Deal, deliver, error, events_of, funded, opened, told


@pytest.mark.parametrize("role", ["buyer", "seller", "resolver", "service"])
async def test_a_stranger_moves_nothing_whatever_their_role(api: Any, role: str) -> None:
    deal, stranger = await funded(api), await api.member()
    home = await deal.disputed("10.00")
    mine = await funded(api)
    before = await deal.types()
    for kind in ("release", "refund"):
        assert error(await deal.instruct(kind, user=stranger, role=role)) == (403, "NOT_YOUR_PAYMENT")
    if role != "service":
        cancel = await api.post(f"{deal.path}/cancel", {}, stranger, role)
        assert error(cancel) == (403, "NOT_YOUR_PAYMENT")
        body = {"purchaseRequestId": mine.purchase, "provider": "stripe"}
        assert error(await api.post("/api/payment", body, stranger, role)) == (403, "NOT_YOUR_PURCHASE")
    dispute = {"purchaseRequestId": deal.purchase, "category": "other", "priority": "low", "reason": "Mine now"}
    assert error(await api.post("/api/disputes", dispute, stranger, role)) == (403, "NOT_YOUR_PURCHASE")
    if role != "resolver":
        assert error(await api.post(f"{home}/evidence", {"text": "I say"}, stranger, role)) == (403, "NOT_YOUR_DISPUTE")
        resolve = await api.post(f"{home}/resolve", {"action": "refund", "note": "So"}, stranger, role)
        assert error(resolve) == (403, "FORBIDDEN")
    assert await deal.types() == before


@pytest.mark.parametrize("role", ["buyer", "seller", "resolver", "service"])
async def test_the_side_goes_by_the_user_and_not_by_the_role(api: Any, role: str) -> None:
    deal = await funded(api)
    assert error(await deal.instruct("release", "1.00", user=deal.buyer, role=role)) == (201, None)
    assert error(await deal.instruct("refund", "1.00", user=deal.seller, role=role)) == (201, None)
    assert error(await deal.instruct("release", "1.00", user=deal.seller, role=role)) == (403, "NOT_YOUR_PAYMENT")
    assert error(await deal.instruct("refund", "1.00", user=deal.buyer, role=role)) == (403, "NOT_YOUR_PAYMENT")


async def test_a_party_whose_token_says_finance_changes_nothing(api: Any) -> None:
    deal = await funded(api)
    assert error(await deal.instruct("release", user=deal.buyer, role="finance")) == (403, "FORBIDDEN")
    body = {"purchaseRequestId": deal.purchase, "category": "other", "priority": "low", "reason": "Hm."}
    assert error(await api.post("/api/disputes", body, deal.buyer, "finance")) == (403, "FORBIDDEN")


async def test_an_instruction_is_of_its_payment_and_its_kind(api: Any) -> None:
    one, other = await funded(api), await funded(api)
    instruction = await one.reserved("release")
    for path in (f"{other.path}/release", f"{one.path}/refund", f"{other.path}/refund"):
        body = {"instructionId": instruction, "txHash": api.name("tx")}
        assert error(await api.post(f"{path}/confirm", body, "root", "admin")) == (404, "INSTRUCTION_NOT_FOUND")
        body.pop("txHash")
        assert error(await api.post(f"{path}/cancel", body, "root", "admin")) == (404, "INSTRUCTION_NOT_FOUND")
    assert (await deal_confirms(one, instruction)) == (200, None)


async def deal_confirms(deal: Deal, instruction: str) -> tuple[int, str]:
    return error(await deal.confirm("release", instruction, deal.api.name("tx")))


@pytest.mark.parametrize("version", ["1", '"1"', 'W/"3"', '"4"', '"3x"', "abc"])
async def test_a_stale_version_changes_nothing(api: Any, version: str) -> None:
    deal = await funded(api)
    stale = {"headers": {"If-Match": version}}
    for path, body in (
        (f"{deal.path}/release", {}),
        (f"{deal.path}/refund", {}),
        (f"{deal.path}/cancel", {}),
        (f"{deal.path}/release/confirm", {"instructionId": "ins_x", "txHash": "t"}),
        (f"{deal.path}/refund/cancel", {"instructionId": "ins_x"}),
    ):
        assert error(await api.post(path, body, "root", "admin", **stale)) == (412, "STALE_VERSION"), path
    assert await deal.types() == ["opened", "delivery-received", "funded"]


async def test_the_version_a_write_leads_to_is_the_next_to_name(api: Any) -> None:
    deal, key = await funded(api), api.name("key")
    funding = (await deal.events())[-1]["position"]
    answer = await api.get(deal.path, deal.buyer, "buyer", minPosition=funding)
    named = {"If-Match": answer.headers["ETag"]}
    first = await api.post(f"{deal.path}/release", {}, deal.buyer, "buyer", headers=named, key=key)
    assert first.status_code == 201, first.text
    # The same again is the first answer, though its version is stale by now.
    again = await api.post(f"{deal.path}/release", {}, deal.buyer, "buyer", headers=named, key=key)
    assert (again.status_code, again.json()["data"]) == (201, first.json()["data"])
    position = first.headers["Ledger-Position"]
    read = await api.get(deal.path, deal.buyer, "buyer", minPosition=position)
    assert read.headers["ETag"] == '"4"'


# ── transactions ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_transaction_belongs_to_one_thing_for_ever(api: Any) -> None:
    one, other = await funded(api), await opened(api)
    funding = (await one.events())[-1]["data"]["txHash"]
    paid_out = api.name("tx")
    assert (await one.confirm("release", await one.reserved("release", "1.00"), paid_out)).status_code == 200
    unknown = api.name("tx")
    letter = (await deliver(api, told("pay_nobody", "confirmed", "5.00", unknown))).json()["data"]["deadLetter"]
    returned = api.name("tx")
    body = {"action": "return", "reason": "Nobody's", "txHash": returned}
    assert (await api.post(f"/api/admin/suspense/{letter}/settle", body, "root", "admin")).status_code == 200
    instruction = await one.reserved("refund", "1.00")
    for tx in (funding, paid_out, unknown, returned):
        assert error(await one.confirm("refund", instruction, tx)) == (409, "TX_HASH_USED"), tx
        answer = await deliver(api, told(other.payment, "confirmed", "100.00", tx))
        assert answer.status_code == 202
        written = (await events_of(api, f"letter-{answer.json()['data']['deadLetter']}"))[0]["data"]
        assert (written["code"], "suspenseId" in written) == ("TX_HASH_USED", False), tx
    assert await other.types() == ["opened"]
    waits = (await deliver(api, told("pay_nobody", "confirmed", "5.00", api.name("tx")))).json()["data"]["deadLetter"]
    for tx in (funding, paid_out, unknown, returned):
        settle = body | {"txHash": tx}
        answer = await api.post(f"/api/admin/suspense/{waits}/settle", settle, "root", "admin")
        assert error(answer) == (409, "TX_HASH_USED"), tx
    assert (await one.confirm("refund", instruction, api.name("tx"))).status_code == 200


async def test_of_two_instructions_and_a_delivery_at_once_one_has_the_transaction(api: Any) -> None:
    one, other, third = await funded(api), await funded(api), await opened(api)
    tx = api.name("tx")
    release, refund = await one.reserved("release"), await other.reserved("refund")
    answers = await asyncio.gather(
        one.confirm("release", release, tx),
        other.confirm("refund", refund, tx),
        deliver(api, told(third.payment, "confirmed", "100.00", tx)),
    )
    assert answers[2].status_code == 202
    won = [answer.status_code == 200 for answer in answers[:2]]
    won.append("deadLetter" not in answers[2].json()["data"])
    assert sum(won) == 1
