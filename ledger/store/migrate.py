"""Applies `migrations/NNNN_name.sql` in order, each once, each in its own transaction; only ever forward.

What was applied is recorded with the file's hash in `public.ledger_migrations`. A file that has changed since, one that
is unknown here, or a new one that sorts before an applied one stops everything: the database and the code differ.
May import: the standard library, msgspec, asyncpg. Read next: `../../migrations/0001_store.sql`.
"""

import re
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import asyncpg
import msgspec

MIGRATIONS: Final = Path(__file__).parents[2] / "migrations"
PARTITIONS_AHEAD: Final = 3

_FILE: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_LOCK: Final = 0x6C65646765720001
"""Advisory lock of whoever migrates, known to nobody else in the database."""
_WAIT_FOR_OTHERS: Final = "120s"
_LOCK_TIMEOUT: Final = "5s"
"""A migration that waits for a lock makes everybody behind it wait too: better to give up and be run again."""
_STATEMENT_TIMEOUT: Final = "10min"
_CREATE: Final = """
CREATE TABLE public.ledger_migrations (
  version    integer     PRIMARY KEY,
  name       text        NOT NULL,
  sha256     text        NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
GRANT SELECT ON public.ledger_migrations TO PUBLIC;
"""


class MigrationError(Exception):
    """The database cannot be brought to where the code is. The message is one line that names the file."""


class Migration(msgspec.Struct, frozen=True):
    """One file, and the SHA-256 (hex) of its bytes."""

    version: int
    name: str
    sha256: str
    sql: str

    @property
    def title(self) -> str:
        """The file's name without its ending."""
        return f"{self.version:04}_{self.name}"


def read_migrations(folder: Path = MIGRATIONS) -> list[Migration]:
    """All files of the folder in order. Raises `MigrationError` if a name is wrong or a number stands twice."""
    found: dict[int, Migration] = {}
    for file in sorted(folder.glob("*.sql")):
        match = _FILE.fullmatch(file.name)
        if match is None:
            raise MigrationError(f"{file.name}: is not named NNNN_name.sql.")
        content = file.read_bytes()
        version = int(match[1])
        if version in found:
            raise MigrationError(f"{file.name}: the number {match[1]} is taken by {found[version].title}.")
        found[version] = Migration(version, match[2], sha256(content).hexdigest(), content.decode())
    if not found:
        raise MigrationError(f"no migrations in {folder}.")
    return [*found.values()]


async def pending_migrations(
    connection: "asyncpg.Connection[Any]", migrations: Sequence[Migration]
) -> Sequence[Migration]:
    """Those still to be applied. Raises `MigrationError` where the applied ones are not what the files are."""
    if await connection.fetchval("SELECT to_regclass('public.ledger_migrations')") is None:
        return migrations
    rows = await connection.fetch("SELECT version, name, sha256 FROM public.ledger_migrations ORDER BY version")
    ours = {migration.version: migration for migration in migrations}
    for row in rows:
        title = f"{row['version']:04}_{row['name']}"
        migration = ours.get(row["version"])
        if migration is None:
            raise MigrationError(f"{title}: applied here, but unknown to this version of the service; install a newer.")
        if (migration.name, migration.sha256) != (row["name"], row["sha256"]):
            raise MigrationError(f"{title}: the file has changed since it was applied; write a new migration instead.")
    newest = rows[-1]["version"] if rows else 0
    pending = [migration for migration in migrations if migration.version > newest]
    late = [m for m in migrations if m.version < newest and m.version not in {row["version"] for row in rows}]
    if late:
        raise MigrationError(f"{late[0].title}: comes before {newest:04}, which is applied; give it a higher number.")
    return pending


async def migrate(url: str, *, folder: Path = MIGRATIONS) -> Sequence[Migration]:
    """Apply what is pending, make partitions ahead, and return what was applied.

    `url` must reach the server directly (session locks) as a superuser, or as the database's owner with CREATEROLE;
    where nothing is pending any role of the service will do. Several may call at once: one works, the others wait.
    """
    migrations = read_migrations(folder)
    session = {"application_name": "ledger-migrate", "lock_timeout": _WAIT_FOR_OTHERS}
    try:
        connection = await asyncpg.connect(url, timeout=15, server_settings=session)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
        raise MigrationError(f"the database cannot be reached: {str(error) or type(error).__name__}.") from error
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        await connection.execute(
            f"SET lock_timeout = '{_LOCK_TIMEOUT}'; SET statement_timeout = '{_STATEMENT_TIMEOUT}'"
        )
        pending = await pending_migrations(connection, migrations)
        for migration in pending:
            await _apply(connection, migration)
        await ensure_partitions(connection)
    except (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError) as error:
        raise MigrationError(f"{_one_line(error)}; nothing of it is applied, run it again.") from error
    except asyncpg.PostgresError as error:
        raise MigrationError(f"the database refuses: {_one_line(error)}.") from error
    finally:
        await connection.close()
    return pending


async def _apply(connection: "asyncpg.Connection[Any]", migration: Migration) -> None:
    try:
        async with connection.transaction():
            if await connection.fetchval("SELECT to_regclass('public.ledger_migrations')") is None:
                await connection.execute(_CREATE)
            await connection.execute(migration.sql)
            await connection.execute(
                "INSERT INTO public.ledger_migrations (version, name, sha256) VALUES ($1, $2, $3)",
                migration.version,
                migration.name,
                migration.sha256,
            )
    except (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError):
        raise
    except asyncpg.PostgresError as error:
        raise MigrationError(f"{migration.title}: {_one_line(error)}.") from error


def _one_line(error: asyncpg.PostgresError) -> str:
    """What PostgreSQL says, without its own line breaks and full stop."""
    return " ".join(str(error).split()).rstrip(".")


async def ensure_partitions(connection: "asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]") -> int:
    """Make the partitions the log will need next; returns how many were missing. Any role that appends or projects may."""
    return int(await connection.fetchval("SELECT ledger.ensure_partitions($1)", PARTITIONS_AHEAD))
