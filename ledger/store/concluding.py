"""What becomes of an append: merged and told, sent again where nobody answered, and the lost decided again.

Read next: `committer.py`, which sends them, and `settling.py` for what each command is told.
"""

from collections.abc import Sequence
from typing import Final

import structlog

from ledger.store.cache import StreamCache
from ledger.store.drafting import Behind, Sent, decide_behind, decide_in_order, missing_of, with_schemas
from ledger.store.flush import Flush
from ledger.store.intake import Intake, Unit
from ledger.store.patience import ClientPatience, Resending
from ledger.store.port import AmbiguousAppendError, AppendBatch, Appended, Appender, RejectedAppendError, Store
from ledger.store.settling import Outcome, outcomes_of
from ledger.store.work import Work

CROWDED_APPENDS: Final = 64
"""After another process has appended, so many appends wait until the one before is done."""

log = structlog.get_logger(__name__)


class Concluding(Intake):
    """The half of a committer that takes notice of the store's answers."""

    def __init__(self, store: Store, *, queue_limit: int, cache_limit: int) -> None:
        """Limits count commands waiting, and streams kept folded in memory."""
        super().__init__(queue_limit)
        self._store = store
        self._resending = Resending(store)
        self._client_patience = ClientPatience(self._progress, self._tell_to_repeat)
        self._cache = StreamCache(cache_limit)
        self._known = 0
        self._lost: list[Unit] = []
        self._crowded = 0
        self._outcomes: list[tuple[Work, Outcome]] = []
        self.flushes = 0
        self.commands = 0
        self.conflicts = 0

    @property
    def known(self) -> int:
        """The position up to which this process has taken notice of the log."""
        return self._known

    @property
    def resent(self) -> int:
        """Appends that had to be sent again, as their answer was not heard."""
        return self._resending.count

    def _progress(self) -> int | None:
        """Another number after each append and each rejection; None while nobody waits."""
        return self.flushes + self._settled if self._in_flight else None

    async def _concluded(self, sent: Sent) -> set[str] | None:
        """Merge and take down what was sent; the streams on which nothing may have been decided since (None: any)."""
        resent = False
        try:
            try:
                outcome = sent.append.result()
            except AmbiguousAppendError:
                outcome = await self._resending.resend(sent.batch)
                resent = True
        except RejectedAppendError as error:
            await self._halve(sent.units, error)
            return None
        self._crowded = max(0, self._crowded - 1)
        if sent.batch.after is not None and outcome.moved is None:
            # Out of turn: nothing of it is to be merged, and what others have done is still to be asked for.
            self._crowded = CROWDED_APPENDS
            self._take_down(sent.flush, outcome, sent.units, sent.batch.known if resent else None)
            return None
        if outcome.moved is None or outcome.moved:
            self._crowded = CROWDED_APPENDS
        return self._conclude(sent.flush, outcome, sent.units, sent.batch.known, resent=resent)

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
            known = self._known
            flush, outcome, resent = await self._attempt_locked(units)
        except RejectedAppendError as error:
            await self._halve(units, error)
        else:
            self._conclude(flush, outcome, units, known, resent=resent)
            self._answer()

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
                    return flush, await self._resending.resend(batch), True
                await self._store.reconnect()
            except RejectedAppendError:
                await self._store.reconnect()
                raise
            else:
                return flush, outcome, False

    async def _warm(self, flush: Flush, behind: Behind, appender: Appender) -> None:
        """Load the streams that units were missing, and decide those; again while they miss another."""
        while behind:
            streams = missing_of(behind)
            head, tails = await appender.load(with_schemas(streams))
            if head < self._known:
                # By another server than the one that appends, after a failover; or the log is shorter than it was, and
                # then the append says so.
                await self._store.append(AppendBatch(self._known, (), ()))
                raise AmbiguousAppendError("a load from before what this process knows")
            behind = decide_behind(flush, behind, streams, tails)

    def _conclude(
        self, flush: Flush, outcome: Appended, units: Sequence[Unit], known: int, *, resent: bool
    ) -> set[str] | None:
        """Merge, take down what the good units are answered, note as lost what must be decided again.

        Returns as `Flush.merge` does. `known` is what the append was told this process knows.
        """
        shaken = flush.merge(outcome, self._cache)
        if resent or known != self._known:
            # Sent again, or behind one that was: who knows what came between.
            self._cache.clear()
            shaken = None
        self._known = max(self._known, outcome.head)
        self._take_down(flush, outcome, units, known if resent else None)
        return shaken

    def _take_down(self, flush: Flush, outcome: Appended, units: Sequence[Unit], resent_after: int | None) -> None:
        self.flushes += 1
        self.commands += len(flush.decided)
        told, lost = outcomes_of(flush, outcome, resent_after)
        self._outcomes += told
        if lost:
            self.conflicts += len(lost)
            groups = {unit[0].group: unit for unit in units if unit[0].group is not None}
            again = {id(work.group or work): groups[work.group] if work.group else (work,) for work in lost}
            self._lost += again.values()

    def _put_back_lost(self) -> None:
        """Let them be decided again, in front of the queue: they are older."""
        if self._lost:
            self._put_back(self._lost)
            self._lost = []

    def _answer(self) -> None:
        """Tell what was concluded: after the next append has gone out, so that the database has work meanwhile.

        Whoever is told runs at once, and the commands that come of it took longer than the append to set going.
        """
        outcomes, self._outcomes = self._outcomes, []
        in_flight = self._in_flight
        for work, outcome in outcomes:
            if in_flight.get(work.identity) is work:
                del in_flight[work.identity]
            work.settle(outcome)
