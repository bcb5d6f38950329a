"""One table: which refusal is which status. And the refusals only HTTP knows.

    LedgerError                       (the rest of the tree: ledger/errors.py)
    ├── InvalidCommand
    │   ├── MalformedBody             400  no JSON, or none at all
    │   ├── IfMatchRequired           400
    │   └── ReplayTooLong             400  live events: too many to be sent again
    ├── Unauthorized                  401  no token
    │   ├── InvalidToken              401  forged, expired, of another algorithm
    │   └── InvalidSignature          401  a webhook nobody signed
    ├── Forbidden                     403  role or ownership
    ├── NotFound
    │   ├── ReferralCodeNotFound      404  a short link that leads nowhere
    │   └── RouteNotFound             404
    ├── Conflict
    │   └── TooManyRooms              409  live events: too many rooms of one connection
    ├── Unavailable
    ├── MethodNotAllowed              405  with Allow
    ├── BodyTooLarge                  413
    ├── UnsupportedMediaType          415
    ├── TooManyRequests               429  with Retry-After
    ├── InternalError                 500  logged, and nothing is told
    └── ClientGone                    499  counted only

Whatever is not in the table is a 500 without a word of the exception in it.
Read next: `problems.py`, which finds the field a wrong value stands in.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import structlog
from litestar.exceptions import HTTPException

from api.call import Call, Header
from api.envelope import Reply, failure
from ledger.away import is_away
from ledger.errors import (
    AccountLocked,
    Conflict,
    CorruptionError,
    IdempotencyKeyReused,
    InvalidCommand,
    LedgerError,
    NotFound,
    NotYours,
    RefusedByBalance,
    StaleVersion,
    StoreUnavailable,
    Unavailable,
)
from ledger.store.port import StoreRewoundError

log = structlog.get_logger(__name__)


class MalformedBody(InvalidCommand):
    """The body is no JSON text in UTF-8."""

    code = "INVALID_JSON"


class IfMatchRequired(InvalidCommand):
    """What is replaced as a whole is replaced only by who names the version they have seen. Read it, send its ETag."""

    code = "IF_MATCH_REQUIRED"


class ReplayTooLong(InvalidCommand):
    """More events came after that position than are sent again. Read the lists, then join without `afterPosition`."""

    code = "REPLAY_TOO_LONG"


class Unauthorized(LedgerError):
    """There is no token."""

    code = "UNAUTHENTICATED"
    challenge: bytes = b"Bearer"


class InvalidToken(Unauthorized):
    """There is a token, and it proves nothing."""

    code = "INVALID_TOKEN"
    challenge = b'Bearer error="invalid_token"'


class InvalidSignature(Unauthorized):
    """The delivery is not signed by its provider, or was a while ago. Nothing of it is stored."""

    code = "INVALID_SIGNATURE"
    challenge = b"Standard-Webhooks"


class Forbidden(LedgerError):
    """The caller is known and may not do this."""

    code = "FORBIDDEN"


class ReferralCodeNotFound(NotFound):
    """No member has that referral code: the link leads nowhere."""

    code = "REFERRAL_CODE_NOT_FOUND"


class RouteNotFound(NotFound):
    """There is no such route."""

    code = "ROUTE_NOT_FOUND"


class TooManyRooms(Conflict):
    """The connection has joined as many rooms as one may. Open another one."""

    code = "TOO_MANY_ROOMS"


class MethodNotAllowed(LedgerError):
    """The route has other methods. `allow` lists them."""

    code = "METHOD_NOT_ALLOWED"

    def __init__(self, message: str, allow: str) -> None:
        """Keep the methods for the `Allow` header."""
        super().__init__(message)
        self.allow = allow


class BodyTooLarge(LedgerError):
    """The body is larger than the service reads."""

    code = "BODY_TOO_LARGE"


class UnsupportedMediaType(LedgerError):
    """The body is of a type the service does not read."""

    code = "UNSUPPORTED_MEDIA_TYPE"


class ClientGone(LedgerError):
    """The client hung up: nobody sees the answer, but it is counted."""

    code = "CLIENT_GONE"


class InternalError(LedgerError):
    """Nobody expected it. What it was is in the log."""

    code = "INTERNAL_ERROR"


class TooManyRequests(LedgerError):
    """A rate limit is used up. Come back in `retry_after_seconds`."""

    code = "TOO_MANY_REQUESTS"

    def __init__(self, message: str, retry_after_seconds: int) -> None:
        """Keep the wait for the `Retry-After` header."""
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


STATUS_OF: Final[Mapping[type[LedgerError], int]] = {
    InvalidCommand: 400,
    RefusedByBalance: 400,
    Unauthorized: 401,
    Forbidden: 403,
    NotYours: 403,
    NotFound: 404,
    MethodNotAllowed: 405,
    Conflict: 409,
    StaleVersion: 412,
    BodyTooLarge: 413,
    UnsupportedMediaType: 415,
    IdempotencyKeyReused: 422,
    AccountLocked: 423,
    TooManyRequests: 429,
    ClientGone: 499,
    Unavailable: 503,
}
"""The nearest ancestor counts."""


def status_of(error: LedgerError | type[LedgerError]) -> int:
    """The status of a refusal; 500 for one the table does not know."""
    kind = error if isinstance(error, type) else type(error)
    return next((STATUS_OF[parent] for parent in kind.__mro__ if parent in STATUS_OF), 500)


def error_reply(call: Call, error: BaseException) -> Reply:
    """The answer to whatever went wrong."""
    said = said_of(call, error)
    return failure(call, status_of(said), said.code, said.message, said.data, _headers_of(said))


def said_of(call: Call, error: BaseException) -> LedgerError:
    """The refusal; of what nobody expected only that it happened. That is logged here, and its text stays there."""
    refusal = as_refusal(error, call)
    if refusal is not None and status_of(refusal) != 500:
        return refusal
    level = "critical" if isinstance(error, CorruptionError | StoreRewoundError) else "error"
    getattr(log, level)(
        "request failed", request_id=call.request_id, method=call.method, path=call.path, exc_info=error
    )
    return InternalError("Something went wrong on our side; it is logged with the request id.")


def as_refusal(error: BaseException, call: Call) -> LedgerError | None:
    """The refusal that an exception of Litestar or of the database amounts to; None for what nobody expected."""
    if isinstance(error, LedgerError):
        return error
    if isinstance(error, HTTPException):
        return _from_litestar(error, call)
    # Of what the system says, connections and time: a file that is missing is not the database.
    if is_away(error) and (not isinstance(error, OSError) or isinstance(error, ConnectionError | TimeoutError)):
        log.warning("database away", request_id=call.request_id, error=repr(error))
        return StoreUnavailable("The database does not answer; try again.", 1)
    return None


def _from_litestar(error: HTTPException, call: Call) -> LedgerError | None:
    """Litestar routes and nothing else here, so these are all it can say."""
    if error.status_code == 404:
        return RouteNotFound(f"There is no {call.path} here.")
    if error.status_code == 405:
        allow = allow_header(method.strip() for method in (error.headers or {}).get("allow", "").split(","))
        return MethodNotAllowed(f"{call.path} takes {allow}, not {call.method}.", allow)
    if error.status_code == 400:
        return InvalidCommand.field("request", "cannot be read.")
    return None


def allow_header(methods: Iterable[str]) -> str:
    """The `Allow` of a path with routes of these methods: what answers GET answers HEAD."""
    served = {method for method in methods if method}
    return ", ".join(sorted(served | {"HEAD"} if "GET" in served else served))


def _headers_of(refusal: Any) -> list[Header]:
    headers: list[Header] = []
    if (seconds := getattr(refusal, "retry_after_seconds", None)) is not None:
        headers.append((b"retry-after", str(seconds).encode()))
    if isinstance(refusal, Unauthorized):
        headers.append((b"www-authenticate", refusal.challenge))
    if isinstance(refusal, MethodNotAllowed):
        headers.append((b"allow", refusal.allow.encode()))
    if isinstance(refusal, BodyTooLarge):
        headers.append((b"connection", b"close"))
    return headers
