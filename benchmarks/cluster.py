"""The bench's own PostgreSQL and Valkey, and the databases in it: made for one run and thrown away after it.

Settings are those of `make run` (fsync and synchronous_commit on) with more connections, for 256 pgbench clients.
Read next: `workers/local_stack.py`, which starts them.
"""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from ledger.settings import Settings
from ledger.store.migrate import migrate
from workers.local_stack import LocalStack, StackUrls, set_role_passwords
from workers.postgres_programs import binaries_for, recorded_owner

DATA: Final = Path(__file__).parent / ".data"
"""Beside the code and not in /tmp, which is memory on some machines: there fsync would cost nothing."""
SEEDED: Final = "seeded"
_SEGMENT_BYTES: Final = 16 * 2**20
_SETTINGS: Final = {"max_connections": "400"}


class Cluster:
    """A running PostgreSQL with a Valkey, and how to reach any database of it."""

    def __init__(self, urls: StackUrls, root: Path) -> None:
        """`urls` lead to one database; the others differ in the name only."""
        self.urls = urls
        self.root = root
        data = next(root.glob("pg*/PG_VERSION")).parent
        self.programs = binaries_for(recorded_owner(root), (data / "PG_VERSION").read_text().strip(), root)

    def url(self, database: str) -> str:
        """Where the superuser finds that database."""
        return in_database(self.urls.database_url, database)

    def environment(self, database: str) -> dict[str, str]:
        """What leads the service's processes to that database, each as the role it has in production."""
        urls = self.urls.environment()
        return {name: in_database(url, database) if "DATABASE" in name else url for name, url in urls.items()}

    async def create(self, database: str, *, template: str = "template0") -> str:
        """A new database, a copy of `template` if one is named; its URL."""
        await self.drop(database)
        await self._maintain(f'CREATE DATABASE "{database}" TEMPLATE "{template}" STRATEGY file_copy')
        return self.url(database)

    async def create_migrated(self, database: str) -> str:
        """A new database with the service's tables in it; its URL."""
        url = await self.create(database)
        await migrate(url)
        await set_role_passwords(self.urls)
        return url

    async def drop(self, database: str) -> None:
        """Remove it, and whoever is connected."""
        await self._maintain(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')

    async def settle(self, *databases: str) -> None:
        """Fresh statistics and a checkpoint: no cell pays for the one before it, all begin alike."""
        for database in databases:
            connection = await asyncpg.connect(self.url(database))
            await connection.execute("VACUUM (ANALYZE)")
            await connection.close()
        await self._maintain("CHECKPOINT")

    async def age_log(self) -> None:
        """Leave as many used segments of the write-ahead log behind as a server has that was under load for a while.

        That is `max_wal_size`: half of it is written between two checkpoints, nearly as much while the second one takes its
        time, and only then are the segments before the first one free. Whoever fills a segment on a new server makes the
        next one, 16 MB of zeros, and all commits wait for it. A slot holds them, or a checkpoint that comes between would
        hand out the same ones again.
        """
        connection = await asyncpg.connect(self.urls.database_url)
        try:
            most = await connection.fetchval("SELECT pg_size_bytes(current_setting('max_wal_size'))")
            await connection.execute("SELECT pg_create_physical_replication_slot('ageing', true, true)")
            for _ in range(most // _SEGMENT_BYTES):
                await connection.execute("SELECT pg_logical_emit_message(false, 'bench', 'x'), pg_switch_wal()")
            await connection.execute("SELECT pg_drop_replication_slot('ageing')")
            await connection.execute("CHECKPOINT")
        finally:
            await connection.close()

    async def _maintain(self, statement: str) -> None:
        connection = await asyncpg.connect(self.urls.database_url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def run(self, program: str, *arguments: str) -> str:
        """The output of one of PostgreSQL's programs, run to its end. Raises if it fails."""
        done = subprocess.run(
            [str(self.programs / program), *arguments], check=False, capture_output=True, text=True, cwd=self.root
        )
        if done.returncode != 0:
            msg = f"{program} failed: {done.stderr.strip() or done.stdout.strip()}"
            raise RuntimeError(msg)
        return done.stdout


def in_database(url: str, database: str) -> str:
    """The URL with another database in it."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


@contextlib.contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Start, hand over, stop, remove. What an interrupted run left is removed first."""
    shutil.rmtree(DATA, ignore_errors=True)
    settings = Settings.from_env({"LEDGER_DATA": str(DATA)})
    try:
        with LocalStack(_SETTINGS) as stack:
            yield Cluster(stack.start(settings), DATA)
    finally:
        shutil.rmtree(DATA, ignore_errors=True)
