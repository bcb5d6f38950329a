"""Group commit: whatever is waiting goes into one append, decided in order on cached state, behind the head's fence.

The invariant: every cached stream holds all its events up to `known`, one number a process. An append says which
streams moved since; commands that read one of them are decided again. Nothing is answered before it is committed,
refusals included, and nothing is decided twice while its append's outcome is unknown.
Read next: `flush.py` for the deciding, `port.py` for what the store answers.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Final, TypeVar

import structlog

from ledger.errors import StoreUnavailable
from ledger.store.cache import StreamCache
from ledger.store.drafting import Behind, Draft, Sent, decide_behind, decide_in_order, missing_of, with_schemas
from ledger.store.flush import Flush
from ledger.store.intake import PATIENCE, Intake, Unit
from ledger.store.port import (
    AmbiguousAppendError,
    AppendBatch,
    Appended,
    Appender,
    RejectedAppendError,
    Store,
)
from ledger.store.settling import Outcome, outcomes_of
from ledger.store.work import Group, Work

__all__ = ["Committer", "Group", "Work"]

LOCKED_AT_MOST: Final = 64
"""Commands decided under one hold of the head lock: all other processes wait meanwhile."""
SMALL_BATCH: Final = 16
"""So many commands are not worth splitting: an append costs as much as ten of them by itself."""
RESEND_PAUSE_SECONDS: Final = 0.05
CLIENT_PATIENCE_SECONDS: Final = 10.0
STOP_SECONDS: Final = 12.0

T = TypeVar("T")
log = structlog.get_logger(__name__)


class Committer(Intake):
    """One per process: one queue, one flusher, one writing connection."""

    def __init__(
        self, store: Store, *, batch_limit: int = 256, queue_limit: int = 10_000, cache_limit: int = 400_000
    ) -> None:
        """Limits count commands a batch, commands waiting, and streams kept folded in memory."""
        super().__init__(queue_limit)
        self._store = store
        self._cache = StreamCache(cache_limit)
        self._batch_limit = batch_limit
        self._known = 0
        self._lost: list[Unit] = []
        self._outcomes: list[tuple[Work, Outcome]] = []
        self._flusher: asyncio.Task[None] | None = None
        self._broken: BaseException | None = None
        self.flushes = 0
        self.commands = 0
        self.conflicts = 0
        self.resent = 0

    async def start(self) -> "Committer":
        """Read the head and begin to flush."""
        self._known = await self._store.head()
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
    def known(self) -> int:
        """The position up to which this process has taken notice of the log."""
        return self._known

    @property
    def broken(self) -> BaseException | None:
        """What stopped the flusher for good, if anything did."""
        return self._broken

    # flushing

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

    async def _pipeline(self) -> None:
        """While one append is under way, the next one is decided on top of it, as if it were confirmed already."""
        sent: Sent | None = None
        draft: Draft | None = None
        while True:
            # Cleared before looking: whatever arrives from here on sets it again.
            self._wake.clear()
            if sent is not None and sent.append.done():
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
                self._put_back(self._lost)  # in front: they are older
                self._lost = []
            if draft is not None and draft.loading is not None and draft.loading.done():
                draft.take_loaded()
            if self._queue and not self.is_starved:
                if draft is None:
                    draft = Draft(Flush(self._cache, None if sent is None else sent.flush.written))
                self._fill(draft, idle=sent is None)
            if sent is None and draft is not None:
                sent, draft = await self._send(draft), None
                await asyncio.sleep(0)  # the append begins to run here: some of those who are told work at once
                self._answer()
                continue
            self._answer()
            if sent is not None:
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

    def _fill(self, draft: Draft, *, idle: bool) -> None:
        """Decide what is waiting, up to the limit. On an idle pipeline only half: the rest is decided meanwhile."""
        room = self._batch_limit - draft.size
        if idle:
            room = min(room, max(SMALL_BATCH, (self._waiting + 1) // 2))
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
            await self._patiently(self._store.reconnect())
            self._put_back(draft.units)
            return None
        except RejectedAppendError as error:
            await self._halve(draft.units, error)
            return None
        return self._set_going(draft, self._known)

    def _set_going(self, draft: Draft, known: int) -> Sent:
        batch = draft.flush.batch(known)
        append = asyncio.ensure_future(self._store.append(batch))
        append.add_done_callback(lambda _: self._wake.set())
        return Sent(draft.flush, draft.units, batch, append)

    async def _follow(self, sent: Sent, draft: Draft | None) -> Sent | None:
        """Set the next append going before anything is made of the last one's outcome, where that changes nothing.

        All of it was good and nobody else has appended: what was decided on top of it stands. The database begins at
        once, and not after a third of the time it takes for an append.
        """
        if draft is None or not draft.is_decided or sent.append.exception() is not None:
            return None
        outcome = sent.append.result()
        if outcome.bad_units or outcome.moved is None or outcome.moved:
            return None
        following = self._set_going(draft, outcome.head)
        await asyncio.sleep(0)  # the append begins to run here
        return following

    def _load_meanwhile(self, draft: Draft | None) -> None:
        """Load what the draft lacks beside the append under way, so that the one does not wait for the other."""
        if draft is not None and (streams := draft.to_load()):
            loading = asyncio.ensure_future(self._store.load_beside(with_schemas(streams)))
            loading.add_done_callback(self._loaded)
            draft.load(streams, self._known, loading)

    def _loaded(self, loading: "asyncio.Future[Any]") -> None:
        self._wake.set()
        if not loading.cancelled():
            loading.exception()  # looked at, also where nobody waits for it any more

    async def _concluded(self, sent: Sent) -> set[str] | None:
        """Merge and answer what was sent; the streams on which nothing may have been decided since (None: any)."""
        try:
            outcome = sent.append.result()
        except AmbiguousAppendError:
            outcome = await self._patiently(self._resend(sent.batch))
            self._conclude(sent.flush, outcome, sent.units, resent=True)
            return None
        except RejectedAppendError as error:
            await self._halve(sent.units, error)
            return None
        return self._conclude(sent.flush, outcome, sent.units, resent=False)

    async def _halve(self, units: list[Unit], error: RejectedAppendError) -> None:
        """Content the database rejects is found by halving and answered alone."""
        self._cache.clear()
        if len(units) == 1:
            log.error("the database rejects a command", error=str(error))
            for work in units[0]:
                self._settle(work, error)
            return
        half = len(units) // 2
        await self._flush_alone(units[:half])
        await self._flush_alone(units[half:])

    async def _flush_alone(self, units: list[Unit]) -> None:
        """Decide and append these units under the head lock, with nothing else under way."""
        try:
            flush, outcome, resent = await self._attempt_locked(units)
        except RejectedAppendError as error:
            await self._halve(units, error)
        else:
            self._conclude(flush, outcome, units, resent=resent)
            self._answer()
            self._put_back(self._lost)
            self._lost = []

    async def _attempt_locked(self, units: list[Unit]) -> tuple[Flush, Appended, bool]:
        """Load, decide and append under the head lock: nothing can move meanwhile."""
        while True:
            flush = Flush(None)
            batch: AppendBatch | None = None
            try:
                async with self._store.locked() as appender:
                    behind: Behind = []
                    for unit in units:
                        decide_in_order(flush, unit, behind)
                    await self._warm(flush, behind, appender)
                    batch = flush.batch(self._known)
                    outcome = await appender.append(batch)
            except AmbiguousAppendError:
                if batch is not None:
                    return flush, await self._patiently(self._resend(batch)), True
                await self._patiently(self._store.reconnect())
            except RejectedAppendError:
                await self._patiently(self._store.reconnect())
                raise
            else:
                return flush, outcome, False

    async def _resend(self, batch: AppendBatch) -> Appended:
        """The same bytes again until the database answers; nothing is decided anew before it does."""
        while True:
            self.resent += 1
            await self._store.reconnect()
            try:
                return await self._store.append(batch)
            except AmbiguousAppendError as error:
                log.warning("append without an answer", error=str(error))
                await asyncio.sleep(RESEND_PAUSE_SECONDS)

    async def _patiently(self, waiting: Coroutine[Any, Any, T]) -> T:
        """Await the database, but let no client wait for ever: after a while they are told to repeat with their key."""
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle

        def tell() -> None:
            nonlocal timer
            self._tell_to_repeat()
            timer = loop.call_later(1.0, tell)

        timer = loop.call_later(CLIENT_PATIENCE_SECONDS, tell)
        try:
            return await waiting
        finally:
            timer.cancel()

    async def _warm(self, flush: Flush, behind: Behind, appender: Appender) -> None:
        """Load the streams that units were missing, and decide those; again while they miss another."""
        while behind:
            streams = missing_of(behind)
            _, tails = await appender.load(with_schemas(streams))
            behind = decide_behind(flush, behind, streams, tails)

    # concluding

    def _conclude(self, flush: Flush, outcome: Appended, units: Sequence[Unit], *, resent: bool) -> set[str] | None:
        """Merge, take down what the good units are answered, note as lost what must be decided again.

        Returns as `Flush.merge` does.
        """
        shaken = flush.merge(outcome, self._cache)
        if resent:
            self._cache.clear()
        known, self._known = self._known, outcome.head
        self.flushes += 1
        self.commands += len(flush.decided)
        told, lost = outcomes_of(flush, outcome, known if resent else None)
        self._outcomes += told
        if lost:
            self.conflicts += len(lost)
            groups = {unit[0].group: unit for unit in units if unit[0].group is not None}
            again = {id(work.group or work): groups[work.group] if work.group else (work,) for work in lost}
            self._lost += again.values()
        return None if resent else shaken

    def _answer(self) -> None:
        """Tell what was concluded: after the next append has gone out, so that the database has work meanwhile.

        Whoever is told runs at once, and the commands that come of it took longer than the append to set going.
        """
        outcomes, self._outcomes = self._outcomes, []
        for work, outcome in outcomes:
            self._settle(work, outcome)
