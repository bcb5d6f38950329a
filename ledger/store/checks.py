"""What the database must be for the ledger to be safe on it: one question a function, each with its answer and its cure.

For `ledger doctor`. Nothing here changes anything. asyncpg only. Read next: `../../migrations/0001_store.sql`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import asyncpg
import msgspec

from ledger.store.migrate import PARTITIONS_AHEAD, MigrationError, pending_migrations, read_migrations

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[Any]
else:
    Connection: TypeAlias = asyncpg.Connection

SKEW_SECONDS_AT_MOST: Final = 1.0
LISTEN_SECONDS: Final = 3.0
OLDEST_SERVER: Final = 140000
"""PostgreSQL 14: the first with SQL functions in standard form, which migrations use."""


class Finding(msgspec.Struct, frozen=True):
    """What was found; `fix` says what to do, and is empty where nothing is wrong."""

    found: str
    fix: str = ""


async def check_version(connection: Connection) -> Finding:
    """The server is new enough."""
    number = int(await connection.fetchval("SELECT current_setting('server_version_num')"))
    said = f"PostgreSQL {await connection.fetchval('SHOW server_version')}"
    return Finding(said, "" if number >= OLDEST_SERVER else "PostgreSQL 14 or later is needed")


async def check_durable(connection: Connection) -> Finding:
    """What was acknowledged survives a power cut."""
    names = ("fsync", "full_page_writes", "synchronous_commit")
    values = {name: str(await connection.fetchval("SELECT current_setting($1)", name)) for name in names}
    off = [name for name, value in values.items() if value == "off"]
    said = ", ".join(f"{name} {value}" for name, value in values.items())
    return Finding(said, f"set {' and '.join(f'{name} = on' for name in off)} in postgresql.conf" if off else "")


async def check_migrations(connection: Connection) -> Finding:
    """The schema is the one this version was written for."""
    migrations = read_migrations()
    try:
        pending = await pending_migrations(connection, migrations)
    except MigrationError as error:
        return Finding(str(error).rstrip("."), "install the version of the service this database belongs to")
    if pending:
        return Finding(f"{len(pending)} pending, the first is {pending[0].title}", "run `ledger migrate`")
    return Finding(f"at {migrations[-1].title}")


_THREE_LOGINS: Final = (
    "let the service log in as ledger_api in DATABASE_URL, the projector as ledger_project in DATABASE_PROJECT_URL, "
    "migrations in DATABASE_MIGRATE_URL"
)


async def check_role(connection: Connection) -> Finding:
    """The service cannot write around the append function, nor change what was appended."""
    row = await connection.fetchrow(
        "SELECT session_user AS name, r.rolsuper OR r.rolbypassrls AS powerful, "
        "pg_has_role(session_user, c.relowner, 'USAGE') AS owner, "
        "has_table_privilege(session_user, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE') AS writes "
        "FROM pg_roles r, pg_class c WHERE r.rolname = session_user AND c.oid = to_regclass('ledger.events')"
    )
    if row is None:
        return Finding("there are no tables", "run `ledger migrate`")
    wrong = [
        text
        for text, is_so in (
            ("is a superuser", row["powerful"]),
            ("owns ledger.events", row["owner"] and not row["powerful"]),
            ("may write ledger.events directly", row["writes"] and not row["owner"]),
        )
        if is_so
    ]
    said = f"{row['name']} {' and '.join(wrong) if wrong else 'may append and read, nothing else'}"
    return Finding(said, _THREE_LOGINS if wrong else "")


async def check_projector_role(connection: Connection) -> Finding:
    """Who the projector logs in as, on a connection that has become ledger_project."""
    return Finding(f"{await connection.fetchval('SELECT session_user')} works as ledger_project", "")


async def check_append_only(connection: Connection) -> Finding:
    """Every table of the log refuses UPDATE, DELETE and TRUNCATE, also where session_replication_role says replica."""
    rows = await connection.fetch(
        "SELECT c.relname, "
        "coalesce(bool_or(t.tgenabled = 'A') FILTER (WHERE t.tgname = 'append_only'), false) AS rows, "
        "coalesce(bool_or(t.tgenabled = 'A') FILTER (WHERE t.tgname = 'keep_all'), false) OR c.relkind = 'p' AS whole "
        "FROM pg_class c LEFT JOIN pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal "
        "WHERE c.oid IN (to_regclass('ledger.events'), to_regclass('ledger.commands')) "
        "OR c.oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass('ledger.events')) "
        "GROUP BY c.oid, c.relname, c.relkind ORDER BY c.relname"
    )
    open_ones = [row["relname"] for row in rows if not (row["rows"] and row["whole"])]
    if open_ones or not rows:
        named = ", ".join(open_ones) or "the log"
        return Finding(
            f"{named} can be changed",
            "ALTER TABLE … ENABLE ALWAYS TRIGGER append_only and keep_all; find out who disabled them",
        )
    return Finding(f"{len(rows)} tables refuse every change")


async def check_partitions(connection: Connection) -> Finding:
    """There is room for the events to come."""
    ahead = await connection.fetchval(
        "SELECT count(*) FROM ledger.partitions p, ledger.head h WHERE h.shard = 0 AND p.lower_position > h.position + 1"
    )
    said = f"{ahead} ahead of the head"
    return Finding(said, "" if ahead >= PARTITIONS_AHEAD else "start the worker, or run `ledger migrate`")


async def check_clock(connection: Connection) -> Finding:
    """Our clock, by which is decided, and the database's, by which is recorded, agree."""
    before = time.time()
    theirs: datetime = await connection.fetchval("SELECT clock_timestamp()")
    ours = datetime.fromtimestamp((before + time.time()) / 2, UTC)
    skew_seconds = (ours - theirs).total_seconds()
    said = f"{skew_seconds * 1000:+.0f} ms from the database's"
    return Finding(said, "" if abs(skew_seconds) <= SKEW_SECONDS_AT_MOST else "synchronise the clocks of both machines")


