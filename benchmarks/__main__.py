"""`make bench`: the service against the floor, everything on one PostgreSQL of its own, in one run.

`--quick` looks whether all of it works, `--only TEXT` measures the cells whose name holds the text (and what they are
compared with), `--large` asks whether ten million events cost more than a hundred thousand, `--sweep` lets a million lots
expire. Ends with status 1 if a
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
from benchmarks.catching_up import cells as catching_up_cells
from benchmarks.cells import Cell, Results
from benchmarks.cluster import SEEDED, Cluster, running_cluster
from benchmarks.disk import Disk
from benchmarks.engine import Kind
from benchmarks.floor import DATABASE as FLOOR
from benchmarks.floor import Floor, payload_of
from benchmarks.http_cells import Services, needed
from benchmarks.importing import DATABASE as IMPORTED
from benchmarks.importing import QUICK_ROWS, ROWS, Imports
from benchmarks.in_process import IN_FLIGHT, JUDGED_IN_FLIGHT, Engines
from benchmarks.journal import JournalCells
from benchmarks.large import EVENTS, compare_sizes
from benchmarks.paying_cells import PayingServices
from benchmarks.seeding import seed
from benchmarks.sweeping import LOTS, Sweeps

KINDS: Final[tuple[Kind, ...]] = ("uniform", "hot")


def chosen(cells: list[Cell], only: tuple[str, ...]) -> list[Cell]:
    """The cells whose name holds one of the texts, and those they are compared with; all if there is no text."""
    if not only:
        return cells
    wanted = {cell.name for cell in cells if any(text in cell.name for text in only)}
    wanted |= {cell.against for cell in cells if cell.name in wanted and cell.against}
    return [cell for cell in cells if cell.name in wanted]


async def bench(cluster: Cluster, console: Console, results: Results, only: tuple[str, ...], quick: bool) -> None:
    """Everything of `make bench`."""
    rounds, seconds = (1, 1.0) if quick else (3, 2.5)
    begin = time.monotonic()
    disk = Disk(cluster.root)
    paying = PayingServices(cluster)
    floor, engines, services = Floor(cluster), Engines(cluster), Services(cluster)
    imports = Imports(cluster, QUICK_ROWS if quick else ROWS)
    cells = []
    for kind in KINDS:
        for in_flight in IN_FLIGHT:
            base = floor.cell(kind, in_flight)
            cells += [base, *engines.cells_beside(base, kind, in_flight)]
            cells += services.cells_beside(base, kind, in_flight)
            if kind == "uniform" and in_flight == JUDGED_IN_FLIGHT:
                cells += paying.cells_beside(base, in_flight)
    cells = chosen(cells, only)
    catching_up = chosen(catching_up_cells(cluster), only)
    journal = chosen(JournalCells(cluster).cells(), only)
    later = chosen([imports.later_cell()], only)
    importing = [imports.cell()] if catching_up or journal or later else chosen([imports.cell()], only)
    names = " ".join(cell.name for cell in cells)
    try:
        await seed(cluster)
        await floor.make(payload := await payload_of(cluster.url(SEEDED)))
        await cluster.settle(FLOOR)
        if "in process" in names:
            await engines.make(lots="lots" in names)
        await services.make(needed(cells))
        await paying.make(cells)
        await cluster.age_log()  # last: every checkpoint of the preparing takes a tenth of it away again
        console.print(f"[dim]ready after {time.monotonic() - begin:.0f} s; payload: {payload}")
        await results.measure(cells, rounds, seconds)
        # What the closed loops have left unwritten is gigabytes, and a disk that writes them makes everybody wait: a
        # checkpoint, then once unmeasured, as the first write to a page after it logs the whole page. One variant after
        # the other: what the projector has left unwritten is not to be paid by who is measured without it.
        if open_loop := services.open_loop_cells(results):
            await cluster.settle(*(variant.database for variant in needed(cells)))
            for cell in open_loop:
                await cell.measure(seconds)
                console.print(f"[dim]{await disk.rest()}")
                await results.measure([cell], rounds, seconds)
        # From here on nobody else is at work, and nothing else is kept warm.
        await services.stop()
        await paying.stop()
        await engines.stop()
        if importing:
            await imports.make()
            await results.measure(importing, 1, 0)
            await cluster.settle(IMPORTED)
        await results.measure(catching_up, 1 if quick else 3, 0)  # the first one also warms the log
        await results.measure(journal, 1 if quick else 3, 0)
        await results.measure(later, 1 if quick else 3, 0)
    finally:
        await services.stop()
        await paying.stop()
        await engines.stop()
    console.print(f"[dim]done after {time.monotonic() - begin:.0f} s")


async def sweep_lots(cluster: Cluster, results: Results, lots: int) -> None:
    """Everything of `--sweep`."""
    sweeps = Sweeps(cluster, lots=lots)
    await seed(cluster)
    try:
        await sweeps.make()
        await sweeps.measure(results)
    finally:
        sweeps.stop()


@click.command()
@click.option("--quick", is_flag=True, help="One short round: does everything run?")
@click.option("--only", multiple=True, metavar="TEXT", help="Only cells whose name holds this; may be given again.")
@click.option("--large", is_flag=True, help="Does a command cost more when the log is long? Half an hour.")
@click.option(
    "--sweep", is_flag=True, help="How fast do lots that end on one day expire, beside commands? Ten minutes."
)
@click.option("--lots", default=LOTS, show_default=True, help="How many lots are swept.")
@click.option("--events", default=EVENTS, show_default=True, help="How many events a long log has.")
def main(quick: bool, only: tuple[str, ...], large: bool, sweep: bool, lots: int, events: int) -> None:
    """Measure the service against the floor; status 1 if a target is missed."""
    console = Console(width=None if sys.stdout.isatty() else 200)
    results = Results(console)
    with running_cluster() as cluster:
        found = asyncio.run(machine.facts(cluster))
        if large:
            measuring = compare_sizes(cluster, console, results, events, quick=quick)
        elif sweep:
            measuring = sweep_lots(cluster, results, lots)
        else:
            measuring = bench(cluster, console, results, only, quick)
        uvloop.run(measuring)
    report.show(console, found, results)
    options = {
        "quick": quick,
        "only": only,
        "large": large,
        "events": events if large else None,
        "lots": lots if sweep else None,
    }
    console.print(f"saved as {report.save(found, results, options)}")
    if not results.all_reached:
        sys.exit(1)


if __name__ == "__main__":
    main()
