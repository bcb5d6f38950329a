"""Submitting thousands of commands at once: one thing to wait for instead of a task and a future for each.

They go through the committer's queue, keys, claims and fence like any other command. Read next: `committer.py`.
"""

import asyncio
from collections.abc import Sequence

from ledger.decision import Answer, Decide, Origin
from ledger.errors import Overloaded, StoreUnavailable
from ledger.store.committer import Committer
from ledger.store.work import Work


class BulkWork(Work):
    """A command of a bulk. It remembers its outcome and counts itself off."""

    __slots__ = ("bulk", "outcome")

    def __init__(self, origin: Origin, decide: Decide) -> None:
        """As `Work`."""
        super().__init__(origin, decide)
        self.outcome: Answer | BaseException | None = None
        self.bulk: Bulk | None = None

    def settle(self, outcome: Answer | BaseException) -> None:
        """Keep the first outcome; whoever follows this command is told too."""
        if self.bulk is not None:
            self.outcome = outcome
            self.bulk.settled()
            # No cycle stays behind: a bulk is worth a million objects, and the collector may be switched off.
            self.bulk = None
        if self.followers:
            super().settle(outcome)


class Bulk:
    """Commands that wait together; each has an outcome of its own."""

    __slots__ = ("_done", "_left", "works")

    def __init__(self, works: Sequence[BulkWork]) -> None:
        """Inside the running loop."""
        self.works = works
        self._left = len(works)
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for work in works:
            work.bulk = self
        if not works:
            self._done.set_result(None)

    def settled(self) -> None:
        """One more has its outcome."""
        self._left -= 1
        if self._left == 0 and not self._done.done():
            self._done.set_result(None)

    async def outcomes(self) -> list[Answer | BaseException]:
        """All outcomes in order, once the last is there."""
        await asyncio.shield(self._done)
        return [work.outcome for work in self.works if work.outcome is not None]


class BulkCommitter(Committer):
    """A committer that also takes bulks."""

    def submit_bulk(self, works: Sequence[BulkWork]) -> Bulk:
        """Queue all of them, in order. The caller sees to it that no key is under way twice."""
        if self._closed:
            raise StoreUnavailable("This process takes no commands any more.")
        if self._waiting + len(works) > self._queue_limit:
            raise Overloaded(f"{self._waiting} commands are waiting.")
        bulk = Bulk(works)
        for work in works:
            self._in_flight[work.identity] = work
            self._queue.append((work,))
        self._waiting += len(works)
        self._wake.set()
        return bulk
