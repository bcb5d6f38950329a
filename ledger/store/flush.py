"""One flush: commands decided in order on an overlay of the cache, and the batch that comes of it.

No I/O here: a stream that is not at hand raises `Cold`, and the committer loads it. Read next: `committer.py`.
"""

from collections.abc import Mapping, Sequence
from random import getrandbits
from typing import Any

import msgspec

from ledger.audit.chain import event_hash
from ledger.decision import Answer, Decision
from ledger.errors import LedgerError
from ledger.store.cache import Entry, Layer, StreamCache
from ledger.store.codec import TAG_OF, encode
from ledger.store.port import ALL_UNITS, AppendBatch, Appended, Claim, Command, NewEvent, Read
from ledger.store.work import Work, digest_of, stored_answer

Line = tuple[str, Any, str, bytes]
"""An event on its way into the log: its stream, the event, its tag and its bytes."""


class Cold(Exception):
    """A decision reads a stream that is not in memory."""

    def __init__(self, stream: str) -> None:
        """Name it."""
        super().__init__(stream)
        self.stream = stream


class Decided(msgspec.Struct):
    """What became of one work in this flush: a decision with its events, or a refusal.

    `reads` are the streams its outcome depends on.
    """

    work: Work
    reads: Sequence[str]
    decision: Decision | None = None
    claims: Sequence[Claim] = ()
    answer: bytes | None = None
    events: Sequence[NewEvent] = ()
    error: BaseException | None = None


