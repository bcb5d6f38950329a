"""Where the database and Redis are: what the settings name, or the embedded servers that run in `LEDGER_DATA`.

May import: asyncpg, ledger, workers. Read next: `../../workers/local_stack.py`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from api.cli.terminal import Failed
from ledger.settings import Settings
from workers.local_stack import StackUrls, find_running

CONNECT_SECONDS = 10.0


def find_urls(settings: Settings) -> StackUrls:
    """The URLs to work with; Redis's is empty where only the database is known. Raises `Failed` where none runs."""
    found = find_running(settings.data_dir, settings)
    if found is not None:
        return found
    if not settings.database_url:
        raise Failed(f"no ledger runs in {settings.data_dir}: start `ledger up`, or set DATABASE_URL.")
    return StackUrls(
        database_url=settings.database_migrate_url or settings.database_url,
        migrate_url=settings.database_migrate_url or settings.database_url,
        api_url=settings.database_url,
        direct_url=settings.database_direct_url or settings.database_url,
        project_url=settings.database_project_url or settings.database_url,
        read_url=settings.database_url,
        redis_url=settings.redis_url or "",
        embedded_database=False,
        embedded_redis=not settings.redis_url,
    )


@asynccontextmanager
async def database(url: str, role: str | None = None) -> "AsyncIterator[asyncpg.Connection[Any]]":
    """One connection, `role` taken on if one is named. A database that cannot be reached is one line."""
    try:
        connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS, server_settings=_session(role))
    except asyncpg.PostgresError as error:
        raise Failed(f"the database refuses: {error}.") from error
    except (OSError, asyncpg.InterfaceError, TimeoutError) as error:
        raise Failed(f"the database cannot be reached: {str(error) or type(error).__name__}.") from error
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def pool(url: str, role: str | None = None, *, size: int = 4) -> "AsyncIterator[asyncpg.Pool[Any]]":
    """Connections for the length of a command."""
    try:
        made = await asyncpg.create_pool(
            url, min_size=1, max_size=size, timeout=CONNECT_SECONDS, server_settings=_session(role)
        )
    except asyncpg.PostgresError as error:
        raise Failed(f"the database refuses: {error}.") from error
    except (OSError, asyncpg.InterfaceError, TimeoutError) as error:
        raise Failed(f"the database cannot be reached: {str(error) or type(error).__name__}.") from error
    try:
        yield made
    finally:
        await made.close()


def _session(role: str | None) -> dict[str, str]:
    return {"application_name": "ledger-cli", **({"role": role} if role else {})}
