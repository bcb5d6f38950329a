"""An answer in one write: uvicorn hands head and body to the transport one by one, and uvloop sends each at once.

Two system calls and two packets an answer were a quarter of the time of a lean request. Here the first piece is held
until the second comes, or until the event loop's next turn, whichever is first.
uvicorn and the standard library. Read next: `serve.py`.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class JoinedWrites:
    """A transport that joins a write with the one right after it. All else is the transport's own."""

    __slots__ = ("_call_soon", "_held", "transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing is held yet."""
        self.transport = transport
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
    """uvicorn's HTTP protocol on joined writes."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """A client has connected."""
        self._plain = transport
        super().connection_made(JoinedWrites(transport, self.loop))  # type: ignore[arg-type]  # duck-typed

    def on_headers_complete(self) -> None:
        """The head is whole. What still comes as a header is a trailer of a chunked body, which must not pass for one.

        A proxy sets and removes headers, `X-Forwarded-For` among them, and leaves trailers alone (RFC 9110, 6.5.1).
        """
        super().on_headers_complete()
        if not (self.parser.should_upgrade() and self._should_upgrade()):  # a handshake needs them once more
            self.headers = []

    def handle_websocket_upgrade(self) -> None:
        """WebSockets write frames when they want: they get the plain transport."""
        self.transport = self._plain
        super().handle_websocket_upgrade()
