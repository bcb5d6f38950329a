"""Group commit: whatever is waiting goes into one append, decided in order on cached state, behind the head's fence.

The invariant: every cached stream holds all its events up to `known`, one number a process. An append says which
streams moved since; commands that read one of them are decided again. Nothing is answered before it is committed,
refusals included, and nothing is decided twice while its append's outcome is unknown.
Read next: `flush.py` for the deciding, `port.py` for what the store answers.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any, Final, TypeVar

import msgspec
import structlog

from ledger.audit.chain import GENESIS
from ledger.decision import Answer
from ledger.errors import (
    CorruptionError,
    DuplicateBatchKey,
    IdempotencyKeyReused,
    LedgerError,
    Overloaded,
    StoreUnavailable,
    Unavailable,
)
from ledger.store.cache import Entry, StreamCache
from ledger.store.codec import category_of, decode
from ledger.store.flush import Cold, Decided, Flush
from ledger.store.port import (
    AmbiguousAppendError,
    AppendBatch,
    Appended,
    Appender,
    Kept,
    RejectedAppendError,
    Store,
    Tail,
)
from ledger.store.work import Group, Work, replayed_answer, stamped

__all__ = ["Committer", "Group", "Work"]

PATIENCE: Final = 2
"""After so many conflicts a command is decided under the head lock, so that no process starves."""
LOCKED_AT_MOST: Final = 64
"""Commands decided under one hold of the head lock: all other processes wait meanwhile."""
SMALL_BATCH: Final = 16
"""So many commands are not worth splitting: an append costs as much as ten of them by itself."""
RESEND_PAUSE_SECONDS: Final = 0.05
CLIENT_PATIENCE_SECONDS: Final = 10.0

T = TypeVar("T")
log = structlog.get_logger(__name__)


class Committer:
    """One per process: one queue, one flusher, one writing connection."""

    def __init__(
        self, store: Store, *, batch_limit: int = 512, queue_limit: int = 10_000, cache_limit: int = 400_000
    ) -> None:
        """Limits count commands a batch, commands waiting, and streams kept folded in memory."""
        self._store = store
        self._cache = StreamCache(cache_limit)
        self._batch_limit = batch_limit
        self._queue_limit = queue_limit
        self._queue: deque[Sequence[Work]] = deque()
        self._waiting = 0
        self._wake = asyncio.Event()
        self._in_flight: dict[tuple[str, str], Work] = {}
        self._known = 0
        self._flusher: asyncio.Task[None] | None = None
        self._stopping = False
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
        self._stopping = True
        self._wake.set()
        if self._flusher is not None:
            await asyncio.wait([self._flusher])

    @property
    def known(self) -> int:
        """The position up to which this process has taken notice of the log."""
        return self._known

    @property
    def waiting(self) -> int:
        """Commands in the queue."""
        return self._waiting

    @property
    def broken(self) -> BaseException | None:
        """What stopped the flusher for good, if anything did."""
        return self._broken

    # taking commands

    async def submit(self, work: Work) -> Answer:
        """The command's outcome, once it is durable. Equal requests in flight share one; a refusal is raised."""
        while (first := self._in_flight.get((work.caller, work.key))) is not None:
            outcome = await _outcome_of(first)
            if first.fingerprint == work.fingerprint:
                if isinstance(outcome, Answer):
                    return Answer(outcome.status, outcome.data, outcome.position, replayed=True)
                raise outcome
            # Another request under this key: if it was kept the store says so, if it was refused the key is free.
        return await self._admit((work,))[0]

    async def submit_each(self, works: Sequence[Work]) -> list[Answer | BaseException]:
        """The outcomes of works that have nothing to do with each other, in order."""
        waiting: list[asyncio.Future[Answer]] = []
        for work in works:
            if (work.caller, work.key) in self._in_flight:
                waiting.append(asyncio.ensure_future(self.submit(work)))
                continue
            try:
                waiting += self._admit((work,))
            except Unavailable as refusal:
                refused: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
                refused.set_exception(refusal)
                waiting.append(refused)
        return await asyncio.gather(*waiting, return_exceptions=True)

    async def submit_group(self, works: Sequence[Work]) -> list[Answer | BaseException]:
        """The outcomes of works of one group, which happen all or none; `group.refusal` names the first refusal."""
        if len({(work.caller, work.key) for work in works}) < len(works):
            raise DuplicateBatchKey("A key stands twice in this batch.")
        while busy := [first for work in works if (first := self._in_flight.get((work.caller, work.key))) is not None]:
            await _outcome_of(busy[0])
        return await asyncio.gather(*self._admit(works), return_exceptions=True)

    def _admit(self, works: Sequence[Work]) -> "list[asyncio.Future[Answer]]":
        if self._broken is not None or self._stopping:
            raise StoreUnavailable("This process takes no commands any more.")
        if self._waiting + len(works) > self._queue_limit:
            raise Overloaded(f"{self._waiting} commands are waiting.")
        create_future = asyncio.get_running_loop().create_future
        futures = []
        for work in works:
            work.future = create_future()
            futures.append(work.future)
            self._in_flight[work.caller, work.key] = work
        self._waiting += len(works)
        self._queue.append(works)
        self._wake.set()
        return futures

    # flushing

    async def _run(self) -> None:
        try:
            await self._pipeline()
        except BaseException as error:
            if not isinstance(error, asyncio.CancelledError):
                log.critical("the committer stops", error=repr(error))
            self._broken = error
            self._cache.clear()
            for work in [*self._in_flight.values()]:
                self._settle(work, StoreUnavailable("This process has stopped taking commands."))
            raise

    async def _pipeline(self) -> None:
        """While one append is under way, the next one is decided on top of it, as if it were confirmed already."""
        sent: _Sent | None = None
        draft: _Draft | None = None
        while True:
            # Cleared before looking: whatever arrives from here on sets it again.
            self._wake.clear()
            if sent is not None and sent.append.done():
                shaken = await self._concluded(sent)
                sent = None
                if draft is not None and not draft.flush.outlives(shaken):
                    self._put_back(draft.units)
                    draft = None
            if self._queue and not self._is_starved():
                if draft is None:
                    draft = _Draft(Flush(self._cache, None if sent is None else sent.flush.written))
                self._fill(draft, idle=sent is None)
            if sent is not None:
                await self._wake.wait()
            elif draft is not None:
                sent, draft = await self._send(draft), None
            elif self._queue:
                await self._flush_alone(self._take())
            elif self._stopping:
                return
            else:
                await self._wake.wait()

    def _is_starved(self) -> bool:
        return self._queue[0][0].attempts >= PATIENCE

    def _fill(self, draft: "_Draft", *, idle: bool) -> None:
        """Decide what is waiting, up to the limit. On an idle pipeline only half: the rest is decided meanwhile."""
        room = self._batch_limit - draft.size
        if idle:
            room = min(room, max(SMALL_BATCH, (self._waiting + 1) // 2))
        while self._queue and not self._is_starved() and (len(self._queue[0]) <= room or draft.size == 0):
            unit = self._queue.popleft()
            room -= len(unit)
            draft.size += len(unit)
            self._waiting -= len(unit)
            draft.units.append(unit)
            missing = _decide(draft.flush, unit)
            if missing is not None:
                draft.cold.append((unit, missing))

    async def _send(self, draft: "_Draft") -> "_Sent | None":
        """Load what the draft lacks, and set its append going; None if it had to be put back."""
        try:
            await self._warm(draft.flush, draft.cold, self._store)
        except AmbiguousAppendError:
            # It broke while loading: nothing was sent, so everything may be decided again.
            await self._patiently(self._store.reconnect())
            self._put_back(draft.units)
            return None
        except RejectedAppendError as error:
            await self._halve(draft.units, error)
            return None
        batch = draft.flush.batch(self._known)
        append = asyncio.ensure_future(self._store.append(batch))
        append.add_done_callback(lambda _: self._wake.set())
        return _Sent(draft.flush, draft.units, batch, append)

    async def _concluded(self, sent: "_Sent") -> set[str] | None:
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

    def _put_back(self, units: Sequence[Sequence[Work]]) -> None:
        self._queue.extendleft(reversed(units))
        self._waiting += sum(map(len, units))

    def _take(self) -> list[Sequence[Work]]:
        """The starved units at the head of the queue and what is behind them, few enough to decide under the lock."""
        units: list[Sequence[Work]] = []
        count = 0
        while self._queue and (not units or count + len(self._queue[0]) <= LOCKED_AT_MOST):
            unit = self._queue.popleft()
            count += len(unit)
            units.append(unit)
        self._waiting -= count
        return units

    async def _halve(self, units: list[Sequence[Work]], error: RejectedAppendError) -> None:
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

    async def _flush_alone(self, units: list[Sequence[Work]]) -> None:
        """Decide and append these units under the head lock, with nothing else under way."""
        try:
            flush, outcome, resent = await self._attempt_locked(units)
        except RejectedAppendError as error:
            await self._halve(units, error)
        else:
            self._conclude(flush, outcome, units, resent=resent)

    async def _attempt_locked(self, units: list[Sequence[Work]]) -> tuple[Flush, Appended, bool]:
        """Load, decide and append under the head lock: nothing can move meanwhile."""
        while True:
            flush = Flush(None)
            batch: AppendBatch | None = None
            try:
                async with self._store.locked() as appender:
                    cold = [(unit, missing) for unit in units if (missing := _decide(flush, unit)) is not None]
                    await self._warm(flush, cold, appender)
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
            for work in self._in_flight.values():  # sent, being decided on top of that, or in the queue
                work.settle(StoreUnavailable("The database does not answer; repeat the request with the same key.", 5))
            for work in (work for unit in self._queue for work in unit):
                self._in_flight.pop((work.caller, work.key), None)
            self._queue.clear()
            self._waiting = 0
            timer = loop.call_later(1.0, tell)

        timer = loop.call_later(CLIENT_PATIENCE_SECONDS, tell)
        try:
            return await waiting
        finally:
            timer.cancel()

    async def _warm(self, flush: Flush, cold: Sequence[tuple[Sequence[Work], str]], appender: Appender) -> None:
        """Load the streams that units were missing, and decide those; again while they miss another."""
        while cold:
            wanted = [(stream, category_of(stream).schema) for stream in sorted({stream for _, stream in cold})]
            _, tails = await appender.load(wanted)
            flush.take({stream: folded(stream, tails.get(stream)) for stream, _ in wanted})
            cold = [(unit, missing) for unit, _ in cold if (missing := _decide(flush, unit)) is not None]

    # concluding

    def _conclude(
        self, flush: Flush, outcome: Appended, units: Sequence[Sequence[Work]], *, resent: bool
    ) -> set[str] | None:
        """Merge, answer the good units, put back what must be decided again. Returns as `Flush.merge` does."""
        shaken = flush.merge(outcome, self._cache)
        if resent:
            self._cache.clear()
        groups = {unit[0].group: unit for unit in units if unit[0].group is not None}
        known, self._known = self._known, outcome.head
        self.flushes += 1
        self.commands += len(flush.decided)
        kept = {found.index: found for found in outcome.kept}
        for index, claim in outcome.taken:
            _take_note(flush.decided[index], claim)
        again: dict[int, Sequence[Work]] = {}
        position = outcome.head_before
        for index, decided in enumerate(flush.decided):
            work = decided.work
            if flush.unit_of(index) not in outcome.bad_units:
                first = position + 1
                position += len(decided.events)
                self._settle(work, _answer(decided, first, position, outcome))
                continue
            if (found := kept.get(index)) is not None:
                # An append of our own that was sent twice finds its own keys, later than all it knew of: that is the
                # first answer, not a replay.
                work.known = _meaning(work, found, replayed=not resent or found.first_position <= known)
                if work.group is None:
                    self._settle(work, work.known)
                    continue
            work.attempts += 1
            self.conflicts += 1
            if work.group is None:
                again[id(work)] = (work,)
            else:
                again[id(work.group)] = groups[work.group]
        self._put_back([*again.values()])
        return None if resent else shaken

    def _settle(self, work: Work, outcome: Answer | BaseException) -> None:
        if self._in_flight.get((work.caller, work.key)) is work:
            del self._in_flight[work.caller, work.key]
        work.settle(outcome)


class _Draft:
    """A flush being decided while another append is under way."""

    __slots__ = ("cold", "flush", "size", "units")

    def __init__(self, flush: Flush) -> None:
        self.flush = flush
        self.units: list[Sequence[Work]] = []
        self.size = 0
        self.cold: list[tuple[Sequence[Work], str]] = []


class _Sent(msgspec.Struct, frozen=True):
    """A flush whose append is under way."""

    flush: Flush
    units: list[Sequence[Work]]
    batch: AppendBatch
    append: "asyncio.Future[Appended]"


def _decide(flush: Flush, unit: Sequence[Work]) -> str | None:
    """Decide one unit; the stream it is missing, if it reads one that is not at hand."""
    try:
        if unit[0].group is None:
            flush.decide(unit[0])
        else:
            flush.decide_group(unit)
    except Cold as missing:
        return missing.stream
    return None


def folded(stream: str, tail: Tail | None) -> Entry:
    """The stream's state: snapshot and the events after it, checked to follow each other without gap."""
    category = category_of(stream)
    if tail is None:
        return Entry(0, GENESIS, category.initial())
    version, last_hash = tail.snapshot_version, tail.snapshot_hash or GENESIS
    state = category.initial() if tail.snapshot_state is None else category.decode_state(tail.snapshot_state)
    for actual, tag, data, event_hash in tail.events:
        version += 1
        if actual != version:
            msg = f"{stream} has version {actual} where {version} belongs"
            raise CorruptionError(msg)
        state = category.evolve(state, decode(tag, data))
        last_hash = event_hash
    return Entry(version, last_hash, state)


def _take_note(decided: Decided, claim_index: int) -> None:
    claim = decided.claims[claim_index]
    work = decided.work
    work.taken = {*(work.taken or ()), (claim.scope, claim.value)}


def _meaning(work: Work, found: Kept, *, replayed: bool) -> Answer | LedgerError:
    """What a key that was used before means for this request."""
    if found.fingerprint != work.fingerprint:
        return IdempotencyKeyReused(f"The key {work.key} was used with another request.")
    return replayed_answer(found, replayed=replayed)


def _answer(decided: Decided, first: int, last: int, outcome: Appended) -> Answer | BaseException:
    if decided.error is not None:
        return decided.error
    if decided.decision is None:
        assert decided.work.known is not None, "a work without a decision is one whose key was known"
        return decided.work.known
    decision = decided.decision
    return Answer(decision.status, stamped(decision.data, first, outcome.recorded_at), last, replayed=False)


async def _outcome_of(work: Work) -> Answer | BaseException:
    """Wait for another request's outcome without being able to disturb it."""
    future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    work.followers = [*(work.followers or ()), future]
    try:
        return await future
    except Exception as error:  # a refusal, a rejection or a bug: it is the other request's, which may not be ours
        return error
