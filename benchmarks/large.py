"""`make bench-large`: does a command cost more when the log is long? The same cells on a short log and on a long one.

The long log is filled by `ledger import`, the fastest way in that checks, chains and indexes everything as any append
does: ten earns for each of 900,000 members. The cells load a hundred thousand others, whose own histories are as short in
both logs: what is asked is the price of a long log, not of long accounts (which snapshots bound). Each runs on the short
log, then on the long one, and again. Read next: `importing.py`, `in_process.py`.
"""

import shutil
import time
from collections.abc import Sequence
from typing import Final

from rich.console import Console

from benchmarks.cells import Cell, Results, Target
from benchmarks.child import Child
from benchmarks.cluster import DATA, SEEDED, Cluster
from benchmarks.engine import COLD_CACHE_STREAMS, Ask, Kind
from benchmarks.http_cells import asked, loaded, warmed
from benchmarks.importing import import_file, write_file
from benchmarks.in_process import CACHE_STREAMS, JUDGED_IN_FLIGHT
from benchmarks.load import ACCOUNTS, Measured
from benchmarks.running_service import Service
from benchmarks.seeding import seed

EVENTS: Final = 10_000_000
MEMBERS: Final = 1_000_000
FILE_ROWS: Final = 1_000_000
BYTES_AN_EVENT: Final = 3_000
"""Event, command, claim, their indexes, and as much again for the write-ahead log and the import's temporary files."""
LOG_BYTES: Final = 9 * 10**9
"""The write-ahead log of a server under load: `max_wal_size`."""
LEAST_SHARE: Final = 0.85
SHORT, LONG = "short", "long"


async def compare_sizes(cluster: Cluster, console: Console, results: Results, events: int, *, quick: bool) -> None:
    """Fill, then measure: the engine warm and cold, then the service."""
    free = shutil.disk_usage(DATA).free
    needed = events * BYTES_AN_EVENT + LOG_BYTES
    if free < needed:
        msg = f"{free / 1e9:.0f} GB are free in {DATA}, {needed / 1e9:.0f} GB are needed"
        raise RuntimeError(msg)
    rounds, seconds = (1, 1.0) if quick else (5, 4.0)
    await cluster.age_log()
    await seed(cluster)
    await cluster.create(SHORT, template=SEEDED)
    await _fill(cluster, console, events)
    titles = {SHORT: f"{ACCOUNTS:,} events", LONG: f"{events:,} events"}
    for cold in (False, True):
        limit = COLD_CACHE_STREAMS if cold else CACHE_STREAMS
        engines = {size: Child("benchmarks.engine", cluster.url(size), str(limit)) for size in titles}
        try:
            for engine in engines.values():
                await engine.ask(Ask("measure", seconds=0.5) if cold else Ask("warm"), Measured)
            await cluster.settle(*titles)
            await _measure_steady(results, _engine_cells(engines, titles, cold=cold), rounds, seconds)
        finally:
            for engine in engines.values():
                await engine.stop()
    await cluster.create(SHORT, template=SEEDED)  # what was measured has made it longer
    client = Child("benchmarks.client")
    services = {size: Service(cluster, size, processes=1, projector=False) for size in titles}
    try:
        for service in services.values():
            await service.start()
            await warmed(client, service)
        await cluster.settle(*titles)
        await _measure_steady(results, _http_cells(client, services, titles), rounds, seconds)
    finally:
        await client.stop()
        for service in services.values():
            service.stop()


async def _measure_steady(results: Results, cells: list[Cell], rounds: int, seconds: float) -> None:
    """Run once unmeasured: the first write to a page after a checkpoint logs the whole page, and the long log has more
    of them. A service that runs pays that once in a checkpoint's minutes, not in the seconds of a cell.
    """
    for cell in cells:
        await cell.measure(seconds)
    await results.measure(cells, rounds, seconds)


async def _fill(cluster: Cluster, console: Console, events: int) -> None:
    """Import until the log is that long; the openings of accounts count as well."""
    await cluster.create(LONG, template=SEEDED)
    members = min(MEMBERS - ACCOUNTS, max(ACCOUNTS, events // 10))
    rows = events - ACCOUNTS - members
    file = cluster.root / "points.csv"
    for first in range(0, rows, FILE_ROWS):
        begin = time.monotonic()
        count = min(FILE_ROWS, rows - first)
        write_file(file, count, first, members, first_member=ACCOUNTS)
        appended = await import_file(cluster, LONG, file)
        file.unlink()
        console.print(f"[dim]imported {first + appended:,} rows, {appended / (time.monotonic() - begin):,.0f}/s")


def _engine_cells(engines: dict[str, Child], titles: dict[str, str], *, cold: bool) -> list[Cell]:
    kinds: Sequence[tuple[str, Kind]] = (
        [("uniform, cold cache", "uniform")] if cold else [("uniform", "uniform"), ("hot", "hot")]
    )
    cells = []
    for title, kind in kinds:
        for size, engine in engines.items():

            async def measure(seconds: float, engine: Child = engine, kind: Kind = kind) -> Measured:
                return await engine.ask(Ask("measure", kind, JUDGED_IN_FLIGHT, seconds), Measured)

            cells.append(_compared(f"in process, {title}, {JUDGED_IN_FLIGHT}", size, titles, measure))
    return cells


def _http_cells(client: Child, services: dict[str, Service], titles: dict[str, str]) -> list[Cell]:
    cells = []
    for title, shape, kind, in_flight in (
        ("uniform", "earn", "uniform", JUDGED_IN_FLIGHT),
        ("hot", "earn", "hot", JUDGED_IN_FLIGHT),
        ("batches of 100", "batch", "uniform", 8),
    ):
        for size, service in services.items():
            load = {"shape": shape, "kind": kind, "in_flight": in_flight}

            async def measure(seconds: float, service: Service = service, load: dict[str, object] = load) -> Measured:
                return await loaded(client, service, asked(service, seconds=seconds, **load))

            cells.append(_compared(f"HTTP, {title}, {in_flight}", size, titles, measure))
    return cells


def _compared(what: str, size: str, titles: dict[str, str], measure: object) -> Cell:
    """The long log's cell is judged against the short one's."""
    base = f"{what}, {titles[SHORT]}"
    if size == SHORT:
        return Cell(name=base, measure=measure)  # type: ignore[arg-type]  # the defaults of `measure` are its closure
    target = Target(ratio=LEAST_SHARE)
    return Cell(name=f"{what}, {titles[LONG]}", measure=measure, against=base, target=target)  # type: ignore[arg-type]  # as above