class Flush:
    """The overlay, and everything decided on it. Also the `View` a decision reads through."""

    def __init__(self, cache: StreamCache | None, below: Mapping[str, Entry] | None = None) -> None:
        """`cache` is only read here; None (under the head lock) means that everything is loaded.

        `below` is what the append under way has written: decided upon as if it were confirmed already.
        """
        self._cache = cache
        self._below = below
        self._loaded: dict[str, Entry] = {}
        # The first entry seen of each stream. Kept, as the cache may turn over in the middle of a decision. Of a stream that
        # was written since it may be the entry that was written, with its version then.
        self._base: dict[str, Entry] = {}
        self._claimed: dict[tuple[str, str], int] = {}
        self._claim_links: list[tuple[int, int]] = []
        self._reads: list[str] = []
        # What the command being decided has been told is taken.
        self._taken: set[tuple[str, str]] | None = None
        self.written: dict[str, Entry] = {}
        self.decided: list[Decided] = []
        self._unit: list[int] = []

    # the View

    def read(self, stream: str) -> Any:
        """The state of the stream with what this flush has decided so far. Raises `Cold`."""
        return self._entry(stream).state

    def version(self, stream: str) -> int:
        """Version of the stream with what this flush has decided so far. Raises `Cold`."""
        return self._entry(stream).version

    def is_taken(self, scope: str, value: str) -> bool:
        """Taken when it was decided before, or by an earlier command of this flush: then the two share a unit."""
        fact = (scope, value)
        if self._taken is not None and fact in self._taken:
            return True
        first = self._claimed.get(fact)
        if first is None:
            return False
        self._claim_links.append((first, len(self.decided)))
        return True

    def _entry(self, stream: str) -> Entry:
        entry = self.written.get(stream) or self._base.get(stream)
        if entry is None:
            entry = self._find(stream)
            if entry is None:
                raise Cold(stream)
            self._base[stream] = entry
        self._reads.append(stream)
        return entry

    def _has(self, stream: str) -> bool:
        return (
            stream in self.written
            or stream in self._base
            or stream in self._loaded
            or (self._below is not None and stream in self._below)
            or (self._cache is not None and self._cache.has(stream))
        )

    def _find(self, stream: str) -> Entry | None:
        entry = self._loaded.get(stream)
        if entry is None and self._below is not None:
            entry = self._below.get(stream)
        if entry is None and self._cache is not None:
            entry = self._cache.get(stream)
        return entry

    def take(self, loaded: Mapping[str, Entry]) -> None:
        """Streams that were loaded, as of `known` or later. Kept here too: a small cache may drop them at once."""
        self._loaded.update(loaded)

    # deciding

    def decide(self, work: Work) -> Decided:
        """Decide one work on the overlay. Raises `Cold`, having changed nothing."""
        self._reads = []
        self._taken = work.taken
        try:
            if work.known is not None:
                # Its key turned out to be used; only its neighbours in the group are decided again.
                return self._known(work, work.known)
            decision = work.decide(self)
            # What cannot be written down is found before the overlay is touched.
            answer = stored_answer(decision.status, decision.data)
            lines: list[Line] = []
            for stream, events in decision.writes:
                if stream not in self._reads:
                    self._entry(stream)
                for event in events:
                    lines.append((stream, event, TAG_OF[type(event)], encode(event)))  # noqa: PERF401  # one frame less
            claims = self._claims(work, decision)
        except Cold:
            raise
        except Exception as error:  # a refusal or a bug: either is this command's outcome, not the flush's
            if isinstance(error, LedgerError):
                error.__traceback__ = None  # it leads here, to this flush: a circle that only a collector would undo
            elif isinstance(error, StopIteration):
                error = RuntimeError(f"a decision ended early: {error!r}")  # no future takes the other: it would end it
            decided = Decided(work, self._reads, error=error)
        else:
            decided = Decided(work, self._reads, decision, claims, answer, self._write(lines, work.metadata))
        self.decided.append(decided)
        return decided

    def probe(self, works: Sequence[Work]) -> str | None:
        """Which stream these works are missing, if any; decided for that alone, and forgotten."""
        if len(works) == 1 and works[0].needs is not None:
            return next((stream for stream in works[0].needs if not self._has(stream)), None)
        written, claimed, decided, links = self.written, dict(self._claimed), len(self.decided), len(self._claim_links)
        self.written = Layer(written)
        try:
            for work in works:
                self.decide(work)
        except Cold as missing:
            return missing.stream
        finally:
            self.written, self._claimed = written, claimed
            del self.decided[decided:], self._claim_links[links:]
        return None

    def _known(self, work: Work, meaning: Answer | LedgerError) -> Decided:
        decided = Decided(work, (), error=meaning if isinstance(meaning, LedgerError) else None)
        self.decided.append(decided)
        return decided

    def decide_group(self, works: Sequence[Work]) -> None:
        """Decide works that happen all or none; a refusal takes back what the ones before it wrote."""
        saved, self.written = self.written, Layer(self.written)
        claimed = dict(self._claimed)
        begin = len(self.decided)
        try:
            for index, work in enumerate(works):
                decided = self.decide(work)
                if decided.error is not None:
                    self._refuse_group(works, begin, index, decided.error)
                    self.written, self._claimed = saved, claimed
                    return
        except Cold:
            del self.decided[begin:]
            self.written, self._claimed = saved, claimed
            raise
        saved.update(self.written)
        self.written = saved
        group = works[0].group
        if group is not None:
            group.refusal = None

    def _refuse_group(self, works: Sequence[Work], begin: int, index: int, error: BaseException) -> None:
        reads = [stream for decided in self.decided[begin:] for stream in decided.reads]
        del self.decided[begin:]
        group = works[0].group
        if group is not None and isinstance(error, LedgerError):
            group.refusal = (index, error)
        for work in works:
            self.decided.append(Decided(work, reads, error=error))

    def _claims(self, work: Work, decision: Decision) -> Sequence[Claim]:
        if not decision.claims:
            return ()
        claims = []
        claimed = self._claimed
        for claim in decision.claims:
            fact = (claim.scope, claim.value)
            if work.taken is not None and fact in work.taken:
                raise claim.refusal()
            first = claimed.get(fact)
            if first is not None:
                # Refused only if the first one really gets it: the two share a unit.
                self._claim_links.append((first, len(self.decided)))
                raise claim.refusal()
            claims.append(Claim(claim.scope, claim.value, digest_of(claim.scope, claim.value)))
        index = len(self.decided)
        for made in claims:
            claimed[made.scope, made.value] = index
        return claims

    def _write(self, lines: Sequence[Line], metadata: bytes) -> Sequence[NewEvent]:
        new: list[NewEvent] = []
        for stream, event, tag, data in lines:
            entry = dict.get(self.written, stream)  # of this layer alone, not of one below it
            if entry is None:
                # The overlay's own entry: copied once a flush, not once an event, and only if it is anybody else's too.
                # What a group writes may be taken back, so its own entries are copies.
                entry = self.written.get(stream) or self._base[stream]
                if entry.is_shared or type(self.written) is Layer:
                    category = entry.category
                    entry = Entry(entry.version, entry.hash, category.copy(entry.state), category)
                entry.is_shared = True  # what is decided on top of this flush reads it
                self.written[stream] = entry
            entry.version = version = entry.version + 1
            entry.hash = hashed = event_hash(entry.hash, stream, version, tag, metadata, data)
            entry.state = entry.category.evolve(entry.state, event)
            new.append(NewEvent(stream, version, tag, metadata, data, hashed))
        return new

    # the batch

    def batch(self, known: int, after: int | None = None) -> AppendBatch:
        """Everything decided, in units: commands connected where one touches a stream that another writes.

        `after` is the token of the append it was decided on, if that one is still under way.
        """
        units = self._unit = self._connected()
        commands = []
        written = self.written
        reader: dict[str, int] = {}
        for unit, decided in zip(units, self.decided, strict=True):
            work, decision = decided.work, decided.decision
            if work.known is not None:
                # Known to be used: looked up again it would condemn its unit for ever. No key is empty.
                commands.append(Command(unit, "", "", 0, b"", None))
                continue
            commands.append(
                Command(
                    unit,
                    work.caller,
                    work.key,
                    work.digest,
                    work.fingerprint,
                    decided.answer,
                    decided.events,
                    decided.claims,
                    None if decision is None else decision.directory,
                )
            )
            for stream in decided.reads:
                # What several units read and none writes (the programme) is named once: if it moved, all decide again.
                # What is written, the store knows by its events.
                if stream not in written and reader.setdefault(stream, unit) != unit:
                    reader[stream] = ALL_UNITS
        base = self._base
        reads = [Read(stream, base[stream].version, unit) for stream, unit in reader.items()]
        return AppendBatch(known, commands, reads, getrandbits(63), after)

    def _connected(self) -> list[int]:
        unit = list(range(len(self.decided)))

        def root(index: int) -> int:
            while unit[index] != index:
                unit[index] = unit[unit[index]]
                index = unit[index]
            return index

        owner: dict[str, int] = {}
        groups: dict[object, int] = {}
        written = self.written
        joined = bool(self._claim_links)
        for index, decided in enumerate(self.decided):
            for stream in decided.reads:
                if stream in written and (first := owner.setdefault(stream, index)) != index:
                    unit[root(index)] = root(first)
                    joined = True
            if decided.work.group is not None:
                joined = True
                unit[root(index)] = root(groups.setdefault(decided.work.group, index))
        for first, second in self._claim_links:
            if second < len(unit):
                unit[root(second)] = root(first)
        return [root(index) for index in range(len(unit))] if joined else unit

    def unit_of(self, index: int) -> int:
        """The unit of the command at that index, once `batch` has made them."""
        return self._unit[index]

    def merge(self, outcome: Appended, cache: StreamCache) -> set[str] | None:
        """Put into the cache what was loaded and what the store confirmed; drop what it says has moved.

        Returns the streams on which nothing may have been decided meanwhile, None if that is every stream.
        """
        for stream, entry in self._loaded.items():
            cache.put(stream, entry)
        if outcome.moved is None:
            cache.clear()
        else:
            for stream in outcome.moved:
                cache.drop(stream)
        # What a bad unit wrote stays out; what the cache has of its streams is as good as it was, unless it moved.
        refused: set[str] = set()
        if outcome.bad_units:
            for index, decided in enumerate(self.decided):
                if self._unit[index] in outcome.bad_units:
                    refused.update(decided.reads)
        for stream, entry in self.written.items():
            if stream not in refused:
                cache.put(stream, entry)
        return None if outcome.moved is None else refused.union(outcome.moved)

    def outlives(self, shaken: set[str] | None) -> bool:
        """The append below is concluded: does what was decided here hold? Not if it has read a shaken stream.

        From now on the cache alone counts: what the append below wrote in vain must not be read any more.
        """
        self._below = None
        if shaken is None or not shaken.isdisjoint(self._base):
            return False
        for stream in shaken:
            self._loaded.pop(stream, None)  # loaded beside the append below, perhaps before it moved
        return True
