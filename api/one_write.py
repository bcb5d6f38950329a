"""An answer goes out in one write.

uvicorn hands head and body to the transport one by one, and uvloop sends each at once. Two system calls and two packets an
answer were a quarter of the time of a lean request. Here the first piece is held until the second comes, or until the event
loop's next turn, whichever is first. The standard library only, over `orderly_requests.py`. Read next: `serve.py`.
"""

import asyncio
from typing import Any

from api.orderly_requests import OrderlyProtocol


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


class OneWriteProtocol(OrderlyProtocol):
    """HTTP on joined writes."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """A client has connected."""
        self._plain = transport
        self._joined = JoinedWrites(transport, self.loop)
        super().connection_made(self._joined)  # type: ignore[arg-type]  # duck-typed

    def write_whole(self, answer: bytes) -> None:
        """Send a whole answer now, behind what is held."""
        self._joined.write_whole(answer)

    def handle_websocket_upgrade(self) -> None:
        """WebSockets write frames when they want: they get the plain transport."""
        self.transport = self._plain
        super().handle_websocket_upgrade()
