"""Payments in the hands of somebody who tries: repeats, keys of other commands, other people's money, wrong moments."""

import asyncio
from typing import Any

import pytest

from tests.api.paying import Deal, bought, deliver, error, events_of, funded, money, opened, told

Step = tuple[str, dict[str, Any], str, str]


async def reserved(deal: Deal, kind: str, amount: str | None = None) -> str:
    """The id of a new instruction."""
    answer = await deal.instruct(kind, amount)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["data"]["instructionId"])


async def disputed(deal: Deal, amount: str | None = None) -> str:
    """The path of a new dispute."""
    answer = await deal.dispute(amount)
    assert answer.status_code == 201, answer.text
    return f"/api/disputes/{answer.json()['data']['id']}"


# ── the same command again ────────────────────────────────────────────────────────────────────────────────────────


async def _open(api: Any) -> Step:
    deal = await bought(api)
    return "/api/payment", {"purchaseRequestId": deal.purchase, "provider": "stripe"}, deal.buyer, "buyer"


async def _cancel(api: Any) -> Step:
    deal = await opened(api)
    return f"{deal.path}/cancel", {}, deal.buyer, "buyer"


async def _release(api: Any) -> Step:
    deal = await funded(api)
    return f"{deal.path}/release", {"amount": money("40.00")}, deal.buyer, "buyer"


async def _refund(api: Any) -> Step:
    deal = await funded(api)
    return f"{deal.path}/refund", {"amount": money("40.00")}, deal.seller, "seller"


async def _confirm_release(api: Any) -> Step:
    deal = await funded(api)
    body = {"instructionId": await reserved(deal, "release", "40.00"), "txHash": api.name("tx")}
    return f"{deal.path}/release/confirm", body, "shop", "service"


async def _confirm_refund(api: Any) -> Step:
    deal = await funded(api)
    body = {"instructionId": await reserved(deal, "refund", "40.00"), "txHash": api.name("tx")}
    return f"{deal.path}/refund/confirm", body, "shop", "service"


async def _cancel_release(api: Any) -> Step:
    deal = await funded(api)
    return f"{deal.path}/release/cancel", {"instructionId": await reserved(deal, "release")}, "judge", "resolver"


async def _cancel_refund(api: Any) -> Step:
    deal = await funded(api)
    return f"{deal.path}/refund/cancel", {"instructionId": await reserved(deal, "refund")}, "root", "admin"


async def _dispute(api: Any) -> Step:
    deal = await funded(api)
    body = {"purchaseRequestId": deal.purchase, "category": "wrong_item", "priority": "high", "reason": "A stone"}
    return "/api/disputes", body, deal.seller, "seller"


async def _assign(api: Any) -> Step:
    return f"{await disputed(await funded(api))}/assign", {"resolverId": "judge"}, "root", "admin"


async def _evidence(api: Any) -> Step:
    deal = await funded(api)
    return f"{await disputed(deal)}/evidence", {"text": "Look.", "url": "https://a.example/b"}, deal.buyer, "buyer"


async def _resolve(api: Any) -> Step:
    body = {"action": "compensation", "note": "Half", "toBuyer": money("50.00"), "toSeller": money("50.00")}
    return f"{await disputed(await funded(api))}/resolve", body, "judge", "resolver"


async def _settle(api: Any) -> Step:
    letter = (await deliver(api, told("pay_nobody", "confirmed", "5.00", api.name("tx")))).json()["data"]["deadLetter"]
    body = {"action": "return", "reason": "Nobody's", "txHash": api.name("tx")}
    return f"/api/admin/suspense/{letter}/settle", body, "root", "admin"


async def _skip(api: Any) -> Step:
    letter = (await deliver(api, told("pay_nobody", "confirmed", "5.00", api.name("tx")))).json()["data"]["deadLetter"]
    return f"/api/admin/dead-letters/{letter}/skip", {"reason": "A test"}, "root", "admin"


SECOND_TIME: dict[Any, tuple[int, str | None]] = {
    _open: (409, "PAYMENT_EXISTS"),
    _cancel: (409, "INVALID_TRANSITION"),
    _release: (201, None),
    _refund: (201, None),
    _confirm_release: (200, None),
    _confirm_refund: (200, None),
    _cancel_release: (200, None),
    _cancel_refund: (200, None),
    _dispute: (409, "DISPUTE_EXISTS"),
    _assign: (200, None),
    _evidence: (200, None),
    _resolve: (409, "INVALID_TRANSITION"),
    _settle: (409, "INVALID_TRANSITION"),
    _skip: (409, "INVALID_TRANSITION"),
}
"""What the same command under another key comes to."""
APPENDS_AGAIN = {_release, _refund, _evidence}


