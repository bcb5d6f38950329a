"""The servers `ledger up` brings along: an embedded PostgreSQL and Valkey, unless the settings name others.

Everything is in `LEDGER_DATA`: `pg18/` the data, `owner.json` who it belongs to, `passwords.json`, `stack.json` what
runs now (how `ledger doctor` beside `ledger up` finds it), `stack.lock` held by the one who runs it, two logs.
May import: the standard library, msgspec, asyncpg, `ledger.settings`, `workers.embedded_*`.
Read next: `embedded_postgres.py`, `supervise.py`.
"""

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import asyncpg
import msgspec

from ledger.settings import Settings
from workers.embedded_postgres import DATABASE, SUPERUSER, EmbeddedPostgres, existing_data
from workers.embedded_redis import EmbeddedRedis
from workers.postgres_programs import StackError
from workers.processes import ProcessMark, is_alive, write_private

__all__ = ["LocalStack", "StackError", "StackUrls", "find_running", "set_role_passwords"]

OTHER_START_SECONDS = 30.0  # how long to wait for somebody else who is starting in the same folder


class StackUrls(msgspec.Struct, frozen=True):
    """Where the servers are and as whom to log in.

    `database_url` may do everything and is for migrations only; the others are least-privilege logins. With an outside
    database they are what the settings say.
    """

    database_url: str
    migrate_url: str
    api_url: str
    direct_url: str
    project_url: str
    read_url: str
    redis_url: str
    embedded_database: bool
    embedded_redis: bool

    def environment(self) -> dict[str, str]:
        """Return the variables that lead a child process here. The superuser's URL is not among them."""
        return {
            "DATABASE_URL": self.api_url,
            "DATABASE_DIRECT_URL": self.direct_url,
            "DATABASE_PROJECT_URL": self.project_url,
            "REDIS_URL": self.redis_url,
        }


class _Passwords(msgspec.Struct, frozen=True):
    superuser: str
    ledger_migrate: str
    ledger_api: str
    ledger_project: str
    ledger_read: str
    redis: str


class _Server(msgspec.Struct, frozen=True):
    process: ProcessMark
    port: int


class _Running(msgspec.Struct, frozen=True):
    """What `stack.json` holds: servers of ours only, and no password."""

    postgres: _Server | None
    redis: _Server | None


class LocalStack:
    """Starts what is missing, stops what it started. From the main thread; `with LocalStack() as stack` stops it too."""

    def __init__(self, postgres_settings: Mapping[str, str] | None = None) -> None:
        """`postgres_settings` are added to PostgreSQL's: tests make it small, nobody makes it forget."""
        self._postgres_settings = dict(postgres_settings or {})
        self._root: Path | None = None
        self._lock: int | None = None
        self._postgres: EmbeddedPostgres | None = None
        self._redis: EmbeddedRedis | None = None

    @property
    def is_attached(self) -> bool:
        """True if the servers belong to another process, which will stop them."""
        return self._root is not None and self._lock is None

    def start(self, settings: Settings) -> StackUrls:
        """Start, or attach to, the servers the settings do not name. Raises `StackError`, one line."""
        if self._root is not None:
            raise RuntimeError("this stack is started already")
        if settings.database_url and settings.redis_url:
            return _urls(settings, _Running(None, None), None)
        root = self._root = settings.data_dir
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _take_lock(root, settings)
        if self._lock is None:
            urls = find_running(root, settings)
            if urls is None:
                raise StackError(f"another process uses {root} and its servers do not answer; stop it first.")
            return urls
        try:
            return self._start_servers(root, settings)
        except BaseException:
            self.stop()
            raise

    def _start_servers(self, root: Path, settings: Settings) -> StackUrls:
        passwords = _passwords(root)
        if not settings.redis_url:
            self._redis = EmbeddedRedis(root, passwords.redis)
            self._redis.start()
        if not settings.database_url:
            self._postgres = EmbeddedPostgres(root, passwords.superuser, self._postgres_settings)
            self._postgres.start()
        return _urls(settings, self._write_running(root), passwords)

    def revive(self) -> list[str]:
        """Start again, where they were, those of our servers that have died; return their names."""
        if self._root is None or self._lock is None:
            return []
        revived = []
        for name, server in (("postgres", self._postgres), ("redis", self._redis)):
            if server is not None and server.process is None:
                server.start(server.port)
                revived.append(name)
        if revived:
            self._write_running(self._root)
        return revived

    def stop(self) -> None:
        """Stop the servers we started; stopping twice, or what we attached to, does nothing."""
        if self._root is not None and self._lock is not None:
            (self._root / "stack.json").unlink(missing_ok=True)
            for server in (self._redis, self._postgres):
                if server is not None:
                    server.stop()
            os.close(self._lock)
        self._root = self._lock = self._postgres = self._redis = None

    def _write_running(self, root: Path) -> _Running:
        running = _Running(_described(self._postgres), _described(self._redis))
        write_private(root / "stack.json", msgspec.json.encode(running))
        return running

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def find_running(data_dir: Path, settings: Settings | None = None) -> StackUrls | None:
    """Return the URLs of the servers that run in this folder, each seen alive; None if one that is needed does not.

    `settings` may name an outside database or Redis, which then need not run here.
    """
    try:
        running = msgspec.json.decode((data_dir / "stack.json").read_bytes(), type=_Running)
        passwords = msgspec.json.decode((data_dir / "passwords.json").read_bytes(), type=_Passwords)
    except (OSError, msgspec.MsgspecError):
        return None
    needed = [
        None if settings is not None and settings.database_url else running.postgres or False,
        None if settings is not None and settings.redis_url else running.redis or False,
    ]
    for server in needed:
        if server is False or (isinstance(server, _Server) and not is_alive(server.process)):
            return None
    return _urls(settings, running, passwords)


