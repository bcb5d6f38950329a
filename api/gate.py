"""What every request passes: ids, CORS, token, rate limit; then a lean route, or Litestar; then the answer and a count.

The only ASGI layer of ours. It reads no body and touches each answer's headers once. Read next: `commands.py`.
"""

from collections.abc import Iterable, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from litestar.types import ASGIApp, Message, Receive, Send
from litestar.utils import normalize_path

from api.call import Call, Header
from api.commands import LeanRoute
from api.cors import Cors
from api.envelope import Reply
from api.errors import InvalidToken, allow_header, error_reply
from api.limits import Limits
from api.observability import observe_request
from api.security import Tokens, authorize
from ledger.errors import LedgerError

if TYPE_CHECKING:
    from api.resources import Resources

SAFETY: Final[list[Header]] = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
NO_ROUTE: Final = "(none)"


class Gate:
    """Serves HTTP requests. One per process."""

    def __init__(
        self, tokens: Tokens, limits: Limits, cors: Cors, lean: Iterable[LeanRoute], ordinary: ASGIApp
    ) -> None:
        """`ordinary` serves whatever is not among the `lean` routes."""
        self._tokens = tokens
        self._limits = limits
        self._cors = cors
        self._lean = {route.path: route for route in lean}
        self._ordinary = ordinary
        self.at_once: Mapping[bytes, LeanRoute] = {
            route.path.encode(): route for route in self._lean.values() if route.perform_for is not None
        }
        """By request target: the routes that serve whole requests without ASGI."""
        self.resources: Resources | None = None
        self.methods: Mapping[str, Iterable[str]] = {}
        """Of every path that is served, as its routes spell it."""

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """One request, one answer."""
        began = perf_counter()
        if scope["method"] == "HEAD":
            # The server has kept its own scope: it sends the headers of the answer to GET, and no body.
            scope = {**scope, "method": "GET"}
        path: str = scope["path"]
        if "//" in path or path.endswith("/"):
            path = normalize_path(path)
        call = Call(scope, path, self.resources)
        sending = _Sending(call, send)
        lean = self._lean.get(path) if call.method == "POST" else None
        try:
            reply = self._cors.answer(call)
            if reply is None:
                await self._identify(call)
                await self._limits.admit(call, scope["client"][0] if scope["client"] else None)
                if lean is None:
                    scope["state"] = {"call": call}
                    listing = self._listing(scope, sending) if call.method == "OPTIONS" else sending
                    await self._ordinary(scope, receive, listing)
                else:
                    authorize(call, lean.access)
                    reply = await lean.perform(call, receive)
        except Exception as error:
            reply = error_reply(call, error)
        if reply is not None and not sending.status:
            await send_reply(reply, sending)
        route = path if lean is not None else scope.get("path_template") or NO_ROUTE
        observe_request(call.method, route, sending.status, perf_counter() - began)

    def admit_at_once(self, call: Call) -> bool:
        """Let in a POST that need not wait for anything, as `__call__` would. False: it may have to; nothing is counted.

        Known token, a lease at hand: what does not need both goes the other way, refusals included.
        """
        authorization = call.headers.get(b"authorization")
        if authorization is None or call.comes_twice(b"authorization"):
            return False
        call.caller = self._tokens.remembered(authorization)
        self._cors.answer(call)
        return self._limits.admit_at_once(call)

    async def _identify(self, call: Call) -> None:
        """Find the caller; why there is none is said only by a route that needs one."""
        authorization = call.headers.get(b"authorization")
        if authorization is None:
            return
        if call.comes_twice(b"authorization"):
            call.refusal = InvalidToken("Authorization is given more than once.")
            return
        call.caller = self._tokens.remembered(authorization)
        if call.caller is None:
            try:
                call.caller = await self._tokens.caller_of(authorization)
            except LedgerError as refusal:
                call.refusal = refusal

    def _listing(self, scope: Any, send: Send) -> Send:
        """Litestar's answer to OPTIONS knows the methods of one route of the path; there may be several."""

        async def listing(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 204:
                allow = allow_header(self.methods[scope["path_template"]])
                others = (header for header in message["headers"] if header[0].lower() != b"allow")
                message["headers"] = [*others, (b"allow", allow.encode())]
            await send(message)

        return listing


async def send_reply(reply: Reply, send: Send) -> None:
    """Send the reply in two messages, which uvloop writes as one."""
    headers = [(b"content-length", b"%d" % len(reply.body)), *reply.headers]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body, "more_body": False})


class _Sending:
    """The server's `send`, which adds the call's headers and takes down the status."""

    __slots__ = ("_call", "_send", "status")

    def __init__(self, call: Call, send: Send) -> None:
        self._call = call
        self._send = send
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], *self._call.response_headers, *SAFETY]
        await self._send(message)
