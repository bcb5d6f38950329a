"""Appends sent one behind the other: the next one reaches the server before it has answered the last.

A connection of asyncpg takes one question at a time, so between two appends the server would wait for this process.
Connecting, logging in and encryption are asyncpg's; its transport is then taken over for the one prepared statement.
Each append ends with a Sync, so it is a transaction of its own: what follows one that was refused is run nevertheless, and
must itself see to it that it does not stand on what is not there (`AppendBatch.after`).
Read next: `append_wire.py` for the messages, `append.py`, whose writing half this is.
"""

import asyncio
from collections import deque
from struct import Struct
from struct import error as StructError  # noqa: N812  # it is one
from typing import Any, Final

import asyncpg

from ledger.store.append_wire import (
    DATA_ROW,
    ERROR,
    OIDS,
    PREPARE,
    READY,
    TERMINATE,
    Answered,
    answered,
    bound,
    refused,
)
from ledger.store.port import AppendBatch

_HEAD_BYTES: Final = 5
_LENGTH_AT_LEAST: Final = 4
"""A message's length counts itself. Less is said only by what is no PostgreSQL."""
_read_head: Final = Struct(">Bi").unpack_from


class AppendLine(asyncio.Protocol):
    """One connection on which appends are answered in the order in which they were sent."""

    def __init__(self, connection: "asyncpg.Connection[Any]", oids: tuple[int, ...]) -> None:
        """Takes over the connection, which must be idle and is not used for anything else from now on."""
        self._connection = connection
        self._oids = oids
        self._waiting: deque[asyncio.Future[Answered | None]] = deque()
        self._received = bytearray()
        self._row: Answered | None = None
        self._error: asyncpg.PostgresError | None = None
        self._lost: str | None = None
        self._transport: asyncio.Transport = connection._transport  # type: ignore[attr-defined]  # noqa: SLF001  # asyncpg offers no other way
        self._transport.set_protocol(self)

    @classmethod
    async def over(cls, connection: "asyncpg.Connection[Any]") -> "AppendLine":
        """Prepare the append on this connection, which is cut if that fails. Raises what asyncpg raises, and `OSError`."""
        try:
            oids = await connection.fetchrow(OIDS)
            assert oids is not None, "a SELECT without FROM has a row"
            line = cls(connection, tuple(oids))
            await line._ask(PREPARE)
        except BaseException:
            connection.terminate()
            raise
        return line

    async def append(self, batch: AppendBatch) -> Answered:
        """Send it behind those under way. Raises asyncpg's errors, and `OSError` where the outcome is unknown."""
        try:
            messages = bound(batch, self._oids)
        except (UnicodeEncodeError, StructError) as error:  # half of a surrogate pair, a number that is too large
            raise asyncpg.DataError(str(error)) from error
        row = await self._ask(messages)
        if row is None:
            raise ConnectionError("an append was answered without a row")
        return row

    def _ask(self, messages: bytes) -> "asyncio.Future[Answered | None]":
        future: asyncio.Future[Answered | None] = asyncio.get_running_loop().create_future()
        if self._lost is None:
            self._waiting.append(future)
            self._transport.write(messages)
        else:
            future.set_exception(ConnectionError(self._lost))
        return future

    def close(self) -> None:
        """Take leave of the server. Nothing may be under way."""
        if self._lost is None:
            self._transport.write(TERMINATE)
            self._transport.close()

    def terminate(self) -> None:
        """Cut it: whatever is under way has no answer any more."""
        self._transport.abort()
        self._lose("cut")

    # what the transport calls

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody will be answered any more."""
        self._lose("closed by the server" if exc is None else str(exc))

    def data_received(self, data: bytes) -> None:
        """Whole messages, and the beginning of one."""
        received = self._received
        received += data
        at, end = 0, len(received)
        while end - at >= _HEAD_BYTES:
            kind, length = _read_head(received, at)
            if length < _LENGTH_AT_LEAST:
                self.terminate()
                return
            after = at + 1 + length
            if after > end:
                break
            self._take(kind, bytes(received[at + _HEAD_BYTES : after]))
            at = after
        del received[:at]

    def _take(self, kind: int, data: bytes) -> None:
        if kind == DATA_ROW:
            self._row = answered(data)
        elif kind == ERROR:
            self._error = refused(data)
        elif kind == READY and self._waiting:
            row, error, self._row, self._error = self._row, self._error, None, None
            future = self._waiting.popleft()
            if future.done():  # whoever waited is gone
                return
            if error is None:
                future.set_result(row)
            else:
                future.set_exception(error)

    def _lose(self, why: str) -> None:
        self._lost = self._lost or f"connection lost: {why}"
        self._connection.terminate()  # so that asyncpg takes notice as well
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(ConnectionError(self._lost))
