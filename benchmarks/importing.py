"""The import: `ledger import` of a CSV file, from the command's start to its end, checks and totals included.

Each round imports a new file into the same database; what the rounds have imported is the log the projector then
catches up. Read next: `catching_up.py`.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Final

from benchmarks import load
from benchmarks.cells import Cell, Target
from benchmarks.cluster import SEEDED, Cluster
from benchmarks.load import Measured

DATABASE: Final = "imported"
ROWS: Final = 200_000
ROUNDS: Final = 5
"""So many files make the million events that the projector catches up."""
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

    def __init__(self, cluster: Cluster) -> None:
        """Call `make` before measuring."""
        self._cluster = cluster
        self._rows = 0

    async def make(self) -> None:
        """The database, with all accounts open."""
        await self._cluster.create(DATABASE, template=SEEDED)

    def cell(self) -> Cell:
        """Rows a second."""
        return Cell(name=f"import of {ROWS:,} rows", measure=self._measure, target=Target(per_second=20_000))

    async def _measure(self, _seconds: float) -> Measured:
        file = self._cluster.root / "points.csv"
        write_file(file, ROWS, self._rows)
        self._rows += ROWS
        begin = time.monotonic()
        appended = await import_file(self._cluster, DATABASE, file)
        took = time.monotonic() - begin
        file.unlink()
        if appended != ROWS:
            msg = f"{appended} rows of {ROWS} were appended"
            raise RuntimeError(msg)
        return Measured(per_second=ROWS / took, p50_ms=0, p99_ms=0, commands=ROWS, seconds=took)
