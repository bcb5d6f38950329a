"""A hundred releases, refunds, confirmations and disputes at once on one payment, through two processes: one history."""

import asyncio
import os
import random
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest

from tests.api.paying import HOME, signed, told
from tests.scenarios.api_process import ApiProcess, api_process, bearer, post
from tests.scenarios.payment_history import folded

ROUNDS = 6
AT_ONCE = 100
PRICE = 1_000_00
SEED = int(os.environ.get("PAYMENT_SEED", random.SystemRandom().randrange(10**6)))
BUYER, SELLER = bearer("ada", "buyer"), bearer("bob", "seller")
SHOP, ADMIN, JUDGE = bearer("shop", "service"), bearer("root", "admin"), bearer("judge", "resolver")
REFUSED = {
    "AMOUNT_NOT_AVAILABLE", "ON_HOLD", "INVALID_TRANSITION", "TX_HASH_USED", "DISPUTE_EXISTS", "INSTRUCTION_NOT_FOUND",
}  # fmt: skip
"""What may be answered to who comes too late."""


def usd(minor: int) -> dict[str, str]:
    return {"amount": f"{minor // 100}.{minor % 100:02}", "currency": "USD"}


class Crowd:
    """Everybody who works on the payment at once, and what they were told."""

    def __init__(self, processes: list[ApiProcess], client: httpx.AsyncClient, chance: random.Random) -> None:
        self.processes, self.client, self.chance = processes, client, chance
        self.payment = ""
        self.keys = 0
        self.instructions: dict[str, str] = {}
        self.disputes: list[str] = []
        self.told: list[tuple[str, Any, dict[str, Any]]] = []

    async def open(self) -> None:
        """A purchase between two members with a payment that is paid."""
        base = self.processes[0].url
        for user in ("ada", "bob"):
            await post(self.client, f"{base}/api/members", {"userId": user, "name": user}, SHOP)
        body = {"purchaseRequestId": "the-one", "buyerId": "ada", "sellerId": "bob", "price": usd(PRICE)}
        assert (await post(self.client, f"{base}/api/purchases", body, SHOP)).status_code == 201
        body = {"purchaseRequestId": "the-one", "provider": "stripe"}
        self.payment = (await post(self.client, f"{base}/api/payment", body, BUYER)).json()["data"]["id"]
        await self.deliver("confirmed")

    async def deliver(self, kind: str) -> None:
        """All of the price, under a new webhook-id but one transaction; half of the times through both processes."""
        self.keys += 1
        raw = msgspec.json.encode(told(self.payment, kind, usd(PRICE)["amount"], "tx-in"))
        headers = signed(raw, f"msg-{self.keys}") | {"Content-Type": "application/json"}
        answers = await asyncio.gather(
            *(self.client.post(f"{base}{HOME}stripe", content=raw, headers=headers) for base in self._bases())
        )
        assert {answer.status_code for answer in answers} == {202}
        assert len({msgspec.json.encode(answer.json()["data"]) for answer in answers}) == 1

    def _bases(self) -> list[str]:
        bases = [process.url for process in self.processes]
        return bases if self.chance.random() < 0.5 else [self.chance.choice(bases)]

    async def command(self, name: str, path: str, body: dict[str, Any], who: dict[str, str]) -> None:
        """Half of the times through both processes at once, with one key: the answers must be one."""
        self.keys += 1
        key = f"key-{self.keys}"
        answers = await asyncio.gather(*(post(self.client, base + path, body, who, key) for base in self._bases()))
        good = [answer for answer in answers if answer.status_code < 300]
        for answer in answers:
            if answer not in good:
                assert answer.status_code in {404, 409}, answer.text
                assert answer.json()["error"] in REFUSED, answer.text
        if not good:
            return
        # A refusal is not kept, so that one process may refuse what the other then does; what is done is one answer.
        assert len({msgspec.json.encode(answer.json()["data"]) for answer in good}) == 1, key
        assert len({answer.headers["Ledger-Position"] for answer in good}) == 1, key
        data = good[0].json()["data"]
        self.told.append((name, body, data))
        if name in ("release", "refund"):
            self.instructions[data["instructionId"]] = name
        elif name == "dispute":
            self.disputes.append(data["id"])
        elif name == "resolve":
            self.instructions |= {one["instructionId"]: one["kind"] for one in data["instructions"]}

    async def act(self) -> None:
        """Whatever comes to somebody's mind."""
        chance, home = self.chance, f"/api/payment/{self.payment}"
        what = chance.choices(
            ["instruct", "confirm", "cancel", "dispute", "resolve", "deliver"], weights=[30, 30, 15, 10, 10, 5]
        )[0]
        if what == "deliver":
            await self.deliver(chance.choice(["processing", "confirmed", "completed", "failed", "partial"]))
        elif what == "dispute":
            body: dict[str, Any] = {
                "purchaseRequestId": "the-one",
                "category": "other",
                "priority": "low",
                "reason": "Hm.",
            }
            if chance.random() < 0.8:
                body["amount"] = usd(chance.randint(1, 30_00))
            await self.command("dispute", "/api/disputes", body, chance.choice([BUYER, SELLER]))
        elif what == "resolve" and self.disputes:
            body = {"action": chance.choice(["refund", "no_action"]), "note": "So."}
            await self.command("resolve", f"/api/disputes/{self.disputes[-1]}/resolve", body, JUDGE)
        elif what in ("confirm", "cancel") and self.instructions:
            instruction, kind = chance.choice(list(self.instructions.items()))
            body = {"instructionId": instruction}
            if what == "confirm":
                body["txHash"] = f"tx-{chance.randint(0, 60)}"
            await self.command(what, f"{home}/{kind}/{what}", body, ADMIN)
        else:
            kind = chance.choice(["release", "refund"])
            who = ADMIN if chance.random() < 0.2 else {"release": BUYER, "refund": SELLER}[kind]
            await self.command(kind, f"{home}/{kind}", {"amount": usd(chance.randint(1, 9_00))}, who)


