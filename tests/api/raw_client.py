"""An HTTP client that decides which bytes go out together, and sees the answer as it was sent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

PATIENCE_SECONDS = 20


class RawAnswer(NamedTuple):
    """Header names and values in the order they came in."""

    status: int
    headers: list[tuple[str, str]]
    text: str

    def header(self, name: str) -> str | None:
        return dict(self.headers).get(name)


class RawClient:
    """One connection."""

    def __init__(self, api: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._api = api
        self._reader = reader
        self._writer = writer

    async def send(self, *pieces: bytes) -> None:
        """Each piece in a read of its own: the service has served somebody else since it could have read the last."""
        for piece in pieces:
            self._writer.write(piece)
            await self._writer.drain()
            await self._api.http.get("/health")

    async def answer(self) -> RawAnswer:
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
            status, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
            headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
            body = await self._reader.readexactly(int(dict(headers)["content-length"]))
        return RawAnswer(int(status.split()[1]), headers, body.decode())

    async def asked(self, *pieces: bytes) -> RawAnswer:
        await self.send(*pieces)
        return await self.answer()

    async def interim(self) -> bytes:
        """The status line of an answer before the answer."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return (await self._reader.readuntil(b"\r\n\r\n")).strip()

    async def rest(self) -> bytes:
        """Whatever comes until the service hangs up."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._reader.read()

    def hang_up(self) -> None:
        self._writer.close()


@asynccontextmanager
async def connected(api: Any) -> AsyncIterator[RawClient]:
    host, port = api.base_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield RawClient(api, reader, writer)
    finally:
        writer.close()


def head_and_body(path: str, headers: dict[str, str], body: str, method: str = "POST") -> tuple[bytes, bytes]:
    """The two pieces of a request."""
    content = body.encode()
    fields = {"Host": "x", "Content-Length": str(len(content))} | headers
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items() if value), "", ""]
    return "\r\n".join(lines).encode(), content
