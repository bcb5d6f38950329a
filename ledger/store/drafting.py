"""A flush on its way: being decided, with what it lacks being loaded, and then with its append under way.

Read next: `committer.py`, whose pipeline these go through.
"""

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from ledger.store.codec import category_of
from ledger.store.flush import Cold, Flush
from ledger.store.folding import folded
from ledger.store.intake import Unit
from ledger.store.port import AmbiguousAppendError, AppendBatch, Appended, RejectedAppendError, Tail

Behind = list[tuple[Unit, str | None]]
"""Units that wait for a stream to be loaded (named), and those behind them, which must not overtake."""


class Draft:
    """A flush being decided while another append is under way."""

    __slots__ = ("_asked", "_known", "_moved", "_on_the_way", "behind", "flush", "loading", "size", "units")

    def __init__(self, flush: Flush) -> None:
        self.flush = flush
        self.units: list[Unit] = []
        self.size = 0
        self.behind: Behind = []
        self.loading: asyncio.Future[tuple[int, dict[str, Tail]]] | None = None
        self._asked: set[str] = set()
        self._on_the_way: Sequence[str] = ()
        self._known = 0
        self._moved: set[str] = set()

    @property
    def is_decided(self) -> bool:
        """Whether all of it is: nothing is missing or on its way."""
        return not self.behind and self.loading is None

    def to_load(self) -> list[str]:
        """What may be loaded while another append is under way: what it lacks, and was not asked for in vain."""
        return [] if self.loading is not None else [s for s in missing_of(self.behind) if s not in self._asked]

    def load(self, streams: Sequence[str], known: int, loading: "asyncio.Future[tuple[int, dict[str, Tail]]]") -> None:
        """These streams are on their way, with all their events up to `known` at least."""
        self._asked.update(streams)
        self._on_the_way, self._known, self.loading = streams, known, loading

    def outlives(self, shaken: set[str] | None) -> bool:
        """As the flush; and what is still being loaded may have been read before it moved."""
        if shaken is not None:
            self._moved |= shaken
        return self.flush.outlives(shaken)

    def take_loaded(self) -> None:
        """The loading is done: decide what waited for it.

        Events later than what was loaded are those of the append under way, which has none in a stream that was not at
        hand, and those of other processes, which the append's outcome names. Such a stream is loaded again.
        """
        loading, self.loading = self.loading, None
        assert loading is not None, "nothing was being loaded"
        try:
            head, tails = loading.result()
        except (AmbiguousAppendError, RejectedAppendError):
            return  # asked again on the writing connection
        if head >= self._known:
            streams = [stream for stream in self._on_the_way if stream not in self._moved]
            self.behind = decide_behind(self.flush, self.behind, streams, tails)


class Sent(msgspec.Struct, frozen=True):
    """A flush whose append is under way."""

    flush: Flush
    units: list[Unit]
    batch: AppendBatch
    append: "asyncio.Future[Appended]"

    @property
    def writes(self) -> int:
        """How many events the head moves by, if all of it is good."""
        return sum([len(command.events) for command in self.batch.commands])

    @property
    def is_clean(self) -> bool:
        """Done, all of it good, and nobody else has appended: what was decided on top of it stands."""
        if self.append.exception() is not None:
            return False
        outcome = self.append.result()
        return not outcome.bad_units and outcome.moved is not None and not outcome.moved


def decide_in_order(flush: Flush, unit: Unit, behind: Behind) -> None:
    """Decide one unit; if it reads a stream that is not at hand, or one before it does, it stays behind."""
    if behind:
        # Commands keep their order: this one is only asked what it will be missing, so that one load serves all.
        behind.append((unit, flush.probe(unit)))
        return
    try:
        if unit[0].group is None:
            flush.decide(unit[0])
        else:
            flush.decide_group(unit)
    except Cold as missing:
        behind.append((unit, missing.stream))


def missing_of(behind: Behind) -> list[str]:
    """The streams that units wait for."""
    return sorted({missing for _, missing in behind if missing is not None})


def with_schemas(streams: Sequence[str]) -> list[tuple[str, int]]:
    """What a store is asked for: each stream with the schema of its snapshots."""
    return [(stream, category_of(stream).schema) for stream in streams]


def decide_behind(flush: Flush, behind: Behind, streams: Sequence[str], tails: Mapping[str, Tail]) -> Behind:
    """Take these streams as they were loaded, and decide what waited; what still waits, for another stream."""
    flush.take({stream: folded(stream, tails.get(stream)) for stream in streams})
    still: Behind = []
    for unit, _ in behind:
        decide_in_order(flush, unit, still)
    return still
