"""Deliveries of payment providers: signed or nothing, stored once, in any order, never lost."""

import asyncio
import itertools
import time
from typing import Any

import msgspec
import pytest

from tests.api.paying import HOME, SECRETS, bought, deliver, events_of, opened, signed, told

# ── the signature ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_signed_delivery_is_stored_and_answered_202(api: Any) -> None:
    deal = await opened(api)
    answer = await deliver(api, told(deal.payment, "confirmed", "100.00", api.name("tx")), webhook_id="")
    assert answer.status_code == 202
    assert answer.json()["data"]["paymentId"] == deal.payment
    assert int(answer.headers["Ledger-Position"]) > 0


@pytest.mark.parametrize("secret", ["stripe", "stripe next"])
async def test_both_secrets_count_while_one_replaces_the_other(api: Any, secret: str) -> None:
    deal = await opened(api)
    answer = await deliver(api, told(deal.payment, "processing", "1.00"), secret=SECRETS[secret])
    assert answer.status_code == 202


def _forgeries() -> dict[str, Any]:
    """What is wrong with a delivery that was signed for this body under this id: changes of the headers and the body."""
    now = int(time.time())
    return {
        "no headers": lambda body, _: (body, {}),
        "another secret": lambda body, id_: (body, signed(body, id_, secret="whsec_" + "AAAA" * 8)),
        "the secret of another provider": lambda body, id_: (body, signed(body, id_, secret=SECRETS["chain"])),
        "an altered body": lambda body, id_: (body.replace(b"100.00", b"900.00"), signed(body, id_)),
        "a blank more in the body": lambda body, id_: (body + b" ", signed(body, id_)),
        "another id": lambda body, id_: (body, signed(body, id_) | {"webhook-id": "another"}),
        "another time": lambda body, id_: (body, signed(body, id_) | {"webhook-timestamp": str(now - 60)}),
        "too old": lambda body, id_: (body, signed(body, id_, at=now - 301 - 5)),
        "too new": lambda body, id_: (body, signed(body, id_, at=now + 301 + 5)),
        "no signature": lambda body, id_: (body, {k: v for k, v in signed(body, id_).items() if "sig" not in k}),
        "an unknown version": lambda body, id_: (
            body, signed(body, id_) | {"webhook-signature": signed(body, id_)["webhook-signature"].replace("v1,", "v2,")}
        ),
        "nonsense": lambda body, id_: (body, signed(body, id_) | {"webhook-signature": "nonsense , ,, v1"}),
        "no base64": lambda body, id_: (body, signed(body, id_) | {"webhook-signature": "v1,%%%"}),
        "a time that is none": lambda body, id_: (body, signed(body, id_) | {"webhook-timestamp": "nan"}),
        "a body that is no text": lambda _, id_: (b"\xff\xfe", signed(b"\xff\xfe", id_, secret=SECRETS["chain"])),
    }  # fmt: skip


@pytest.mark.parametrize("forgery", _forgeries())
async def test_without_a_right_signature_nothing_is_stored(api: Any, forgery: str) -> None:
    deal = await opened(api)
    body = msgspec.json.encode(told(deal.payment, "confirmed", "100.00", api.name("tx")))
    sent, headers = _forgeries()[forgery](body, api.name("msg"))
    for more in ({}, api.bearer("root", "admin")):
        answer = await api.http.post(
            HOME + "stripe", content=sent, headers={"Content-Type": "application/json"} | headers | more
        )
        assert (answer.status_code, answer.json()["error"]) == (401, "INVALID_SIGNATURE")
    assert [event["type"] for event in await events_of(api, f"payment-{deal.payment}")] == ["payment.opened.v1"]


async def test_a_provider_nobody_knows_has_no_signature(api: Any) -> None:
    answer = await deliver(api, told("x", "confirmed", "1.00", "t"), provider="nobody", secret=SECRETS["stripe"])
    assert (answer.status_code, answer.json()["error"]) == (401, "INVALID_SIGNATURE")


async def test_one_providers_signature_pays_nothing_of_another(api: Any) -> None:
    deal = await opened(api, provider="stripe")
    answer = await deliver(api, told(deal.payment, "confirmed", "100.00", api.name("tx")), provider="chain")
    assert answer.status_code == 202
    letter = answer.json()["data"]["deadLetter"]
    assert (await events_of(api, f"letter-{letter}"))[0]["data"]["code"] == "OTHER_PROVIDER"
    assert len(await events_of(api, f"payment-{deal.payment}")) == 1


# ── the body ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"type": "payment.created"}, "type"),
        ({"amount": 100}, "amount"),
        ({"amount": "1e2"}, "amount"),
        ({"amount": "-1.00"}, "amount"),
        ({"amount": "0.00"}, "amount"),
        ({"amount": "1.001"}, "amount"),
        ({"currency": "XXX"}, "currency"),
        ({"fees": {"provider": "100.01"}}, "fees.provider"),
        ({"fees": {"platform": "1.00"}}, "fees.platform"),
        ({"paymentId": ""}, "paymentId"),
        ({"paymentId": "a b"}, "paymentId"),
        ({"txHash": ""}, "txHash"),
        ({"txHash": "a b"}, "txHash"),
        ({"extra": 1}, "extra"),
    ],
    ids=str,
)
async def test_what_is_not_understood_is_refused_and_not_stored(api: Any, changes: dict[str, Any], field: str) -> None:
    deal = await opened(api)
    body = told(deal.payment, "confirmed", "100.00", api.name("tx")) | changes
    answer = await deliver(api, body)
    assert answer.status_code == 400, answer.text
    assert [problem["field"] for problem in answer.json()["data"]] == [field]
    assert len(await events_of(api, f"payment-{deal.payment}")) == 1


