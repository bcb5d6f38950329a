"""The append in PostgreSQL's own words: the messages that run it, and what the server answers.

Pure. By hand, as every command goes through here, and so that the bytes can be made while another append is under way
(https://www.postgresql.org/docs/current/protocol-message-formats.html). Read next: `append_line.py`, which sends them.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Any, Final

import asyncpg
import msgspec

from ledger.store.port import AppendBatch

APPEND: Final = "SELECT * FROM ledger.append($1, $2, $3, $4, $5, $6, $7, $8)"
ROW_TYPES: Final = ("stream_read", "new_command", "new_claim", "new_event", "new_directory_row")
"""Of the function's arrays, in their order."""
OIDS: Final = "SELECT " + ", ".join(f"'ledger.{name}'::regtype::oid::bigint" for name in ROW_TYPES)
"""They differ from database to database; an array and its rows are named by them."""

DATA_ROW, ERROR, READY = b"DEZ"
"""The kinds of message that say something; all others tell that a step was done, or are notices."""

_INTEGER, _BIGINT, _TEXT, _BYTEA = 23, 20, 25, 17
_NULL: Final = -1
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)

_int: Final = Struct(">i").pack
_ints2: Final = Struct(">2i").pack
_ints7: Final = Struct(">7i").pack
_array_head: Final = Struct(">iiiIii").pack
_no_array: Final = Struct(">iiiI").pack
_bigint: Final = Struct(">iq").pack
_read_int: Final = Struct(">i").unpack_from

Packer = Callable[..., bytes]


class _Packers(dict[Any, Packer]):
    """What packs some fields of a row, by the lengths of the texts among them: in one go, and found in no time.

    What is of any length (metadata, data, answers) is not among them: of names and keys there are few lengths.
    """

    def __init__(self, fields: str) -> None:
        """`fields` is a format in which `{}` stands for each of the lengths."""
        super().__init__()
        self._fields = fields

    def __missing__(self, lengths: tuple[int, ...] | int) -> Packer:
        there = (lengths,) if isinstance(lengths, int) else lengths
        packer = Struct(self._fields.format(*there)).pack
        if len(self) < _KEPT_AT_MOST:
            self[lengths] = packer
        return packer


_KEPT_AT_MOST: Final = 4096


class _Heads(dict[int, bytes]):
    """Type and length before the bytes of a field, by length: found in half the time it takes to make one."""

    def __init__(self, oid: int) -> None:
        super().__init__()
        self._oid = oid

    def __missing__(self, length: int) -> bytes:
        head = _ints2(self._oid, length)
        if length < _USUAL_BYTES:
            self[length] = head
        return head


_USUAL_BYTES: Final = 4096
_TEXT_OF: Final = _Heads(_TEXT)
_BYTEA_OF: Final = _Heads(_BYTEA)

# A row is its length and how many fields it has; a field its type, its length and its bytes.
_READ: Final = _Packers(">2i 2i{}s 3i 3i")
_COMMAND: Final = _Packers(">2i 3i 2i{}s 2i{}s 2iq 2i{}s 2i")
"""Up to the answer."""
_COMMAND_END: Final = Struct(">3i 3i").pack
_CLAIM: Final = _Packers(">2i 3i 3i 2i{}s 2i{}s 2iq")
_EVENT: Final = _Packers(">2i 3i 2i{}s 3i 2i{}s 2i")
"""Up to the metadata."""


class Answered(msgspec.Struct, frozen=True, gc=False):
    """What the function returned, under its names."""

    head_before: int
    head: int
    recorded_at: datetime
    bad_units: list[int]
    kept_index: list[int] | None
    kept_fingerprint: list[bytes] | None
    kept_answer: list[bytes] | None
    kept_first: list[int] | None
    kept_last: list[int] | None
    kept_at: list[datetime] | None
    taken: list[int]
    moved: list[str] | None


def message(kind: bytes, *parts: bytes) -> bytes:
    """One message: its kind, its length, its parts."""
    body = b"".join(parts)
    return kind + _int(len(body) + 4) + body


SYNC: Final = message(b"S")
"""Ends a transaction; after an error the server skips everything up to it."""
PREPARE: Final = message(b"P", b"append\0", APPEND.encode(), b"\0\0\0") + SYNC
TERMINATE: Final = message(b"X")
_BIND_HEAD: Final = b"\0append\0" + Struct(">hhh").pack(1, 1, 8)
"""The unnamed portal, the statement; all eight parameters are binary."""
_BIND_TAIL: Final = Struct(">hh").pack(1, 1)
"""All columns are binary."""
_EXECUTE_AND_SYNC: Final = message(b"E", b"\0", _int(0)) + SYNC


