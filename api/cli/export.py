"""`ledger export --output FILE`: the journal as a file, the same bytes as `GET /api/ledger/export`.

May import: api, click, ledger, projections. Read next: `../../projections/journal_export.py`.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import click
import msgspec

from api.cli.connection import find_urls, pool
from api.cli.programme import OPERATOR
from api.cli.terminal import Failed, json_option, progress, report
from api.fields import optional_instant
from api.journal_fields import AccountOrKind, JournalCurrency
from api.routes.journal_export import record_of
from ledger.decision import Origin
from ledger.domain.exports import Format
from ledger.handler import Handler
from ledger.settings import Settings
from ledger.store.append import PostgresStore
from ledger.store.committer import Committer
from projections.journal_export import JournalFilter, export_journal
from projections.read_models import ReadModels


class Exported(msgspec.Struct, frozen=True, rename="camel"):
    """What was written. `position` is the cut, `sha256` that of the file."""

    file: str
    position: int
    bytes: int
    sha256: str


@click.command("export")
@click.option("--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The file to write.")
@click.option("--from", "from_", metavar="INSTANT", help="Recorded at this instant or later.")
@click.option("--to", metavar="INSTANT", help="Recorded before this instant.")
@click.option("--account", help="One account, or a kind: member is all members.")
@click.option("--currency", help="One currency; PTS is points.")
@click.option("--upto-position", "up_to", type=click.IntRange(0, 2**62), help="The last position that is in it.")
@click.option("--format", "format_", type=click.Choice(["csv", "ndjson"]), default="csv", show_default=True)
@json_option
def command(
    output: Path,
    from_: str | None,
    to: str | None,
    account: str | None,
    currency: str | None,
    up_to: int | None,
    format_: Format,
    as_json: bool,
) -> None:
    """Write the journal of points and money to a file, for finance.

    The file is there when it is whole: it is written beside its place and then moved. The export is recorded in the log.
    """
    try:
        msgspec.convert(account, AccountOrKind | None)
        msgspec.convert(currency, JournalCurrency | None)
    except msgspec.ValidationError as error:
        raise click.UsageError(f"no such account or currency can be: {error}.") from error
    which = JournalFilter(optional_instant("from", from_), optional_instant("to", to), account, currency)
    done = asyncio.run(_export(output, which, format_, up_to))
    report(
        done,
        as_json,
        lambda: click.echo(f"{done.file}: the journal up to position {done.position:,}, {done.bytes:,} bytes."),
    )


async def _export(output: Path, which: JournalFilter, format_: Format, up_to: int | None) -> Exported:
    urls = find_urls(Settings.from_env())
    async with pool(urls.api_url, size=3) as readers:
        models = ReadModels(readers)
        # Opened first: whoever has no place to write to has taken nothing, and nothing is recorded.
        beside = output.with_name(f".{output.name}.{os.getpid()}.partial")
        try:
            file = beside.open("xb")
        except OSError as error:
            raise Failed(f"{beside}: {error.strerror}.") from error
        digest, size = sha256(), 0
        try:
            source = export_journal(
                models, which, _recorder(urls.direct_url, which, format_), format_=format_, up_to=up_to
            )
            with file, progress("exporting", None) as advance:
                async with source as stream:
                    async for piece in stream.rows:
                        file.write(piece)
                        digest.update(piece)
                        size += len(piece)
                        advance(size)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(output)
        except OSError as error:
            raise Failed(f"{output}: {error.strerror or error}.") from error
        finally:
            beside.unlink(missing_ok=True)
    return Exported(str(output), stream.position, size, digest.hexdigest())


def _recorder(url: str, which: JournalFilter, format_: Format) -> Callable[[int], Awaitable[None]]:
    async def record(cut: int) -> None:
        recorded = record_of(format_, cut, which)
        request = recorded.export_id
        origin = Origin(OPERATOR, datetime.now(UTC), sha256(request.encode()).digest(), request, request)
        store = await PostgresStore(url).open()
        try:
            committer = await Committer(store).start()
            try:
                await Handler(committer).handle(recorded, origin)
            finally:
                await committer.stop()
        finally:
            await store.close()

    return record
