"""The HTTP client: a process of its own, keep-alive connections, requests built before the clock runs.

Closed loop: so many requests in flight, each answer sends the next. Open loop: requests are due at a constant rate
whatever the service does, and their time counts from when they were due, so that a stall is paid by all it delays.
Read next: `load.py`, `running_service.py`.
"""

import asyncio
import gc
import itertools
import sys
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec
import uvloop

from benchmarks import load, paying

BATCH: Final = 100
BUILT_PER_SECOND: Final = {"earn": 16_000, "batch": 700, "webhook": 8_000, "instruct": 8_000}
"""Requests built ahead; what is asked for beyond them is built when it is needed."""
GOOD: Final = {"earn": b"201", "batch": b"200", "webhook": b"202", "instruct": b"20"}
"""What the status of an answer begins with. An instruction is made (201) or confirmed (200)."""
CONNECTIONS_AT_MOST: Final = 512
PATIENCE_SECONDS: Final = 30.0
WARMING_SECONDS_AT_MOST: Final = 300.0


class Ask(msgspec.Struct, kw_only=True):
    """One load. `rate` is requests a second, for the open loop; 0 is the closed loop with `in_flight`."""

    port: int
    token: str
    shape: Literal["earn", "batch", "webhook", "instruct"] = "earn"
    kind: Literal["uniform", "hot", "each"] = "uniform"
    """`each`: every account once, then it ends: warms the service's cache."""
    in_flight: int = 64
    seconds: float = 1.0
    rate: float = 0.0
    first: int = 0
    """So many webhooks or instructions were sent before: each of them can be sent once."""


def requests(ask: Ask) -> Iterator[bytes]:
    """Whole requests, each with a key of its own."""
    match ask.shape:
        case "webhook":
            return paying.deliveries(ask.first)
        case "instruct":
            return paying.instructions(ask.first, ask.token)
        case "earn" | "batch":
            return _points_requests(ask)


def _points_requests(ask: Ask) -> Iterator[bytes]:
    users = (
        itertools.chain(map(load.member, range(load.ACCOUNTS)), [load.hot_member()] * BATCH)
        if ask.kind == "each"
        else iter(load.picked(ask.kind == "hot"), None)
    )
    head = f"Host: 127.0.0.1\r\nAuthorization: Bearer {ask.token}\r\nContent-Type: application/json\r\n"
    fields = f'"amount":{load.AMOUNT},"source":"bonus","description":"{load.DESCRIPTION}"'
    if ask.shape == "earn":
        for user in users:
            key = load.random_key()
            body = f'{{"userId":"{user}","reference":"{key}",{fields}}}'
            yield (
                f"POST /api/points/earn HTTP/1.1\r\n{head}Idempotency-Key: {key}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n{body}"
            ).encode()
        return
    while some := [*itertools.islice(users, BATCH)]:
        items = ",".join(
            f'{{"type":"earn","key":"{key}","userId":"{user}","reference":"{key}",{fields}}}'
            for user, key in ((user, load.random_key()) for user in some)
        )
        body = f'{{"atomic":false,"items":[{items}]}}'
        yield f"POST /api/points/batch HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


