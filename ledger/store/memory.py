"""A store in memory that does what `ledger.append` does: fence, keys, claims, units, moved streams, the head lock.

For tests and property machines, where several committers share one as several processes share a database. The same
contract suite runs against both. Imports the port only. Read next: `append.py`, which is the one that lasts.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from ledger.store.port import (
    ALL_UNITS,
    AppendBatch,
    Appended,
    Command,
    DirectoryRow,
    Kept,
    Recorded,
    RejectedAppendError,
    StoreRewoundError,
    Tail,
)

NAMED_AT_MOST: Final = 2000
"""So many positions may lie between a process and the head for the moved streams to be named."""
LARGEST_VERSION: Final = 2**31 - 1

Network = Callable[[str], Awaitable[None]]
"""Awaited around each call with "<call> sent" and "<call> done". Raising `AmbiguousAppendError` loses the message:
at "append sent" before it was heard, at "append done" after it was committed."""


class Snapshot(msgspec.Struct, frozen=True):
    """A row of the snapshots table."""

    version: int
    position: int
    state_schema: int
    state: bytes
    last_hash: bytes


async def _let_others_run(_moment: str) -> None:
    """What a quick network does: others get a turn."""
    await asyncio.sleep(0)


class _Log:
    """What is committed. Copied whole by whoever holds the head lock, so that a block that fails leaves nothing."""

    def __init__(self) -> None:
        self.events: list[Recorded] = []
        self.streams: dict[str, list[Recorded]] = {}
        self.versions: set[tuple[str, int]] = set()
        self.commands: dict[tuple[int, str, str], Kept] = {}
        self.claims: dict[tuple[int, str, str], int] = {}
        self.directory: dict[str, DirectoryRow] = {}
        self.recorded_at = datetime.min.replace(tzinfo=UTC)
        self.token: int | None = None

    def copy(self) -> "_Log":
        draft = _Log()
        draft.events = self.events.copy()
        draft.streams = {stream: events.copy() for stream, events in self.streams.items()}
        draft.versions = self.versions.copy()
        draft.commands = self.commands.copy()
        draft.claims = self.claims.copy()
        draft.directory = self.directory.copy()
        draft.recorded_at = self.recorded_at
        draft.token = self.token
        return draft

    def append(self, batch: AppendBatch, now: datetime) -> Appended:
        """The body of the SQL function, in its order: arguments, head, keys, claims, fence, inserts."""
        _check_arguments(batch)
        head_before = len(self.events)
        if batch.after is None and head_before < batch.known:
            raise StoreRewoundError(f"rewound: the head is at {head_before}, this process has read up to {batch.known}")
        commands = batch.commands
        kept = [
            msgspec.structs.replace(found, index=index, events=self._events_of(found))
            for index, command in enumerate(commands)
            if (found := self.commands.get((command.digest, command.caller, command.key))) is not None
        ]
        taken = [
            (index, k)
            for index, command in enumerate(commands)
            for k, claim in enumerate(command.claims)
            if (claim.digest, claim.scope, claim.value) in self.claims
        ]
        since = self.events[batch.known :]
        newest: dict[str, int] = {}
        for event in since:
            newest[event.stream] = max(event.version, newest.get(event.stream, event.version))
        bad = {commands[found.index].unit for found in kept} | {commands[index].unit for index, _ in taken}
        bad |= {read.unit for read in batch.reads if newest.get(read.stream, read.version) > read.version}
        bad |= {c.unit for c in commands for e in c.events if newest.get(e.stream, -1) >= e.version}
        out_of_turn = batch.after is not None and (self.token, head_before) != (batch.after, batch.known)
        if ALL_UNITS in bad or out_of_turn:
            bad = {command.unit for command in commands}
        good = [command for command in commands if command.unit not in bad]
        self._check_versions(good)
        recorded_at = max(now, self.recorded_at + timedelta(microseconds=1))
        self._insert(good, recorded_at)
        if len(self.events) > head_before:
            self.token = batch.token if head_before == batch.known and not bad else None
        return Appended(
            head_before,
            len(self.events),
            recorded_at,
            frozenset(bad),
            kept,
            taken,
            None if out_of_turn or len(since) > NAMED_AT_MOST else [*newest],
        )

    def _events_of(self, found: Kept) -> list[tuple[str, bytes]]:
        if not found.needs_events:
            return []
        return [(event.type, event.data) for event in self.events[found.first_position - 1 : found.last_position]]

    def _check_versions(self, commands: Sequence[Command]) -> None:
        """The unique index on (stream, version): an alarm, as the fence comes first."""
        new = [(event.stream, event.version) for command in commands for event in command.events]
        if len(set(new)) < len(new) or not self.versions.isdisjoint(new):
            raise RejectedAppendError("duplicate key value violates the unique index on stream and version")

    def _insert(self, commands: Sequence[Command], recorded_at: datetime) -> None:
        position = len(self.events)
        for command in commands:
            first = position + 1
            for e in command.events:
                position += 1
                event = Recorded(position, e.stream, e.version, e.type, recorded_at, e.metadata, e.data, e.hash)
                self.events.append(event)
                self.streams.setdefault(e.stream, []).append(event)
                self.versions.add((e.stream, e.version))
            if command.answer is not None:
                self.commands[command.digest, command.caller, command.key] = Kept(
                    0, command.fingerprint, command.answer, first, position, recorded_at
                )
            if command.directory is not None:
                self.directory[command.directory.user_id] = command.directory
        for command in commands:
            for claim in command.claims:
                self.claims[claim.digest, claim.scope, claim.value] = position
        if any(command.events for command in commands):
            self.recorded_at = recorded_at

    def load(self, streams: Sequence[tuple[str, int]], snapshots: dict[str, Snapshot]) -> tuple[int, dict[str, Tail]]:
        tails = {}
        for stream, schema in streams:
            snapshot = snapshots.get(stream)
            if snapshot is None or snapshot.state_schema != schema:
                snapshot = None
            version, position = (snapshot.version, snapshot.position) if snapshot is not None else (0, 0)
            later = [e for e in self.streams.get(stream, ()) if e.version > version and e.position > position]
            if later or snapshot is not None:
                state, last_hash = (snapshot.state, snapshot.last_hash) if snapshot is not None else (None, None)
                events = [(e.version, e.type, e.data) for e in later]
                tails[stream] = Tail(stream, version, state, later[-1].hash if later else last_hash, events)
        return len(self.events), tails


class _Draft:
    """The appender of whoever holds the head lock: it sees its own writes, nobody else does before the block ends."""

    def __init__(self, log: _Log, store: "MemoryStore") -> None:
        self._log = log
        self._store = store

    async def load(self, streams: Sequence[tuple[str, int]]) -> tuple[int, dict[str, Tail]]:
        await self._store.network("load sent")
        _check_texts([stream for stream, _ in streams])
        return self._log.load(streams, self._store.snapshots)

    async def append(self, batch: AppendBatch) -> Appended:
        await self._store.network("append sent")
        return self._log.append(batch, self._store.clock())


class MemoryStore:
    """A `Store` for as long as the process lives. All who are given it share one log."""

    def __init__(
        self, *, network: Network = _let_others_run, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """`network` decides when others run and what gets lost; `clock` is the database's."""
        self.network = network
        self.clock = clock
        self.snapshots: dict[str, Snapshot] = {}
        self._log = _Log()
        self._head_lock = asyncio.Lock()

    @property
    def directory(self) -> dict[str, DirectoryRow]:
        """Names and avatars."""
        return self._log.directory

    async def load(self, streams: Sequence[tuple[str, int]]) -> tuple[int, dict[str, Tail]]:
        """As the port says."""
        await self.network("load sent")
        _check_texts([stream for stream, _ in streams])
        loaded = self._log.load(streams, self.snapshots)
        await self.network("load done")
        return loaded

    async def load_beside(self, streams: Sequence[tuple[str, int]]) -> tuple[int, dict[str, Tail]]:
        """As the port says."""
        return await self.load(streams)

    async def append(self, batch: AppendBatch) -> Appended:
        """As the port says."""
        await self.network("append sent")
        async with self._head_lock:
            outcome = self._log.append(batch, self.clock())
        await self.network("append done")
        return outcome

    def locked(self) -> AbstractAsyncContextManager[_Draft]:
        """As the port says."""
        return self._locked()

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[_Draft]:
        await self.network("lock sent")
        async with self._head_lock:
            draft = self._log.copy()
            yield _Draft(draft, self)
            await self.network("commit sent")
            self._log = draft
        await self.network("commit done")

    async def head(self) -> int:
        """As the port says."""
        return len(self._log.events)

    async def read(self, after: int, limit: int) -> Sequence[Recorded]:
        """As the port says."""
        return self._log.events[max(after, 0) : max(after, 0) + limit]

    async def read_stream(self, stream: str, after_version: int = 0, limit: int = 1000) -> Sequence[Recorded]:
        """As the port says."""
        return [event for event in self._log.streams.get(stream, ()) if event.version > after_version][:limit]

    async def reconnect(self) -> None:
        """As the port says."""
        await self.network("reconnect sent")

    async def close(self) -> None:
        """Nothing to let go of."""


def _check_arguments(batch: AppendBatch) -> None:
    """What PostgreSQL cannot store in a text or an integer column it refuses, whichever unit it belongs to."""
    texts: list[str | None] = [read.stream for read in batch.reads]
    for command in batch.commands:
        texts += (command.caller, command.key)
        texts += [text for claim in command.claims for text in (claim.scope, claim.value)]
        texts += [text for event in command.events for text in (event.stream, event.type)]
        if command.directory is not None:
            texts += (command.directory.user_id, command.directory.name, command.directory.avatar)
        if any(event.version > LARGEST_VERSION for event in command.events):
            raise RejectedAppendError("value out of int32 range")
    _check_texts(texts)


def _check_texts(texts: Sequence[str | None]) -> None:
    for text in texts:
        if text is not None and ("\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text)):
            raise RejectedAppendError(f"invalid byte sequence for encoding UTF8: {text!r}")
