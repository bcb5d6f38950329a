"""Migrations on a real PostgreSQL: in order, once, all of a file or nothing of it, and never around a difference."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from ledger.store.migrate import MIGRATIONS, MigrationError, migrate, pending_migrations, read_migrations

FIRST = "CREATE SCHEMA ledger; CREATE TABLE ledger.first (n integer);"
PARTITIONS = "CREATE FUNCTION ledger.ensure_partitions(integer) RETURNS integer LANGUAGE sql AS 'SELECT 0';"


def at_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@pytest.fixture
async def empty_url(database_url) -> AsyncIterator[str]:
    name = f"empty_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(database_url)
    await admin.execute(f"CREATE DATABASE {name}")
    yield at_database(database_url, name)
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "0001_first.sql").write_text(FIRST)
    (tmp_path / "0002_partitions.sql").write_text(PARTITIONS)
    return tmp_path


async def applied(url: str) -> list[str]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT version, name FROM public.ledger_migrations ORDER BY version")
        return [f"{row['version']:04}_{row['name']}" for row in rows]
    finally:
        await connection.close()


async def test_an_empty_database_gets_every_migration_and_partitions_ahead(empty_url):
    done = await migrate(empty_url)
    assert [m.title for m in done] == [file.stem for file in sorted(MIGRATIONS.glob("*.sql"))]
    connection = await asyncpg.connect(empty_url)
    assert await connection.fetchval("SELECT count(*) FROM ledger.partitions WHERE lower_position > 1") == 3
    await connection.close()


async def test_a_second_run_changes_nothing(empty_url):
    first = await migrate(empty_url)
    assert await migrate(empty_url) == []
    assert await applied(empty_url) == [m.title for m in first]


async def test_several_at_once_apply_each_migration_once(empty_url):
    outcomes = await asyncio.gather(*(migrate(empty_url) for _ in range(4)))
    assert sorted(len(done) for done in outcomes) == [0, 0, 0, len(read_migrations())]


async def test_a_new_file_is_applied_after_the_old_ones(empty_url, folder):
    await migrate(empty_url, folder=folder)
    (folder / "0003_more.sql").write_text("CREATE TABLE ledger.more ();")
    assert [m.title for m in await migrate(empty_url, folder=folder)] == ["0003_more"]


async def test_a_failing_migration_leaves_nothing_behind_and_the_ones_before_it_in_place(empty_url, folder):
    (folder / "0003_bad.sql").write_text("CREATE TABLE ledger.half (); SELECT 1/0;")
    with pytest.raises(MigrationError, match=r"^0003_bad: division by zero\.$"):
        await migrate(empty_url, folder=folder)
    assert await applied(empty_url) == ["0001_first", "0002_partitions"]
    connection = await asyncpg.connect(empty_url)
    assert await connection.fetchval("SELECT to_regclass('ledger.half')") is None
    await connection.close()


async def test_a_file_changed_after_it_was_applied_is_refused(empty_url, folder):
    await migrate(empty_url, folder=folder)
    (folder / "0001_first.sql").write_text(FIRST + " ")
    with pytest.raises(MigrationError, match="0001_first: the file has changed"):
        await migrate(empty_url, folder=folder)


async def test_a_database_of_a_newer_service_is_refused(empty_url, folder):
    (folder / "0003_newer.sql").write_text("SELECT 1;")
    await migrate(empty_url, folder=folder)
    (folder / "0003_newer.sql").unlink()
    with pytest.raises(MigrationError, match="0003_newer: applied here, but unknown"):
        await migrate(empty_url, folder=folder)


async def test_a_file_that_sorts_before_an_applied_one_is_refused(empty_url, folder):
    (folder / "0005_later.sql").write_text("SELECT 1;")
    await migrate(empty_url, folder=folder)
    (folder / "0004_late.sql").write_text("SELECT 1;")
    with pytest.raises(MigrationError, match="0004_late: comes before 0005"):
        await migrate(empty_url, folder=folder)


async def test_a_lock_somebody_holds_ends_the_migration_instead_of_queueing_everybody(empty_url, folder):
    await migrate(empty_url, folder=folder)
    # The file's own timeout is shorter than ours, so that the test need not wait for it.
    (folder / "0003_alter.sql").write_text("SET LOCAL lock_timeout = '100ms'; ALTER TABLE ledger.first ADD m integer;")
    holder = await asyncpg.connect(empty_url)
    async with holder.transaction():
        await holder.execute("SELECT * FROM ledger.first")
        with pytest.raises(MigrationError, match="lock timeout; nothing of it is applied, run it again"):
            await migrate(empty_url, folder=folder)
    await holder.close()
    assert [m.title for m in await migrate(empty_url, folder=folder)] == ["0003_alter"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["1_x.sql"], "1_x.sql: is not named"),
        (["0001_a.sql", "0001_b.sql"], "0001_b.sql: the number 0001 is taken by 0001_a"),
        ([], "no migrations in"),
    ],
)
def test_a_folder_that_is_not_in_order_is_refused(tmp_path, names, message):
    for name in names:
        (tmp_path / name).write_text("SELECT 1;")
    with pytest.raises(MigrationError, match=message):
        read_migrations(tmp_path)


async def test_the_owner_of_the_database_need_not_be_a_superuser(empty_url):
    """The roles exist already in the cluster of the tests, so the owner was made a member of them."""
    name = f"owner_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(empty_url)
    database = await admin.fetchval("SELECT current_database()")
    await migrate(empty_url)  # the roles come to exist
    await admin.execute(f"CREATE ROLE {name} LOGIN CREATEROLE PASSWORD 'owner'")
    await admin.execute(f"GRANT ledger_owner, ledger_migrate, ledger_api, ledger_project, ledger_read TO {name}")
    await admin.execute(f"CREATE DATABASE {database}_2 OWNER {name}")
    try:
        address = urlsplit(empty_url)
        login = f"{name}:owner@{address.hostname}:{address.port}"
        url = urlunsplit(address._replace(netloc=login, path=f"/{database}_2"))
        assert len(await migrate(url)) == len(read_migrations())
        owned = await asyncpg.connect(url)
        assert await owned.fetchval(
            "SELECT relowner::regrole::text FROM pg_class WHERE oid = 'ledger.events'::regclass"
        ) == ("ledger_owner")
        await owned.close()
    finally:
        await admin.execute(f"DROP DATABASE {database}_2 WITH (FORCE)")
        await admin.execute(f"DROP ROLE {name}")
        await admin.close()


async def test_what_is_pending_can_be_asked_by_a_role_that_may_only_read(empty_url):
    await migrate(empty_url)
    connection = await asyncpg.connect(empty_url)
    await connection.execute("SET ROLE ledger_read")
    assert await pending_migrations(connection, read_migrations()) == []
    await connection.close()
