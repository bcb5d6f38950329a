"""Three processes, tiny partitions, stopped processes, cut connections, shared keys, a cache too small: nothing breaks.

And the proof that this run can fail: with one line of the fence taken out, it does.
"""

import asyncio
import contextlib
import os
import random
import re
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from ledger.audit.chain import GENESIS, event_hash
from ledger.domain import points
from ledger.store.codec import decode
from tests.contract.torture_process import ACCOUNTS, CALLER, content_of

ROOT = Path(__file__).resolve().parents[2]
MIGRATION = ROOT / "migrations" / "0009_an_append_may_follow_another.sql"
"""The last one that defines the append."""
PROCESSES = 3
POSITIONS_EACH = 700
STALE_READS = "WHERE n.version > r.version);"
MOVED_STREAMS = "moved := ARRAY(SELECT DISTINCT e.stream FROM ledger.events e WHERE e.position > p_known AND e.position <= head_before);"
IN_TURN = "IF p_after IS NOT NULL AND (last IS DISTINCT FROM p_after OR head_before <> p_known) THEN"
SEED = int(os.environ.get("TORTURE_SEED", random.SystemRandom().randrange(10**6)))
ATTEMPTS = 4
"""What is broken need not break within seconds of a busy machine; never in so many runs, it is not broken."""
ENOUGH = {"done": 500, "conflicts": 50, "resent": 5, "sent_ahead": 50}
"""Done, met by another process, left without an answer, sent before the one in front was answered: more than so many."""
SECONDS = float(os.environ.get("TORTURE_SECONDS", "8"))


async def shrink_partitions(connection: "asyncpg.Connection[Any]", count: int) -> None:
    """Partitions of 700 positions, so that the run crosses dozens and the unique index sees little."""
    for row in await connection.fetch("SELECT name FROM ledger.partitions"):
        await connection.execute(f"DROP TABLE ledger.{row['name']}")
    await connection.execute("DELETE FROM ledger.partitions")
    await connection.execute(f"UPDATE ledger.partitioning SET positions_each = {POSITIONS_EACH}")
    await connection.execute(f"SELECT ledger.ensure_partitions({count})")


async def open_accounts(connection: "asyncpg.Connection[Any]") -> None:
    """Forty accounts, opened through the same append function as everything else."""
    names = [f"account-{user}" for user in ACCOUNTS]
    data = [msgspec.json.encode(points.AccountOpened(user)) for user in ACCOUNTS]
    hashes = [event_hash(GENESIS, n, 1, "points.account-opened.v1", b"{}", d) for n, d in zip(names, data, strict=True)]
    events = [
        (1, name, 1, "points.account-opened.v1", b"{}", opened, chained)
        for name, opened, chained in zip(names, data, hashes, strict=True)
    ]
    setup = (1, "setup", "setup", 1, b"x", b"[200,null]", len(events), len(events))
    await connection.fetch("SELECT head FROM ledger.append(0, '{}', $1, '{}', $2, '{}', 1, NULL)", [setup], events)


async def torture(url: str, folder: Path, seconds: float, seed: int = SEED) -> list[dict[str, Any]]:
    """Run the processes, stopping one or another for up to 0.4 s again and again; their figures."""
    children = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.contract.torture_process",
            url,
            str(index),
            str(seconds),
            str(seed),
            str(folder / f"acknowledged-{index}"),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        for index in range(PROCESSES)
    ]
    chance = random.Random(seed)
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    try:
        while loop.time() < end:
            await asyncio.sleep(chance.random() * 0.5)
            child = chance.choice(children)
            with contextlib.suppress(ProcessLookupError):  # A process may end while, or just before, it is stopped.
                child.send_signal(signal.SIGSTOP)
                await asyncio.sleep(chance.random() * 0.4)
                child.send_signal(signal.SIGCONT)
        outputs = await asyncio.gather(*(asyncio.wait_for(child.communicate(), 60) for child in children))
    finally:
        for child in children:
            if child.returncode is None:
                child.kill()
    return [
        _figures(out, (err[:300] + err[-1500:]).decode() if child.returncode else 0)
        for (out, err), child in zip(outputs, children, strict=True)
    ]


def _figures(out: bytes, complaint: str | int) -> dict[str, Any]:
    """What a process printed last, and, if it ended badly, what it complained of and had logged before."""
    lines = out.splitlines()
    figures = msgspec.json.decode(([b"{}"] + [line for line in lines if line.startswith(b"{")])[-1])
    logged = [line.decode() for line in lines if not line.startswith(b"{")]
    return {**figures, "exit": complaint and f"{complaint}\n{logged[-5:]}"}