class Load:
    """One run: who is free, what was answered, how long it took."""

    def __init__(self, ask: Ask) -> None:
        """Builds the requests."""
        rate = ask.rate or BUILT_PER_SECOND[ask.shape]
        more = requests(ask)
        built = [] if ask.kind == "each" else [*itertools.islice(more, int(rate * ask.seconds) + 1)]
        self.next_request = itertools.chain(built, more).__next__
        self.good = GOOD[ask.shape]
        self.times: list[float] = []
        self.errors = 0
        self.sample = b""
        self.sending_ends = 0.0
        self.open = 0
        self.free: list[Connection] = []
        self.due: deque[float] = deque()
        self.paced = ask.rate > 0
        self.ended = asyncio.get_running_loop().create_future()

    def answered(self, connection: "Connection", since: float, whole: bytes) -> None:
        """Take the time; send the next, if there is one to send."""
        now = time.perf_counter()
        if whole.startswith(self.good, 9):
            self.times.append(now - since)
        else:
            self.errors += 1
            self.sample = whole
        if self.paced:
            if self.due:
                connection.send(self.next_request(), self.due.popleft())
                return
            self.free.append(connection)
        elif now < self.sending_ends:
            try:
                connection.send(self.next_request(), now)
            except StopIteration:
                self.sending_ends = now
            else:
                return
        self.open -= 1
        if self.open == 0 and now >= self.sending_ends and not self.ended.done():
            self.ended.set_result(None)

    def lost(self, connection: "Connection") -> None:
        """The service hung up on a request."""
        self.errors += connection.busy
        if not self.ended.done():
            self.ended.set_exception(ConnectionError("the service closed a connection"))


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request on it."""

    __slots__ = ("_closed", "_length", "_load", "_parts", "_since", "_transport", "busy")

    def __init__(self, owner: Load) -> None:
        """Idle."""
        self._load = owner
        self._parts: list[bytes] = []
        self._length = 0
        self._since = 0.0
        self._closed = False
        self.busy = False

    def connection_made(self, transport: Any) -> None:
        """Kept for writing. uvloop's transports are of no class of asyncio's."""
        self._transport = transport

    def send(self, request: bytes, since: float) -> None:
        """The request's time counts from `since`."""
        self._since = since
        self.busy = True
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Wait for the whole answer."""
        if self._parts:
            self._parts.append(data)
            data = b"".join(self._parts)
        if not self._length:
            end = data.find(b"\r\n\r\n")
            if end > 0:
                begin = data.index(b"content-length: ", 0, end) + 16
                self._length = end + 4 + int(data[begin : data.index(b"\r", begin)])
        if not self._length or len(data) < self._length:
            self._parts = [data]
            return
        self._parts = []
        self._length = 0
        self.busy = False
        self._load.answered(self, self._since, data)

    def connection_lost(self, _exc: Exception | None) -> None:
        """Not what a keep-alive connection is for, unless we closed it."""
        if not self._closed:
            self._load.lost(self)

    def close(self) -> None:
        """For good."""
        self._closed = True
        self._transport.close()


async def measure(ask: Ask) -> load.Measured:
    """Run one load to its end."""
    loop = asyncio.get_running_loop()
    run = Load(ask)
    count = CONNECTIONS_AT_MOST if run.paced else ask.in_flight
    connections = [
        (await loop.create_connection(lambda: Connection(run), "127.0.0.1", ask.port))[1] for _ in range(count)
    ]
    gc.collect()
    gc.freeze()
    seconds = WARMING_SECONDS_AT_MOST if ask.kind == "each" else ask.seconds
    cpu, begin = time.process_time(), time.perf_counter()
    run.sending_ends = begin + seconds
    run.open = count
    try:
        if run.paced:
            run.free = connections
            run.open = 0
            await _pace(run, ask, begin)
        else:
            for connection in connections:
                connection.send(run.next_request(), time.perf_counter())
            await asyncio.wait_for(run.ended, seconds + PATIENCE_SECONDS)
    finally:
        took, busy = time.perf_counter() - begin, time.process_time() - cpu
        for connection in connections:
            connection.close()
    found = load.measured(run.times, took, errors=run.errors, commands_each=BATCH if ask.shape == "batch" else 1)
    found.client_cpu = busy / took
    found.note = run.sample.partition(b"\r\n\r\n")[2][:200].decode(errors="replace") if run.errors else ""
    return found


async def _pace(run: Load, ask: Ask, begin: float) -> None:
    """Send what is due every millisecond, on free connections; what finds none waits, and its time runs."""
    sent = 0
    total = int(ask.rate * ask.seconds)
    while sent < total:
        due = min(total, int((time.perf_counter() - begin) * ask.rate) + 1)
        for number in range(sent, due):
            at = begin + number / ask.rate
            if run.free:
                run.open += 1
                run.free.pop().send(run.next_request(), at)
            else:
                run.due.append(at)
        sent = due
        await asyncio.sleep(0.001)
    if run.open:
        await asyncio.wait_for(run.ended, PATIENCE_SECONDS)


async def main() -> None:
    """Answer until stdin ends."""
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
        found = await measure(msgspec.json.decode(line, type=Ask))
        sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    uvloop.run(main())
