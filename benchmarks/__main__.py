"""`make bench`: the service against the floor, everything on one PostgreSQL of its own, in one run.

`--quick` looks whether all of it works, `--only TEXT` measures the cells whose name holds the text (and what they are
compared with), `--large` asks whether ten million events cost more than a hundred thousand. Ends with status 1 if a
target is missed. Read next: `cells.py`, `in_process.py`, `floor.sql`; the figures are in docs/operating/performance.md.
"""

import asyncio
import sys
import time
from typing import Final

import click
import uvloop
from rich.console import Console

from benchmarks import machine, report
from benchmarks.cells import Cell, Results
from benchmarks.child import Child
from benchmarks.cluster import SEEDED, Cluster, running_cluster
from benchmarks.engine import Ask, Kind
from benchmarks.floor import DATABASE as FLOOR
from benchmarks.floor import Floor, payload_of
from benchmarks.http_cells import Services, needed
from benchmarks.in_process import CACHE_STREAMS, IN_FLIGHT, Engines
from benchmarks.load import Measured

KINDS: Final[tuple[Kind, ...]] = ("uniform", "hot")


def chosen(cells: list[Cell], only: tuple[str, ...]) -> list[Cell]:
    """The cells whose name holds one of the texts, and those they are compared with; all if there is no text."""
    if not only:
        return cells
    wanted = {cell.name for cell in cells if any(text in cell.name for text in only)}
    wanted |= {cell.against for cell in cells if cell.name in wanted and cell.against}
    return [cell for cell in cells if cell.name in wanted]


async def seed(cluster: Cluster) -> None:
    """The database all others are copied from: migrated, with every account opened through the engine."""
    url = await cluster.create_migrated(SEEDED)
    child = Child("benchmarks.engine", url, str(CACHE_STREAMS))
    await child.ask(Ask("members"), Measured)
    await child.ask(Ask("measure", "hot", seconds=0.2), Measured)
    await child.stop()
    await cluster.settle(SEEDED)


async def bench(cluster: Cluster, console: Console, results: Results, only: tuple[str, ...], quick: bool) -> None:
    """Everything of `make bench`."""
    rounds, seconds = (1, 1.0) if quick else (3, 3.0)
    begin = time.monotonic()
    floor, engines, services = Floor(cluster), Engines(cluster), Services(cluster)
    cells = []
    for kind in KINDS:
        for in_flight in IN_FLIGHT:
            base = floor.cell(kind, in_flight)
            cells += [base, *engines.cells_beside(base, kind, in_flight)]
            cells += services.cells_beside(base, kind, in_flight)
    cells = chosen(cells, only)
    names = " ".join(cell.name for cell in cells)
    try:
        await seed(cluster)
        await floor.make(payload := await payload_of(cluster.url(SEEDED)))
        await cluster.settle(FLOOR)
        if "in process" in names:
            await engines.make(lots="lots" in names)
        await services.make(needed(cells))
        console.print(f"[dim]ready after {time.monotonic() - begin:.0f} s; payload: {payload}")
        await results.measure(cells, rounds, seconds)
        await results.measure(services.open_loop_cells(results), 1, seconds * 3)
    finally:
        await services.stop()
        await engines.stop()


@click.command()
@click.option("--quick", is_flag=True, help="One short round: does everything run?")
@click.option("--only", multiple=True, help="Only cells whose name holds this text (may be given again).")
def main(quick: bool, only: tuple[str, ...]) -> None:
    """Measure, print, save."""
    console = Console(width=150 if not sys.stdout.isatty() else None)
    results = Results(console)
    with running_cluster() as cluster:
        found = asyncio.run(machine.facts(cluster))
        uvloop.run(bench(cluster, console, results, only, quick))
    report.show(console, found, results)
    console.print(f"saved as {report.save(found, results, {'quick': quick, 'only': only})}")
    if not results.all_reached:
        sys.exit(1)


if __name__ == "__main__":
    main()
