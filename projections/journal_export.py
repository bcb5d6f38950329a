"""The journal as a file: CSV for finance, or a JSON object a line, up to one position, as PostgreSQL itself writes it.

`COPY` makes the text, row by row, and hands it on while it reads: a file of any size takes the same memory. What is
ours is the end of the line: RFC 4180 wants CRLF. Imports `ledger` only. Read next: `journal.py`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Final

import msgspec

from ledger.domain.exports import Format
from projections.cuts import last_position_by
from projections.journal import of_account, whole_journal
from projections.read_models import ReadModels, Snapshot, Stream

COLUMNS: Final = (
    "position", "entry", "recorded_at", "event_type", "stream", "account", "currency", "debit", "credit",
    "balance_after", "purchase_request_id", "payment_id", "user_id", "actor", "reference", "description", "event_hash",
)  # fmt: skip
"""The header, for ever."""
PATIENCE_SECONDS: Final = 60.0
"""A reader that takes nothing for so long is cut off: it holds a connection, and what the database may not clean up."""
PIECES_WAITING: Final = 8

_DECIMALS: Final = (2, 3, 4, 6)
_OURS: Final = ("event_type", "stream", "account", "currency")
"""These begin with a letter: the names are ours."""
_TEXTS: Final = ("purchase_request_id", "payment_id", "user_id", "actor", "reference", "description")
_RECORDED: Final = """to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
_FORMULA: Final = "(61, 43, 45, 64, 9, 13)"
"""= + - @ tab CR"""


class JournalFilter(msgspec.Struct, frozen=True):
    """Which postings. `from_` and `to` are times of recording, half-open; `account` may name a kind (`member`)."""

    from_: datetime | None = None
    to: datetime | None = None
    account: str | None = None
    currency: str | None = None


@asynccontextmanager
async def export_journal(
    models: ReadModels,
    which: JournalFilter,
    record: Callable[[int], Awaitable[None]],
    *,
    format_: Format = "csv",
    up_to: int | None = None,
    min_position: int = 0,
) -> AsyncIterator[Stream]:
    """Pieces of the file, and the cut they are of: `up_to`, which is waited for, or as far as the journal is.

    `record` is called with the cut before the first piece: an export that dies half-way is written down too.
    """
    needed = max(min_position, up_to or 0)
    if which.to is not None:  # all of a month that is over, also where the journal is a moment behind
        async with models.pool.acquire() as connection:
            closed = await last_position_by(connection, which.to - timedelta(microseconds=1))
        needed = max(needed, closed if up_to is None else min(closed, up_to))
    async with whole_journal(models, min_position=needed) as seen:
        cut = seen.position if up_to is None else up_to
        query, arguments = await _query(seen, which, format_, cut)
        await record(cut)
        waiting: asyncio.Queue[bytes] = asyncio.Queue(PIECES_WAITING)
        copying = asyncio.create_task(_copy(seen, query, arguments, format_, waiting))
        try:
            yield Stream(_pieces(waiting, copying), cut)
        finally:
            copying.cancel()
            await asyncio.gather(copying, return_exceptions=True)


async def _query(seen: Snapshot, which: JournalFilter, format_: Format, cut: int) -> tuple[str, list[object]]:
    """Instants become positions first: one index then serves every filter of time, and orders."""
    low, high = 0, cut
    if which.from_ is not None:
        low = await last_position_by(seen.connection, which.from_ - timedelta(microseconds=1))
    if which.to is not None:
        high = min(cut, await last_position_by(seen.connection, which.to - timedelta(microseconds=1)))
    tests, arguments = ["position > $1", "position <= $2"], [low, high]
    given: list[object] = [*arguments]
    if which.account is not None:
        given.append(which.account)
        tests.append(of_account(len(given)))
    if which.currency is not None:
        given.append(which.currency)
        tests.append(f"currency = ${len(given)}")
    query = f"SELECT {_cells(format_)} FROM {seen.tables['main']} WHERE {' AND '.join(tests)} ORDER BY position, entry"
    if format_ == "ndjson":
        query = f"SELECT row_to_json(r)::text FROM ({query}) AS r"
    return query, given


