"""The same command again: under its key one command for ever, under another key another, under a key of another none."""

import asyncio
from typing import Any

import pytest

from tests.api.paying import bought, deliver, error, events_of, funded, money, opened, told

Step = tuple[str, dict[str, Any], str, str]


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
    body = {"instructionId": await deal.reserved("release", "40.00"), "txHash": api.name("tx")}
    return f"{deal.path}/release/confirm", body, "shop", "service"


async def _confirm_refund(api: Any) -> Step:
    deal = await funded(api)
    body = {"instructionId": await deal.reserved("refund", "40.00"), "txHash": api.name("tx")}
    return f"{deal.path}/refund/confirm", body, "shop", "service"


async def _cancel_release(api: Any) -> Step:
    deal = await funded(api)
    return f"{deal.path}/release/cancel", {"instructionId": await deal.reserved("release")}, "judge", "resolver"


async def _cancel_refund(api: Any) -> Step:
    deal = await funded(api)
    return f"{deal.path}/refund/cancel", {"instructionId": await deal.reserved("refund")}, "root", "admin"


async def _dispute(api: Any) -> Step:
    deal = await funded(api)
    body = {"purchaseRequestId": deal.purchase, "category": "wrong_item", "priority": "high", "reason": "A stone"}
    return "/api/disputes", body, deal.seller, "seller"


async def _assign(api: Any) -> Step:
    return f"{await (await funded(api)).disputed()}/assign", {"resolverId": "judge"}, "root", "admin"


async def _evidence(api: Any) -> Step:
    deal = await funded(api)
    return f"{await deal.disputed()}/evidence", {"text": "Look.", "url": "https://a.example/b"}, deal.buyer, "buyer"


async def _resolve(api: Any) -> Step:
    body = {"action": "compensation", "note": "Half", "toBuyer": money("50.00"), "toSeller": money("50.00")}
    return f"{await (await funded(api)).disputed()}/resolve", body, "judge", "resolver"


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
    instruction = await deal.reserved("release", "10.00")
    assert (await deal.confirm("release", instruction, api.name("tx"))).status_code == 200
    assert error(await deal.confirm("release", instruction, api.name("tx"))) == (409, "INVALID_TRANSITION")
    cancelled = await api.post(f"{deal.path}/release/cancel", {"instructionId": instruction}, "root", "admin")
    assert error(cancelled) == (409, "INVALID_TRANSITION")


async def test_confirmed_and_cancelled_at_once_it_is_one_of_them(api: Any) -> None:
    for _ in range(5):
        deal = await funded(api)
        instruction, tx = await deal.reserved("release"), api.name("tx")
        cancel = {"instructionId": instruction}
        answers = await asyncio.gather(
            *(deal.confirm("release", instruction, tx) for _ in range(5)),
            *(api.post(f"{deal.path}/release/cancel", cancel, "root", "admin") for _ in range(5)),
        )
        confirmed = {answer.status_code for answer in answers[:5]}
        taken_back = {answer.status_code for answer in answers[5:]}
        assert (confirmed, taken_back) in (({200}, {409}), ({409}, {200}))
        assert len(await deal.types()) == 5
