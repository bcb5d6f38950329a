"""HTTP as uvicorn speaks it, with two things of ours: an answer goes out in one write, and a head has an end.

uvicorn hands head and body to the transport one by one, and uvloop sends each at once.

Two system calls and two packets an answer were a quarter of the time of a lean request. Here the first piece is held
until the second comes, or until the event loop's next turn, whichever is first. Of a head there is no end to httptools:
who sends headers without end would fill the memory.
uvicorn and the standard library. Read next: `serve.py`.
"""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES: Final = 65_536
"""So much of a head is waited for; what one read of the socket brings at once may be more."""
HEAD_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
)


class JoinedWrites:
    """A transport that joins a write with the one right after it. All else is the transport's own."""

    __slots__ = ("_call_soon", "_held", "is_closing", "transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing is held yet."""
        self.transport = transport
        self.is_closing = transport.is_closing  # asked for three times a request
        self._call_soon = loop.call_soon
        self._held: bytes | None = None

    def __getattr__(self, name: str) -> Any:
        """Whatever this class does not change."""
        return getattr(self.transport, name)

    def write(self, data: bytes) -> None:
        """Hold the first piece, send it with the second."""
        held = self._held
        if held is None:
            self._held = data
            self._call_soon(self._release)
        else:
            self._held = None
            self.transport.write(held + data if data else held)

    def write_whole(self, data: bytes) -> None:
        """Send this now, behind what is held."""
        held = self._held
        if held is not None:
            self._held = None
            data = held + data
        self.transport.write(data)

    def close(self) -> None:
        """Send what is held, then close."""
        self._release()
        self.transport.close()

    def _release(self) -> None:
        held = self._held
        if held is not None:
            self._held = None
            self.transport.write(held)


class OneWriteProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol on joined writes, with heads of a bounded size."""

    _head_bytes: int | None = None
    """How much of a head has come that is not whole yet; None between heads."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """A client has connected."""
        self._plain = transport
        self._joined = JoinedWrites(transport, self.loop)
        super().connection_made(self._joined)  # type: ignore[arg-type]  # duck-typed

    def write_whole(self, answer: bytes) -> None:
        """Send a whole answer now, behind what is held."""
        self._joined.write_whole(answer)

    def data_received(self, data: bytes) -> None:
        """More has come."""
        super().data_received(data)
        if self._head_bytes is not None:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
                self.transport.write(HEAD_TOO_LARGE)
                self.transport.close()

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """The head is whole. What still comes as a header is a trailer of a chunked body, which must not pass for one.

        A proxy sets and removes headers, `X-Forwarded-For` among them, and leaves trailers alone (RFC 9110, 6.5.1).
        """
        self._head_bytes = None
        super().on_headers_complete()
        if not (self.parser.should_upgrade() and self._should_upgrade()):  # a handshake needs them once more
            self.headers = []

    def handle_websocket_upgrade(self) -> None:
        """WebSockets write frames when they want: they get the plain transport."""
        self.transport = self._plain
        super().handle_websocket_upgrade()