async def check_no_pooler(connection: Connection) -> Finding:
    """The server itself answers: a pooler gives out a process number of its own."""
    server, said = await connection.fetchval("SELECT pg_backend_pid()"), connection.get_server_pid()
    if server == said:
        return Finding("the server itself answers")
    return Finding("a pooler stands between", "set DATABASE_DIRECT_URL to the server's own address")


async def check_listen(connection: Connection) -> Finding:
    """A notification comes back to who listens."""
    heard = asyncio.Event()

    def hear(*_: object) -> None:
        heard.set()

    began = time.perf_counter()
    await connection.add_listener("ledger_doctor", hear)
    try:
        await connection.execute("SELECT pg_notify('ledger_doctor', '')")
        await asyncio.wait_for(heard.wait(), LISTEN_SECONDS)
    except TimeoutError:
        return Finding("no notification arrives", "set DATABASE_DIRECT_URL to an address without a pooler")
    finally:
        await connection.remove_listener("ledger_doctor", hear)
    return Finding(f"heard after {(time.perf_counter() - began) * 1000:.0f} ms")


DATABASE_CHECKS: Final[tuple[tuple[str, Callable[[Connection], Awaitable[Finding]]], ...]] = (
    ("server version", check_version),
    ("durable settings", check_durable),
    ("migrations", check_migrations),
    ("service role", check_role),
    ("append-only triggers", check_append_only),
    ("partitions", check_partitions),
    ("clock", check_clock),
)
"""Asked as the service's role."""

DIRECT_CHECKS: Final[tuple[tuple[str, Callable[[Connection], Awaitable[Finding]]], ...]] = (
    ("no pooler on the direct URL", check_no_pooler),
    ("LISTEN", check_listen),
)
"""Asked on the direct connection."""
