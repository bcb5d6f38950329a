"""Batches written by hand, for tests of a store: nothing is decided, so events need not mean anything."""

from collections.abc import Sequence

from ledger.audit.chain import event_hash
from ledger.store.port import AppendBatch, Claim, Command, DirectoryRow, NewEvent, Read
from ledger.store.work import digest_of

CALLER = "shop"
FINGERPRINT = bytes(32)


def an_event(
    stream: str, version: int, data: bytes = b"{}", metadata: bytes = b"{}", kind: str = "tested.v1"
) -> NewEvent:
    """Its hash is as long as a hash, and no more than that."""
    return NewEvent(stream, version, kind, metadata, data, event_hash(bytes(32), stream, version, kind, metadata, data))


def a_command(
    key: str,
    *events: NewEvent,
    unit: int = 0,
    caller: str = CALLER,
    fingerprint: bytes = FINGERPRINT,
    answer: bytes | None = b"[201,null]",
    claims: Sequence[str] = (),
    directory: DirectoryRow | None = None,
) -> Command:
    """A command that was decided; `answer` None means refused. Claims are values of one scope."""
    made = [Claim("scope", value, digest_of("scope", value)) for value in claims]
    return Command(unit, caller, key, digest_of(caller, key), fingerprint, answer, events, made, directory)


def a_batch(
    *commands: Command,
    known: int,
    reads: Sequence[tuple[str, int, int]] | None = None,
    token: int = 0,
    after: int | None = None,
) -> AppendBatch:
    """Reads are (stream, version, unit). If none are given: each stream written, at the version before its first."""
    if reads is None:
        first: dict[tuple[str, int], int] = {}
        for command in commands:
            for event in command.events:
                first.setdefault((event.stream, command.unit), event.version - 1)
        reads = [(stream, version, unit) for (stream, unit), version in first.items()]
    return AppendBatch(known, commands, [Read(*read) for read in reads], token, after)


def many_events(stream: str, count: int, after: int = 0) -> list[NewEvent]:
    """Versions after + 1 to after + count."""
    return [an_event(stream, version) for version in range(after + 1, after + count + 1)]