@pytest.mark.slow
async def test_a_hundred_at_once_through_two_processes_leave_one_legal_history(
    database_url: str, redis_url: str
) -> None:
    print("PAYMENT_SEED", SEED)
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(api_process(database_url, redis_url)) for _ in range(2)]
        client = await stack.enter_async_context(
            httpx.AsyncClient(timeout=30, limits=httpx.Limits(max_connections=2 * AT_ONCE + 10))
        )
        crowd = Crowd(processes, client, random.Random(SEED))
        await crowd.open()
        for _ in range(ROUNDS):
            await asyncio.gather(*(crowd.act() for _ in range(AT_ONCE)))
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch("SELECT position, stream, version, type, data FROM ledger.event_log ORDER BY 1")
    finally:
        await connection.close()
    assert [row["position"] for row in rows] == list(range(1, len(rows) + 1)), f"a gap, seed {SEED}"
    events = [
        (row["position"], row["type"].removeprefix("payment.").removesuffix(".v1"), msgspec.json.decode(row["data"]))
        for row in rows
        if row["stream"] == f"payment-{crowd.payment}"
    ]
    history = folded(events)
    _what_was_told_is_there(crowd, history, {row["stream"] for row in rows})
    assert history.transactions.count("tx-in") == 1
    assert sum(history.money[bucket] for bucket in ("released", "refunded")) > 0, f"nothing left, seed {SEED}"
    print(len(events), "events,", len(crowd.told), "done,", dict(history.money))


def _what_was_told_is_there(crowd: Crowd, history: Any, streams: set[str]) -> None:
    """Every answer that was acknowledged, and no outcome beside them."""
    known = {*history.reserved, *history.outcomes}
    confirmed = {}
    for name, body, data in crowd.told:
        if name in ("release", "refund"):
            assert data["instructionId"] in known, f"acknowledged and lost, seed {SEED}"
        elif name == "confirm":
            assert history.outcomes[body["instructionId"]] == ("confirmed", body["txHash"]), f"seed {SEED}"
            confirmed[body["instructionId"]] = body["txHash"]
        elif name == "cancel":
            assert history.outcomes[body["instructionId"]] == ("cancelled", ""), f"seed {SEED}"
        elif name == "dispute":
            assert f"dispute-{data['id']}" in streams, f"acknowledged and lost, seed {SEED}"
    outcomes = {one: tx for one, (outcome, tx) in history.outcomes.items() if outcome == "confirmed"}
    assert outcomes == confirmed, f"seed {SEED}"
    assert known == set(crowd.instructions), f"instructions nobody was told of, seed {SEED}"
