"""`ledger migrate`: bring the database to this version's schema.

May import: click, ledger, workers. Read next: `../../ledger/store/migrate.py`.
"""

import asyncio

import click
import msgspec

from api.cli.connection import find_urls
from api.cli.terminal import json_option, report
from ledger.settings import Settings
from ledger.store.migrate import migrate, read_migrations


class Migrated(msgspec.Struct, frozen=True, rename="camel"):
    """What this run applied, and where the schema is now."""

    applied: list[str]
    current: str


@click.command("migrate")
@json_option
def command(as_json: bool) -> None:
    """Bring the database to this version's schema; only forward, each file once."""
    urls = find_urls(Settings.from_env())
    applied = asyncio.run(migrate(urls.database_url))
    done = Migrated([migration.title for migration in applied], read_migrations()[-1].title)

    def show() -> None:
        for title in done.applied:
            click.echo(f"applied {title}")
        click.echo(f"The schema is at {done.current}.")

    report(done, as_json, show)