def bound(batch: AppendBatch, oids: tuple[int, ...]) -> bytes:
    """The messages that run the append with this batch: Bind, Execute, Sync. `oids` are what `OIDS` gives.

    An array is its head and its rows.
    """
    reads: list[bytes] = []
    commands: list[bytes] = []
    claims: list[bytes] = []
    events: list[bytes] = []
    directory: list[bytes] = []
    events_so_far = claim_count = directory_count = 0
    for read in batch.reads:
        stream = read.stream.encode()
        in_stream = len(stream)
        row = _READ[in_stream](
            36 + in_stream, 3, _TEXT, in_stream, stream, _INTEGER, 4, read.version, _INTEGER, 4, read.unit
        )
        reads.append(row)
    for number, command in enumerate(batch.commands, 1):
        unit = command.unit
        caller, key, fingerprint = command.caller.encode(), command.key.encode(), command.fingerprint
        answer = command.answer
        own = command.events
        events_so_far += len(own)
        in_caller, in_key, in_fingerprint = len(caller), len(key), len(fingerprint)
        length = 88 + in_caller + in_key + in_fingerprint
        if answer is None:
            answer, in_answer = b"", _NULL
        else:
            in_answer = len(answer)
            length += in_answer
        commands += (
            _COMMAND[in_caller, in_key, in_fingerprint](
                length, 8, _INTEGER, 4, unit, _TEXT, in_caller, caller, _TEXT, in_key, key,
                _BIGINT, 8, command.digest, _BYTEA, in_fingerprint, fingerprint, _BYTEA, in_answer,
            ),
            answer,
            _COMMAND_END(_INTEGER, 4, len(own), _INTEGER, 4, events_so_far),
        )  # fmt: skip
        for event in own:
            stream, kind = event.stream.encode(), event.type.encode()
            metadata, data, hashed = event.metadata, event.data, event.hash
            in_stream, in_kind, in_metadata, in_data = len(stream), len(kind), len(metadata), len(data)
            events += (
                _EVENT[in_stream, in_kind](
                    68 + in_stream + in_kind + in_metadata + in_data + len(hashed), 7, _INTEGER, 4, unit,
                    _TEXT, in_stream, stream, _INTEGER, 4, event.version, _TEXT, in_kind, kind, _BYTEA, in_metadata,
                ),
                metadata,
                _BYTEA_OF[in_data],
                data,
                _BYTEA_OF[len(hashed)],
                hashed,
            )  # fmt: skip
        for claim in command.claims:
            scope, value = claim.scope.encode(), claim.value.encode()
            in_scope, in_value = len(scope), len(value)
            claim_count += 1
            claims.append(
                _CLAIM[in_scope, in_value](
                    60 + in_scope + in_value, 5, _INTEGER, 4, number, _INTEGER, 4, unit,
                    _TEXT, in_scope, scope, _TEXT, in_value, value, _BIGINT, 8, claim.digest,
                )
            )  # fmt: skip
        if (entry := command.directory) is not None:
            directory_count += 1
            user_id, name = entry.user_id.encode(), entry.name.encode()
            avatar = None if entry.avatar is None else entry.avatar.encode()
            directory += (
                _ints7(40 + len(user_id) + len(name) + len(avatar or b""), 4, _INTEGER, 4, unit, _TEXT, len(user_id)), user_id,
                _TEXT_OF[len(name)], name,
                _ints2(_TEXT, _NULL if avatar is None else len(avatar)), avatar or b"",
            )  # fmt: skip
    body = b"".join(
        (
            _BIND_HEAD,
            _bigint(8, batch.known),
            *_array(oids[0], len(batch.reads), reads),
            *_array(oids[1], len(batch.commands), commands),
            *_array(oids[2], claim_count, claims),
            *_array(oids[3], events_so_far, events),
            *_array(oids[4], directory_count, directory),
            _bigint(8, batch.token),
            _int(_NULL) if batch.after is None else _bigint(8, batch.after),
            _BIND_TAIL,
        )
    )
    return b"".join((b"B", _int(len(body) + 4), body, _EXECUTE_AND_SYNC))


def _array(oid: int, count: int, rows: list[bytes]) -> tuple[bytes, ...]:
    if not count:
        return (_no_array(12, 0, 0, oid),)
    elements = b"".join(rows)
    return (_array_head(20 + len(elements), 1, 0, oid, count, 1), elements)


def refused(data: bytes) -> asyncpg.PostgresError:
    """What asyncpg would raise: an error message is fields, of which each begins with a letter and ends with a zero."""
    fields = {field[:1]: field[1:] for field in data.decode(errors="replace").split("\0") if field}
    error: asyncpg.PostgresError = asyncpg.PostgresError.new(fields)
    return error


def answered(data: bytes) -> Answered:
    """The row: how many columns, and of each length and bytes."""
    at = 2
    values: list[Any] = []
    for read in _READERS:
        (length,) = _read_int(data, at)
        at += 4
        if length == _NULL:
            values.append(None)
            continue
        values.append(read(data[at : at + length]))
        at += length
    return Answered(*values)


def _integer(data: bytes) -> int:
    return int.from_bytes(data, "big", signed=True)


def _moment(data: bytes) -> datetime:
    return _EPOCH + timedelta(microseconds=_integer(data))


def _array_of(read: Callable[[bytes], Any]) -> Callable[[bytes], list[Any]]:
    def elements(data: bytes) -> list[Any]:
        """Dimensions (none if it is empty), two words that say nothing here, count, lower bound; none is null."""
        if data.startswith(_NO_DIMENSIONS):
            return []
        (count,) = _read_int(data, 12)
        at = 20
        found = []
        for _ in range(count):
            (length,) = _read_int(data, at)
            at += 4
            found.append(read(data[at : at + length]))
            at += length
        return found

    return elements


_NO_DIMENSIONS: Final = _int(0)
_READERS: Final[tuple[Callable[[bytes], Any], ...]] = (
    _integer,
    _integer,
    _moment,
    _array_of(_integer),
    _array_of(_integer),
    _array_of(bytes),
    _array_of(bytes),
    _array_of(_integer),
    _array_of(_integer),
    _array_of(_moment),
    _array_of(_integer),
    _array_of(bytes.decode),
)
