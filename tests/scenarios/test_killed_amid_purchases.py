"""Every process is killed while purchases are redeemed on, completed and cancelled: each happened wholly or not at all."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import asyncpg
import httpx
import jwt
import msgspec
import pytest

from tests.scenarios.running_ledger import RunningLedger
from workers.local_stack import find_running

pytestmark = [pytest.mark.slow, pytest.mark.services]

SECRET = "the secret of a ledger that is killed, of more than 32 bytes"
CLIENTS = 16
BUYERS = [f"b{n}" for n in range(40)]
LOAD_SECONDS = 4.0
STEPS = ("pending_payment", "active", "delivery", "delivered", "completed")


class Sent(msgspec.Struct):
    """A command as it was sent, and its answer if one came before everything died."""

    path: str
    body: dict[str, Any]
    user: str
    role: str
    key: str
    answer: Any = None


def story_of(client: int, count: int) -> Iterator[tuple[str, dict[str, Any], str, str]]:
    """A purchase from beginning to end: path, body, who. Buyers are many clients' buyers, so that accounts are hot."""
    name, buyer = f"p-{client}-{count}", BUYERS[(client * 7 + count * 3) % len(BUYERS)]
    price = {"amount": f"{1 + count % 50}.{count % 100:02}", "currency": "USD"}
    body = {"purchaseRequestId": name, "buyerId": buyer, "sellerId": "sue", "price": price}
    yield "/api/purchases", body, "shop", "service"
    if count % 3:
        yield "/api/points/redeem", {"pointsToUse": 10 + count % 90, "purchaseRequestId": name}, buyer, "buyer"
    steps = STEPS if count % 2 else (*STEPS[: count // 2 % 4], "cancelled")
    for status in steps:
        yield f"/api/purchases/{name}/status", {"status": status}, "shop", "service"


class Shop:
    """Clients of the running service."""

    def __init__(self, url: str) -> None:
        self.http = httpx.AsyncClient(base_url=url, timeout=10, limits=httpx.Limits(max_connections=CLIENTS))
        self.tokens: dict[tuple[str, str], str] = {}

    async def send(self, sent: Sent) -> httpx.Response:
        who = (sent.user, sent.role)
        if who not in self.tokens:
            claims = {"id": sent.user, "role": sent.role, "exp": int(time.time()) + 600}
            self.tokens[who] = jwt.encode(claims, SECRET, "HS256")
        headers = {"Authorization": "Bearer " + self.tokens[who], "Idempotency-Key": sent.key}
        return await self.http.post(sent.path, json=sent.body, headers=headers)


async def open_accounts(shop: Shop) -> None:
    """Each buyer was brought by the one before, and has points enough for every redemption."""
    code = None
    for number, user in enumerate(["sue", *BUYERS]):
        body = {"userId": user, "name": user} | ({} if code is None else {"referralCode": code})
        granted = {"userId": user, "amount": 1_000_000, "reason": "To begin with"}
        for sent in (
            Sent("/api/members", body, "shop", "service", f"join-{number}"),
            Sent("/api/points/admin/add", granted, "root", "admin", f"grant-{number}"),
            Sent("/api/points/generate-referral-code", {}, user, "buyer", f"code-{number}"),
        ):
            answer = await shop.send(sent)
            assert answer.is_success, answer.text
        code = answer.json()["data"]["referralCode"]


async def live_until_killed(running: RunningLedger) -> list[list[Sent]]:
    """What each client sent, in its order."""
    shop = Shop(running.url)
    await open_accounts(shop)
    killed = asyncio.Event()
    journals: list[list[Sent]] = [[] for _ in range(CLIENTS)]

    async def client(number: int) -> None:
        count = 0
        while not killed.is_set():
            count += 1
            for step, (path, body, user, role) in enumerate(story_of(number, count)):
                sent = Sent(path, body, user, role, f"{number}-{count}-{step}")
                journals[number].append(sent)
                try:
                    answer = await shop.send(sent)
                except httpx.TransportError:
                    return
                if answer.status_code == 503:
                    return  # the database died a moment before the process that asked it
                assert answer.is_success, answer.text
                sent.answer = answer

    clients = [asyncio.create_task(client(number)) for number in range(CLIENTS)]
    await asyncio.sleep(LOAD_SECONDS)
    count = await asyncio.to_thread(running.kill_everything)
    killed.set()
    await asyncio.gather(*clients)
    await shop.http.aclose()
    assert count >= 6, "supervisor, API, projector, worker, PostgreSQL, Redis"
    return journals


async def send_again(running: RunningLedger, journals: list[list[Sent]]) -> int:
    """Everything once more with its key, in each client's order; the position of the last of it."""
    shop = Shop(running.url)
    last = 0

    async def client(journal: list[Sent]) -> None:
        nonlocal last
        for sent in journal:
            answer = await shop.send(sent)
            assert answer.is_success, f"{sent.key}: {answer.text}"
            last = max(last, int(answer.headers["Ledger-Position"]))
            if (first := sent.answer) is not None:
                assert answer.headers.get("Idempotent-Replayed") == "true", f"{sent.key} was acknowledged, is not known"
                assert (answer.status_code, answer.json()["data"]) == (first.status_code, first.json()["data"])
                assert answer.headers["Ledger-Position"] == first.headers["Ledger-Position"]

    await asyncio.gather(*(client(journal) for journal in journals))
    await shop.http.aclose()
    return last


class Log:
    """The whole log added up by hand; whatever is there once must be there once."""

    def __init__(self, rows: list[Any]) -> None:
        assert [row["position"] for row in rows] == list(range(1, len(rows) + 1)), "positions have a gap"
        self.balances: Counter[str] = Counter()
        self.statuses: dict[str, str] = {}
        self.spent: Counter[str] = Counter()
        self.back: Counter[str] = Counter()
        self.earned: Counter[str] = Counter()
        self.rewarded: Counter[str] = Counter()
        versions: Counter[str] = Counter()
        for row in rows:
            versions[row["stream"]] += 1
            assert row["version"] == versions[row["stream"]], f"versions of {row['stream']} have a gap"
            self._take_in(row["type"], msgspec.json.decode(row["data"]))

    def _take_in(self, tag: str, data: dict[str, Any]) -> None:
        signs = {"earned": 1, "granted": 1, "restored": 1, "spent": -1, "deducted": -1, "expired": -1}
        if tag.startswith("points.") and (sign := signs.get(tag.split(".")[1])):
            self.balances[data["userId"]] += sign * data["amount"]
            assert self.balances[data["userId"]] == data["balance"] >= 0
        match tag:
            case "purchase.registered.v1":
                assert data["purchaseRequestId"] not in self.statuses
                self.statuses[data["purchaseRequestId"]] = "pending"
            case "purchase.status-changed.v1":
                assert self.statuses[data["purchaseRequestId"]] == data["previous"]
                self.statuses[data["purchaseRequestId"]] = data["status"]
            case "points.spent.v1":
                self.spent[data["purchaseRequestId"]] += data["amount"]
            case "points.restored.v1":
                self.back[data["purchaseRequestId"]] += data["amount"]
            case "points.earned.v1":
                (self.rewarded if data["source"] == "referral" else self.earned)[data["reference"]] += 1


async def log_of(running: RunningLedger) -> Log:
    urls = find_running(running.folder)
    assert urls is not None
    connection = await asyncpg.connect(urls.read_url)
    try:
        rows = await connection.fetch("SELECT position, stream, version, type, data FROM ledger.event_log ORDER BY 1")
    finally:
        await connection.close()
    return Log(rows)


def test_killed_amid_purchases_each_command_happened_wholly_or_not_at_all(tmp_path):
    began = time.monotonic()
    running = RunningLedger(tmp_path / "ledger", {"JWT_SECRET": SECRET, "RATE_LIMIT_GLOBAL": "1000000/minute"}).start()
    try:
        journals = asyncio.run(live_until_killed(running))
        acknowledged = [sent for journal in journals for sent in journal if sent.answer is not None]
        assert len(acknowledged) > 200, "there was hardly any load"
        running.start()
        last = asyncio.run(send_again(running, journals))
        log = asyncio.run(log_of(running))
        check_the_log(log, journals)
        with running.client("service") as shop:
            for user in BUYERS:
                account = shop.get(f"/api/points/accounts/{user}", params={"minPosition": last}).json()["data"]
                assert account["balance"] == log.balances[user]
            for name, status in list(log.statuses.items())[::7]:
                seen = shop.get(f"/api/purchases/{name}", params={"minPosition": last}).json()["data"]
                assert seen["status"] == status
        unsure = sum(len(journal) for journal in journals) - len(acknowledged)
        print(f"{len(acknowledged)} acknowledged, {unsure} without an answer, {time.monotonic() - began:.1f} s")
    finally:
        assert running.stop() == 0


def check_the_log(log: Log, journals: list[list[Sent]]) -> None:
    """What was sent is there once, and what it means for points is there with it."""
    redeemed = {sent.body["purchaseRequestId"] for journal in journals for sent in journal if "redeem" in sent.path}
    completed = {name for name, status in log.statuses.items() if status == "completed"}
    cancelled = {name for name, status in log.statuses.items() if status == "cancelled"}
    assert completed, "no purchase was completed"
    assert cancelled & redeemed, "no redemption was returned"
    assert log.spent.keys() == redeemed
    assert log.back == {name: log.spent[name] for name in cancelled & redeemed}
    assert log.earned.keys() == completed
    assert set(log.earned.values()) == {1}
    assert set(log.rewarded.values()) == {1}
    assert log.rewarded.keys() <= set(BUYERS)