# ── once ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_repeated_id_is_the_same_202_and_no_event(api: Any) -> None:
    deal, webhook_id = await opened(api), api.name("msg")
    body = told(deal.payment, "confirmed", "100.00", api.name("tx"))
    first = await deliver(api, body, webhook_id=webhook_id)
    again = await asyncio.gather(*(deliver(api, body, webhook_id=webhook_id) for _ in range(20)))
    other = await deliver(api, body | {"amount": "1.00"}, webhook_id=webhook_id)
    for answer in (*again, other):
        assert (answer.status_code, answer.json()["data"]) == (202, first.json()["data"])
        assert answer.headers["Ledger-Position"] == first.headers["Ledger-Position"]
        assert answer.headers["Idempotent-Replayed"] == "true"
    types = [event["type"] for event in await events_of(api, f"payment-{deal.payment}")]
    assert types == ["payment.opened.v1", "payment.delivery-received.v1", "payment.funded.v1"]


async def test_two_providers_may_use_the_same_id(api: Any) -> None:
    webhook_id = api.name("msg")
    for provider in ("stripe", "chain"):
        deal = await opened(api, provider=provider)
        body = told(deal.payment, "confirmed", "100.00", api.name("tx"))
        answer = await deliver(api, body, webhook_id=webhook_id, provider=provider)
        assert "Idempotent-Replayed" not in answer.headers


async def test_a_user_cannot_use_up_an_id_of_a_provider(api: Any) -> None:
    """Keys belong to users, and no user can be called as a provider is."""
    deal, webhook_id = await opened(api), api.name("msg")
    key = {"headers": {"Idempotency-Key": webhook_id}, "key": None}
    for user in ("stripe", "provider:stripe", "provider.stripe"):
        body = {"userId": deal.buyer, "amount": 1, "source": "bonus", "reference": api.name("ref")}
        assert (await api.post("/api/points/earn", body, user, "service", **key)).status_code == 201
    answer = await deliver(api, told(deal.payment, "confirmed", "100.00", api.name("tx")), webhook_id=webhook_id)
    assert "Idempotent-Replayed" not in answer.headers


# ── any order ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_any_order_and_any_repetition_has_one_outcome(api: Any) -> None:
    outcomes = set()
    for order in itertools.permutations(range(4)):
        deal = await opened(api)
        one, two = api.name("tx"), api.name("tx")
        sequence = [
            told(deal.payment, "processing", "100.00"),
            told(deal.payment, "partial", "60.00", one, fees={"provider": "0.60"}),
            told(deal.payment, "confirmed", "50.00", two, fees={"provider": "0.50"}),
            told(deal.payment, "completed", "50.00", two, fees={"provider": "0.50"}),
        ]
        for index in (*order, *reversed(order)):
            assert (await deliver(api, sequence[index])).status_code == 202
        last = (await events_of(api, f"payment-{deal.payment}"))[-1]
        outcomes.add(msgspec.json.encode(last["data"]["after"]))
    assert [msgspec.json.decode(outcome) for outcome in outcomes] == [
        {
            "status": "completed",
            "escrowState": "funded",
            "gross": 10000,
            "providerFees": 110,
            "held": 9890,
            "suspense": 1000,
        }
    ]


async def test_what_names_no_payment_waits_in_suspense(api: Any) -> None:
    tx = api.name("tx")
    answer = await deliver(api, told("pay_of_nobody", "confirmed", "12.00", tx))
    assert answer.status_code == 202
    letter = answer.json()["data"]["deadLetter"]
    parked = (await events_of(api, f"suspense-{letter}"))[0]["data"]
    assert (parked["amountMinor"], parked["currency"], parked["reason"]) == (1200, "USD", "UNKNOWN_PAYMENT")
    again = await deliver(api, told("pay_of_nobody", "confirmed", "12.00", tx))
    assert await events_of(api, f"suspense-{again.json()['data']['deadLetter']}") == []
    deal = await opened(api, "12.00")
    applied = {"action": "apply", "paymentId": deal.payment, "reason": "It was meant for this one"}
    settled = await api.post(f"/api/admin/suspense/{letter}/settle", applied, "root", "admin")
    assert settled.status_code == 200, settled.text
    assert settled.json()["data"]["remaining"] == {"amount": "0.00", "currency": "USD"}
    last = (await events_of(api, f"payment-{deal.payment}"))[-1]["data"]
    assert (last["after"]["status"], last["fromSuspense"]) == ("confirmed", letter)


async def test_no_other_input_funds_a_payment(api: Any) -> None:
    """Whatever a purchase goes through by commands, its payment stays unpaid."""
    deal = await bought(api)
    await deal.status("pending_payment", "active", "delivery", "delivered", "completed")
    body = {"purchaseRequestId": deal.purchase, "provider": "stripe"}
    answer = await api.post("/api/payment", body, deal.buyer, "buyer")
    assert (answer.status_code, answer.json()["data"]["status"]) == (201, "pending")
