"""The API is killed amid webhooks: whatever was answered 202 is in the log, and told again it is the same 202."""

import asyncio
import os
import random
from collections import Counter
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest

from tests.api.paying import HOME, signed, told
from tests.scenarios.api_process import ApiProcess, api_process, bearer, post

KILLS = 2
PAYMENTS = 8
PARTS = 40
"""Transactions of one dollar each that pay one of them."""
SENDERS = 16
SEED = int(os.environ.get("WEBHOOKS_SEED", random.SystemRandom().randrange(10**6)))
SHOP = bearer("shop", "service")


async def payments(client: httpx.AsyncClient, base: str) -> list[str]:
    """So many payments of forty dollars, for one buyer."""
    for user in ("ada", "bob"):
        await post(client, f"{base}/api/members", {"userId": user, "name": user}, SHOP)
    found = []
    for n in range(PAYMENTS):
        price = {"amount": f"{PARTS}.00", "currency": "USD"}
        body = {"purchaseRequestId": f"p-{n}", "buyerId": "ada", "sellerId": "bob", "price": price}
        await post(client, f"{base}/api/purchases", body, SHOP)
        opened = await post(client, f"{base}/api/payment", {"purchaseRequestId": f"p-{n}", "provider": "stripe"}, SHOP)
        found.append(opened.json()["data"]["id"])
    return found


class Provider:
    """Sends each delivery until it is answered, as providers do; and some that cannot be true."""

    def __init__(self, client: httpx.AsyncClient, url: str, deliveries: list[tuple[str, dict[str, Any]]]) -> None:
        self.client, self.url = client, url + HOME + "stripe"
        self.deliveries = deliveries
        self.stored: dict[str, tuple[str, bytes]] = {}
        self.unanswered = 0
        self.answered = asyncio.Event()

    async def deliver(self, webhook_id: str, body: dict[str, Any]) -> httpx.Response:
        """Signed anew each time, with the time of the attempt."""
        raw = msgspec.json.encode(body)
        headers = signed(raw, webhook_id) | {"Content-Type": "application/json"}
        return await self.client.post(self.url, content=raw, headers=headers)

    async def send_all(self, queue: list[int]) -> None:
        while queue:
            index = queue.pop()
            webhook_id, body = self.deliveries[index]
            try:
                answer = await self.deliver(webhook_id, body)
            except httpx.TransportError:
                self.unanswered += 1
                queue.insert(0, index)
                await asyncio.sleep(0.02)
                continue
            assert answer.status_code == 202, answer.text
            self.stored[webhook_id] = (answer.headers["Ledger-Position"], msgspec.json.encode(answer.json()["data"]))
            self.answered.set()


async def killed_now_and_then(process: ApiProcess, provider: Provider, every: int) -> None:
    """Each time so many more have been answered: in the middle of what is under way."""
    for kill in range(1, KILLS + 1):
        while len(provider.stored) < kill * every:
            provider.answered.clear()
            await provider.answered.wait()
        await process.kill()
        await process.start()


@pytest.mark.slow
async def test_killed_amid_webhooks_nothing_that_was_answered_is_lost_and_nothing_counts_twice(
    database_url: str, redis_url: str
) -> None:
    print("WEBHOOKS_SEED", SEED)
    chance = random.Random(SEED)
    async with (
        api_process(database_url, redis_url) as process,
        httpx.AsyncClient(timeout=20, limits=httpx.Limits(max_connections=SENDERS + 4)) as client,
    ):
        known = await payments(client, process.url)
        bodies = [
            told(payment, kind, "1.00", f"tx-{payment}-{part}")
            for payment in known
            for part in range(PARTS)
            for kind in ("partial", chance.choice(["confirmed", "completed"]))
        ]
        bodies += [told("pay_nobody", "confirmed", "1.00", f"tx-nobody-{n}") for n in range(40)]
        chance.shuffle(bodies)
        deliveries = [(f"msg-{n}", body) for n, body in enumerate(bodies)]
        provider = Provider(client, process.url, deliveries)
        queue = list(range(len(deliveries)))
        await asyncio.gather(
            killed_now_and_then(process, provider, len(deliveries) // (KILLS + 1)),
            *(provider.send_all(queue) for _ in range(SENDERS)),
        )
        assert provider.unanswered >= KILLS, "it was never killed amid anything"
        connection = await asyncpg.connect(database_url)
        try:
            head = await connection.fetchval("SELECT max(position) FROM ledger.event_log")
            for webhook_id, body in chance.sample(deliveries, 120):
                answer = await provider.deliver(webhook_id, body)
                same = (answer.headers["Ledger-Position"], msgspec.json.encode(answer.json()["data"]))
                assert (answer.status_code, same) == (202, provider.stored[webhook_id]), f"seed {SEED}"
                assert answer.headers["Idempotent-Replayed"] == "true"
            rows = await connection.fetch("SELECT position, type, data FROM ledger.event_log ORDER BY position")
        finally:
            await connection.close()
    assert rows[-1]["position"] == head == len(rows), f"a redelivery left an event, or there is a gap, seed {SEED}"
    _once(rows, known, deliveries, provider)


def _once(rows: Any, known: list[str], deliveries: list[tuple[str, dict[str, Any]]], provider: Provider) -> None:
    """Each webhook-id once, each transaction once, each payment whole."""
    received: Counter[str] = Counter()
    transactions: Counter[str] = Counter()
    gross: dict[str, int] = {}
    parked = 0
    for row in rows:
        data = msgspec.json.decode(row["data"])
        if row["type"] == "payment.delivery-received.v1":
            received[data["webhookId"]] += 1
        elif row["type"] == "letter.written.v1":
            received[data["delivery"]["webhookId"]] += 1
        elif row["type"] == "payment.funded.v1":
            transactions[data["txHash"]] += 1
            gross[data["paymentId"]] = data["after"]["gross"]
        elif row["type"] == "suspense.parked.v1":
            parked += data["amountMinor"]
    assert received == Counter(webhook_id for webhook_id, _ in deliveries) == Counter(list(provider.stored)), (
        f"seed {SEED}"
    )
    assert set(transactions.values()) == {1}, f"counted twice, seed {SEED}"
    assert gross == dict.fromkeys(known, PARTS * 100), f"seed {SEED}"
    assert parked == 40 * 100, f"seed {SEED}"
