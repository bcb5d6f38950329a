"""Services for tests: one embedded PostgreSQL and Redis a session, one fresh migrated database a test.

Specs and properties ask for none of this and start nothing.
"""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from ledger.settings import Settings
from ledger.store.migrate import migrate
from workers.local_stack import LocalStack, StackUrls

TEMPLATE = "ledger_template"


def database_named(url: str, name: str) -> str:
    """The same server and login, another database."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, "/" + name, parts.query, parts.fragment))


@pytest.fixture(scope="session")
def stack() -> Iterator[StackUrls]:
    """The servers, small, durable, and gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="ledger-test-", ignore_cleanup_errors=True) as folder:
        small = LocalStack({"shared_buffers": "256MB", "max_connections": "300", "max_wal_size": "2GB"})
        with small:
            yield small.start(Settings.from_env({"LEDGER_DATA": folder}))


@pytest.fixture(scope="session")
def redis_url(stack: StackUrls) -> str:
    """A real Redis (Valkey), shared by the session."""
    return stack.redis_url


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def template_database(stack: StackUrls) -> str:
    """The name of a migrated database to copy."""

    async def make() -> None:
        await _execute(stack.database_url, f"CREATE DATABASE {TEMPLATE}")
        await migrate(database_named(stack.database_url, TEMPLATE))

    asyncio.run(make())
    return TEMPLATE


@pytest.fixture
async def make_database(stack: StackUrls, template_database: str) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    """Ask for as many fresh migrated databases as the test needs; each answer is a superuser's URL."""
    made: list[str] = []

    async def make() -> str:
        name = f"test_{os.getpid()}_{os.urandom(6).hex()}"
        await _execute(stack.database_url, f"CREATE DATABASE {name} TEMPLATE {template_database}")
        made.append(name)
        return database_named(stack.database_url, name)

    yield make
    await _execute(stack.database_url, *(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)" for name in made))


@pytest.fixture
async def database_url(make_database: Callable[[], Awaitable[str]]) -> str:
    """A fresh migrated database of this test's own, as superuser."""
    return await make_database()
