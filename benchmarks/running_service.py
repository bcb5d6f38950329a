"""The service as production runs it: `ledger serve` once or several times on one port, `ledger project run` beside it.

On the bench's PostgreSQL and Valkey, as the roles it has in production; of the settings only RATE_LIMIT_SERVICE is
unusual, so that the limiter counts every request and refuses none. Read next: `http_cells.py`.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import asyncpg

from benchmarks.cluster import Cluster
from benchmarks.paying import WEBHOOK_SECRETS
from workers.processes import open_log, spawn, stop
from workers.supervise import bind_sockets

SECRET: Final = "a secret of the bench, forty characters."
USER: Final = "bench-service"
START_SECONDS: Final = 60.0
_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
_ROOT: Final = Path(__file__).parents[1]
_BEHIND: Final = """
SELECT (SELECT position FROM ledger.head WHERE shard = 0) - coalesce((SELECT min(position) FROM read_models.builds), 0)
"""


class Service:
    """API processes on one database, with a projector or without."""

    def __init__(self, cluster: Cluster, database: str, *, processes: int, projector: bool) -> None:
        """Nothing runs yet."""
        self._database_url = cluster.url(database)
        self._log = cluster.root / f"{database}.log"
        self._processes = processes
        self._projector = projector
        self._running: list[subprocess.Popen[bytes]] = []
        self._follower: subprocess.Popen[bytes] | None = None
        self._worker: subprocess.Popen[bytes] | None = None
        self._environment = {
            **{
                name: value for name, value in os.environ.items() if not name.startswith(("DATABASE", "REDIS", "RATE_"))
            },
            **cluster.environment(database),
            "LEDGER_DATA": str(cluster.root / "service"),
            "ENVIRONMENT": "production",
            "JWT_SECRET": SECRET,
            "RATE_LIMIT_SERVICE": "999999999/day",
            "LOG_LEVEL": "warning",
            "PROCESSES": str(processes),
            "WEBHOOK_SECRETS": WEBHOOK_SECRETS,
        }
        self.port = 0
        self.token = ""
        self.admin_token = ""

    async def start(self) -> None:
        """Start and wait until it answers. From the main thread."""
        self.token = self._ledger("token", "--user", USER, "--role", "service", "--ttl", "12h").strip()
        self.admin_token = self._ledger("token", "--user", "bench-admin", "--role", "admin", "--ttl", "12h").strip()
        sockets = bind_sockets("127.0.0.1", 0, self._processes)
        self.port = sockets[0].getsockname()[1]
        for listening in sockets:
            with listening:
                fd = listening.fileno()
                self._running.append(self._spawn("serve", "--fd", str(fd), pass_fds=(fd,)))
        if self._projector:
            self._follower = self._spawn("project", "run")
        deadline = time.monotonic() + START_SECONDS
        while not await self._answers():
            self._check_alive()
            if time.monotonic() > deadline:
                msg = f"the service does not answer: {self._said()}"
                raise RuntimeError(msg)
            await asyncio.sleep(0.05)

    def start_worker(self) -> None:
        """`ledger work` beside it: its jobs begin at once."""
        self._worker = self._spawn("work")

    def stop(self) -> None:
        """All of it."""
        for process in [*self._running, *filter(None, (self._follower, self._worker))]:
            stop(process, (signal.SIGTERM, 20.0))
        self._running = []
        self._follower = self._worker = None

    def cpu_seconds(self) -> float:
        """What the API processes have used so far; 0 where the kernel does not tell."""
        return sum(_cpu_seconds(process.pid) for process in self._running)

    def worker_cpu_seconds(self) -> float:
        """The same of the worker."""
        return _cpu_seconds(self._worker.pid) if self._worker else 0.0

    async def caught_up(self, patience_seconds: float = 120.0) -> str:
        """Wait for the projector; how far behind it was, and for how long."""
        if not self._projector:
            return ""
        connection = await asyncpg.connect(self._database_url)
        try:
            begin = time.monotonic()
            first = behind = await connection.fetchval(_BEHIND)
            while behind and time.monotonic() < begin + patience_seconds:
                self._check_alive()
                await asyncio.sleep(0.05)
                behind = await connection.fetchval(_BEHIND)
        finally:
            await connection.close()
        if behind:
            msg = f"the projector is still {behind} events behind after {patience_seconds:.0f} s"
            raise RuntimeError(msg)
        return f"projector {first:,} events behind at the end, caught up {time.monotonic() - begin:.1f} s later"

    def _check_alive(self) -> None:
        if any(
            process.poll() is not None for process in [*self._running, *([self._follower] if self._follower else [])]
        ):
            msg = f"a process of the service has ended: {self._said()}"
            raise RuntimeError(msg)

    def _said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")[-1500:]

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(b"GET /api/health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            answer = await asyncio.wait_for(reader.read(), 5)
            writer.close()
        except (OSError, TimeoutError):
            return False
        return answer.startswith(b"HTTP/1.1 200")

    def _spawn(self, *arguments: str, pass_fds: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
        with open_log(self._log, keep=True) as log:
            return spawn(
                [sys.executable, "-m", "api.cli", *arguments],
                death_signal=signal.SIGTERM,
                stdout=log,
                env=self._environment,
                pass_fds=pass_fds,
                cwd=_ROOT,
            )

    def _ledger(self, *arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "api.cli", *arguments],
            check=True,
            capture_output=True,
            text=True,
            env=self._environment,
            cwd=_ROOT,
        ).stdout


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND
