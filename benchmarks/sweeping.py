"""A million lots that end on one day: how fast the real worker records their expiry, and what a command waits meanwhile.

A service of its own, with projector: `ledger import` makes the lots, ten for each member, a client issues commands at a
modest rate; first nothing else happens (idle), then the deadline passes and `ledger work` begins. The rate is that of
the log itself: first to last expiry by their times of recording. Read next: `../workers/expiry.py`.
"""

import asyncio
import os
import time
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg
import msgspec

from benchmarks import load
from benchmarks.cells import Cell, Results, Target
from benchmarks.cluster import SEEDED, Cluster
from benchmarks.importing import import_file
from benchmarks.load import Measured, measured
from benchmarks.running_service import Service

DATABASE: Final = "swept"
LOTS: Final = 1_000_000
LOTS_A_MEMBER: Final = 10
COMMANDS_PER_SECOND: Final = 50.0
IDLE_SECONDS: Final = 30.0
LEAST_PER_SECOND: Final = 5_000
P99_AT_MOST: Final = 2.0
"""As a multiple of the idle p99."""
IMPORTED_PER_SECOND: Final = 2_500
"""At least, on a machine with other work: the deadline is set so far ahead of the import's begin."""
PATIENCE_SECONDS: Final = 1800.0
_SWEPT: Final = """
SELECT count(*) AS lots, extract(epoch FROM max(recorded_at) - min(recorded_at))::float8 AS seconds
FROM ledger.events WHERE type = 'points.expired.v1' AND position > $1
"""


class Steady:
    """A client that issues earns at a steady rate, each to another member, and takes their times from when they were due."""

    def __init__(self, service: Service) -> None:
        """Nothing is sent yet."""
        self._service = service
        self.times: list[float] = []
        self.errors = 0

    async def run(self, until: asyncio.Event) -> float:
        """For how many seconds it ran."""
        clock = time.perf_counter
        begin = due = clock()
        tasks: set[asyncio.Task[None]] = set()
        free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        for _ in range(8):
            free.put_nowait(await asyncio.open_connection("127.0.0.1", self._service.port))
        while not until.is_set():
            due += 1 / COMMANDS_PER_SECOND
            await asyncio.sleep(max(0.0, due - clock()))
            task = asyncio.create_task(self._one(free, due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
        while not free.empty():
            free.get_nowait()[1].close()
        return clock() - begin

    async def _one(self, free: "asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]]", due: float) -> None:
        key = load.random_key()
        body = msgspec.json.encode({"userId": load.uniform(), "amount": 5, "source": "bonus", "reference": key})
        reader, writer = await free.get()
        writer.write(
            b"POST /api/points/earn HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Authorization: Bearer %b\r\nIdempotency-Key: %b\r\nContent-Length: %d\r\n\r\n%b"
            % (self._service.token.encode(), key.encode(), len(body), body)
        )
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        self.times.append(time.perf_counter() - due)
        self.errors += not head.startswith(b"HTTP/1.1 201")
        free.put_nowait((reader, writer))


class Sweeps:
    """The lots, the service and the two cells."""

    def __init__(self, cluster: Cluster, *, lots: int) -> None:
        """Call `make` before measuring."""
        self._cluster = cluster
        self._lots = lots
        self._service = Service(cluster, DATABASE, processes=1, projector=True)
        self._deadline = datetime.now(UTC)

    @property
    def names(self) -> tuple[str, str]:
        """Of the idle cell and of the sweep's."""
        return "sweep: commands, idle", f"sweep of {self._lots:,} lots"

    async def make(self) -> None:
        """The lots, all live, and the read models that know of them."""
        await self._cluster.create(DATABASE, template=SEEDED)
        self._deadline = datetime.now(UTC) + timedelta(seconds=30 + self._lots / IMPORTED_PER_SECOND)
        file = self._cluster.root / "lots.csv"
        with file.open("w", encoding="utf-8", newline="") as out:
            out.write("userId,amount,source,reference,expiresAt\n")
            members = min(load.ACCOUNTS, self._lots // LOTS_A_MEMBER)
            for number in range(self._lots):
                ends = (self._deadline - timedelta(seconds=number // members)).strftime("%Y-%m-%dT%H:%M:%SZ")
                out.write(f"{load.member(number * 7919 % members)},5,bonus,till-{number:010d},{ends}\n")
        await import_file(self._cluster, DATABASE, file)
        file.unlink()
        await self._service.start()
        await self._service.caught_up(PATIENCE_SECONDS)
        await self._cluster.settle(DATABASE)

    def stop(self) -> None:
        """The service."""
        self._service.stop()

    async def measure(self, results: Results) -> None:
        """Idle, then the sweep, with the target that idle sets."""
        idle, sweep = self.names
        await results.measure([Cell(name=idle, measure=self._idle)], 1, IDLE_SECONDS)
        p99_ms = results.by_name[idle].median("p99_ms") * P99_AT_MOST
        target = Target(per_second=LEAST_PER_SECOND, p99_ms=p99_ms)
        await results.measure([Cell(name=sweep, measure=self._sweep, target=target)], 1, 0)

    async def _idle(self, seconds: float) -> Measured:
        client, over = Steady(self._service), asyncio.Event()
        asyncio.get_running_loop().call_later(seconds, over.set)
        took = await client.run(over)
        return measured(client.times, took, errors=client.errors)

    async def _sweep(self, _seconds: float) -> Measured:
        await asyncio.sleep(max(0.0, (self._deadline - datetime.now(UTC)).total_seconds() + 1))
        connection = await asyncpg.connect(self._cluster.url(DATABASE))
        try:
            before = await connection.fetchval("SELECT position FROM ledger.head")
            client, over = Steady(self._service), asyncio.Event()
            running = asyncio.create_task(client.run(over))
            cpu = os.times()
            self._service.start_worker()
            await self._all_swept(connection, before)
            over.set()
            took = await running
            swept = await connection.fetchrow(_SWEPT, before)
        finally:
            await connection.close()
        lag = await self._service.caught_up(PATIENCE_SECONDS)
        found = measured(client.times, took, errors=client.errors)
        own = os.times()
        found.client_cpu = (own.user + own.system - cpu.user - cpu.system) / took
        found.note = (
            f"{swept['lots']:,} lots in {swept['seconds']:.1f} s, {len(client.times):,} commands meanwhile, "
            f"CPU API {self._service.cpu_seconds() / took:.2f} worker {self._service.worker_cpu_seconds() / took:.2f}, {lag}"
        )
        found.per_second = swept["lots"] / swept["seconds"]
        return found

    async def _all_swept(self, connection: "asyncpg.Connection[asyncpg.Record]", before: int) -> None:
        """Until as many were recorded as there are lots; the log is asked when its head has grown that far."""
        begin = time.monotonic()
        while time.monotonic() < begin + PATIENCE_SECONDS:
            await asyncio.sleep(0.5)
            head = await connection.fetchval("SELECT position FROM ledger.head")
            if head - before >= self._lots and (await connection.fetchrow(_SWEPT, before))["lots"] >= self._lots:
                return
        msg = f"not all of {self._lots:,} lots were swept after {PATIENCE_SECONDS:.0f} s"
        raise RuntimeError(msg)
