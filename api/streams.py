"""Answers that are too long to be held: rows as they come from the database, in pieces, in the envelope or as text.

The rows' connection is let go when the last piece is sent, or when the client has gone. Read next:
`routes/payment_export.py`.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Final

from litestar.response import Stream as StreamedResponse

from api.call import Call
from api.envelope import encode, success
from ledger.errors import Overloaded
from projections.read_models import Stream

PIECE_BYTES: Final = 65_536

Pieces = AsyncIterator[bytes]


async def streamed_response(
    call: Call,
    source: AbstractAsyncContextManager[Stream],
    write: Callable[[AsyncIterator[Any]], Pieces],
    media_type: str,
    **headers: str,
) -> StreamedResponse:
    """The rows of `source` as `write` puts them, with the `Ledger-Position` they are of."""
    exports = call.resources.exports
    if exports.locked():
        raise Overloaded("So many exports are being read already; try again.", 5)
    pieces = _pieces(exports, source, write)
    position = await anext(pieces)  # begun here, so that a refusal is one, and so that it ends when it is dropped
    headers["Ledger-Position"] = position.decode()
    return StreamedResponse(pieces, media_type=media_type, headers=headers)


async def _pieces(
    exports: Any, source: AbstractAsyncContextManager[Stream], write: Callable[[AsyncIterator[Any]], Pieces]
) -> Pieces:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(exports)
        stream = await stack.enter_async_context(source)
        yield b"%d" % stream.position
        piece = bytearray()
        async for part in write(aiter(stream.rows)):
            piece += part
            if len(piece) >= PIECE_BYTES:
                yield bytes(piece)
                piece.clear()
        yield bytes(piece)


def enveloped(
    call: Call, message: str, view: Callable[[Any], Any], meta: Callable[[], dict[str, Any]] = dict
) -> Callable[[AsyncIterator[Any]], Pieces]:
    """The envelope around a list of rows as `view` shows them, with their number as `meta.total` behind them.

    `meta` is asked last: for what is only known when all rows were seen.
    """

    async def write(rows: AsyncIterator[Any]) -> Pieces:
        total = 0
        head, _, _ = success(call, message, []).body.partition(b'"data":[]')
        yield head + b'"data":['
        async for row in rows:
            yield (b"," if total else b"") + encode(view(row))
            total += 1
        _, _, tail = success(call, message, [], meta={"total": total, **meta()}).body.partition(b'"data":[]')
        yield b"]" + tail

    return write
