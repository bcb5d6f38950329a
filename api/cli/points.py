"""`ledger points …`: a member's account, now or as it stood at a position or an instant.

May import: click, api, ledger, projections. Read next: `../routes/admin/accounts.py` for the same over HTTP.
"""

import asyncio
from datetime import UTC, datetime
from typing import Final

import click

from api.as_of import as_of
from api.cli.connection import find_urls, pool
from api.cli.terminal import Failed, json_option, print_table, report
from ledger.ids import is_id
from ledger.settings import Settings
from projections.account_as_of import ExplainedAccount, explain_account

LOTS_SHOWN: Final = 50


@click.group("points")
def command() -> None:
    """Show what a member has, or had."""


@command.command("show")
@click.argument("user")
@click.option("--as-of", "moment", metavar="INSTANT|POSITION", help="As recorded up to then, instead of now.")
@json_option
def show(user: str, moment: str | None, as_json: bool) -> None:
    """Show the account of USER: balance, lifetime points, level, and the lots that are the balance."""
    if not is_id(user):
        raise Failed("USER must be 1-64 characters of A-Z a-z 0-9 _ . : -.")
    account = asyncio.run(_read(user, as_of(moment)))
    report(account, as_json, lambda: _show(account))


async def _read(user: str, moment: int | datetime | None) -> ExplainedAccount:
    async with pool(find_urls(Settings.from_env()).api_url, "ledger_api", size=1) as readers:
        return (await explain_account(readers, user, moment, datetime.now(UTC))).value


def _show(account: ExplainedAccount) -> None:
    locked = ", locked" if account.locked else ""
    click.echo(f"{account.user_id} as of {account.as_of.isoformat()}, position {account.position:,}{locked}\n")
    summary = [
        ("balance", f"{account.balance:,}"),
        ("lifetime points", f"{account.lifetime_points:,}"),
        ("level", account.level),
        ("events behind the balance", f"{account.events_total:,}"),
        ("unexplained", f"{account.residual:,}"),
    ]
    print_table(("", "value"), summary)
    click.echo()
    rows = [(lot.lot_id, lot.points, lot.remaining, _deadline(lot.expires_at)) for lot in account.lots[:LOTS_SHOWN]]
    print_table(("lot", "points", "remaining", "expires"), rows)
    if account.lots_total > LOTS_SHOWN:
        click.echo(f"… and {account.lots_total - LOTS_SHOWN:,} lots that expire later; --json shows more.")


def _deadline(at: datetime | None) -> str:
    return "never" if at is None else at.isoformat()
