"""Every command over HTTP: one body, one command, one answer. A route is a row of data; this is what runs it.

The same function serves the ordinary routes (through Litestar) and the lean ones (straight from the gate).
Read next: `routes/points.py` for rows, `gate.py` and `whole_requests.py` for the lean ones.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, Literal, Protocol

import msgspec
from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler, post, put
from litestar.types import Receive

from api.bodies import check_type, decode_body, read_body
from api.call import Call, call_of, utc_now
from api.documented import Documented, opened_to
from api.envelope import Reply, success
from api.errors import IfMatchRequired
from api.idempotency import KeyRule, answer_headers, read_if_match, read_key
from api.queries import Nothing, read_query
from api.security import Access
from ledger.decision import Answer, Origin, fingerprint
from ledger.store.work import Waiting

PathParams = Mapping[str, str]
NO_PARAMS: Final[PathParams] = {}


class WaitingCall(Waiting, Protocol):
    """Who waits for an answer over HTTP, and makes the reply of it."""

    reply_of: Callable[[Answer], Reply]


class LeanRoute(msgspec.Struct, frozen=True):
    """A POST route without path parameters that the gate runs by itself, past Litestar."""

    path: str
    access: Access
    perform: Callable[[Call, Receive], Awaitable[Reply]]
    perform_for: Callable[[Call, bytes, WaitingCall], None] | None = None
    """Where there is one, whole requests are served without a task of their own: see `whole_requests.py`."""


def _stored(_body: Any, answer: Answer) -> Any:
    return answer.data


class CommandRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A route that appends events: who may, what body, which command. `messages` gives the sentence of each status.

    `build` is given the call too: whose token it is, and what the settings say. `show` makes the envelope's data; the
    answer's own, unless the body holds what no kept answer may.
    """

    path: str
    access: Access
    decoder: "msgspec.json.Decoder[Any]"
    build: Callable[[Any, PathParams, Call], Any]
    messages: Mapping[int, str]
    documented: Documented
    method: Literal["POST", "PUT"] = "POST"
    key: KeyRule = "required"
    show: Callable[[Any, Answer], Any] = _stored

    async def perform(self, call: Call, receive: Receive, params: PathParams = NO_PARAMS) -> Reply:
        """Read, decide, answer; whatever is refused is raised."""
        body, command, origin = self.read(call, await read_body(call, receive), params)
        return self.reply(call, body, await call.resources.handler.handle(command, origin))

    def perform_for(self, call: Call, raw: bytes, waiting: WaitingCall) -> None:
        """The same for a body that is there already: `waiting` is told the answer. What is refused at once is raised."""
        check_type(call, raw)
        body, command, origin = self.read(call, raw)
        waiting.reply_of = partial(self.reply, call, body)
        call.resources.handler.handle_for(command, origin, waiting)

    def read(self, call: Call, raw: bytes, params: PathParams = NO_PARAMS) -> tuple[Any, Any, Origin]:
        """The body, the command it asks for, and where that comes from."""
        if call.query:
            read_query(call, Nothing)
        key = read_key(call, self.key)
        if self.documented.needs_version and b"if-match" not in call.headers:
            raise IfMatchRequired(
                "If-Match is required: the ETag that a read of it answers, so that nothing newer is lost."
            )
        expected_version = read_if_match(call)
        body = decode_body(self.decoder, raw if raw or self.documented.body_required else b"{}")
        command = self.build(body, params, call)
        return body, command, origin_of(call, fingerprint(call.method, call.path, raw), key, expected_version)

    def reply(self, call: Call, body: Any, answer: Answer) -> Reply:
        """The answer in its envelope."""
        return success(
            call,
            self.messages[answer.status],
            self.show(body, answer),
            status=answer.status,
            headers=answer_headers(answer.position, replayed=answer.replayed),
        )

    @property
    def lean(self) -> LeanRoute:
        """The same route for the gate."""
        return LeanRoute(self.path, self.access, self.perform, self.perform_for)

    @property
    def handler(self) -> HTTPRouteHandler:
        """The same route for Litestar."""

        async def perform(request: Request[Any, Any, Any]) -> Response[bytes]:
            reply = await self.perform(call_of(request), request.receive, request.path_params)
            return reply.as_response()

        opt = opened_to(self.access, self.documented) | {"key": self.key}
        route = put if self.method == "PUT" else post
        return route(self.path, opt=opt, status_code=next(iter(self.messages)))(perform)


def origin_of(call: Call, request_fingerprint: bytes, key: str | None, expected_version: int | None = None) -> Origin:
    """Who gives the command, when, under which key."""
    return Origin(
        call.signed_in.actor,
        utc_now(),
        request_fingerprint,
        call.request_id,
        call.correlation_id,
        key,
        None,
        expected_version,
    )
