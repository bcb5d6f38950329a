"""The import: `ledger import` of a CSV file, from the command's start to its end, checks and totals included.

A shop moves in: one file of a million rows, ten for each of a hundred thousand members whom an empty ledger does not know. What
comes of it is the log the projector then catches up. Later files, of the same members, are shown beside it: a new
process has to read what each account went through. Read next: `catching_up.py`.
"""

import asyncio
import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks import load
from benchmarks.cells import Cell, Target
from benchmarks.cluster import Cluster
from benchmarks.load import Measured

DATABASE: Final = "imported"
ROWS, QUICK_ROWS = 1_000_000, 50_000
LATER_ROWS: Final = 200_000
_ROOT: Final = Path(__file__).parents[1]


def write_file(
    file: Path, rows: int, first_reference: int, members: int = load.ACCOUNTS, first_member: int = 0
) -> None:
    """A CSV file: the members in turn, in an order that looks like none, each row with a reference of its own."""
    with file.open("w", encoding="utf-8", newline="") as out:
        out.write("userId,amount,source,reference\n")
        for number in range(first_reference, first_reference + rows):
            # 7,919 has no common divisor with a power of ten: every member comes before one comes again.
            out.write(f"{load.member(first_member + number * 7919 % members)},5,bonus,till-{number:010d}\n")


async def import_file(cluster: Cluster, database: str, file: Path) -> int:
    """Run the command; how many rows it says it has appended."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "api.cli",
        "import",
        "--json",
        str(file),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **cluster.environment(database), "LEDGER_DATA": str(cluster.root / "service")},
        cwd=_ROOT,
    )
    try:
        said, complaint = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode != 0:
        msg = f"ledger import: {complaint.decode(errors='replace').strip()[-500:]}"
        raise RuntimeError(msg)
    rows: int = json.loads(said)["appended"]["rows"]
    return rows


class Imports:
    """Files with ever new references, into one database."""

    def __init__(self, cluster: Cluster, rows: int) -> None:
        """`rows` are in the first file. Call `make` before measuring."""
        self._cluster = cluster
        self._first_rows = rows
        self._rows = 0

    async def make(self) -> None:
        """The empty ledger."""
        await self._cluster.create_migrated(DATABASE)

    def cell(self) -> Cell:
        """Rows a second of the file with which a shop moves in; to be measured once, as a ledger is empty once."""
        rows = self._first_rows
        return Cell(
            name=f"import of {rows:,} rows", measure=partial(self._measure, rows), target=Target(per_second=20_000)
        )

    def later_cell(self) -> Cell:
        """The same of files that find histories, ever longer ones."""
        rows = min(LATER_ROWS, self._first_rows)
        return Cell(name=f"import of {rows:,} rows into those accounts", measure=partial(self._measure, rows))

    async def _measure(self, rows: int, _seconds: float) -> Measured:
        file = self._cluster.root / "points.csv"
        write_file(file, rows, self._rows)
        self._rows += rows
        begin = time.monotonic()
        appended = await import_file(self._cluster, DATABASE, file)
        took = time.monotonic() - begin
        file.unlink()
        if appended != rows:
            msg = f"{appended} rows of {rows} were appended"
            raise RuntimeError(msg)
        return Measured(per_second=rows / took, p50_ms=0, p99_ms=0, commands=rows, seconds=took)
