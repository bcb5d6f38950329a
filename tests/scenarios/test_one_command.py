"""`ledger up` on a machine that has nothing: it answers, it remembers, and it survives the death of all its processes."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from tests.scenarios.running_ledger import RunningLedger
from workers.local_stack import find_running

pytestmark = [pytest.mark.slow, pytest.mark.services]

LOAD_SECONDS = 3.0
CLIENTS = 16
MEMBERS = 20


@pytest.fixture(scope="module")
def running(tmp_path_factory) -> Iterator[RunningLedger]:
    service = RunningLedger(tmp_path_factory.mktemp("one-command") / "ledger")
    yield service.start()
    service.stop()


def earn(reference: str, user_id: str = "ann", amount: int = 320) -> dict[str, Any]:
    return {"userId": user_id, "amount": amount, "source": "purchase", "reference": reference}


def test_the_first_exchange_of_the_readme(running):
    with running.client("service") as shop:
        answer = shop.post(
            "/api/members", json={"userId": "user", "name": "Ann"}, headers={"Idempotency-Key": "join-user"}
        )
        assert answer.status_code == 201, answer.text
        earned = shop.post("/api/points/earn", json=earn("order-1", "user"), headers={"Idempotency-Key": "earn-1"})
        assert earned.status_code == 201, earned.text
        assert earned.json()["data"]["newBalance"] == 320
        position = earned.headers["Ledger-Position"]
    with running.client("user") as ann:
        points = ann.get("/api/points/my-points", params={"minPosition": position})
        assert points.status_code == 200, points.text
        assert points.json()["data"]["balance"] == 320
        assert points.json()["data"]["level"]["name"] == "bronze"
        history = ann.get("/api/points/transactions", params={"minPosition": position}).json()["data"]["transactions"]
        assert [(line["type"], line["amount"], line["balance"]) for line in history] == [("earn", 320, 320)]
        assert history[0] == earned.json()["data"]["transaction"]


def test_a_key_replays_its_first_answer(running):
    with running.client("service") as shop:
        again = shop.post("/api/points/earn", json=earn("order-1", "user"), headers={"Idempotency-Key": "earn-1"})
        assert again.status_code == 201
        assert again.headers["Idempotent-Replayed"] == "true"
        assert again.json()["data"]["newBalance"] == 320
        other = shop.post("/api/points/earn", json=earn("order-2", "user"), headers={"Idempotency-Key": "earn-1"})
        assert (other.status_code, other.json()["error"]) == (422, "IDEMPOTENCY_KEY_REUSED")


def test_only_one_may_run_in_a_folder(running):
    second = running.run("up", PORT=str(RunningLedger(running.folder).port))
    assert second.returncode == 1
    assert second.stderr.count("\n") == 1
    assert "another `ledger up` runs in" in second.stderr


def test_a_taken_port_is_one_line(running, tmp_path):
    second = running.run("up", LEDGER_DATA=str(tmp_path / "other"))
    assert second.returncode == 78
    assert (
        second.stderr.strip()
        == f"ledger: PORT: cannot listen on 127.0.0.1 port {running.port} (Address already in use)."
    )


def test_stopped_and_started_it_still_knows_everything_and_is_quickly_there(running):
    assert running.stop() == 0
    assert find_running(running.folder) is None
    began = time.monotonic()
    running.start()
    assert time.monotonic() - began < 10, "5 s on a machine that does nothing else"
    with running.client("user") as ann:
        assert ann.get("/api/points/my-points").json()["data"]["balance"] == 320


def test_killed_in_the_middle_of_a_load_nothing_acknowledged_is_lost_or_doubled(running):
    register(running)
    sent, acknowledged = asyncio.run(load_until_killed(running))
    assert len(acknowledged) > 50, "there was hardly any load"
    running.start()
    answers = asyncio.run(send_again(running, sent))
    for key, first in acknowledged.items():
        replay = answers[key]
        assert replay.headers.get("Idempotent-Replayed") == "true", f"{key} was acknowledged and is not known"
        assert replay.status_code == first.status_code == 201
        assert replay.json()["data"] == first.json()["data"]
    assert {answer.status_code for answer in answers.values()} == {201}
    rows, totals, gaps, hole = asyncio.run(log_of(running.folder))
    assert rows == dict.fromkeys(sent, 1)
    assert (gaps, hole) == (0, 0)
    with running.client("service") as shop:
        head = max(int(answer.headers["Ledger-Position"]) for answer in answers.values())
        for number in range(MEMBERS):
            account = shop.get(f"/api/points/accounts/m{number}", params={"minPosition": head})
            assert account.json()["data"]["balance"] == totals[f"m{number}"]


def register(running: RunningLedger) -> None:
    with running.client("service") as shop:
        for number in range(MEMBERS):
            body = {"userId": f"m{number}", "name": "M"}
            shop.post("/api/members", json=body, headers={"Idempotency-Key": f"join-{number}"}).raise_for_status()


async def load_until_killed(running: RunningLedger) -> tuple[list[str], dict[str, httpx.Response]]:
    """Keys that were sent, and the answers that came, until every process is killed."""
    sent: list[str] = []
    acknowledged: dict[str, httpx.Response] = {}
    killed = False

    async def client(shop: httpx.AsyncClient, number: int) -> None:
        count = 0
        while not killed:
            key = f"load-{number}-{count}"
            count += 1
            sent.append(key)
            try:
                answer = await shop.post("/api/points/earn", json=earn_of(key), headers={"Idempotency-Key": key})
            except httpx.TransportError:
                return
            if answer.status_code == 201:
                acknowledged[key] = answer

    async with httpx.AsyncClient(base_url=running.url, headers=running.token("service"), timeout=5) as shop:
        clients = [asyncio.create_task(client(shop, number)) for number in range(CLIENTS)]
        await asyncio.sleep(LOAD_SECONDS)
        count = await asyncio.to_thread(running.kill_everything)
        killed = True
        await asyncio.gather(*clients)
    assert count >= 6, "supervisor, API, projector, worker, PostgreSQL, Redis"
    return sent, acknowledged


async def send_again(running: RunningLedger, keys: list[str]) -> dict[str, httpx.Response]:
    """Every request once more, acknowledged or not, with its key."""
    answers: dict[str, httpx.Response] = {}
    left = iter(keys)
    async with httpx.AsyncClient(base_url=running.url, headers=running.token("service"), timeout=10) as shop:

        async def client() -> None:
            for key in left:
                headers = {"Idempotency-Key": key}
                answers[key] = await shop.post("/api/points/earn", json=earn_of(key), headers=headers)

        await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return answers


def earn_of(key: str) -> dict[str, Any]:
    _, client, count = key.split("-")
    return earn(key, f"m{(int(client) + int(count)) % MEMBERS}", 1 + int(count) % 7)


async def log_of(folder: Path) -> tuple[dict[str, int], dict[str, int], int, int]:
    """How often each reference of the load is in the log, points by member, streams with a gap, missing positions."""
    urls = find_running(folder)
    assert urls is not None
    connection = await asyncpg.connect(urls.read_url)
    with contextlib.ExitStack() as stack:
        stack.callback(connection.terminate)
        rows = await connection.fetch(
            "SELECT data ->> 'reference' AS reference, data ->> 'userId' AS user_id, (data ->> 'amount')::int AS amount "
            "FROM ledger.event_log WHERE type = 'points.earned.v1' AND data ->> 'reference' LIKE 'load-%'"
        )
        gaps = await connection.fetchval(
            "SELECT count(*) FROM (SELECT stream FROM ledger.events GROUP BY stream HAVING count(*) <> max(version)) AS g"
        )
        hole = await connection.fetchval(
            "SELECT h.position - (SELECT count(*) FROM ledger.events) FROM ledger.head h WHERE h.shard = 0"
        )
    counts: dict[str, int] = {}
    totals = {f"m{number}": 0 for number in range(MEMBERS)}
    for row in rows:
        counts[row["reference"]] = counts.get(row["reference"], 0) + 1
        totals[row["user_id"]] += row["amount"]
    return counts, totals, gaps, hole


def test_several_api_processes_share_the_port(tmp_path):
    service = RunningLedger(tmp_path / "ledger", {"PROCESSES": "2"})
    service.start()
    try:
        with service.client("service") as shop:
            for number in range(20):
                body = {"userId": f"u{number}", "name": "U"}
                headers = {"Idempotency-Key": f"join-{number}", "Connection": "close"}
                assert shop.post("/api/members", json=body, headers=headers).status_code == 201
        assert {line.split()[0] for line in service.lines if "Started server process" in line} == {"api-1", "api-2"}
    finally:
        assert service.stop() == 0
