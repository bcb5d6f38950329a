"""One `ledger serve` as in production, on a database of the test's own: to be run in several, or to be killed."""

import asyncio
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import jwt

from tests.api.paying import WEBHOOK_SECRETS

ROOT = Path(__file__).resolve().parents[2]
SECRET = secrets.token_urlsafe(32)
START_SECONDS = 20.0


def bearer(user: str, role: str) -> dict[str, str]:
    """A token as the platform would issue it."""
    claims = {"id": user, "role": role, "exp": int(time.time()) + 3600}
    return {"Authorization": "Bearer " + jwt.encode(claims, SECRET, algorithm="HS256")}


class ApiProcess:
    """Where it answers, and its end."""

    def __init__(self, port: int, environment: dict[str, str]) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, on the same port each time, and wait until it answers."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "api.cli", "serve", cwd=ROOT, env=self._environment, stdout=asyncio.subprocess.DEVNULL
        )
        deadline = time.monotonic() + START_SECONDS
        async with httpx.AsyncClient() as client:
            while True:
                assert self._process.returncode is None, "it did not start"
                try:
                    await client.get(self.url + "/health")
                except httpx.TransportError:
                    assert time.monotonic() < deadline, "it does not answer"
                    await asyncio.sleep(0.05)
                else:
                    return

    async def kill(self) -> None:
        """As the kernel does when memory is short: now, and without a word."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> None:
        """As told."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            assert await self._process.wait() in {0, -signal.SIGTERM}, "the process did not end as told"


@asynccontextmanager
async def api_process(database_url: str, redis_url: str) -> AsyncIterator[ApiProcess]:
    """A process that runs until the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = ApiProcess(
        port,
        {
            **os.environ,
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "PORT": str(port),
            "JWT_SECRET": SECRET,
            "WEBHOOK_SECRETS": WEBHOOK_SECRETS,
            "RATE_LIMIT_GLOBAL": "1000000/minute",
            "RATE_LIMIT_PAYMENT": "1000000/minute",
            "RATE_LIMIT_SERVICE": "1000000/minute",
            "LOG_LEVEL": "ERROR",
        },
    )
    try:
        await process.start()
        yield process
    finally:
        await process.stop()


async def post(client: httpx.AsyncClient, url: str, body: Any, who: dict[str, str], key: str = "") -> httpx.Response:
    """A command; under a new key unless one is given."""
    return await client.post(url, json=body, headers=who | {"Idempotency-Key": key or secrets.token_hex(12)})
