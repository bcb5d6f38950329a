"""One process of the torture run: writers on a committer of their own, whose connection is cut now and then.

Run as `python -m tests.contract.torture_process URL INDEX SECONDS SEED ACKNOWLEDGED_FILE`; `test_torture.py` runs three
and stops them in mid-air. Every command's content follows from its key, so that a shared key is the same request.
"""

import asyncio
import contextlib
import random
import sys
import time
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import msgspec
import uvloop

from ledger import ids
from ledger.decision import Answer, Decision, Origin, View
from ledger.domain import lots, points
from ledger.errors import LedgerError
from ledger.store import concluding
from ledger.store.append import PostgresStore
from ledger.store.codec import Actor
from ledger.store.committer import Committer, Work
from ledger.store.intake import Unit
from ledger.store.port import RejectedAppendError

ACCOUNTS = [f"torture-{n}" for n in range(40)]
WRITERS = 24
CALLER = "torture"


class Moved(msgspec.Struct):
    """The answer that is kept: which accounts, by how much, and the balances afterwards."""

    steps: list[tuple[str, int]]
    balances: list[int]


def content_of(key: str) -> list[tuple[str, int]]:
    """What the command of this key does: a transfer between two accounts, or a move on one."""
    chance = random.Random(key)
    if chance.random() < 0.2:
        giver, taker = chance.sample(ACCOUNTS, 2)
        amount = chance.randint(1, 50)
        return [(giver, -amount), (taker, amount)]
    amount = chance.randint(1, 60)
    return [(chance.choice(ACCOUNTS), amount if chance.random() < 0.55 else -amount)]


def work_for(key: str) -> Work:
    """The command of this key, decided by the points rules over one or two accounts."""
    steps = content_of(key)
    now = datetime.now(UTC)

    def decide(view: View) -> Decision:
        writes, balances = [], []
        for user, amount in steps:
            account = view.read(ids.account_stream(user))
            events: list[points.Event]
            if amount < 0:
                events = points.decide_spend(points.SpendPoints(user, -amount, key), account, now)
            else:
                programme = view.read(ids.PROGRAMME_STREAM)
                events = points.decide_earn(points.EarnPoints(user, amount, "bonus", key), account, programme, now)
            balances.append(events[-1].balance if not isinstance(events[-1], points.LevelCrossed) else -1)
            writes.append((ids.account_stream(user), events))
        return Decision(200, Moved(steps, balances), writes)

    fingerprint = sha256(repr(steps).encode()).digest()
    return Work(Origin(Actor(CALLER, "service"), now, fingerprint, "torture", "torture", key), decide)


async def main(url: str, index: int, seconds: float, seed: int, acknowledged: Path) -> None:
    """Write for so long, noting each acknowledged key and the slowest answer."""
    # Appends go ahead however small they are, and though other processes come between.
    concluding.CROWDED_APPENDS = 0  # type: ignore[misc]  # final for everybody else
    # How many lots a chunk has is each process's own affair; with so few, many accounts have more than one and do not rest
    # as bytes, in two processes of three.
    lots.CHUNK_LOTS = (2, 5, lots.CHUNK_LOTS)[index % 3]
    alarms = 0
    halve = Committer._halve

    async def alarm(self: Committer, units: list[Unit], error: RejectedAppendError) -> None:
        """Only the last index noticed that a version is there already: the fence should have."""
        nonlocal alarms
        alarms += 1
        await halve(self, units, error)

    Committer._halve = alarm  # type: ignore[method-assign]  # for this process
    chance = random.Random(seed * 100 + index)
    store = await PostgresStore(url, watchdog_seconds=5).open()
    # A cache of thirty for forty accounts: streams fall out and are loaded again all the time.
    committer = await Committer(store, cache_limit=30, batch_limit=64, small_batch=1).start()
    begin = time.monotonic()
    end = begin + seconds
    counts = {"done": 0, "replayed": 0, "refused": 0}
    slowest = 0.0
    per_writer = [0] * WRITERS

    async def write(writer: int, file: object) -> None:
        nonlocal slowest
        while time.monotonic() < end:
            if chance.random() < 0.3:
                key = f"shared-{seed}-{chance.randint(0, int((time.monotonic() - begin) * 300) + 5)}"
            else:
                key = f"own-{seed}-{index}-{writer}-{counts['done']}-{chance.random()}"
            asked = time.monotonic()
            try:
                answer: Answer = await committer.submit(work_for(key))
            except LedgerError as refusal:
                assert refusal.code == "INSUFFICIENT_POINTS", refusal
                counts["refused"] += 1
            else:
                data = msgspec.to_builtins(answer.data)
                assert [tuple(step) for step in data["steps"]] == content_of(key), "another command's answer"
                counts["replayed" if answer.replayed else "done"] += 1
                print(key, *data["balances"], sep="\t", file=file, flush=False)
            per_writer[writer] += 1
            slowest = max(slowest, time.monotonic() - asked)

    async def cut() -> None:
        while True:
            await asyncio.sleep(chance.random() * 0.5)
            chance.choice((store._write.connection, store._line)).terminate()  # type: ignore[union-attr]  # it is open

    with acknowledged.open("a") as file:
        cutter = asyncio.create_task(cut())
        await asyncio.gather(*(write(writer, file) for writer in range(WRITERS)))
        cutter.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await cutter
    figures = {
        **counts,
        "conflicts": committer.conflicts,
        "sent_ahead": committer.sent_ahead,
        "resent": committer.resent,
        "alarms": alarms,
        "slowest_seconds": round(slowest, 2),
        "least_of_a_writer": min(per_writer),
    }
    print(msgspec.json.encode(figures).decode(), flush=True)
    await committer.stop()
    await store.close()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5])))
