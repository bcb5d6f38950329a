"""Deliveries that are signed and wrong all the same: at once, too large, under borrowed keys, from settings that are empty."""

import asyncio
import base64
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.api.paying import HOME, SECRETS, deliver, events_of, opened, signed, told


async def test_one_transaction_under_twenty_ids_at_once_counts_once(api: Any) -> None:
    deal, tx = await opened(api), api.name("tx")
    kinds = ["confirmed", "completed", "partial", "confirmed"] * 5
    answers = await asyncio.gather(*(deliver(api, told(deal.payment, kind, "100.00", tx)) for kind in kinds))
    assert {answer.status_code for answer in answers} == {202}
    assert not [answer for answer in answers if "deadLetter" in answer.json()["data"]]
    types = await deal.types()
    assert (types.count("funded"), types.count("delivery-received")) == (1, 20)
    standing = await deal.standing()
    assert (standing["status"], standing["gross"], "suspense" in standing) == ("completed", 10000, False)


async def test_one_transaction_for_ten_payments_at_once_pays_one(api: Any) -> None:
    deals, tx = [await opened(api) for _ in range(10)], api.name("tx")
    answers = await asyncio.gather(*(deliver(api, told(deal.payment, "confirmed", "100.00", tx)) for deal in deals))
    assert {answer.status_code for answer in answers} == {202}
    assert sum("deadLetter" not in answer.json()["data"] for answer in answers) == 1
    assert sum([(await deal.standing()).get("gross", 0) for deal in deals]) == 10000


async def test_webhooks_are_in_no_tier(start: Any, api: Any) -> None:
    limited = await start(RATE_LIMIT_GLOBAL="2/minute", RATE_LIMIT_PAYMENT="2/minute")
    deal = await opened(api)
    body = told(deal.payment, "processing", "1.00")
    statuses = []
    for _ in range(10):
        raw = msgspec.json.encode(body)
        headers = {"Content-Type": "application/json"} | signed(raw, api.name("msg"))
        statuses.append((await limited.http.post(HOME + "stripe", content=raw, headers=headers)).status_code)
    assert statuses == [202] * 10


