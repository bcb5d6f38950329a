"""Answering a read: the envelope with the position it was read at, the stream's version as ETag, the page of a list.

Read next: `routes/points.py`.
"""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any, Final, TypeVar

from litestar import Response

from api.call import Call, Header
from api.envelope import Pagination, success
from ledger.errors import ReadModelBehind
from projections.cursor import Slice
from projections.read_model_list import head_position
from projections.read_models import Answer

WAIT_SECONDS: Final = 2.0

Row = TypeVar("Row")


def read_response(call: Call, message: str, answer: Answer[Any]) -> Response[bytes]:
    """The answer's value, with `Ledger-Position` and, for a stream, its `ETag`."""
    headers: list[Header] = [(b"ledger-position", b"%d" % answer.position)]
    if answer.version:
        headers.append((b"etag", b'"%d"' % answer.version))
    return success(call, message, answer.value, headers=headers, meta=answer.meta).as_response()


def list_response(
    call: Call, message: str, answer: Answer[Slice[Row]], page_of: Callable[[list[Row], Pagination], Any]
) -> Response[bytes]:
    """A page; `page_of` makes the `data` of its rows and the pagination, which also stands in the envelope."""
    page = pagination_of(answer.value)
    headers: list[Header] = [(b"ledger-position", b"%d" % answer.position)]
    data = page_of(answer.value.rows, page)
    return success(call, message, data, headers=headers, meta=answer.meta, pagination=page).as_response()


def pagination_of(page: Slice[Any]) -> Pagination:
    """The envelope's `pagination`."""
    return Pagination(page.page, page.limit, page.total, page.total_pages, page.has_more)


async def wait_for_log(call: Call, min_position: int) -> None:
    """What `minPosition` means for a read that asks the log and no read model: the log must have got there."""
    until = monotonic() + WAIT_SECONDS
    while min_position and (head := await head_position(call.resources.pool)) < min_position:
        if monotonic() >= until:
            raise ReadModelBehind(f"The log is at position {head}, not yet at {min_position}.")
        await asyncio.sleep(0.02)
