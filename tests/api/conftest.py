"""The running service: real PostgreSQL, real Redis, the projector, and uvicorn on a free port."""

import asyncio
import itertools
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx
import jwt
import pytest

from api.app import LedgerApi, create_app
from api.serve import Server
from ledger.settings import Settings
from projections.catalogue import PROJECTIONS
from projections.runner import Runner
from tests.api.paying import WEBHOOK_SECRETS

SECRET = "a secret for tests, of more than 32 bytes"
NUMBERS = itertools.count(1)


class _Server(Server):
    """Leaves the signals of the test run alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Api:
    """A client of the service that signs in as anybody."""

    def __init__(self, base_url: str, app: LedgerApi, server: Server) -> None:
        self.base_url = base_url
        self.app = app
        self.server = server
        self.http = httpx.AsyncClient(base_url=base_url, timeout=20)

    def token(self, user: str = "shop", role: str = "service", **claims: Any) -> str:
        return jwt.encode({"id": user, "role": role, "exp": int(time.time()) + 600} | claims, SECRET, "HS256")

    def bearer(self, user: str = "shop", role: str = "service") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(user, role)}"}

    async def get(self, path: str, user: str = "shop", role: str = "service", **params: Any) -> httpx.Response:
        return await self.http.get(path, params=params, headers=self.bearer(user, role))

    async def post(
        self,
        path: str,
        body: Any,
        user: str = "shop",
        role: str = "service",
        *,
        key: str | None = "",
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        """`key` empty: a new one; None: none."""
        sent = self.bearer(user, role) | (headers or {})
        if key is not None:
            sent["Idempotency-Key"] = key or self.name("key")
        if isinstance(body, bytes):
            return await self.http.post(path, content=body, headers={"Content-Type": "application/json"} | sent)
        return await self.http.post(path, json=body, headers=sent)

    def name(self, kind: str) -> str:
        """A name nobody has used in this database."""
        return f"{kind}-{next(NUMBERS)}"

    async def member(self, points: int = 0) -> str:
        """A new member, with so many points of one earn."""
        user = self.name("user")
        answer = await self.post("/api/members", {"userId": user, "name": "Ada"})
        assert answer.status_code == 201, answer.text
        if points:
            await self.earn(user, points)
        return user

    async def earn(self, user: str, amount: int, **more: Any) -> httpx.Response:
        body = {"userId": user, "amount": amount, "source": "bonus", "reference": self.name("ref")} | more
        answer = await self.post("/api/points/earn", body)
        assert answer.status_code == 201, answer.text
        return answer

    async def points(self, user: str, after: httpx.Response) -> dict[str, Any]:
        """What the member sees once the read model has got to that write."""
        position = after.headers["Ledger-Position"]
        answer = await self.get("/api/points/my-points", user, "buyer", minPosition=position)
        assert answer.status_code == 200, answer.text
        data: dict[str, Any] = answer.json()["data"]
        return data


@asynccontextmanager
async def running(settings: Settings, *, lean: bool = True) -> AsyncIterator[Api]:
    """The service on a free port until the block ends."""
    app = create_app(settings, lean=lean)
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = _Server(app, settings)
    task = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started:
        assert not task.done(), task.exception()
        await asyncio.sleep(0.01)
    api = Api(f"http://127.0.0.1:{listening.getsockname()[1]}", app, server)
    try:
        yield api
    finally:
        await api.http.aclose()
        server.should_exit = True
        await task


@pytest.fixture(scope="session")
async def api_database(stack: Any, template_database: str) -> AsyncIterator[str]:
    """One database for all tests of the API: they share nothing but it, and name everything anew."""
    name = f"test_api_{os.getpid()}"
    admin = await asyncpg.connect(stack.database_url)
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template_database}")
    parts = urlsplit(stack.database_url)
    yield urlunsplit((parts.scheme, parts.netloc, "/" + name, parts.query, parts.fragment))
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.fixture(scope="session")
def environ(api_database: str, redis_url: str) -> dict[str, str]:
    """The settings of the service under test; limits as good as none."""
    return {
        "DATABASE_URL": api_database,
        "REDIS_URL": redis_url,
        "JWT_SECRET": SECRET,
        "FRONTEND_URL": "https://shop.example",
        "WEBHOOK_SECRETS": WEBHOOK_SECRETS,
        "RATE_LIMIT_GLOBAL": "1000000/minute",
        "RATE_LIMIT_PAYMENT": "1000000/minute",
        "RATE_LIMIT_SERVICE": "1000000/minute",
    }


@pytest.fixture(scope="session")
async def projector(api_database: str) -> AsyncIterator[None]:
    pool = await asyncpg.create_pool(api_database, min_size=1, max_size=4, server_settings={"role": "ledger_project"})
    runner = Runner(pool, PROJECTIONS, direct_url=api_database)
    task = asyncio.create_task(runner.run())
    yield
    await runner.stop()
    await task
    await pool.close()


@pytest.fixture(scope="session")
async def api(environ: dict[str, str], projector: None) -> AsyncIterator[Api]:
    """The service, as it is run."""
    async with running(Settings.from_env(environ)) as api:
        # The first read waits for the projector to make its tables.
        while (await api.get("/api/points/my-points", "nobody", "buyer")).status_code == 503:
            pass
        yield api


@pytest.fixture(scope="session")
async def ordinary_api(environ: dict[str, str], api: Api) -> AsyncIterator[Api]:
    """The service with no lean route, on the same database."""
    async with running(Settings.from_env(environ), lean=False) as ordinary:
        yield ordinary


@pytest.fixture
async def start(environ: dict[str, str], api: Api) -> AsyncIterator[Callable[..., Awaitable[Api]]]:
    """Start another service on the same database, with other settings."""
    started: list[Any] = []

    async def start(**changed: str) -> Api:
        context = running(Settings.from_env(environ | changed))
        started.append(context)
        return await context.__aenter__()

    yield start
    for context in started:
        await context.__aexit__(None, None, None)
