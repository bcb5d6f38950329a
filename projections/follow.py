"""The pipeline: while one page is written, the next is folded and the one after it is read.

All given builds advance in the same transactions, each from where it is: the pages start at the lowest of them and an
event goes only to builds behind it. Imports `ledger` and asyncpg only. Read next: `runner.py`, `rebuild.py`.
"""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Final, TypeAlias

import msgspec

from projections.advance import Lost, fold_politely, is_transient, isolate_and_park, write
from projections.builds import Build, load_builds, page_transaction
from projections.log import LogPage, read_page
from projections.projection import Connection, Page, Pool, Projection

LIVE_PAGE: Final = 2000
BULK_PAGE: Final = 10_000
LARGEST_PAGE: Final = 20_000
"""Pages grow while the log is far ahead: a member's row that changes ten times in a page is written once."""

AfterPage: TypeAlias = Callable[[int, float], Awaitable[None]]
"""Called with the position reached and the seconds the flush took; what it awaits throttles."""


class Metrics(msgspec.Struct):
    """Counters others may read, since the process began. Seconds are of wall time."""

    pages: int = 0
    events: int = 0
    fold_seconds: float = 0.0
    flush_seconds: float = 0.0
    checkpoints_lost: int = 0
    poisoned: int = 0
    errors: int = 0
    position: int = 0


class _QuietCollector:
    """Spares the garbage collector the millions of rows that come and go while catching up: they hold no cycles.

    It took a third of the time. Still collects, at every few hundred thousand objects.
    """

    _calm = 0
    _before = (0, 0, 0)

    def __init__(self) -> None:
        self._mine = False

    def calm(self) -> None:
        """From here on; a second time changes nothing."""
        if not self._mine:
            self._mine = True
            if _QuietCollector._calm == 0:
                _QuietCollector._before = gc.get_threshold()
                gc.set_threshold(300_000, 20, 100)
            _QuietCollector._calm += 1

    def restore(self) -> None:
        """As before, when the last one is done."""
        if self._mine:
            self._mine = False
            _QuietCollector._calm -= 1
            if _QuietCollector._calm == 0:
                gc.set_threshold(*_QuietCollector._before)


class Pipeline:
    """Drives builds along the log. Holds no state between runs but its counters."""

    def __init__(self, pool: Pool, *, page_size: int = LIVE_PAGE, metrics: Metrics | None = None) -> None:
        """The pool must have two connections to spare."""
        self._pool = pool
        self._page_size = page_size
        self._grows = page_size >= LIVE_PAGE  # a smaller one was asked for on purpose
        self.metrics = metrics or Metrics()
        self.stopping = False

    async def drain(self, projections: Sequence[Projection]) -> int:
        """Advance all following builds to the end of the log; answers the highest position seen."""
        while True:
            async with self._pool.acquire() as connection:
                builds = await load_builds(connection, projections, "following")
            if await self.run(builds) or self.stopping:
                return max((build.position for build in builds), default=0)

    async def run(
        self, builds: Sequence[Build], *, up_to: int | None = None, after_page: AfterPage | None = None
    ) -> bool:
        """Advance these builds to the end of the log, or to `up_to`. False: load them again, something has changed."""
        if not builds:
            return True
        async with self._pool.acquire() as reader, self._pool.acquire() as writer:
            metadata = any(build.projection.reads_metadata for build in builds)
            collector = _QuietCollector()
            size = self._page_size
            flush: asyncio.Task[bool] | None = None
            reading: asyncio.Task[LogPage] | None = None
            try:
                page = await self._read(reader, min(build.position for build in builds), size, up_to, metadata)
                while page.events:
                    full = len(page.events) == size
                    reading = None
                    if full:
                        collector.calm()
                        size = max(size, min(2 * size, LARGEST_PAGE)) if self._grows else size
                        reading = asyncio.create_task(self._read(reader, page.up_to, size, up_to, metadata))
                    folded, poisoned = await self._fold(builds, page)
                    if flush is not None and not await flush:
                        return False
                    flush = asyncio.create_task(self._write(writer, folded, poisoned, page, after_page))
                    if reading is None or self.stopping:
                        break
                    page = await reading
                return flush is None or await flush
            finally:
                collector.restore()
                await _settle(reading, flush)

    async def _read(self, reader: Connection, after: int, size: int, up_to: int | None, metadata: bool) -> LogPage:
        end = after + size
        return await read_page(reader, after, end if up_to is None else min(end, up_to), metadata=metadata)

    async def _fold(self, builds: Sequence[Build], page: LogPage) -> tuple[list[tuple[Build, Page]], list[Build]]:
        folded = []
        poisoned = []
        for build in builds:
            if build.position >= page.up_to:
                continue
            started = perf_counter()
            try:
                folded.append((build, await fold_politely(build, page)))
            except Exception:  # whatever a fold raises, the other builds go on; which event it was is found below
                poisoned.append(build)
            self.metrics.fold_seconds += perf_counter() - started
        return folded, poisoned

    async def _write(
        self,
        writer: Connection,
        folded: Sequence[tuple[Build, Page]],
        poisoned: list[Build],
        page: LogPage,
        after_page: AfterPage | None,
    ) -> bool:
        """All builds in one transaction; those that could not be written then one by one. False: load them again."""
        started = perf_counter()
        written = []
        lost = 0
        async with page_transaction(writer, plan_anew=len(page.events) >= self._page_size):
            for build, rows in folded:
                try:
                    await write(writer, build, rows, page.up_to)
                except Lost:
                    lost += 1
                except Exception as error:
                    if is_transient(error):
                        raise
                    poisoned.append(build)
                else:
                    written.append(build)
        for build in written:
            build.position = page.up_to
        seconds = perf_counter() - started
        self.metrics.pages += 1
        self.metrics.events += len(page.events)
        self.metrics.flush_seconds += seconds
        self.metrics.position = page.up_to
        self.metrics.checkpoints_lost += lost
        for build in poisoned:
            self.metrics.poisoned += 1
            try:
                await isolate_and_park(writer, build, page)
            except Lost:
                self.metrics.checkpoints_lost += 1
        if after_page is not None:
            await after_page(page.up_to, seconds)
        return not lost and not poisoned


async def _settle(*tasks: "asyncio.Task[bool] | asyncio.Task[LogPage] | None") -> None:
    """Let a connection go back to the pool only when nothing uses it any more."""
    for task in tasks:
        if task is not None and not task.done():
            task.cancel()
    await asyncio.gather(*(task for task in tasks if task is not None), return_exceptions=True)