async def set_role_passwords(urls: StackUrls) -> None:
    """After migration, let the service's roles log in with the passwords in `urls`. An outside database is left alone."""
    if not urls.embedded_database:
        return
    connection = await asyncpg.connect(urls.database_url)
    try:
        for url in (urls.migrate_url, urls.api_url, urls.project_url, urls.read_url):
            login = urlsplit(url)
            # Both are ours and plain: a role's name, and a password of letters, digits, - and _.
            await connection.execute(f"ALTER ROLE {login.username} LOGIN PASSWORD '{login.password}'")
    finally:
        await connection.close()


def _described(server: EmbeddedPostgres | EmbeddedRedis | None) -> _Server | None:
    process = None if server is None else server.process
    return None if server is None or process is None else _Server(process, server.port)


def _take_lock(root: Path, settings: Settings) -> int | None:
    """Become the one who runs this folder; None if somebody else does. The kernel frees it however we end."""
    handle = os.open(root / "stack.lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + OTHER_START_SECONDS
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        # Somebody has it: their servers answer, or are about to, or are going down.
        if find_running(root, settings) is not None or time.monotonic() > deadline:
            os.close(handle)
            return None
        time.sleep(0.05)


def _passwords(root: Path) -> _Passwords:
    """Read the passwords, or make them once. With data but without passwords nobody could ever log in again."""
    file = root / "passwords.json"
    try:
        return msgspec.json.decode(file.read_bytes(), type=_Passwords)
    except FileNotFoundError:
        if existing_data(root) is not None:
            raise StackError(
                f"{root} holds PostgreSQL data without passwords.json: not made here, not started."
            ) from None
    except msgspec.MsgspecError:
        raise StackError(f"{file} cannot be read; restore it.") from None
    passwords = _Passwords(*(secrets.token_urlsafe(24) for _ in _Passwords.__struct_fields__))
    write_private(file, msgspec.json.encode(passwords))
    return passwords


def _urls(settings: Settings | None, running: _Running, passwords: _Passwords | None) -> StackUrls:
    database = settings.database_url if settings is not None else None
    redis = settings.redis_url if settings is not None else None
    if not redis and running.redis is not None and passwords is not None:
        redis_url = f"redis://:{passwords.redis}@127.0.0.1:{running.redis.port}/0"
    else:
        redis_url = redis or ""
    if settings is not None and database:
        logins = (
            settings.database_migrate_url or database,
            settings.database_migrate_url or database,
            database,
            settings.database_direct_url or database,
            settings.database_project_url or database,
            database,
        )
        return StackUrls(*logins, redis_url, embedded_database=False, embedded_redis=not redis)
    if running.postgres is None or passwords is None:
        raise StackError("no database: none is running here and DATABASE_URL is not set.")
    # Our server has no TLS; without this every client would ask for it first.
    where = f"127.0.0.1:{running.postgres.port}/{DATABASE}?sslmode=disable"
    api = f"postgresql://ledger_api:{passwords.ledger_api}@{where}"
    return StackUrls(
        database_url=f"postgresql://{SUPERUSER}:{passwords.superuser}@{where}",
        migrate_url=f"postgresql://ledger_migrate:{passwords.ledger_migrate}@{where}",
        api_url=api,
        direct_url=api,
        project_url=f"postgresql://ledger_project:{passwords.ledger_project}@{where}",
        read_url=f"postgresql://ledger_read:{passwords.ledger_read}@{where}",
        redis_url=redis_url,
        embedded_database=True,
        embedded_redis=not redis,
    )
