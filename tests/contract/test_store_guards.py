"""What PostgreSQL itself refuses, whoever asks: changes to the log, inserts past the append, rights nobody was given.

And what it does at the edge of a partition.
"""

from collections.abc import AsyncIterator
from time import sleep
from typing import Any

import asyncpg
import pytest

from ledger.store.append import PostgresStore
from ledger.store.migrate import MigrationError
from ledger.store.port import AmbiguousAppendError, RejectedAppendError, StoreRewoundError
from tests.contract.batches import a_batch, a_command, an_event, many_events

pytestmark = pytest.mark.services

Connection = asyncpg.Connection


@pytest.fixture
async def superuser(database_url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[PostgresStore]:
    store = await PostgresStore(database_url).open()
    yield store
    await store.close()


@pytest.fixture
async def with_one_event(store: PostgresStore) -> None:
    await store.append(a_batch(a_command("k", an_event("a", 1), claims=["x"]), known=0))


async def test_a_database_behind_the_code_is_not_opened(database_url: str, superuser: Connection) -> None:
    await superuser.execute("DELETE FROM public.ledger_migrations WHERE version >= 8")
    with pytest.raises(MigrationError, match=r"at migration 7, 9 is needed: .* `ledger migrate`"):
        await PostgresStore(database_url).open()
    await superuser.execute("DROP TABLE public.ledger_migrations")
    with pytest.raises(MigrationError, match="at migration 0"):
        await PostgresStore(database_url).open()


PARTITION = "ledger.events_000000000001"
CHANGES = [
    "UPDATE {} SET data = 'forged'",
    "DELETE FROM {}",
    "TRUNCATE {}",
]


@pytest.mark.usefixtures("with_one_event")
@pytest.mark.parametrize("replication_role", ["origin", "replica", "local"])
@pytest.mark.parametrize("table", ["ledger.events", PARTITION])
@pytest.mark.parametrize("change", CHANGES)
async def test_the_log_cannot_be_changed_even_by_a_superuser(
    superuser: Connection, change: str, table: str, replication_role: str
) -> None:
    await superuser.execute(f"SET session_replication_role = {replication_role}")
    with pytest.raises(asyncpg.RaiseError, match="append-only"):
        await superuser.execute(change.format(table))
    assert await superuser.fetchval("SELECT data FROM ledger.events") == b"{}"


@pytest.mark.usefixtures("with_one_event")
@pytest.mark.parametrize("change", ["UPDATE {} SET answer = 'forged'", "DELETE FROM {}", "TRUNCATE {}"])
async def test_the_kept_answers_cannot_be_changed(superuser: Connection, change: str) -> None:
    await superuser.execute("SET session_replication_role = replica")
    with pytest.raises(asyncpg.RaiseError, match="append-only"):
        await superuser.execute(change.format("ledger.commands"))


@pytest.mark.usefixtures("with_one_event")
async def test_partitions_made_later_are_guarded_as_the_first(superuser: Connection) -> None:
    await superuser.execute("SELECT ledger.ensure_partitions(6)")
    for name in await superuser.fetch("SELECT name FROM ledger.partitions"):
        with pytest.raises(asyncpg.RaiseError, match="append-only"):
            await superuser.execute(f"TRUNCATE ledger.{name['name']}")
        enabled = await superuser.fetch(
            "SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = $1::text::regclass AND NOT tgisinternal",
            "ledger." + name["name"],
        )
        assert {(t["tgname"], t["tgenabled"]) for t in enabled} == {("append_only", b"A"), ("keep_all", b"A")}


# ── rights ──

TABLES = [
    "events",
    "commands",
    "claims",
    "head",
    "snapshots",
    "snapshot_checkpoint",
    "releveling",
    "directory",
    "partitions",
    "partitioning",
    PARTITION.removeprefix("ledger."),
]
MAY: dict[str, dict[str, set[str]]] = {
    "ledger_api": {"releveling": {"UPDATE"}},
    "ledger_read": {},
    "ledger_project": {"snapshots": {"INSERT", "UPDATE", "DELETE"}, "snapshot_checkpoint": {"UPDATE"}},
}


@pytest.mark.parametrize("role", MAY)
@pytest.mark.parametrize("table", TABLES)
async def test_a_role_may_read_and_write_no_more_than_this(superuser: Connection, role: str, table: str) -> None:
    privileges = ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"]
    held = {
        p
        for p in privileges
        if await superuser.fetchval("SELECT has_table_privilege($1, $2, $3)", role, f"ledger.{table}", p)
    }
    assert held == {"SELECT"} | MAY[role].get(table, set())


@pytest.mark.parametrize(
    ("function", "roles"),
    [
        ("append", {"ledger_api"}),
        ("forget_member", {"ledger_api"}),
        ("ensure_partitions", {"ledger_api", "ledger_project"}),
        ("refuse_change", set()),
    ],
)
async def test_a_function_may_be_called_by_these_roles_only(
    superuser: Connection, function: str, roles: set[str]
) -> None:
    rows = await superuser.fetch(
        """SELECT r.rolname, has_function_privilege(r.oid, p.oid, 'EXECUTE') AS may
           FROM pg_proc p, pg_roles r
           WHERE p.pronamespace = 'ledger'::regnamespace AND p.proname = $1
             AND (r.rolname IN ('ledger_api', 'ledger_project', 'ledger_read', 'ledger_migrate', 'pg_monitor'))""",
        function,
    )
    assert rows
    assert {row["rolname"] for row in rows if row["may"]} == roles


async def test_the_services_role_cannot_insert_past_the_append(store: PostgresStore) -> None:
    connection = store._write.connection
    assert await connection.fetchval("SELECT current_user") == "ledger_api"
    for statement in (
        "INSERT INTO ledger.events VALUES (1, 'a', 1, 't', now(), '', '', '')",
        f"INSERT INTO {PARTITION} VALUES (1, 'a', 1, 't', now(), '', '', '')",
        "INSERT INTO ledger.commands VALUES (1, 1, 1, now(), '', '', '', '')",
        "UPDATE ledger.head SET position = 0",
        "DELETE FROM ledger.claims",
        "ALTER TABLE ledger.events DISABLE TRIGGER ALL",
        f"ALTER TABLE ledger.events DETACH PARTITION {PARTITION}",
        "DROP FUNCTION ledger.refuse_change() CASCADE",
        "CREATE TABLE ledger.mine (x int)",
        "SET session_replication_role = replica",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)


async def test_no_role_of_the_service_is_a_superuser_or_owns_the_log(superuser: Connection) -> None:
    owners = await superuser.fetch(
        "SELECT DISTINCT pg_get_userbyid(relowner) AS owner FROM pg_class "
        "WHERE relnamespace = 'ledger'::regnamespace AND relkind IN ('r', 'p', 'v')"
    )
    assert [row["owner"] for row in owners] == ["ledger_owner"]
    roles = await superuser.fetch(
        "SELECT rolname FROM pg_roles WHERE rolname LIKE 'ledger_%' "
        "AND (rolsuper OR rolbypassrls OR rolreplication OR (rolname = 'ledger_owner' AND rolcanlogin))"
    )
    assert roles == []


# ── partitions ──


async def with_tiny_partitions(superuser: Connection, positions_each: int) -> None:
    """The log is empty, so its partitions may be made anew."""
    for row in await superuser.fetch("SELECT name FROM ledger.partitions"):
        await superuser.execute(f"DROP TABLE ledger.{row['name']}")
    await superuser.execute("DELETE FROM ledger.partitions")
    await superuser.execute("UPDATE ledger.partitioning SET positions_each = $1", positions_each)
    await superuser.execute("SELECT ledger.ensure_partitions(3)")


async def test_a_batch_and_a_stream_may_cross_the_edge_of_a_partition(
    superuser: Connection, store: PostgresStore
) -> None:
    await with_tiny_partitions(superuser, 4)
    await store.append(a_batch(a_command("k1", *many_events("a", 3)), known=0))
    await store.append(a_batch(a_command("k2", *many_events("a", 3, after=3), *many_events("b", 3)), known=3))
    assert [(e.position, e.stream, e.version) for e in await store.read(2, 100)] == [
        *((position, "a", position) for position in (3, 4, 5, 6)),
        *((position, "b", position - 6) for position in (7, 8, 9)),
    ]
    assert [e.version for e in await store.read_stream("a")] == [1, 2, 3, 4, 5, 6]
    _, tails = await store.load([("a", 1), ("b", 1)])
    assert [version for version, *_ in tails["a"].events] == [1, 2, 3, 4, 5, 6]
    rows = await superuser.fetch("SELECT tableoid::regclass::text AS name, count(*) FROM ledger.events GROUP BY 1")
    assert sorted(row["count"] for row in rows) == [1, 4, 4]
    stale = await store.append(a_batch(a_command("k3", an_event("a", 4)), known=3))
    assert stale.bad_units == {0}, "the fence looks across the edge"


async def test_when_partitions_run_out_nothing_is_appended_until_there_is_one(
    superuser: Connection, store: PostgresStore
) -> None:
    await with_tiny_partitions(superuser, 4)
    await store.append(a_batch(a_command("k1", *many_events("a", 15)), known=0))
    too_much = a_batch(a_command("k2", *many_events("b", 2)), known=15)
    with pytest.raises(AmbiguousAppendError, match="no partition"):
        await store.append(too_much)
    assert await store.head() == 15
    assert await store._write.connection.fetchval("SELECT ledger.ensure_partitions(3)") == 3
    assert (await store.append(too_much)).head == 17


async def test_making_partitions_again_makes_none(superuser: Connection) -> None:
    assert await superuser.fetchval("SELECT ledger.ensure_partitions(3)") == 0


# ── the rest ──


async def test_a_restored_older_log_is_noticed(superuser: Connection, store: PostgresStore) -> None:
    await store.append(a_batch(a_command("k1", *many_events("a", 5)), known=0))
    await superuser.execute("UPDATE ledger.head SET position = 3")
    with pytest.raises(StoreRewoundError, match="head is at 3"):
        await store.append(a_batch(a_command("k2", an_event("a", 6)), known=5))


async def test_a_clock_that_goes_back_does_not_take_recording_times_with_it(
    superuser: Connection, store: PostgresStore
) -> None:
    await superuser.execute("UPDATE ledger.head SET recorded_at = clock_timestamp() + interval '1 hour'")
    before = await superuser.fetchval("SELECT recorded_at FROM ledger.head")
    outcome = await store.append(a_batch(a_command("k1", an_event("a", 1)), known=0))
    assert (outcome.recorded_at - before).total_seconds() == pytest.approx(1e-6)


async def test_appending_inside_a_snapshot_isolation_is_refused(superuser: Connection, store: PostgresStore) -> None:
    connection = store._write.connection
    async with connection.transaction(isolation="repeatable_read"):
        with pytest.raises(RejectedAppendError, match="READ COMMITTED"):
            await store._write.append(a_batch(a_command("k1", an_event("a", 1)), known=0))


async def test_the_view_for_people_shows_events_as_json(superuser: Connection, store: PostgresStore) -> None:
    await store.append(a_batch(a_command("k1", an_event("a", 1, data=b'{"amount":5}')), known=0))
    row = await superuser.fetchrow("SELECT data->>'amount' AS amount, length(hash) AS letters FROM ledger.event_log")
    assert tuple(row) == ("5", 64)


# ── connections that end at the wrong moment ──


async def test_a_connection_cut_between_preparing_and_executing_leaves_its_question_without_an_answer(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = Connection._get_statement

    async def prepare_and_be_cut(self: Connection, *args: Any, **options: Any) -> Any:
        statement = await prepare(self, *args, **options)
        self.terminate()  # as the watchdog does
        return statement

    monkeypatch.setattr(Connection, "_get_statement", prepare_and_be_cut)
    with pytest.raises(AmbiguousAppendError):
        await store.load([("a", 1)])
    with pytest.raises(AmbiguousAppendError):
        await store.load_beside([("a", 1)])
    monkeypatch.undo()
    await store.reconnect()
    assert await store.load([("a", 1)]) == (0, {})
    assert await store.load_beside([("a", 1)]) == (0, {})


async def test_whoever_stands_still_under_the_head_lock_loses_it_and_the_others_go_on(
    store: PostgresStore, database_url: str
) -> None:
    """What it asks afterwards has no answer: it is not to blame."""
    other = await PostgresStore(database_url).open()

    async def stands_still() -> None:
        async with store.locked() as appender:
            sleep(2.2)  # noqa: ASYNC251  # as a process that is stopped: its loop as well
            await appender.append(a_batch(a_command("k", an_event("a", 1)), known=0))

    with pytest.raises(AmbiguousAppendError):
        await stands_still()
    assert (await other.append(a_batch(a_command("k", an_event("b", 1)), known=0))).head == 1
    await store.reconnect()
    assert (await store.load([("a", 1)]))[0] == 1
    await other.close()


@pytest.mark.parametrize("state", ["25P03", "25P04", "25006", "40P01", "53100", "58030"])
async def test_what_a_statement_is_not_to_blame_for_is_no_rejection(
    store: PostgresStore, superuser: Connection, state: str
) -> None:
    await superuser.execute(
        "CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$BEGIN RAISE EXCEPTION 'made up' USING ERRCODE = '{state}'; END$$;"
        "CREATE TRIGGER fails BEFORE INSERT ON ledger.commands EXECUTE FUNCTION fails()"
    )
    batch = a_batch(a_command("k", an_event("a", 1)), known=0)
    with pytest.raises(AmbiguousAppendError, match="made up"):
        await store.append(batch)
    await superuser.execute("DROP TRIGGER fails ON ledger.commands")
    assert (await store.append(batch)).head == 1
