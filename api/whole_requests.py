"""A request that comes whole, in one read, to a lean route is served right here: no scope, no task, no messages.

What uvicorn and ASGI make for a request (a scope, a cycle, an event, a task, four messages) cost a quarter of it. All
that is out of the ordinary goes uvicorn's way, through the same gate to the same functions: a body that is still on its
way, a token not seen before, a slice of a limit used up, another request under way on the connection, `Expect`,
`Upgrade`, chunks, HTTP/1.0, `Connection: close`, a client that does not read its answers.
Read next: `gate.py`, `commands.py`; docs/decisions/0010-whole-requests-need-no-task.md for what it bought.
"""

import asyncio
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, Final

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from api.call import Call, Header
from api.commands import LeanRoute
from api.envelope import Reply
from api.errors import error_reply
from api.gate import SAFETY, Gate
from api.observability import observe_request
from api.one_write import OneWriteProtocol
from api.security import authorize
from ledger.decision import Answer

log = structlog.get_logger(__name__)

UNUSUAL: Final = frozenset({b"transfer-encoding", b"upgrade", b"expect"})
"""Who sends one of these headers is served by uvicorn."""


class WholeRequestsProtocol(OneWriteProtocol):
    """uvicorn's protocol, but whole requests of some routes it serves by itself. One per connection."""

    cycle: "RequestResponseCycle | Exchange | None"  # type: ignore[assignment]  # there it is never said to be None

    def __init__(self, gate: Gate, *args: Any, **kwargs: Any) -> None:
        """The gate says which routes these are, and lets the requests in. The rest is uvicorn's."""
        super().__init__(*args, **kwargs)
        self._gate = gate
        self._routes = gate.at_once
        self._route: LeanRoute | None = None
        """Of the request that is being read, if it may be served here."""
        self._body = b""
        """What has come of it; empty when nothing is being read for a route."""
        self._idle_until: float | None = None

    # a request comes

    def on_message_begin(self) -> None:
        """A head begins. uvicorn's scope is made when it is needed."""
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        """The head is whole: whose request is it?"""
        self._route = self._routes.get(self.url)
        if self._route is None or not self._is_usual():
            self._hand_over()
            return
        self._unmade = 0

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self._route is None:
            super().on_body(body)
        else:
            self._unmade = 0
            self._body += body

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._route is not None:
            self._unmade = 0
            call = Call(
                {"method": "POST", "query_string": b"", "headers": self.headers}, self._route.path, self._gate.resources
            )
            if self._gate.admit_at_once(call):
                self._serve(call, self._route)
                return
            self._hand_over()
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """More has come. What is not whole by now is uvicorn's to wait for."""
        super().data_received(data)
        if self._route is not None:
            self._hand_over()

    def _is_usual(self) -> bool:
        """Whether the connection is free and read from, and the head asks for nothing special."""
        return (
            (self.cycle is None or self.cycle.response_complete)
            and not self.flow.write_paused
            and self.parser.get_method() == b"POST"
            and self.parser.should_keep_alive()
            and self.parser.get_http_version() == "1.1"
            and UNUSUAL.isdisjoint([name for name, _ in self.headers])
        )

    def _serve(self, call: Call, route: LeanRoute) -> None:
        self.cycle = exchange = Exchange(self, call)
        body = self._body
        self._route, self._body = None, b""
        assert route.perform_for is not None, "the gate names no others"
        try:
            authorize(call, route.access)
            route.perform_for(call, body, exchange)
        except Exception as error:
            exchange.set_exception(error)

    def _hand_over(self) -> None:
        """Let uvicorn have the request, with what has come of it."""
        self._route = None
        if self.transport.is_closing():
            return
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)  # in place: the scope has the list
        super().on_headers_complete()
        if self._body:
            super().on_body(self._body)
            self._body = b""

    # between requests: one timer a connection, which looks at the clock, instead of one a request

    def on_response_complete(self) -> None:
        """An answer is out. As uvicorn's, but for the timer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._say_last_words()
        self._idle_until = self.loop.time() + self.timeout_keep_alive
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_at(self._idle_until, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        """The time of some answer is up; of the last one, if nothing has come since?"""
        self.timeout_keep_alive_task = None
        if self._idle_until is None:
            return
        if self._idle_until > self.loop.time():
            self.timeout_keep_alive_task = self.loop.call_at(self._idle_until, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()

    def _unset_keepalive_if_required(self) -> None:
        self._idle_until = None

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone, or we are."""
        super().connection_lost(exc)
        # What refers to this protocol goes, so that it is freed now: a collector that finds a thousand of them at once
        # makes everybody wait for 20 ms.
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        if self.cycle is not None and self.cycle.response_complete:
            self.cycle = None


class Exchange:
    """A request that is being decided: what uvicorn asks of its cycle, and what the committer tells the outcome."""

    __slots__ = ("_began", "_call", "_protocol", "disconnected", "keep_alive", "reply_of", "response_complete")

    reply_of: Callable[[Answer], Reply]
    message_event: Final = asyncio.Event()
    """uvicorn sets it for who waits for more of a body. Nobody does."""

    def __init__(self, protocol: WholeRequestsProtocol, call: Call) -> None:
        """The time begins."""
        self._protocol = protocol
        self._call = call
        self._began = perf_counter()
        self.disconnected = False
        self.keep_alive = True
        self.response_complete = False

    def done(self) -> bool:
        """Whether it was answered. One whose client is gone is still to be counted."""
        return self.response_complete

    def set_result(self, outcome: Answer, /) -> None:
        """Answer."""
        try:
            reply = self.reply_of(outcome)
        except Exception as error:
            reply = error_reply(self._call, error)
        self._send(reply)

    def set_exception(self, outcome: BaseException, /) -> None:
        """Refuse."""
        self._send(error_reply(self._call, outcome))

    def _send(self, reply: Reply) -> None:
        """Write, and count. The flusher calls: whatever goes wrong is the end of this connection and of nothing else."""
        call, protocol = self._call, self._protocol
        self.response_complete = True
        observe_request(call.method, call.path, reply.status, perf_counter() - self._began)
        if self.disconnected:
            protocol.cycle = None  # the connection is lost, and need not wait for the collector
            return
        if protocol.transport.is_closing():
            return
        try:
            head = head_of(reply, protocol.server_state.default_headers, call.response_headers, self.keep_alive)
            protocol.write_whole(head + reply.body)
            if not self.keep_alive:
                protocol.transport.close()
            protocol.on_response_complete()
        except Exception as error:
            log.error("an answer could not be sent", request_id=call.request_id, exc_info=error)
            protocol.transport.close()


def head_of(reply: Reply, server: Sequence[Header], added: Sequence[Header], keep_alive: bool) -> bytes:
    """The head as uvicorn writes it, up to the empty line; `server` are its own headers: the date."""
    lines = map(b": ".join, (*server, (b"content-length", b"%d" % len(reply.body)), *reply.headers, *added))
    return STATUS_LINE[reply.status] + b"\r\n".join([*lines, _SAFETY if keep_alive else _SAFETY_AND_CLOSE])


_SAFETY: Final = b"\r\n".join([*map(b": ".join, SAFETY), b"\r\n"])
_SAFETY_AND_CLOSE: Final = b"\r\n".join([*map(b": ".join, SAFETY), b"connection: close", b"\r\n"])
