"""The projector against plain SQL: `points` and `transactions` from a log of a million events, from nothing.

Both begin with bare tables, write the same rows and make the same indexes last; the rows are compared afterwards. The
projector runs in a process of its own, whose memory is watched. Read next: `catching_up.sql`, `importing.py`.
"""

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import asyncpg
import msgspec
import uvloop

from benchmarks.cells import Cell, Target
from benchmarks.child import Child
from benchmarks.cluster import Cluster
from benchmarks.importing import DATABASE
from benchmarks.load import Measured
from projections.points import Points
from projections.projection import Projection, table_names
from projections.runner import Runner
from projections.transactions import Transactions

PROJECTIONS: Final[tuple[Projection, ...]] = (Points(), Transactions())
PLAIN_BUILD: Final = 999_999
"""Plain SQL's tables are named as a build nobody else makes."""
SAMPLE_SECONDS: Final = 0.25
_FRESH: Final = """
DO $$
DECLARE
  item record;
BEGIN
  FOR item IN SELECT tablename FROM pg_tables WHERE schemaname = 'read_models' AND tablename LIKE 'rm\\_%' LOOP
    EXECUTE format('DROP TABLE read_models.%I', item.tablename);
  END LOOP;
  DELETE FROM read_models.builds;
  DELETE FROM read_models.active;
END $$
"""


class Ask(msgspec.Struct):
    """Who is to write the read models."""

    side: Literal["projector", "plain"]


async def answer(url: str, ask: Ask) -> Measured:
    """Write them from nothing; events a second."""
    pool = await asyncpg.create_pool(url, min_size=1, max_size=6, server_settings={"timezone": "UTC"})
    try:
        if ask.side == "projector":
            await pool.execute(_FRESH)
        await pool.execute("CHECKPOINT")
        head: int = await pool.fetchval("SELECT position FROM ledger.head WHERE shard = 0")
        begin = time.perf_counter()
        if ask.side == "plain":
            await _plain(pool)
            took = time.perf_counter() - begin
            note = await _same_rows(pool)
        else:
            with _watched_memory() as sizes:
                await Runner(pool, PROJECTIONS).catch_up()
            took = time.perf_counter() - begin
            tenths = [sizes[len(sizes) * tenth // 10] for tenth in range(10)] if sizes else []
            note = "memory in MB at each tenth of the way: " + " ".join(f"{size:.0f}" for size in tenths)
    finally:
        await pool.close()
    return Measured(per_second=head / took, p50_ms=0, p99_ms=0, commands=head, seconds=took, note=note)


async def _plain(pool: "asyncpg.Pool[Any]") -> None:
    names = _names(PLAIN_BUILD)
    statement = (Path(__file__).parent / "catching_up.sql").read_text(encoding="utf-8").format(**names)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL work_mem = '512MB'; SET LOCAL synchronous_commit = off")
        for projection in PROJECTIONS:
            for table in projection.tables:
                in_build = table.in_build(projection.name, PLAIN_BUILD)
                await connection.execute(f"DROP TABLE IF EXISTS read_models.{in_build}")
                await connection.execute(table.create(in_build))
        await connection.execute(statement)
        for projection in PROJECTIONS:
            for table in projection.tables:
                in_build = table.in_build(projection.name, PLAIN_BUILD)
                for index in (table.create_key(in_build), *table.create_indexes(in_build)):
                    await connection.execute(index)


async def _same_rows(pool: "asyncpg.Pool[Any]") -> str:
    """Compare with what the projector has written, if it has."""
    build = await pool.fetchval("SELECT max(build) FROM read_models.active WHERE name = 'points'")
    if build is None:
        return "no rows to compare with"
    ours, plain = _names(build), _names(PLAIN_BUILD)
    for part, table in ours.items():
        sums = [
            await pool.fetchrow(f"SELECT count(*), sum(hashtextextended(t::text, 0)) FROM {name} AS t")
            for name in (table, plain[part])
        ]
        if sums[0] != sums[1]:
            msg = f"{part}: the projector has written {sums[0]}, plain SQL {sums[1]}"
            raise RuntimeError(msg)
    return "the same rows as the projector's"


def _names(build: int) -> dict[str, str]:
    points, transactions = (table_names(projection, build) for projection in PROJECTIONS)
    return {"accounts": points["main"], "lots": points["lots"], "transactions": transactions["main"]}


@contextmanager
def _watched_memory() -> Iterator[list[float]]:
    """Resident memory in MB, a sample at a time; empty where the kernel does not tell."""
    sizes: list[float] = []

    async def watch() -> None:
        while size := _resident_mb():
            sizes.append(size)
            await asyncio.sleep(SAMPLE_SECONDS)

    watching = asyncio.get_running_loop().create_task(watch())
    try:
        yield sizes
    finally:
        watching.cancel()


def _resident_mb() -> float:
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def cells(cluster: Cluster) -> list[Cell]:
    """Plain SQL, and the projector beside it."""
    child = Child("benchmarks.catching_up", cluster.url(DATABASE))

    def measure(side: Literal["projector", "plain"]) -> Any:
        async def ask(_seconds: float) -> Measured:
            found = await child.ask(Ask(side), Measured)
            await child.stop()  # each round's memory begins at nothing
            return found

        return ask

    plain = Cell(name="plain SQL, points and transactions", measure=measure("plain"))
    target = Target(ratio=1.2)
    projector = Cell(
        name="projector, points and transactions", measure=measure("projector"), against=plain.name, target=target
    )
    return [projector, plain]


async def main(url: str) -> None:
    """Answer until stdin ends."""
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
        found = await answer(url, msgspec.json.decode(line, type=Ask))
        sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