async def faults(connection: "asyncpg.Connection[Any]", folder: Path) -> dict[str, int]:
    """Everything that may have gone wrong, counted from the log alone."""
    found: defaultdict[str, int] = defaultdict(int)
    rows = await connection.fetch(
        "SELECT position, stream, version, type, metadata, data, hash FROM ledger.events ORDER BY position"
    )
    head = await connection.fetchval("SELECT position FROM ledger.head")
    found["gaps"] += len(rows) != head or any(row["position"] != n for n, row in enumerate(rows, 1))
    version: defaultdict[str, int] = defaultdict(int)
    last: defaultdict[str, bytes] = defaultdict(lambda: GENESIS)
    balance: defaultdict[str, int] = defaultdict(int)
    done: defaultdict[str, int] = defaultdict(int)
    for row in rows:
        stream = row["stream"]
        event = decode(row["type"], row["data"])
        version[stream] += 1
        found["forks"] += row["version"] != version[stream]
        recomputed = event_hash(last[stream], stream, row["version"], row["type"], row["metadata"], row["data"])
        found["broken chains"] += recomputed != row["hash"]
        last[stream] = row["hash"]
        if isinstance(event, points.PointsEarned | points.PointsSpent):
            balance[stream] += event.amount if isinstance(event, points.PointsEarned) else -event.amount
            found["overdrafts"] += balance[stream] < 0
            found["wrong balances"] += balance[stream] != event.balance
            done[event.reference] += 1
    keys = {row["key"] for row in await connection.fetch("SELECT key FROM ledger.commands WHERE caller = $1", CALLER)}
    rows_of_keys = await connection.fetchval("SELECT count(*) FROM ledger.commands WHERE caller = $1", CALLER)
    found["keys kept twice"] += rows_of_keys - len(keys)
    found["commands done twice"] += sum(count != len(content_of(key)) for key, count in done.items())
    found["events without a key"] += len(done.keys() - keys)
    acknowledged = [line.split("\t") for n in range(PROCESSES) if (folder / f"acknowledged-{n}").exists()
                    for line in (folder / f"acknowledged-{n}").read_text().splitlines()]  # fmt: skip
    found["acknowledged and lost"] += len({line[0] for line in acknowledged} - keys)
    answers: dict[str, list[str]] = {}
    for key, *balances in acknowledged:
        found["two answers to one key"] += answers.setdefault(key, balances) != balances
    return {name: count for name, count in found.items() if count}


def without(line: str, instead: str) -> str:
    """The append function with one line of the fence changed."""
    source = MIGRATION.read_text()
    assert source.count(line) == 1, f"the fence's line is not there: {line}"
    function = re.search(r"CREATE FUNCTION ledger\.append\(.*?END \$\$;", source, re.DOTALL)
    assert function is not None
    return function[0].replace("CREATE", "CREATE OR REPLACE", 1).replace(line, instead)


@pytest.mark.slow
async def test_the_fence_holds_under_torture(make_database: Callable[[], Awaitable[str]], tmp_path: Path) -> None:
    url = await make_database()
    print("TORTURE_SEED", SEED)
    connection = await asyncpg.connect(url)
    try:
        await shrink_partitions(connection, 150)
        await open_accounts(connection)
        total: Counter[str] = Counter()
        for attempt in range(ATTEMPTS):
            figures = await torture(url, tmp_path, SECONDS, SEED + attempt)
            print(figures)
            assert [process["exit"] for process in figures] == [0] * PROCESSES, f"seed {SEED}"
            assert await faults(connection, tmp_path) == {}, f"seed {SEED}"
            assert [process["alarms"] for process in figures] == [0] * PROCESSES, f"seed {SEED}"
            assert min(process["least_of_a_writer"] for process in figures) > 0, "somebody starved"
            assert max(process["slowest_seconds"] for process in figures) < 8, "somebody waited too long"
            for process in figures:
                total.update({name: process[name] for name in ENOUGH})
            if all(total[name] > enough for name, enough in ENOUGH.items()):
                return
        pytest.fail(f"too little happened to prove anything: {total}, seed {SEED}")
    finally:
        await connection.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "instead"),
    [
        pytest.param(STALE_READS, "WHERE false);", id="stale reads are not refused"),
        pytest.param(MOVED_STREAMS, "moved := '{}';", id="moved streams are not named"),
        pytest.param(IN_TURN, "IF false THEN", id="what follows an append is good without it"),
    ],
)
async def test_with_a_line_of_the_fence_removed_it_breaks(
    make_database: Callable[[], Awaitable[str]], tmp_path: Path, line: str, instead: str
) -> None:
    for attempt in range(ATTEMPTS):
        url = await make_database()
        folder = tmp_path / str(attempt)
        folder.mkdir()
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(without(line, instead))
            await shrink_partitions(connection, 150)
            await open_accounts(connection)
            figures = await torture(url, folder, min(SECONDS, 4))
            broken = await faults(connection, folder)
            alarms = sum(process.get("alarms", 0) for process in figures)
            print(attempt, broken, alarms, "alarms", [str(process["exit"])[-200:] for process in figures])
            if broken or alarms or any(process["exit"] for process in figures):
                return
        finally:
            await connection.close()
    pytest.fail(f"seed {SEED}: the run cannot fail")