@pytest.mark.parametrize(
    ("raw", "headers", "status"),
    [
        (b" " * 1_048_577, {}, 413),
        (b"{}", {"Content-Type": "text/plain"}, 415),
        (b"{}", {"Content-Encoding": "gzip"}, 415),
        (b"", {}, 400),
        (b"[]", {}, 400),
        (b"null", {}, 400),
        (b"{", {}, 400),
        (b"\xff", {}, 401),
        (b"[" * 100_000, {}, 400),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_signed_nonsense_is_refused_and_not_stored(
    api: Any, raw: bytes, headers: dict[str, str], status: int
) -> None:
    before = (await api.post("/api/members", {"userId": api.name("user"), "name": "Ada"})).headers["Ledger-Position"]
    sent = {"Content-Type": "application/json"} | signed(raw, api.name("msg")) | headers
    answer = await api.http.post(HOME + "stripe", content=raw, headers=sent)
    assert answer.status_code == status, answer.text
    assert answer.json()["success"] is False
    after = (await api.post("/api/members", {"userId": api.name("user"), "name": "Ada"})).headers["Ledger-Position"]
    assert int(after) == int(before) + 1


async def test_a_refused_delivery_may_be_sent_again_right_under_its_id(api: Any) -> None:
    deal, webhook_id = await opened(api), api.name("msg")
    body = told(deal.payment, "confirmed", "100.00", api.name("tx"))
    assert (await deliver(api, body | {"amount": 100}, webhook_id=webhook_id)).status_code == 400
    answer = await deliver(api, body, webhook_id=webhook_id)
    assert (answer.status_code, "Idempotent-Replayed" in answer.headers) == (202, False)


async def test_an_idempotency_key_means_nothing_to_a_delivery(api: Any) -> None:
    one, other, key = await opened(api), await opened(api), api.name("key")
    for deal in (one, other):
        raw = msgspec.json.encode(told(deal.payment, "confirmed", "100.00", api.name("tx")))
        headers = {"Content-Type": "application/json", "Idempotency-Key": key, "If-Match": '"99"'}
        answer = await api.http.post(HOME + "stripe", content=raw, headers=headers | signed(raw, api.name("msg")))
        assert (answer.status_code, "Idempotent-Replayed" in answer.headers) == (202, False)
    assert (await one.standing())["gross"] == (await other.standing())["gross"] == 10000


async def test_a_delivery_takes_no_parameter_and_no_other_method(api: Any) -> None:
    deal = await opened(api)
    raw = msgspec.json.encode(told(deal.payment, "confirmed", "100.00", api.name("tx")))
    headers = {"Content-Type": "application/json"} | signed(raw, api.name("msg"))
    answer = await api.http.post(HOME + "stripe?verify=false", content=raw, headers=headers)
    assert (answer.status_code, answer.json()["data"][0]["field"]) == (400, "verify")
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        answer = await api.http.request(method, HOME + "stripe", content=raw, headers=headers)
        assert (answer.status_code, "POST" in answer.headers.get("Allow", "")) == (405, True), method
    for path in ("Stripe", "stripe%20", "%73tripe%00", "..%2Fstripe", "stripe,chain"):
        answer = await api.http.post(HOME + path, content=raw, headers=headers)
        assert answer.status_code in (401, 404), path
    assert await deal.types() == ["opened"]


async def test_of_several_signatures_one_right_one_is_enough_and_none_is_not(api: Any) -> None:
    deal = await opened(api)
    raw, webhook_id = msgspec.json.encode(told(deal.payment, "processing", "1.00")), api.name("msg")
    good = signed(raw, webhook_id)
    bad = signed(raw, webhook_id, secret="whsec_" + base64.b64encode(b"of somebody else entirely").decode())
    for signatures, status in (
        (f"{bad['webhook-signature']} {good['webhook-signature']}", 202),
        (f"v1a,{good['webhook-signature'][3:]} {bad['webhook-signature']}", 401),
        (good["webhook-signature"][:-4], 401),
        (good["webhook-signature"] * 2, 401),
    ):
        headers = {"Content-Type": "application/json"} | good | {"webhook-signature": signatures}
        answer = await api.http.post(HOME + "stripe", content=raw, headers=headers)
        assert answer.status_code == status, signatures


async def test_a_captured_delivery_is_worth_nothing_later(api: Any) -> None:
    """Within five minutes it is the same 202 and no event; after them it is no signature any more."""
    deal, webhook_id = await opened(api), api.name("msg")
    raw = msgspec.json.encode(told(deal.payment, "partial", "10.00", api.name("tx")))
    for at, status in ((time.time() - 290, 202), (time.time() - 290, 202), (time.time() - 310, 401)):
        headers = {"Content-Type": "application/json"} | signed(raw, webhook_id, at=int(at))
        assert (await api.http.post(HOME + "stripe", content=raw, headers=headers)).status_code == status
    assert await deal.types() == ["opened", "delivery-received", "funded"]


@pytest.mark.parametrize("environment", ["development", "production"])
async def test_without_any_secret_set_up_nothing_unsigned_comes_through(
    start: Any, api: Any, environment: str, tmp_path: Path
) -> None:
    bare = await start(WEBHOOK_SECRETS="", ENVIRONMENT=environment, LEDGER_DATA=str(tmp_path))
    deal = await opened(api)
    raw = msgspec.json.encode(told(deal.payment, "confirmed", "100.00", api.name("tx")))
    empty = base64.b64encode(b"").decode()
    for provider in ("stripe", "sandbox", "chain", "none"):
        for secret in (SECRETS["stripe"], f"whsec_{empty}", "whsec_"):
            for headers in ({}, signed(raw, api.name("msg"), secret=secret)):
                sent = {"Content-Type": "application/json"} | headers
                answer = await bare.http.post(HOME + provider, content=raw, headers=sent)
                assert (answer.status_code, answer.json()["error"]) == (401, "INVALID_SIGNATURE"), provider
    assert await deal.types() == ["opened"]
    assert await events_of(api, "letter-nobody") == []
