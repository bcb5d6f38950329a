"""The one shape of every JSON answer, and the reply it travels in: status, headers, body, encoded once.

msgspec and the standard library. Read next: `errors.py` for the answers that refuse.
"""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import msgspec
from litestar import Response
from msgspec import UNSET, UnsetType

from api.call import Call, Header, milliseconds_now

JSON: Final = (b"content-type", b"application/json")

encode: Final = msgspec.json.Encoder(decimal_format="number").encode
"""Decimals become JSON numbers: the one amount that is one, `discount.creditAmount`, is a Decimal; all others are text."""


class Pagination(msgspec.Struct, frozen=True, rename="camel"):
    """Where in a list the answer is."""

    page: int
    limit: int
    total: int
    total_pages: int
    has_more: bool


class Success(msgspec.Struct, rename="camel"):
    """What a request that was done answers."""

    success: bool
    message: str
    data: Any
    status_code: int
    timestamp: str
    path: str
    method: str
    meta: dict[str, Any] | UnsetType = UNSET
    pagination: Pagination | UnsetType = UNSET


class Failure(msgspec.Struct, rename="camel"):
    """What a request that was refused answers. `error` is a stable code, `message` one sentence with the numbers."""

    success: bool
    message: str
    error: str
    status_code: int
    timestamp: str
    path: str
    method: str
    data: Any = UNSET


class Reply:
    """An answer ready to be sent: by the gate as it is, or by Litestar as a `Response`."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, body: bytes, headers: list[Header]) -> None:
        """`headers` are all but those the gate adds to each answer."""
        self.status = status
        self.body = body
        self.headers = headers

    def as_response(self) -> Response[bytes]:
        """The same for Litestar."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in self.headers}
        media_type = headers.pop("content-type")
        return Response(self.body, status_code=self.status, headers=headers, media_type=media_type)


def timestamp(at: datetime) -> str:
    """RFC 3339 in UTC with milliseconds and Z."""
    return at.isoformat(timespec="milliseconds")[:23] + "Z"


@lru_cache(1)
def timestamp_of(milliseconds: int) -> str:
    """The same of milliseconds since 1970. Answers go out in crowds: within a millisecond it is rendered once."""
    return timestamp(datetime.fromtimestamp(milliseconds / 1000, UTC))


def success(
    call: Call,
    message: str,
    data: Any,
    *,
    status: int = 200,
    headers: list[Header] | None = None,
    meta: dict[str, Any] | None = None,
    pagination: Pagination | None = None,
) -> Reply:
    """The envelope of something done or read."""
    body = encode(
        Success(
            True,
            message,
            data,
            status,
            timestamp_of(milliseconds_now()),
            call.path,
            call.method,
            meta or UNSET,
            pagination or UNSET,
        )
    )
    return Reply(status, body, [JSON, *(headers or ())])


def failure(
    call: Call, status: int, code: str, message: str, data: Any = None, headers: list[Header] | None = None
) -> Reply:
    """The envelope of a refusal; `data` None is left out."""
    body = encode(
        Failure(
            False,
            message,
            code,
            status,
            timestamp_of(milliseconds_now()),
            call.path,
            call.method,
            UNSET if data is None else data,
        )
    )
    return Reply(status, body, [JSON, *(headers or ())])
