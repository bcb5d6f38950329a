"""The journal: how fast it is made from the log, and exported beside a bare COPY of the same rows.

The log is what `importing.py` has imported: two postings an event. Read next: `../projections/journal_export.py`.
"""

import resource
import time
from typing import Any, Final

import asyncpg

from benchmarks.cells import Cell, Target
from benchmarks.cluster import Cluster
from benchmarks.importing import DATABASE
from benchmarks.load import Measured
from projections.journal import JOURNAL
from projections.journal_export import JournalFilter, export_journal
from projections.projection import table_names
from projections.read_models import ReadModels
from projections.rebuild import rebuild

ROWS: Final = 1_000_000
BARE: Final = f"bare COPY of {ROWS:,} postings"


class JournalCells:
    """Made once, exported again and again."""

    def __init__(self, cluster: Cluster) -> None:
        """The log must be there when the first cell is measured."""
        self._cluster = cluster
        self._cut = 0
        self._rows = 0

    def cells(self) -> list[Cell]:
        """The first one makes what the others read."""
        return [
            Cell(name="journal from nothing", measure=self._make),
            Cell(name=BARE, measure=self._bare),
            Cell(name="journal export, csv", measure=self._csv, against=BARE, target=Target(ratio=0.5)),
            Cell(name="journal export, ndjson", measure=self._ndjson, against=BARE),
        ]

    def _pool(self) -> "asyncpg.pool.Pool[Any]":
        return asyncpg.create_pool(self._cluster.url(DATABASE), min_size=1, max_size=6)

    async def _make(self, _seconds: float) -> Measured:
        async with self._pool() as pool:
            begin = time.perf_counter()
            build = await rebuild(pool, JOURNAL)
            took = time.perf_counter() - begin
            head = await pool.fetchval("SELECT position FROM ledger.head WHERE shard = 0")
            table = table_names(JOURNAL, build)["main"]
            await pool.execute(f"VACUUM (ANALYZE) {table}")
            self._cut = await pool.fetchval(
                f"SELECT coalesce((SELECT position FROM {table} ORDER BY position, entry OFFSET $1 LIMIT 1), $2)",
                ROWS - 1,
                head,
            )
            self._rows = await pool.fetchval(f"SELECT count(*) FROM {table} WHERE position <= $1", self._cut)
        return Measured(per_second=head / took, p50_ms=0, p99_ms=0, commands=head, seconds=took, note="events")

    async def _bare(self, _seconds: float) -> Measured:
        async with self._pool() as pool, pool.acquire() as connection:
            table = table_names(
                JOURNAL, await pool.fetchval("SELECT build FROM read_models.active WHERE name = 'journal'")
            )
            size = 0

            async def take(data: bytes) -> None:
                nonlocal size
                size += len(data)

            begin = time.perf_counter()
            query = f"SELECT * FROM {table['main']} WHERE position <= $1"
            await connection.copy_from_query(query, self._cut, output=take)
            return self._measured(time.perf_counter() - begin, size)

    async def _csv(self, _seconds: float) -> Measured:
        return await self._export("csv")

    async def _ndjson(self, _seconds: float) -> Measured:
        return await self._export("ndjson")

    async def _export(self, format_: Any) -> Measured:
        async with self._pool() as pool:
            size = 0

            async def record(_cut: int) -> None:
                """What is appended once for a million rows is not what is measured."""

            begin = time.perf_counter()
            source = export_journal(ReadModels(pool), JournalFilter(), record, format_=format_, up_to=self._cut)
            async with source as stream:
                async for piece in stream.rows:
                    size += len(piece)
            return self._measured(time.perf_counter() - begin, size)

    def _measured(self, took: float, size: int) -> Measured:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        note = f"{size / 1e6:.0f} MB, at most {memory:.0f} MB of memory"
        return Measured(per_second=self._rows / took, p50_ms=0, p99_ms=0, commands=self._rows, seconds=took, note=note)
