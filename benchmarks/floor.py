"""The floor under pgbench: `floor.sql` called with the prepared protocol, keys made by the client, our payload bytes.

Read next: `floor.sql`.
"""

import asyncio
import os
import re
import resource
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import asyncpg
import msgspec

from benchmarks.cells import Cell
from benchmarks.cluster import Cluster
from benchmarks.load import ACCOUNTS, AMOUNT, Measured
from ledger.store.codec import decode, encode
from ledger.transactions import transaction_answer

DATABASE: Final = "floor"
LOGIN: Final = "floor_client"
PASSWORD: Final = "floor"
CLIENTS_A_SECOND: Final = 128
"""So many connect in a second, with room; what pgbench reports leaves that time out."""
THREADS: Final = 2
"""As many as there are cores: one thread would leave pgbench the bottleneck at 64 clients, more only switch."""
_FIRST_ACCOUNT: Final = 100_000_000_000_000_001
_SCRIPT: Final = """\\set account {account}
\\set key_begin random(100000000000000000, 999999999999999999)
\\set key_end random(100000000000000000, 999999999999999999)
SELECT floor.apply(:account, :key_begin || :key_end, :amount, :fingerprint, :answer, :metadata, :data);
"""
_ACCOUNTS: Final = {
    "uniform": f"random({_FIRST_ACCOUNT}, {_FIRST_ACCOUNT + ACCOUNTS - 1})",
    "hot": str(_FIRST_ACCOUNT),
}


class Payload(msgspec.Struct, frozen=True):
    """The bytes one of our commands stores, as they came out of our own tables."""

    metadata: str
    data: str
    answer: str

    def __str__(self) -> str:
        """Their sizes."""
        return f"metadata {len(self.metadata)}, data {len(self.data)}, answer {len(self.answer)}, fingerprint 32 bytes"


async def payload_of(database_url: str) -> Payload:
    """What our last earn stored, and the answer whole: the floor answers a key again with what it has kept beside it.

    (We keep the status alone and render the rest from the event. With as little to keep, the floor is a tenth faster.)
    """
    connection = await asyncpg.connect(database_url)
    try:
        row = await connection.fetchrow("""
            SELECT convert_from(e.metadata, 'UTF8'), convert_from(e.data, 'UTF8'), e.data
            FROM ledger.events e JOIN ledger.commands c ON c.first_position = e.position
            WHERE e.type = 'points.earned.v1' ORDER BY e.position DESC LIMIT 1""")
    finally:
        await connection.close()
    if row is None:
        raise RuntimeError("no earned event to take the payload from")
    metadata, data, event = row
    answer = encode((201, transaction_answer([decode("points.earned.v1", event)])))
    return Payload(metadata, data, answer.decode())


class Floor:
    """The floor's database, and how to load it."""

    def __init__(self, cluster: Cluster) -> None:
        """Call `make` before `measure`."""
        self._cluster = cluster
        self._payload = Payload("", "", "")

    async def make(self, payload: Payload) -> None:
        """Schema, function and accounts, analyzed; and a login that is cheap, for 256 at once."""
        self._payload = payload
        url = await self._cluster.create(DATABASE)
        connection = await asyncpg.connect(url)
        try:
            await connection.execute((Path(__file__).parent / "floor.sql").read_text(encoding="utf-8"))
            await connection.execute("VACUUM (ANALYZE)")
            # Deriving a key 4,096 times for each of 256 clients takes seconds; pgbench's clock runs meanwhile.
            await connection.execute(f"SET scram_iterations = 1; ALTER ROLE {LOGIN} PASSWORD '{PASSWORD}'")
        finally:
            await connection.close()
        for kind, account in _ACCOUNTS.items():
            self._script(kind).write_text(_SCRIPT.format(account=account), encoding="utf-8")

    def cell(self, kind: str, in_flight: int) -> Cell:
        """What others are compared with."""

        async def measure(seconds: float) -> Measured:
            return await self.measure(kind, in_flight, seconds)

        return Cell(name=f"floor, {kind}, {in_flight}", measure=measure)

    async def measure(self, kind: str, in_flight: int, seconds: float) -> Measured:
        """Run pgbench for that long, in whole seconds. Many clients take a second to connect, and its clock runs."""
        whole_seconds = max(1, round(seconds)) + in_flight // CLIENTS_A_SECOND
        login = urlsplit(self._cluster.url(DATABASE))
        values = {
            "amount": str(AMOUNT),
            "fingerprint": "f" * 32,
            "answer": self._payload.answer,
            "metadata": self._payload.metadata,
            "data": self._payload.data,
        }
        arguments = ["-n", "-M", "prepared", "-f", str(self._script(kind))]
        arguments += ["-c", str(in_flight), "-j", str(min(THREADS, in_flight)), "-T", str(whole_seconds)]
        arguments += [word for name, value in values.items() for word in ("-D", f"{name}={value}")]
        arguments += ["-h", str(login.hostname), "-p", str(login.port), "-U", LOGIN, DATABASE]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        process = await asyncio.create_subprocess_exec(
            str(self._cluster.programs / "pgbench"),
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={"PATH": os.environ.get("PATH", os.defpath), "PGPASSWORD": PASSWORD},
        )
        try:
            said = (await asyncio.wait_for(process.communicate(), whole_seconds + 60))[0].decode(errors="replace")
        finally:
            if process.returncode is None:
                process.kill()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        per_second = re.search(r"^tps = ([\d.]+)", said, re.MULTILINE)
        average_ms = re.search(r"latency average = ([\d.]+)", said)
        done = re.search(r"transactions actually processed: (\d+)", said)
        if per_second is None or average_ms is None or done is None:
            msg = f"pgbench: {said.strip()[-500:]}"
            raise RuntimeError(msg)
        cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Measured(
            per_second=float(per_second[1]),
            p50_ms=float(average_ms[1]),
            p99_ms=0.0,
            commands=int(done[1]),
            seconds=whole_seconds,
            client_cpu=cpu_seconds / whole_seconds,
            note="mean latency in place of the median",
        )

    def _script(self, kind: str) -> Path:
        return self._cluster.root / f"floor-{kind}.pgbench"
