"""What is waiting: commands in their queue, and under which key each is in flight.

A unit is what happens together: one command, or a group. Read next: `committer.py`, which takes from here.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Final

import structlog

from ledger.decision import Answer
from ledger.errors import DuplicateBatchKey, Overloaded, StoreUnavailable, Unavailable
from ledger.store.work import Countdown, Waiting, Work

PATIENCE: Final = 2
"""After so many conflicts a command is decided under the head lock, so that no process starves."""

Unit = Sequence[Work]

log = structlog.get_logger(__name__)


class Intake:
    """A bounded queue. Equal requests in flight share one outcome; a full queue refuses."""

    def __init__(self, queue_limit: int) -> None:
        """`queue_limit` counts commands."""
        self._queue_limit = queue_limit
        self._queue: deque[Unit] = deque()
        self._waiting = 0
        self._wake = asyncio.Event()
        self._in_flight: dict[str, Work] = {}
        self._closed = False
        self._settled = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def waiting(self) -> int:
        """Commands in the queue."""
        return self._waiting

    @property
    def is_starved(self) -> bool:
        """Whether the unit at the head of the queue has lost so often that it needs the head lock."""
        return self._queue[0][0].attempts >= PATIENCE

    async def submit(self, work: Work) -> Answer:
        """The command's outcome, once it is durable. Equal requests in flight share one; a refusal is raised."""
        while (first := self._in_flight.get(work.identity)) is not None:
            outcome = await _outcome_of(first)
            if first.fingerprint == work.fingerprint:
                if isinstance(outcome, Answer):
                    return Answer(outcome.status, outcome.data, outcome.position, replayed=True)
                raise outcome
            if isinstance(outcome, StoreUnavailable):
                raise outcome  # nobody knows when it is free
            # Another request under this key: if it was kept the store says so, if it was refused the key is free.
        self._check_room(1)
        work.future = future = self._create_future()
        self._enqueue((work,))
        return await future

    def submit_for(self, work: Work, waiting: Waiting) -> None:
        """As `submit`, but it is `waiting` that is told the outcome. Raises `Unavailable` if there is no room."""
        if work.identity in self._in_flight:
            following = asyncio.ensure_future(self.submit(work))
            following.add_done_callback(partial(_hand_over, waiting))
            return
        self._check_room(1)
        work.future = waiting
        self._enqueue((work,))

    async def submit_each(self, works: Sequence[Work]) -> list[Answer | BaseException]:
        """The outcomes of works that have nothing to do with each other, in order."""
        if not works:
            return []
        countdown = Countdown(len(works))
        in_flight, queue = self._in_flight, self._queue
        room = 0 if self._closed else self._queue_limit - self._waiting
        for work, slot in zip(works, countdown.slots, strict=True):
            if room > 0 and work.identity not in in_flight:
                room -= 1
                work.future = slot
                in_flight[work.identity] = work
                queue.append((work,))
                self._waiting += 1
                continue
            try:
                self.submit_for(work, slot)
            except Unavailable as refusal:
                slot.set_exception(refusal)
        self._wake.set()
        await countdown.done
        outcomes = [slot.outcome for slot in countdown.slots if slot.outcome is not None]
        countdown.slots.clear()  # no cycle stays behind for a collector that runs rarely
        return outcomes

    async def submit_group(self, works: Sequence[Work]) -> list[Answer | BaseException]:
        """The outcomes of works of one group, which happen all or none; `group.refusal` names the first refusal."""
        if not works:
            return []
        if len({work.identity for work in works}) < len(works):
            raise DuplicateBatchKey("A key stands twice in this batch.")
        while busy := [first for work in works if (first := self._in_flight.get(work.identity)) is not None]:
            if isinstance(outcome := await _outcome_of(busy[0]), StoreUnavailable):
                raise outcome
        self._check_room(len(works))
        futures = [self._create_future() for _ in works]
        for work, future in zip(works, futures, strict=True):
            work.future = future
        self._enqueue(works)
        return await asyncio.gather(*futures, return_exceptions=True)

    def _create_future(self) -> "asyncio.Future[Answer]":
        if self._loop is None:
            self._loop = asyncio.get_running_loop()  # kept: asking for it is a system call each time
        return self._loop.create_future()

    def _check_room(self, count: int) -> None:
        if self._closed:
            raise StoreUnavailable("This process takes no commands any more.")
        if self._waiting + count > self._queue_limit:
            raise Overloaded(f"{self._waiting} commands are waiting.")

    def _enqueue(self, unit: Unit) -> None:
        for work in unit:
            self._in_flight[work.identity] = work
        self._waiting += len(unit)
        self._queue.append(unit)
        self._wake.set()

    def _pop(self) -> Unit:
        unit = self._queue.popleft()
        self._waiting -= len(unit)
        return unit

    def _pop_some(self, most: int) -> list[Unit]:
        """The unit at the head of the queue, and as many behind it as make at most so many commands."""
        units: list[Unit] = []
        count = 0
        while self._queue and (not units or count + len(self._queue[0]) <= most):
            unit = self._pop()
            count += len(unit)
            units.append(unit)
        return units

    def _put_back(self, units: Sequence[Unit]) -> None:
        self._queue.extendleft(reversed(units))
        self._waiting += sum(map(len, units))

    def _tell_to_repeat(self) -> None:
        """Let nobody wait for a database that is away; what is not yet decided is let go, the rest goes on."""
        for work in self._in_flight.values():
            try:
                work.settle(StoreUnavailable("The database does not answer; repeat the request with the same key.", 5))
            except Exception:
                log.exception("somebody could not be told to repeat a request")
        for work in (work for unit in self._queue for work in unit):
            self._in_flight.pop(work.identity, None)
        self._queue.clear()
        self._waiting = 0

    def _settle(self, work: Work, outcome: Answer | BaseException) -> None:
        self._settled += 1
        if self._in_flight.get(work.identity) is work:
            del self._in_flight[work.identity]
        work.settle(outcome)


async def _outcome_of(work: Work) -> Answer | BaseException:
    """Wait for another request's outcome without being able to disturb it."""
    future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    work.followers = [*(work.followers or ()), future]
    try:
        return await future
    except Exception as error:  # a refusal, a rejection or a bug: it is the other request's, which may not be ours
        return error


def _hand_over(waiting: Waiting, following: "asyncio.Task[Answer]") -> None:
    error = following.exception()
    if error is None:
        waiting.set_result(following.result())
    else:
        waiting.set_exception(error)
