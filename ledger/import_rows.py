"""A CSV file of points to import: its columns, what a right row is, and that no two rows are the same earn.

Memory is bounded however long the file is: rows are yielded, what tells them apart goes as digests to temporary files by its
first bits, each of which is looked at alone, and the rows that were checked go to another, from which they are appended. May import: the standard library, msgspec, `ledger.domain`.
Read next: `importer.py`, which checks and appends the rows.
"""

import csv
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from hashlib import blake2b, sha256
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final

import msgspec
from msgspec import UNSET, UnsetType

from ledger import ids
from ledger.domain.points import EARN_SOURCES, MAX_POINTS

COLUMNS: Final = ("userId", "amount", "source", "reference", "occurredAt", "expiresAt")
REQUIRED: Final = {False: COLUMNS[:4], True: COLUMNS[:2]}
"""By whether the rows are opening balances."""
OPENING: Final = "opening"
"""What stands for the source of an opening balance, in keys and totals."""
LINE_BYTES_AT_MOST: Final = 64 * 1024
_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:\d\d))?")
_BUCKETS: Final = 64
_DIGEST_BYTES: Final = 16


class ImportRefusedError(Exception):
    """The file cannot be imported. One line; `problems` are the bad rows, the first ones of `count`."""

    def __init__(self, message: str, problems: "Sequence[Problem]" = (), count: int = 0) -> None:
        """The rows are listed by whoever shows the message."""
        super().__init__(message)
        self.problems = problems
        self.count = count


class Problem(msgspec.Struct, frozen=True, order=True):
    """What is wrong in which line of the file (the header is line 1)."""

    line: int
    message: str


class Row(msgspec.Struct, frozen=True, gc=False):
    """One row, checked. `key` makes it the same row when it is imported again; `fingerprint` is over everything it says.

    `expires_at` unset: the default of its kind; None: never.
    """

    line: int
    key: str
    user_id: str
    amount: int
    source: str
    reference: str
    fingerprint: bytes
    occurred_at: datetime | None = None
    expires_at: datetime | UnsetType | None = UNSET


class ImportFile:
    """One open file. The same handle serves every reading, so that it cannot be another file the second time.

    It may change meanwhile all the same: every reading sees to it that it begins and ends with the file of the first.
    """

    def __init__(self, path: Path, *, opening: bool, now: datetime) -> None:
        """`opening`: the rows are opening balances and need neither source nor reference. No row lies after `now`."""
        self.opening = opening
        self._now = now
        self._file: IO[bytes] = path.open("rb")
        self._first_state = self._state()
        self.bytes_read = 0

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    @property
    def size_bytes(self) -> int:
        """How much there is to read."""
        return self._first_state[0]

    def sha256(self) -> str:
        """Digest of the content, in hex."""
        self._file.seek(0)
        digest = sha256()
        while block := self._file.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()

    def rows(self) -> Iterator[Row | Problem]:
        """Every row from the beginning: right, or what is wrong with it. Raises `ImportRefusedError` without a header."""
        self._check_unchanged()
        self._file.seek(0)
        self.bytes_read = 0
        reader = csv.reader(self._lines(), strict=True)
        try:
            width, order = self._columns(next(reader, []))
            for cells in reader:
                if len(cells) == width:
                    cells.append("")  # where a column that is not there is looked for
                    yield self._row(reader.line_num, [cells[index] for index in order])
                elif cells:
                    yield Problem(reader.line_num, f"{len(cells)} cells, the header has {width}.")
        except (csv.Error, UnicodeDecodeError) as error:
            # Nothing after this can be trusted to begin where a row begins.
            yield Problem(reader.line_num + isinstance(error, UnicodeDecodeError), f"cannot be read as CSV: {error}.")
        self._check_unchanged()

    def _lines(self) -> Iterator[str]:
        while raw := self._file.readline(LINE_BYTES_AT_MOST + 1):
            if len(raw) > LINE_BYTES_AT_MOST:
                raise csv.Error(f"longer than {LINE_BYTES_AT_MOST} bytes")
            if self.bytes_read == 0:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            self.bytes_read += len(raw)
            yield raw.decode()

    def _columns(self, header: list[str]) -> tuple[int, list[int]]:
        """How many cells a row has, and where each of `COLUMNS` is among them (-1: not there)."""
        unknown = [name for name in header if name not in COLUMNS]
        missing = [name for name in REQUIRED[self.opening] if name not in header]
        if unknown or missing or len(set(header)) < len(header):
            wrong = f"{unknown[0]!r} is none" if unknown else f"{missing[0]} is missing" if missing else "one is twice"
            raise ImportRefusedError(f"line 1 must name the columns ({', '.join(COLUMNS)}): {wrong}.")
        return len(header), [header.index(name) if name in header else -1 for name in COLUMNS]

    def _row(self, line: int, cells: list[str]) -> Row | Problem:
        user_id, amount, source, reference, occurred, expires = cells
        try:
            if not ids.is_id(user_id):
                raise ValueError(f"userId: {user_id[:80]!r} is not 1 to 64 characters of A-Za-z0-9_.:-.")
            points = _points(amount)
            if self.opening:
                if source and source != OPENING:
                    raise ValueError(f"source: an opening balance has none, not {source[:80]!r}.")
                source = OPENING
            elif source not in EARN_SOURCES:
                raise ValueError(f"source: {source[:80]!r} is not one of {', '.join(EARN_SOURCES)}.")
            if not ids.is_visible(reference) and not (self.opening and not reference):
                raise ValueError(f"reference: {reference[:80]!r} is not 1 to 255 visible characters.")
            occurred_at = _instant("occurredAt", occurred) if occurred else None
            if occurred_at is not None and occurred_at > self._now:
                raise ValueError(f"occurredAt: {occurred} lies in the future.")
            expires_at = _deadline(expires, occurred_at or self._now)
        except ValueError as problem:
            return Problem(line, str(problem))
        key = f"import:{source}/{reference}/{user_id}"
        fingerprint = sha256("\0".join(cells).encode()).digest()
        return Row(line, key, user_id, points, source, reference, fingerprint, occurred_at, expires_at)

    def _check_unchanged(self) -> None:
        if self._state() != self._first_state:
            raise ImportRefusedError("the file changes while it is imported; run it again when it is written.")

    def _state(self) -> tuple[int, int]:
        found = os.fstat(self._file.fileno())
        return found.st_size, found.st_mtime_ns


