"""What a store of events must do: the batch it is given, the outcome it answers, and the protocol between.

`append.py` does it on PostgreSQL, `memory.py` in a dict; one contract suite runs against both.
Read next: `committer.py`, which is the only one to call `append`.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Final, Protocol

import msgspec


class Recorded(msgspec.Struct, frozen=True, gc=False):
    """One event as it lies in the log. `metadata` and `data` are the exact JSON bytes the hash covers."""

    position: int
    stream: str
    version: int
    type: str
    recorded_at: datetime
    metadata: bytes
    data: bytes
    hash: bytes


class NewEvent(msgspec.Struct, frozen=True, gc=False):
    """One event to append; the store adds position and recording time."""

    stream: str
    version: int
    type: str
    metadata: bytes
    data: bytes
    hash: bytes


class Claim(msgspec.Struct, frozen=True, gc=False):
    """A fact that may be true once, for ever: (scope, value). `digest` is 64 bits of it, for the index."""

    scope: str
    value: str
    digest: int


class DirectoryRow(msgspec.Struct, frozen=True, gc=False):
    """Name and avatar of a member, written with the events but never in them."""

    user_id: str
    name: str
    avatar: str | None


BARE_ANSWER_BYTES: Final = len(b"[201]")
"""A kept answer is JSON of [status, data]; [status] alone where the data is rendered from the command's events."""


class Command(msgspec.Struct, frozen=True, gc=False):
    """What one decided command appends. `answer` None: a refusal; only its key is looked up."""

    unit: int
    caller: str
    key: str
    digest: int
    fingerprint: bytes
    answer: bytes | None
    events: Sequence[NewEvent] = ()
    claims: Sequence[Claim] = ()
    directory: DirectoryRow | None = None


ALL_UNITS: Final = -1
"""A read of this unit that turns out stale makes every unit of its batch bad."""


class Read(msgspec.Struct, frozen=True, gc=False):
    """A stream some commands of a unit have read, at this version (0: absent). Unit `ALL_UNITS`: all have.

    Need not be named for a stream that the unit writes: it was read at the version before its first event.
    """

    stream: str
    version: int
    unit: int


class AppendBatch(msgspec.Struct, frozen=True):
    """What one flush appends: everything decided on caches that hold all events up to `known`.

    `token` is a number nobody else draws. `after` names the append on which this one was decided while it was under way:
    good is only what comes directly behind it, if nobody had come before it and all of it was good. Otherwise this one is
    out of turn: nothing of it is inserted, all its units are bad, only its keys are looked up, and what moved is not said.
    """

    known: int
    commands: Sequence[Command]
    reads: Sequence[Read]
    token: int = 0
    after: int | None = None


class Kept(msgspec.Struct, frozen=True):
    """A key that was used before: the fingerprint of that request, and its answer with the positions it had.

    `last_position` of a command without events is the head when it was answered, `first_position` one more.
    `events` are the command's (type, data), in order, where the answer is rendered from them.
    """

    index: int
    fingerprint: bytes
    answer: bytes
    first_position: int
    last_position: int
    recorded_at: datetime
    events: Sequence[tuple[str, bytes]] = ()

    @property
    def needs_events(self) -> bool:
        """Whether the answer is rendered from the command's events."""
        return len(self.answer) == BARE_ANSWER_BYTES


class Appended(msgspec.Struct, frozen=True):
    """The outcome of an append. Commands of units in `bad_units` were not inserted, all others were.

    `moved` are the streams with an event in (known, head_before], None where they were too many to name, or out of turn.
    `taken` are (index of command, index of its claim).
    """

    head_before: int
    head: int
    recorded_at: datetime
    bad_units: frozenset[int]
    kept: Sequence[Kept]
    taken: Sequence[tuple[int, int]]
    moved: Sequence[str] | None


class Tail(msgspec.Struct, frozen=True):
    """A stream for folding: a snapshot if there is one, and the events after it, oldest first."""

    stream: str
    snapshot_version: int
    snapshot_state: bytes | None
    last_hash: bytes | None
    """That of the last event, which may be one of those before the snapshot."""
    events: Sequence[tuple[int, str, bytes]]
    """(version, type, data)"""


class StoreRewoundError(Exception):
    """The log is shorter than what this process has read of it (a restored backup): nothing may be decided."""


class AmbiguousAppendError(Exception):
    """No answer, or one of SQLSTATE class 08, 40, 53, 55, 57: the append may or may not have happened.

    The cure is the same for all: send the same bytes again, and let the keys tell.
    """


class RejectedAppendError(Exception):
    """The database refused this content (SQLSTATE 22, 23, P0001): nothing happened, and it would not the next time."""


class Appender(Protocol):
    """The write half, on one connection. What holds the head lock is an Appender too."""

    async def load(self, streams: Sequence[tuple[str, int]]) -> tuple[int, dict[str, Tail]]:
        """Head position and the tails of (stream, schema of its snapshots), read in one statement.

        Absent streams are left out; a snapshot of another schema is as good as none.
        """

    async def append(self, batch: AppendBatch) -> Appended:
        """All good units in one transaction, durable when this returns."""


class Store(Appender, Protocol):
    """A log of events."""

    async def load_beside(self, streams: Sequence[tuple[str, int]]) -> tuple[int, dict[str, Tail]]:
        """As `load`, on another connection: also while an append is under way, whose events may be in it or not."""

    async def head(self) -> int:
        """Position of the last event, 0 for an empty log."""

    async def read(self, after: int, limit: int) -> Sequence[Recorded]:
        """Events with a position greater than `after`, in order, at most `limit`."""

    async def read_stream(self, stream: str, after_version: int = 0, limit: int = 1000) -> Sequence[Recorded]:
        """Events of one stream with a greater version, in order, at most `limit`."""

    def locked(self) -> AbstractAsyncContextManager[Appender]:
        """A transaction that holds the head lock until the block ends, when it commits."""

    async def reconnect(self) -> None:
        """Replace what writes, waiting until the database answers. Nothing may be under way."""

    async def close(self) -> None:
        """Let go of all connections."""
