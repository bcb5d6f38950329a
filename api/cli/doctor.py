"""`ledger doctor`: everything the ledger stands on, each line a tick or what to do.

May import: click, redis, ledger, projections, workers. Read next: `../../ledger/store/checks.py`.
"""

import asyncio
import shutil
import stat
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import asyncpg
import click
import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from api.cli.connection import database, find_urls, pool
from api.cli.terminal import Failed, json_option, report
from ledger.settings import JWT_SECRET_MIN_BYTES, Settings, SettingsError, resolve_jwt_secret
from ledger.store.checks import DATABASE_CHECKS, DIRECT_CHECKS, Finding, check_projector_role
from projections.read_model_list import list_read_models
from workers.local_stack import StackUrls

LAG_SECONDS_AT_MOST: Final = 10.0
FREE_BYTES_AT_LEAST: Final = 2 * 1024**3
DIFFERENT_CHARACTERS_AT_LEAST: Final = 10
CHECK_SECONDS: Final = 15.0


class Check(msgspec.Struct, frozen=True):
    """One line of the report."""

    name: str
    ok: bool
    found: str
    fix: str


@click.command("doctor")
@json_option
def command(as_json: bool) -> None:
    """Check what the ledger stands on: each line a tick, or what to do. Status 1 if anything is wrong."""
    settings = Settings.from_env()
    checks = asyncio.run(_examine(settings))

    def show() -> None:
        width = max(len(check.name) for check in checks)
        for check in checks:
            mark = click.style("✓", fg="green") if check.ok else click.style("✗", fg="red")
            click.echo(f"{mark} {check.name:<{width}}  {check.found}{f' → {check.fix}' if check.fix else ''}")

    wrong = sum(not check.ok for check in checks)
    report({"ok": not wrong, "checks": checks}, as_json, show)
    if wrong:
        sys.exit(1)


async def _examine(settings: Settings) -> list[Check]:
    checks = [_secret(settings)]
    try:
        urls = find_urls(settings)
    except Failed as error:
        return [*checks, Check("database", ok=False, found=error.message.rstrip("."), fix="")]
    checks += await _database("database", urls.api_url, DATABASE_CHECKS)
    if checks[-1].name == "database" and not checks[-1].ok:
        return [*checks, await _ask("Redis", lambda: _redis(urls))]
    checks += await _database("database, directly", urls.direct_url, DIRECT_CHECKS)
    checks.append(await _projector(urls))
    checks.append(await _ask("read models", lambda: _read_models(urls)))
    checks.append(await _ask("Redis", lambda: _redis(urls)))
    checks.append(_disk(settings, urls))
    return checks


async def _database(
    name: str, url: str, questions: Sequence[tuple[str, Callable[[Any], Awaitable[Finding]]]]
) -> list[Check]:
    """The questions on one connection; if there is none, that alone."""
    try:
        async with database(url) as connection:
            where = f"{connection.get_server_version().major} reachable"
            checks = [Check(name, ok=True, found=f"PostgreSQL {where}", fix="")]
            for title, question in questions:
                checks.append(await _ask(title, lambda question=question: question(connection)))  # type: ignore[misc]  # mypy does not infer a lambda with a default
            return checks
    except Failed as error:
        return [Check(name, ok=False, found=error.message.rstrip("."), fix="start it, or correct the URL")]


async def _projector(urls: StackUrls) -> Check:
    """The projector may become who it has to be: it falls back on the API's login, which may not."""
    name = "projector role"
    try:
        async with database(urls.project_url, "ledger_project") as connection:
            return await _ask(name, lambda: check_projector_role(connection))
    except Failed as error:
        fix = "name a login that may become ledger_project in DATABASE_PROJECT_URL"
        return Check(name, ok=False, found=error.message.rstrip("."), fix=fix)


async def _ask(name: str, question: Callable[[], Awaitable[Finding]]) -> Check:
    """An answer, or what kept it from being given."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            finding = await question()
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, RedisError, Failed, TimeoutError) as error:
        said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        return Check(name, ok=False, found=said, fix="find out why this cannot be asked")
    return Check(name, not finding.fix, finding.found, finding.fix)


def _secret(settings: Settings) -> Check:
    """Tokens cannot be guessed, and the file they are signed with is read by nobody else."""
    name = "JWT secret"
    if settings.jwt_secret is None and settings.jwt_jwks is not None:
        return Check(name, ok=True, found=f"keys from {settings.jwt_jwks}", fix="")
    try:
        secret = resolve_jwt_secret(settings)
    except SettingsError as error:
        return Check(name, ok=False, found=str(error).rstrip("."), fix="")
    different = len(set(secret))
    if different < DIFFERENT_CHARACTERS_AT_LEAST:
        fix = f"set JWT_SECRET to {JWT_SECRET_MIN_BYTES} random bytes or more: openssl rand -base64 48"
        return Check(name, ok=False, found=f"{len(secret)} characters, only {different} different", fix=fix)
    file = settings.data_dir / "jwt_secret"
    if settings.jwt_secret is None and stat.S_IMODE(file.stat().st_mode) & 0o077:
        return Check(name, ok=False, found=f"{file} can be read by others", fix=f"chmod 600 {file}")
    whose = "JWT_SECRET" if settings.jwt_secret is not None else str(file)
    return Check(name, ok=True, found=f"{len(secret.encode())} bytes in {whose}", fix="")


async def _redis(urls: StackUrls) -> Finding:
    if not urls.redis_url:
        return Finding("REDIS_URL is not set and none of ours runs", "start `ledger up`, or set REDIS_URL")
    client = Redis.from_url(urls.redis_url, socket_timeout=3, socket_connect_timeout=3)
    try:
        info = await client.info("server")
    finally:
        await client.aclose()
    return Finding(f"reachable, {info.get('server_name', 'redis')} {info.get('valkey_version', info['redis_version'])}")


async def _read_models(urls: StackUrls) -> Finding:
    async with pool(urls.api_url, size=1) as readers:
        models = await list_read_models(readers)
    if not models:
        return Finding("there are none yet", "start the projector: `ledger up` or `ledger project run`")
    for model in models:
        if model.state == "stuck" or model.dead_letters:
            return Finding(
                f"{model.name} is {model.state}, {model.dead_letters} dead letters", "see `ledger project dead-letters`"
            )
    slowest = max(models, key=lambda model: model.lag_seconds)
    said = f"{slowest.lag_events:,} events, {slowest.lag_seconds:.1f} s behind at most"
    return Finding(said, "" if slowest.lag_seconds <= LAG_SECONDS_AT_MOST else "see `ledger project status`")


def _disk(settings: Settings, urls: StackUrls) -> Check:
    if not urls.embedded_database:
        return Check("disk space", ok=True, found="the database's disk is not ours to see", fix="")
    free = shutil.disk_usage(Path(settings.data_dir)).free
    said = f"{free / 1024**3:.1f} GB free for {settings.data_dir}"
    fix = "" if free >= FREE_BYTES_AT_LEAST else "make room: a full disk stops the ledger"
    return Check("disk space", not fix, said, fix)
