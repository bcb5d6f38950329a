"""`ledger programme …`: show the programme in force, and replace it by a file.

May import: click, api, ledger, projections. Read next: `../routes/admin/programme.py` for the same over HTTP.
"""

import asyncio
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

import click
import msgspec
import uuid_utils

from api.bodies import decode_body
from api.cli.connection import find_urls, pool
from api.cli.terminal import Failed, json_option, print_table, report
from api.routes.admin.programme import ProgrammeBody, replace_command
from ledger.decision import Answer, Origin
from ledger.domain.programme import Programme
from ledger.errors import InvalidCommand
from ledger.handler import Handler
from ledger.settings import Settings
from ledger.store.append import PostgresStore
from ledger.store.codec import Actor
from ledger.store.committer import Committer
from projections.programme import ProgrammeNow, read_programme
from projections.releveling import Releveling, get_releveling

OPERATOR: Final = Actor("command-line", "admin")

_decoder: Final = msgspec.json.Decoder(ProgrammeBody)


@click.group("programme")
def command() -> None:
    """Show the programme in force, or replace it."""


@command.command("show")
@json_option
def show(as_json: bool) -> None:
    """Show the programme. With --json: as `set` takes it."""
    now, releveling = asyncio.run(_read())
    report(now.programme, as_json, lambda: _show(now, releveling))


@command.command("set")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--if-version", type=click.IntRange(0), default=None, help="Only if that is the version it has.")
@json_option
def set_command(file: Path, if_version: int | None, as_json: bool) -> None:
    """Replace the programme by FILE, a JSON object as `show --json` prints it, all of it."""
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise Failed(f"{file}: {error.strerror}.") from error
    try:
        answer, (now, releveling) = asyncio.run(_replace(raw, if_version))
    except InvalidCommand as refused:
        for problem in refused.data or ():
            click.echo(f"{problem['field']} {problem['message']}", err=True)
        raise
    report(answer.data, as_json, lambda: _show(now, releveling))


async def _read() -> tuple[ProgrammeNow, Releveling]:
    async with pool(find_urls(Settings.from_env()).api_url, size=1) as readers:
        now = await read_programme(readers)
        return now, await get_releveling(readers, now.version)


async def _replace(raw: bytes, if_version: int | None) -> tuple[Answer, tuple[ProgrammeNow, Releveling]]:
    wanted = replace_command(decode_body(_decoder, raw))
    request = str(uuid_utils.uuid7())
    origin = Origin(OPERATOR, datetime.now(UTC), sha256(raw).digest(), request, request, expected_version=if_version)
    store = await PostgresStore(find_urls(Settings.from_env()).direct_url).open()
    try:
        committer = await Committer(store).start()
        try:
            answer = await Handler(committer).handle(wanted, origin)
        finally:
            await committer.stop()
    finally:
        await store.close()
    return answer, await _read()


def _show(now: ProgrammeNow, releveling: Releveling) -> None:
    said = f"version {now.version}" if now.version else "the default, never replaced"
    click.echo(f"The programme is {said}.\n")
    rates = [(name, _text(value)) for name, value in _rates(now.programme)]
    print_table(("setting", "value"), rates)
    click.echo()
    levels = [(level.tier, level.name, level.min_points, level.is_active) for level in now.programme.levels]
    print_table(("tier", "level", "from points", "active"), levels)
    if now.version:
        click.echo(f"\n{_progress(releveling)}")


def _progress(job: Releveling) -> str:
    """How far the accounts are put on these levels."""
    match job.state:
        case "waiting":
            return "Accounts are not yet being put on these levels: the worker begins within seconds, if one runs."
        case "running":
            return (
                f"Accounts are being put on these levels: {job.done:,} of {job.total:,} looked at, {job.moved:,} moved."
            )
        case "done":
            return f"All {job.total:,} accounts stand on these levels; {job.moved:,} were moved."


def _rates(programme: Programme) -> list[tuple[str, object]]:
    fields = zip(programme.__struct_encode_fields__, programme.__struct_fields__, strict=True)
    return [(name, getattr(programme, field)) for name, field in fields if field != "levels"]


def _text(value: object) -> str:
    return "never" if value is None else str(value)
