"""Group commit: whatever is waiting goes into one append, decided in order on cached state, behind the head's fence.

The invariant: every cached stream holds all its events up to `known`, one number a process. An append says which
streams moved since; commands that read one of them are decided again. Nothing is answered before it is committed,
refusals included, and nothing is decided twice while its append's outcome is unknown.
Read next: `flush.py` for the deciding, `concluding.py` for what becomes of an append, `port.py` for what the store answers.
"""

import asyncio
from typing import Any, Final

import structlog

from ledger.errors import StoreUnavailable
from ledger.store.concluding import Concluding
from ledger.store.drafting import Draft, Sent, decide_in_order, with_schemas
from ledger.store.flush import Flush
from ledger.store.intake import PATIENCE
from ledger.store.port import AmbiguousAppendError, RejectedAppendError, Store
from ledger.store.work import Group, Work

__all__ = ["Committer", "Group", "Work"]

LOCKED_AT_MOST: Final = 64
"""Commands decided under one hold of the head lock: all other processes wait meanwhile."""
STOP_SECONDS: Final = 12.0

log = structlog.get_logger(__name__)


class Committer(Concluding):
    """One per process: one queue, one flusher, at most two appends under way."""

    def __init__(
        self,
        store: Store,
        *,
        batch_limit: int = 256,
        small_batch: int = 16,
        queue_limit: int = 10_000,
        cache_limit: int = 400_000,
    ) -> None:
        """Limits count commands a batch, commands waiting, and streams kept folded in memory.

        `small_batch` commands are not worth splitting: an append costs as much as ten of them by itself.
        """
        super().__init__(store, queue_limit=queue_limit, cache_limit=cache_limit)
        self._batch_limit = batch_limit
        self._small_batch = small_batch
        self._flusher: asyncio.Task[None] | None = None
        self._broken: BaseException | None = None
        self.sent_ahead = 0

    async def start(self) -> "Committer":
        """Read the head and begin to flush."""
        self._known = await self._store.head()
        self._client_patience.begin()
        self._flusher = asyncio.create_task(self._run(), name="committer")
        return self

    async def stop(self) -> None:
        """Flush what is waiting, then end. New commands are refused meanwhile."""
        self._closed = True
        self._wake.set()
        if self._flusher is not None:
            await asyncio.wait([self._flusher], timeout=STOP_SECONDS)
            self._flusher.cancel()  # the database is away: whoever still waits repeats with the same key
            await asyncio.wait([self._flusher])

    @property
    def broken(self) -> BaseException | None:
        """What stopped the flusher for good, if anything did."""
        return self._broken

    async def ended(self) -> None:
        """Return when the flusher has ended, told to or not (`broken`)."""
        if self._flusher is not None:
            await asyncio.wait([self._flusher])

    async def _run(self) -> None:
        try:
            await self._pipeline()
        except BaseException as error:
            if not isinstance(error, asyncio.CancelledError):
                log.critical("the committer stops", error=repr(error))
            self._broken = error
            self._closed = True
            self._cache.clear()
            self._answer()
            for work in [*self._in_flight.values()]:
                self._settle(work, StoreUnavailable("This process has stopped taking commands."))
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            self._client_patience.end()

    async def _pipeline(self) -> None:
        """While one append is under way, the next one is decided on top of it, as if it were confirmed already.

        Once it holds half of all there is, it is sent as well (`second`), and waits in the database: it is good only
        directly behind the one under way, if all of that one was.
        """
        sent: Sent | None = None
        second: Sent | None = None
        draft: Draft | None = None
        while True:
            # Cleared before looking: whatever arrives from here on sets it again.
            self._wake.clear()
            self._put_back_lost()
            if sent is not None and sent.append.done():
                if second is not None:
                    sent, second = await self._conclude_first(sent, second), None
                    continue
                if (following := await self._follow(sent, draft)) is not None:
                    await self._concluded(sent)
                    sent, draft = following, None
                    self._answer()
                    continue
                shaken = await self._concluded(sent)
                sent = None
                if draft is not None and not draft.outlives(shaken):
                    self._put_back(draft.units)
                    draft = None
                continue
            if second is not None:  # nothing is decided on top of two
                await self._wake.wait()
                continue
            if draft is not None and draft.loading is not None and draft.loading.done():
                draft.take_loaded()
            if self._queue and not self.is_starved:
                if draft is None:
                    draft = Draft(Flush(self._cache, None if sent is None else sent.flush.written))
                self._fill(draft)
            if sent is None and draft is not None:
                sent, draft = await self._send(draft), None
                await asyncio.sleep(0)  # the append begins to run here: some of those who are told work at once
                self._answer()
                continue
            self._answer()
            if sent is not None and draft is not None and self._may_go_ahead(draft, sent):
                self.sent_ahead += 1
                second, draft = self._set_going(draft, sent.batch.known + sent.writes, sent.batch.token), None
                await asyncio.sleep(0)
            elif sent is not None:
                self._load_meanwhile(draft)
                await self._wake.wait()
            elif self._queue:
                if self.is_starved:
                    await self._flush_alone(self._pop_some(LOCKED_AT_MOST))
                # Or whoever was told just now has asked for more at once: it is decided as any other, in the next turn.
            elif self._closed:
                return
            else:
                await self._wake.wait()

    def _may_go_ahead(self, draft: Draft, sent: Sent) -> bool:
        """Whether the draft is sent before the append under way is done: not while it may grow, nor among others."""
        if self._crowded or not draft.is_decided or draft.size < self._portion() or sent.append.done():
            return False
        return sent.writes > 0  # without events it leaves no trace to follow

    async def _conclude_first(self, sent: Sent, second: Sent) -> Sent | None:
        """Conclude the first of two that are under way; the other if it still is."""
        if sent.is_clean:
            await self._concluded(sent)
            self._answer()
            return second
        # What the second was decided on is not so: it comes to nothing, or was committed before an answer got lost. It is
        # waited for, as whatever mends the first takes the connection, and as its commands go behind those of the first.
        heard = sent.append.exception() is None
        if heard:
            await self._concluded(sent)
            self._answer()
        await asyncio.wait([second.append])
        if not heard:
            await self._concluded(sent)
            self._answer()
        crowded = self._crowded
        if self._lost and isinstance(second.append.exception(), RejectedAppendError):
            self._lost += second.units
        else:
            await self._concluded(second)
        self._crowded = crowded  # out of turn for the first one's sake, which says nothing of others
        return None

    def _portion(self) -> int:
        """How many commands make an append: half of all that are in the process, so that two appends take turns."""
        return min(self._batch_limit, max(self._small_batch, (len(self._in_flight) + 1) // 2))

    def _fill(self, draft: Draft) -> None:
        """Decide what is waiting, up to the portion; the rest is decided while that is written."""
        room = self._portion() - draft.size
        queue, flush, units, behind = self._queue, draft.flush, draft.units, draft.behind
        size = draft.size
        while queue:
            unit = queue[0]
            count = len(unit)
            if unit[0].attempts >= PATIENCE or (count > room and size):
                break
            queue.popleft()
            room -= count
            size += count
            units.append(unit)
            decide_in_order(flush, unit, behind)
        self._waiting -= size - draft.size
        draft.size = size

    async def _send(self, draft: Draft) -> Sent | None:
        """Load what the draft lacks, and set its append going; None if it had to be put back."""
        if draft.behind:
            self._answer()  # what the append before has confirmed does not wait for a load
        if draft.loading is not None:
            await asyncio.wait([draft.loading])
            draft.take_loaded()
        try:
            await self._warm(draft.flush, draft.behind, self._store)
        except AmbiguousAppendError:
            # It broke while loading: nothing was sent, so everything may be decided again.
            await self._store.reconnect()
            self._put_back(draft.units)
            return None
        except RejectedAppendError as error:
            await self._halve(draft.units, error)
            return None
        return self._set_going(draft, self._known)

    def _set_going(self, draft: Draft, known: int, after: int | None = None) -> Sent:
        batch = draft.flush.batch(known, after)
        append = asyncio.ensure_future(self._store.append(batch))
        append.add_done_callback(self._come_back)
        return Sent(draft.flush, draft.units, batch, append)

    async def _follow(self, sent: Sent, draft: Draft | None) -> Sent | None:
        """Set the next append going before anything is made of the last one's outcome, where that changes nothing.

        All of it was good and nobody else has appended: what was decided on top of it stands. The database begins at
        once, and not after a third of the time it takes for an append.
        """
        if draft is None or not draft.is_decided or not sent.is_clean:
            return None
        following = self._set_going(draft, sent.append.result().head)
        await asyncio.sleep(0)  # the append begins to run here
        return following

    def _load_meanwhile(self, draft: Draft | None) -> None:
        """Load what the draft lacks beside the append under way, so that the one does not wait for the other."""
        if draft is not None and (streams := draft.to_load()):
            loading = asyncio.ensure_future(self._store.load_beside(with_schemas(streams)))
            loading.add_done_callback(self._come_back)
            draft.load(streams, self._known, loading)

    def _come_back(self, done: "asyncio.Future[Any]") -> None:
        self._wake.set()
        if not done.cancelled():
            done.exception()  # looked at, also where nobody waits for it any more
