"""The embedded servers: durable, found again, never started beside or over what is not theirs.

Every test runs a real PostgreSQL and Valkey in a folder of its own; together they take a few seconds.
"""

import asyncio
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio

from ledger.settings import Settings
from workers import postgres_programs
from workers.local_stack import LocalStack, StackError, StackUrls, find_running, set_role_passwords
from workers.processes import is_alive, mark

SMALL = {"shared_buffers": "32MB", "max_connections": "20"}

STARTER = f"""
import sys, time
from ledger.settings import Settings
from workers.local_stack import LocalStack
stack = LocalStack({SMALL!r})
urls = stack.start(Settings.from_env({{"LEDGER_DATA": sys.argv[1]}}))
print("attached" if stack.is_attached else "started", urls.database_url, flush=True)
time.sleep(float(sys.argv[2]))
stack.stop()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder below one that only its owner may enter, as a home directory is."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    return closed / "data"


def settings(folder: Path, **more: str) -> Settings:
    return Settings.from_env({"LEDGER_DATA": str(folder), **more})


@contextmanager
def running(folder: Path) -> Iterator[tuple[LocalStack, StackUrls]]:
    with LocalStack(SMALL) as stack:
        yield stack, stack.start(settings(folder))


def in_database(url: str, work: Callable[[asyncpg.Connection], Awaitable[object]]) -> object:
    async def connected() -> object:
        connection = await asyncpg.connect(url)
        try:
            return await work(connection)
        finally:
            await connection.close()

    return asyncio.run(connected())


def value(url: str, query: str) -> object:
    return in_database(url, lambda connection: connection.fetchval(query))


def execute(url: str, statement: str) -> None:
    in_database(url, lambda connection: connection.execute(statement))


def pid_of(folder: Path, server: str) -> int:
    return json.loads((folder / "stack.json").read_text())[server]["process"]["pid"]


def start_elsewhere(folder: Path, seconds: float = 60) -> tuple[subprocess.Popen[str], str]:
    """Start a stack in another process; return it and its first line."""
    process = subprocess.Popen([sys.executable, "-c", STARTER, folder, str(seconds)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_data_outlives_a_stop_and_only_its_owner_can_read_the_secrets(folder: Path) -> None:
    with running(folder) as (_, urls):
        execute(urls.database_url, "CREATE TABLE kept AS SELECT 42 AS answer")
        assert (
            value(urls.database_url, "SELECT current_setting('fsync') || current_setting('data_checksums')") == "onon"
        )
        assert stat.S_IMODE((folder / "passwords.json").stat().st_mode) == 0o600
        assert stat.S_IMODE((folder / "stack.json").stat().st_mode) == 0o600
    assert not (folder / "stack.json").exists()
    with running(folder) as (_, urls):
        assert value(urls.database_url, "SELECT answer FROM kept") == 42


def test_redis_answers_to_its_password_only(folder: Path) -> None:
    async def ping(url: str) -> bool:
        async with redis.asyncio.from_url(url) as client:
            return bool(await client.ping())

    with running(folder) as (_, urls):
        assert asyncio.run(ping(urls.redis_url))
        with pytest.raises(redis.exceptions.AuthenticationError):
            asyncio.run(ping("redis://" + urls.redis_url.rpartition("@")[2]))


def test_a_supervisor_killed_at_once_takes_its_servers_along_and_loses_nothing(folder: Path) -> None:
    supervisor, line = start_elsewhere(folder)
    execute(line.split()[1], "CREATE TABLE kept AS SELECT 42 AS answer")
    marks = [mark(pid_of(folder, server)) for server in ("postgres", "redis")]
    supervisor.kill()
    supervisor.wait()
    with running(folder) as (stack, urls):
        assert not stack.is_attached
        assert value(urls.database_url, "SELECT answer FROM kept") == 42
        wait_until(lambda: not any(m is not None and is_alive(m) for m in marks))


def test_a_killed_postgres_is_revived_where_it_was_and_loses_nothing(folder: Path) -> None:
    with running(folder) as (stack, urls):
        execute(urls.database_url, "CREATE TABLE kept AS SELECT 42 AS answer")
        assert stack.revive() == []
        os.kill(pid_of(folder, "postgres"), signal.SIGKILL)
        wait_until(lambda: find_running(folder) is None)
        assert stack.revive() == ["postgres"]
        assert find_running(folder) == urls
        assert value(urls.database_url, "SELECT answer FROM kept") == 42


def test_a_lock_file_that_names_another_living_program_does_not_stop_the_start(folder: Path) -> None:
    with running(folder):
        pass
    data = next(folder.glob("pg*[0-9]"))
    (data / "postmaster.pid").write_text(f"{os.getpid()}\n{data}\n1\n5432\n\n127.0.0.1\n\nready\n")
    with running(folder) as (_, urls):
        assert value(urls.database_url, "SELECT 1") == 1


def test_a_killed_postmaster_whose_last_processes_still_live_is_waited_for(folder: Path) -> None:
    """SIGKILL of supervisor and postmaster, while a frozen background process still holds the shared memory."""
    supervisor, line = start_elsewhere(folder)
    execute(line.split()[1], "CREATE TABLE kept AS SELECT 42 AS answer")
    postmaster = pid_of(folder, "postgres")
    children = [int(c) for c in Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()]
    os.kill(children[0], signal.SIGSTOP)
    for pid in (postmaster, supervisor.pid):
        os.kill(pid, signal.SIGKILL)
    supervisor.wait()
    release = threading.Timer(0.5, os.kill, (children[0], signal.SIGCONT))
    release.start()
    with running(folder) as (_, urls):
        assert mark(children[0]) is None
        assert value(urls.database_url, "SELECT answer FROM kept") == 42
    release.join()


def test_a_second_start_attaches_and_leaves_the_servers_running(folder: Path) -> None:
    with running(folder) as (_, urls):
        second, line = start_elsewhere(folder, seconds=0)
        assert line == f"attached {urls.database_url}"
        assert second.wait(10) == 0
        assert value(urls.database_url, "SELECT 1") == 1
        assert find_running(folder) == urls
    assert find_running(folder) is None


def test_two_starts_at_once_end_with_one_server(folder: Path) -> None:
    folder.mkdir()
    starts = [
        subprocess.Popen([sys.executable, "-c", STARTER, folder, "1.5"], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    lines = [start.stdout.readline().split() for start in starts if start.stdout is not None]
    assert sorted(line[0] for line in lines) == ["attached", "started"]
    assert lines[0][1] == lines[1][1]
    for start in starts:
        assert start.wait(20) == 0


@pytest.mark.parametrize("missing", ["owner.json", "passwords.json", "PG_VERSION"])
def test_data_that_was_not_made_here_is_refused_and_left_alone(folder: Path, missing: str) -> None:
    data = folder / "pg18"
    data.mkdir(parents=True)
    (data / "kept").touch()
    files = {"owner.json": folder / "owner.json", "passwords.json": folder / "passwords.json"}
    (data / "PG_VERSION").write_text("18\n")
    files["owner.json"].write_text(json.dumps({"mode": "user", "uid": os.geteuid(), "gid": 0}))
    names = ("superuser", "ledger_migrate", "ledger_api", "ledger_project", "ledger_read", "redis")
    files["passwords.json"].write_text(json.dumps(dict.fromkeys(names, "x")))
    files.get(missing, data / missing).unlink()
    before = sorted(str(p) for p in folder.rglob("*") if p.name not in {"stack.lock", "valkey.log"})
    with pytest.raises(StackError, match=r"^[^\n]+$"), running(folder):
        pass
    assert sorted(str(p) for p in folder.rglob("*") if p.name not in {"stack.lock", "valkey.log"}) == before


def test_data_of_another_version_is_never_put_beside_an_empty_ledger(folder: Path) -> None:
    with running(folder):
        pass
    data = next(folder.glob("pg*[0-9]"))
    data.rename(folder / "pg12")
    (folder / "pg12" / "PG_VERSION").write_text("12\n")
    with pytest.raises(StackError, match=r"PostgreSQL 12.*ledger upgrade"), running(folder):
        pass
    assert [p.name for p in folder.glob("pg*")] == ["pg12"]


def test_a_crash_while_the_data_was_made_is_forgotten(folder: Path) -> None:
    (folder / "pg18.new").mkdir(parents=True)
    (folder / "pg18.new" / "PG_VERSION").write_text("18\n")
    with running(folder) as (_, urls):
        assert value(urls.database_url, "SELECT 1") == 1
    assert not (folder / "pg18.new").exists()


def test_after_migration_the_roles_log_in_as_themselves(folder: Path) -> None:
    with running(folder) as (_, urls):
        for role in ("ledger_migrate", "ledger_api", "ledger_project", "ledger_read"):
            execute(urls.database_url, f"CREATE ROLE {role} NOLOGIN")
        asyncio.run(set_role_passwords(urls))
        logins = (urls.migrate_url, urls.api_url, urls.project_url, urls.read_url)
        assert [value(url, "SELECT current_user") for url in logins] == [
            "ledger_migrate",
            "ledger_api",
            "ledger_project",
            "ledger_read",
        ]
        assert urls.database_url not in urls.environment().values()


def test_servers_that_the_settings_name_are_not_started(folder: Path) -> None:
    outside = {"DATABASE_URL": "postgresql://db/l", "REDIS_URL": "redis://cache"}
    with LocalStack() as stack:
        urls = stack.start(settings(folder, **outside))
        assert (urls.database_url, urls.redis_url) == ("postgresql://db/l", "redis://cache")
        assert not folder.exists()
    with LocalStack() as stack:
        urls = stack.start(settings(folder, DATABASE_URL="postgresql://db/l"))
        assert (urls.api_url, urls.embedded_redis) == ("postgresql://db/l", True)
        assert find_running(folder, settings(folder, DATABASE_URL="postgresql://db/l")) == urls
        assert find_running(folder) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_root_without_user_namespaces_runs_it_as_an_ordinary_user(monkeypatch: pytest.MonkeyPatch) -> None:
    real = postgres_programs.run

    def without_namespaces(owner: postgres_programs.Owner, *rest: object) -> str:
        if owner.mode == "namespace":
            raise StackError("not allowed")
        return real(owner, *rest)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(postgres_programs, "run", without_namespaces)
    folder = Path("/var/tmp") / f"ledger-test-{os.getpid()}"  # somewhere everybody may enter
    try:
        try:
            with running(folder) as (_, urls):
                assert value(urls.database_url, "SELECT 1") == 1
                assert Path(f"/proc/{pid_of(folder, 'postgres')}").stat().st_uid != 0
        except StackError as refused:
            pytest.skip(f"no ordinary user can reach the binaries here: {refused}")
        with running(folder) as (_, urls):
            assert value(urls.database_url, "SELECT 1") == 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_a_folder_that_ordinary_user_cannot_reach_is_refused_in_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = postgres_programs.run

    def without_namespaces(owner: postgres_programs.Owner, *rest: object) -> str:
        if owner.mode == "namespace":
            raise StackError("not allowed")
        return real(owner, *rest)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(postgres_programs, "run", without_namespaces)
    with pytest.raises(StackError, match=r"^no PostgreSQL can run here[^\n]+$"), running(folder):
        pass
    assert not list(folder.glob("pg*"))