@pytest.mark.parametrize("make", SECOND_TIME, ids=lambda make: make.__name__)
async def test_the_same_key_is_one_command_and_another_key_another(api: Any, make: Any) -> None:
    path, body, user, role = await make(api)
    key = api.name("key")
    answers = await asyncio.gather(*(api.post(path, body, user, role, key=key) for _ in range(8)))
    first = next(answer for answer in answers if "Idempotent-Replayed" not in answer.headers)
    assert first.status_code in (200, 201), first.text
    for answer in [*answers, await api.post(path, body, user, role, key=f'"{key}"')]:
        assert (answer.status_code, answer.json()["data"]) == (first.status_code, first.json()["data"])
        assert answer.headers["Ledger-Position"] == first.headers["Ledger-Position"]
        assert answer is first or answer.headers["Idempotent-Replayed"] == "true"
    again = await api.post(path, body, user, role)
    assert error(again) == SECOND_TIME[make]
    position = int(first.headers["Ledger-Position"])
    if again.status_code < 300 and make not in APPENDS_AGAIN:
        assert again.json()["data"] == first.json()["data"]
    # Whatever came after: the key still answers what it answered, and one event is its.
    later = await api.post(path, body, user, role, key=key)
    assert (later.json()["data"], int(later.headers["Ledger-Position"])) == (first.json()["data"], position)
    event = await api.get(f"/api/admin/events/{position}", "root", "admin", minPosition=position)
    last = event.json()["data"]["event"]
    same = [one for one in await events_of(api, last["stream"]) if one["type"] == last["type"]]
    assert len(same) == (2 if make in APPENDS_AGAIN else 1), last


@pytest.mark.parametrize("make", SECOND_TIME, ids=lambda make: make.__name__)
async def test_a_key_of_one_command_is_no_key_of_another(api: Any, make: Any) -> None:
    path, body, user, role = await make(api)
    key = api.name("key")
    assert (await api.post(path, body, user, role, key=key)).status_code in (200, 201)
    deal = await funded(api)
    for other, sent in (
        (path, body | {"reason": "Another"} if "reason" in body else {}),
        (f"{deal.path}/cancel", {}),
        (f"/api/payment/{deal.payment}/release", {}),
        (path.replace("release", "refund") + "x", body),
    ):
        if (other, sent) != (path, body):
            answer = await api.post(other, sent, user, role, key=key)
            assert error(answer) in (
                (422, "IDEMPOTENCY_KEY_REUSED"),
                (404, "ROUTE_NOT_FOUND"),
                (400, "VALIDATION_FAILED"),
            )
    assert error(await api.post(f"{deal.path}/cancel", {}, user, role, key=key)) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert await deal.types() == ["opened", "delivery-received", "funded"]


async def test_a_confirmation_by_another_transaction_is_refused(api: Any) -> None:
    deal = await funded(api)
    instruction = await reserved(deal, "release", "10.00")
    assert (await deal.confirm("release", instruction, api.name("tx"))).status_code == 200
    assert error(await deal.confirm("release", instruction, api.name("tx"))) == (409, "INVALID_TRANSITION")
    cancelled = await api.post(f"{deal.path}/release/cancel", {"instructionId": instruction}, "root", "admin")
    assert error(cancelled) == (409, "INVALID_TRANSITION")


async def test_confirmed_and_cancelled_at_once_it_is_one_of_them(api: Any) -> None:
    for _ in range(5):
        deal = await funded(api)
        instruction, tx = await reserved(deal, "release"), api.name("tx")
        cancel = {"instructionId": instruction}
        answers = await asyncio.gather(
            *(deal.confirm("release", instruction, tx) for _ in range(5)),
            *(api.post(f"{deal.path}/release/cancel", cancel, "root", "admin") for _ in range(5)),
        )
        confirmed = {answer.status_code for answer in answers[:5]}
        taken_back = {answer.status_code for answer in answers[5:]}
        assert (confirmed, taken_back) in (({200}, {409}), ({409}, {200}))
        assert len(await deal.types()) == 5


# ── other people's ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("role", ["buyer", "seller", "resolver", "service"])
async def test_a_stranger_moves_nothing_whatever_their_role(api: Any, role: str) -> None:
    deal, stranger = await funded(api), await api.member()
    home = await disputed(deal, "10.00")
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
    instruction = await reserved(one, "release")
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
    assert (await one.confirm("release", await reserved(one, "release", "1.00"), paid_out)).status_code == 200
    unknown = api.name("tx")
    letter = (await deliver(api, told("pay_nobody", "confirmed", "5.00", unknown))).json()["data"]["deadLetter"]
    returned = api.name("tx")
    body = {"action": "return", "reason": "Nobody's", "txHash": returned}
    assert (await api.post(f"/api/admin/suspense/{letter}/settle", body, "root", "admin")).status_code == 200
    instruction = await reserved(one, "refund", "1.00")
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
    release, refund = await reserved(one, "release"), await reserved(other, "refund")
    answers = await asyncio.gather(
        one.confirm("release", release, tx),
        other.confirm("refund", refund, tx),
        deliver(api, told(third.payment, "confirmed", "100.00", tx)),
    )
    assert answers[2].status_code == 202
    won = [answer.status_code == 200 for answer in answers[:2]]
    won.append("deadLetter" not in answers[2].json()["data"])
    assert sum(won) == 1


# ── the wrong moment ──────────────────────────────────────────────────────────────────────────────────────────────


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
    home = await disputed(deal)
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
    assert await tried() == (200, None)
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