def _points(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        hint = " (a deduction is a command of its own)" if text.startswith("-") else ""
        raise ValueError(f"amount: {text[:80]!r} is not a whole number of points{hint}.")
    points = int(text) if len(text) <= 16 else 0
    if not 1 <= points <= MAX_POINTS:
        raise ValueError(f"amount: {text[:80]} is not from 1 to {MAX_POINTS}.")
    return points


def _instant(field: str, text: str) -> datetime:
    """An instant with its offset, or a date, which means 00:00 UTC."""
    try:
        if _INSTANT.fullmatch(text):
            instant = datetime.fromisoformat(text)
            return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"{field}: {text[:80]!r} is not a date or an instant such as 2024-03-01T12:00:00Z.")


def _deadline(text: str, occurred_at: datetime) -> datetime | UnsetType | None:
    """Empty: the default of the kind of row; `never`: no deadline."""
    if not text:
        return UNSET
    if text == "never":
        return None
    deadline = _instant("expiresAt", text)
    if deadline <= occurred_at:
        raise ValueError(f"expiresAt: {text} is not later than occurredAt.")
    return deadline


class CheckedRows:
    """Rows on their way from the checking to the appending: what is appended is what was checked, read and judged once."""

    def __init__(self) -> None:
        """Opens a temporary file, which is gone when `close` is called or the process ends."""
        self._file: IO[bytes] = TemporaryFile()  # noqa: SIM115  # `close` closes it

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def add(self, rows: Sequence[Row]) -> None:
        """One more batch."""
        batch = _encode_rows(rows)
        self._file.write(len(batch).to_bytes(8, "big"))
        self._file.write(batch)

    def batches(self) -> Iterator[list[Row]]:
        """The batches as they were added, from the beginning."""
        self._file.seek(0)
        while length := self._file.read(8):
            yield _decode_rows(self._file.read(int.from_bytes(length, "big")))


_encode_rows: Final = msgspec.msgpack.Encoder().encode
_decode_rows: Final = msgspec.msgpack.Decoder(list[Row]).decode


class Repetitions:
    """Finds keys that come twice among any number of keys."""

    def __init__(self) -> None:
        """Opens temporary files, which are gone when `close` is called or the process ends."""
        self._stack = ExitStack()
        self._files: list[IO[bytes]] = []
        for _ in range(_BUCKETS):
            self._files.append(self._stack.enter_context(TemporaryFile()))  # noqa: SIM115  # the stack closes it

    def close(self) -> None:
        """Let go of the files."""
        self._stack.close()

    def add(self, key: str, line: int) -> None:
        """One more key, and where it stands."""
        digest = blake2b(key.encode(), digest_size=_DIGEST_BYTES).digest()
        self._files[digest[0] % _BUCKETS].write(digest + line.to_bytes(8, "big"))

    def found(self) -> Iterator[Problem]:
        """Every line that repeats another, in no order."""
        for file in self._files:
            file.seek(0)
            seen: dict[bytes, int] = {}
            while record := file.read(_DIGEST_BYTES + 8):
                line = int.from_bytes(record[_DIGEST_BYTES:], "big")
                first = seen.setdefault(record[:_DIGEST_BYTES], line)
                if first != line:
                    yield Problem(line, f"has the userId, source and reference of line {first}.")
