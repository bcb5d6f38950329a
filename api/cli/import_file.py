"""`ledger import FILE`: append a CSV file of earned points or opening balances.

May import: click, ledger, workers. Read next: `../../ledger/importer.py`.
"""

import gc
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
import uvloop

from api.cli.connection import find_urls
from api.cli.terminal import Failed, json_option, print_json, print_table, progress, report
from ledger.import_rows import COLUMNS, CheckedRows, ImportFile, ImportRefusedError
from ledger.importer import BATCH, FileTotal, Imported, Total, append, check
from ledger.settings import Settings
from ledger.store.append import PostgresStore
from ledger.store.bulk import BulkCommitter
from ledger.store.known_keys import KnownKeys
from workers.local_stack import StackUrls

STREAMS_KEPT: Final = 400_000
"""Accounts kept folded in memory, some 400 MB, as in an API process: the rows of a file may come in any order."""


@click.command("import", epilog=f"Columns: {', '.join(COLUMNS)}; the first line names them.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--opening", is_flag=True, help="The rows are opening balances: grants, which need no source.")
@click.option("--check", "only_check", is_flag=True, help="Check the file and print its control total; append nothing.")
@json_option
def command(file: Path, opening: bool, only_check: bool, as_json: bool) -> None:
    """Append a CSV file of earned points or opening balances.

    The whole file is checked before anything is appended. Every row has a key of its own: an import that was
    interrupted goes on when it is run again, and running it twice changes nothing.
    """
    urls = find_urls(Settings.from_env())
    try:
        source = ImportFile(file, opening=opening, now=datetime.now(UTC))
    except OSError as error:
        raise Failed(f"{file}: {error.strerror}.") from error
    try:
        uvloop.run(_import(source, urls, only_check=only_check, as_json=as_json))
    except ImportRefusedError as refused:
        if as_json:
            print_json({"imported": False, "problems": refused.problems, "count": refused.count})
        for problem in refused.problems:
            click.echo(f"line {problem.line}: {problem.message}", err=True)
        raise
    finally:
        source.close()


async def _import(source: ImportFile, urls: StackUrls, *, only_check: bool, as_json: bool) -> None:
    checked = CheckedRows()
    known_keys = await KnownKeys.open(urls.api_url)
    try:
        with progress("checking", source.size_bytes) as advance:
            total = await check(source, known_keys, advance, checked)
        if not as_json:
            _show_file(total)
        if only_check:
            report(total, as_json, lambda: click.echo("Checked; nothing was appended."))
            return
        # A million short-lived objects a second, hardly one in a cycle: looking for cycles that often costs a third.
        gc.freeze()
        gc.set_threshold(200_000, 50, 100)
        store = await PostgresStore(urls.direct_url).open()
        committer = BulkCommitter(store, batch_limit=BATCH, queue_limit=4 * BATCH, cache_limit=STREAMS_KEPT)
        await committer.start()
        try:
            with progress("importing", total.all.rows) as advance:
                done = await append(checked, total, known_keys, committer, advance)
        finally:
            await committer.stop()
            await store.close()
        report(done, as_json, lambda: _show_done(done))
    finally:
        checked.close()
        await known_keys.close()


def _show_file(total: FileTotal) -> None:
    click.echo(f"file sha256 {total.sha256}")
    rows = [(source, part.rows, part.points) for source, part in sorted(total.by_source.items())]
    print_table(("in the file", "rows", "points"), [*rows, ("all", total.all.rows, total.all.points)])


def _show_done(done: Imported) -> None:
    def line(what: str, part: Total) -> tuple[str, int, int]:
        return what, part.rows, part.points

    click.echo()
    print_table(
        ("imported", "rows", "points"),
        [
            line("appended", done.appended),
            line("was there already", done.already_there),
            line("earned otherwise", done.earned_otherwise),
            line("all", done.file.all),
        ],
    )
    click.echo(f"Balances moved by {done.balance_moved:,} points; {done.accounts_opened:,} accounts opened.")