def _cells(format_: Format) -> str:
    """The columns as text, in the header's order."""
    text = {name: _guarded(name) if format_ == "csv" else name for name in _TEXTS}
    made = {
        **{name: name for name in ("position", "entry", *_OURS)},
        **text,
        "recorded_at": _RECORDED,
        "debit": _side("amount"),
        "credit": _side("-amount"),
        "balance_after": _money("balance_after"),
        "event_hash": "encode(event_hash, 'hex')",
    }
    return ", ".join(f"{made[name]} AS {name}" for name in COLUMNS)


def _money(minor: str) -> str:
    """Times 0.01 is a numeric with two decimals, exactly."""
    cases = " ".join(f"WHEN {d} THEN ({minor} * {'0.' + '1'.zfill(d)})::text" for d in _DECIMALS)
    return f"CASE decimals WHEN 0 THEN ({minor})::text {cases} END"


def _side(minor: str) -> str:
    """One side of a posting: nothing where it is on the other, which is quicker than writing a number."""
    zeros = " ".join(f"WHEN {d} THEN '{'0.'.ljust(d + 2, '0')}'" for d in _DECIMALS)
    return f"CASE WHEN {minor} > 0 THEN {_money(minor)} WHEN decimals = 0 THEN '0' ELSE CASE decimals {zeros} END END"


def _guarded(column: str) -> str:
    """Somebody's text, which no spreadsheet may take for a formula."""
    return f"CASE WHEN formula AND ascii({column}) IN {_FORMULA} THEN '''' || {column} ELSE {column} END"


async def _copy(
    seen: Snapshot, query: str, arguments: list[object], format_: Format, waiting: "asyncio.Queue[bytes]"
) -> None:
    """Let the database write into the queue."""

    async def hand_on(piece: bytes) -> None:
        await asyncio.wait_for(waiting.put(piece), PATIENCE_SECONDS)

    lines = _Lines()

    async def take(data: bytes) -> None:
        await hand_on(lines.ended(data) if format_ == "csv" else bytes(data))

    if format_ == "csv":
        await hand_on(",".join(COLUMNS).encode() + b"\r\n")
        await seen.connection.copy_from_query(query, *arguments, output=take, format="csv", encoding="utf-8")
        return
    # JSON holds no control character, so nothing is ever quoted or escaped here.
    await seen.connection.copy_from_query(
        query, *arguments, output=take, format="csv", delimiter="\x01", quote="\x02", encoding="utf-8"
    )


async def _pieces(waiting: "asyncio.Queue[bytes]", copying: "asyncio.Task[None]") -> AsyncIterator[bytes]:
    while not (copying.done() and waiting.empty()):
        taking = asyncio.ensure_future(waiting.get())
        await asyncio.wait({taking, copying}, return_when=asyncio.FIRST_COMPLETED)
        if not taking.done():
            taking.cancel()
            continue
        yield taking.result()
    await copying


class _Lines:
    """Ends lines with CRLF where PostgreSQL has ended them with LF; what stands in quotes is left alone."""

    __slots__ = ("_quoted",)

    def __init__(self) -> None:
        self._quoted = False

    def ended(self, data: bytes) -> bytes:
        """The next piece of the text; it may end anywhere."""
        if b'"' not in data:
            return data if self._quoted else data.replace(b"\n", b"\r\n")
        parts = data.split(b'"')  # a doubled quote leaves and enters again, and has nothing in between
        outside = 1 if self._quoted else 0
        parts[outside::2] = [part.replace(b"\n", b"\r\n") for part in parts[outside::2]]
        self._quoted ^= len(parts) % 2 == 0
        return b'"'.join(parts)
