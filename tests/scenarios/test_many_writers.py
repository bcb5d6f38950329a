"""200 writers on 20 accounts through two API processes, with repeated keys and clients that hang up: totals are exact."""

import asyncio
import os
import random
import secrets
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import httpx
import jwt
import msgspec
import pytest

from workers.local_stack import StackUrls

ROOT = Path(__file__).resolve().parents[2]
WRITERS = 200
COMMANDS_EACH = 10
ACCOUNTS = [f"member-{n}" for n in range(20)]
OPENING = 100
SECRET = secrets.token_urlsafe(32)
SEED = int(os.environ.get("WRITERS_SEED", random.SystemRandom().randrange(10**6)))


def token(user: str, role: str) -> str:
    """A token as the platform would issue it."""
    return jwt.encode({"id": user, "role": role, "exp": int(time.time()) + 3600}, SECRET, algorithm="HS256")


@asynccontextmanager
async def api_process(database_url: str, redis_url: str) -> AsyncIterator[str]:
    """One `ledger serve` as in production; its base URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "PORT": str(port),
        "JWT_SECRET": SECRET,
        "LOG_LEVEL": "ERROR",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "api.cli", "serve", cwd=ROOT, env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    base = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient() as client:
            for _ in range(400):
                try:
                    await client.get(base + "/health")
                    break
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
        yield base
    finally:
        if process.returncode is None:
            process.terminate()
        assert await process.wait() in {0, -signal.SIGTERM}, "the process did not end as told"


def command_of(key: str) -> tuple[str, dict[str, object]]:
    """What the command of this key is: a repeated key is a repeated request."""
    chance = random.Random(key)
    user = chance.choice(ACCOUNTS)
    amount = chance.randint(1, 40)
    if chance.random() < 0.5:
        return "/api/points/earn", {"userId": user, "amount": amount, "source": "bonus", "reference": key}
    return "/api/points/admin/add", {"userId": user, "amount": -amount, "reason": "correction"}


@pytest.mark.slow
async def test_two_hundred_writers_through_two_processes(database_url: str, redis_url: str, stack: StackUrls) -> None:
    del stack
    chance = random.Random(SEED)
    print("WRITERS_SEED", SEED)
    admin = {"Authorization": "Bearer " + token("admin-1", "admin"), "Content-Type": "application/json"}
    answers: dict[str, list[tuple[int, bytes]]] = {}
    sent: set[str] = set()
    async with AsyncExitStack() as processes:
        bases = [await processes.enter_async_context(api_process(database_url, redis_url)) for _ in range(2)]
        limits = httpx.Limits(max_connections=WRITERS + 10)
        client = await processes.enter_async_context(httpx.AsyncClient(headers=admin, timeout=30, limits=limits))
        for user in ACCOUNTS:
            made = await client.post(
                bases[0] + "/api/members", json={"userId": user, "name": user}, headers={"Idempotency-Key": f"m-{user}"}
            )
            assert made.status_code == 201, made.text
            granted = await client.post(
                bases[1] + "/api/points/admin/add", json={"userId": user, "amount": OPENING, "reason": "opening"}
            )
            assert granted.status_code == 200, granted.text

        async def post(key: str, *, hang_up: bool) -> None:
            path, body = command_of(key)
            sent.add(key)
            url = chance.choice(bases) + path
            headers = {"Idempotency-Key": key}
            if hang_up:
                # Mid-request: the command may or may not have been taken.
                try:
                    async with asyncio.timeout(chance.random() * 0.05):
                        await client.post(url, json=body, headers=headers)
                except (TimeoutError, httpx.HTTPError):
                    pass
                return
            answer = await client.post(url, json=body, headers=headers)
            assert answer.status_code in {200, 201, 400}, answer.text
            if answer.status_code != 400:
                answers.setdefault(key, []).append((answer.status_code, msgspec.json.encode(answer.json()["data"])))

        async def write(writer: int) -> None:
            for n in range(COMMANDS_EACH):
                key = f"shared-{chance.randint(0, 300)}" if chance.random() < 0.4 else f"own-{writer}-{n}"
                await post(key, hang_up=chance.random() < 0.15)

        await asyncio.gather(*(write(writer) for writer in range(WRITERS)))
        # Who got no answer asks again with the same key.
        for key in sorted(sent - answers.keys()):
            await post(key, hang_up=False)

    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch("SELECT position, stream, version, type, data FROM ledger.event_log ORDER BY 1")
        kept = {r["key"] for r in await connection.fetch("SELECT key FROM ledger.commands WHERE caller = 'admin-1'")}
    finally:
        await connection.close()
    assert [row["position"] for row in rows] == list(range(1, len(rows) + 1)), f"a gap, seed {SEED}"
    balances: Counter[str] = Counter()
    versions: Counter[str] = Counter()
    earned: Counter[str] = Counter()
    for row in rows:
        stream = row["stream"]
        versions[stream] += 1
        assert row["version"] == versions[stream], f"a gap in {stream}, seed {SEED}"
        data = msgspec.json.decode(row["data"])
        if row["type"] in {"points.earned.v1", "points.granted.v1"}:
            balances[stream] += data["amount"]
            earned[data.get("reference") or ""] += 1
        elif row["type"] == "points.deducted.v1":
            balances[stream] -= data["amount"]
        else:
            continue
        assert balances[stream] == data["balance"] >= 0, f"seed {SEED}"
    for key, replies in answers.items():
        assert len(set(replies)) == 1, f"{key} was answered in two ways, seed {SEED}"
    assert answers.keys() <= kept, f"acknowledged and lost, seed {SEED}"
    assert all(count == 1 for reference, count in earned.items() if reference), f"earned twice, seed {SEED}"
    # The totals follow from the acknowledged commands alone, each counted once.
    expected: Counter[str] = Counter({f"account-{user}": OPENING for user in ACCOUNTS})
    for key in answers:
        _, body = command_of(key)
        expected[f"account-{body['userId']}"] += int(str(body["amount"]))
    assert balances == expected, f"seed {SEED}"
    assert sum(len(replies) > 1 for replies in answers.values()) > 50, "hardly a key was repeated"
