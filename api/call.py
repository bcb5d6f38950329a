"""One HTTP request as every route sees it: who asks what, under which ids, and what goes into each answer's headers.

Made once per request by `gate.py`. Standard library and msgspec. Read next: `gate.py`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from time import time_ns
from typing import TYPE_CHECKING, Any, Final

import msgspec
import uuid_utils
from litestar import Request

from ledger.store.codec import Actor

if TYPE_CHECKING:
    from api.resources import Resources

Header = tuple[bytes, bytes]

KNOWN_ID_LENGTH: Final = 128
"""Longest `X-Request-Id` and `X-Correlation-Id` that is taken over from the client."""


class Caller(msgspec.Struct, frozen=True):
    """The signed-in user. `actor` is the same as the ledger writes it down."""

    id: str
    email: str | None
    role: str
    actor: Actor


class Call:
    """The request so far. `refusal` says why there is no `caller`."""

    __slots__ = (
        "_resources",
        "caller",
        "correlation_id",
        "headers",
        "method",
        "path",
        "query",
        "raw_headers",
        "refusal",
        "request_id",
        "response_headers",
    )

    def __init__(self, scope: Any, path: str, resources: "Resources | None") -> None:
        """`path` is the normalised one. Of a header that comes twice, `headers` holds the last."""
        self.method: str = scope["method"]
        self.path = path
        self.query: bytes = scope["query_string"]
        self.raw_headers: Sequence[Header] = scope["headers"]
        self.headers: dict[bytes, bytes] = dict(self.raw_headers)
        self.request_id = _taken_over(self.headers.get(b"x-request-id")) or str(uuid_utils.uuid7())
        self.correlation_id = _taken_over(self.headers.get(b"x-correlation-id")) or self.request_id
        self.caller: Caller | None = None
        self.refusal: Exception | None = None
        self.response_headers: list[Header] = [(b"x-request-id", self.request_id.encode())]
        self._resources = resources

    def comes_twice(self, header: bytes) -> bool:
        """Whether the client sent that header more than once."""
        some_twice = len(self.headers) < len(self.raw_headers)
        return some_twice and sum(name == header for name, _ in self.raw_headers) > 1

    @property
    def signed_in(self) -> Caller:
        """The caller of a route that is closed: the guard has let nobody else in."""
        if self.caller is None:
            raise RuntimeError("an open route has no caller to ask for")
        return self.caller

    @property
    def resources(self) -> "Resources":
        """What routes work with; there is none before the start and after the end."""
        if self._resources is None:
            raise RuntimeError("the application is not started")
        return self._resources


def call_of(request: Request[Any, Any, Any]) -> Call:
    """The call the gate has put beside Litestar's request."""
    call: Call = request.scope["state"]["call"]
    return call


def utc_now() -> datetime:
    """The clock of this process: the HTTP side reads it here and in `milliseconds_now` only."""
    return datetime.now(UTC)


def milliseconds_now() -> int:
    """The same clock in whole milliseconds since 1970, which cost a fifth of a datetime."""
    return time_ns() // 1_000_000


def _taken_over(given: bytes | None) -> str | None:
    """The client's id if it is visible and short enough; None if another must be made."""
    if not given or len(given) > KNOWN_ID_LENGTH:
        return None
    text = given.decode("latin-1")
    return text if text.isascii() and text.isprintable() and " " not in text else None
