"""The command `ledger`: one file a noun, each loaded only when it is called (`ledger token` waits for nothing).

The one place that composes api, workers, projections and ledger. Whatever goes wrong ends in `failures.py`.
Read next: `up.py`, which starts everything; `terminal.py` for how commands speak.
"""

import importlib
import sys
from typing import Final

import click

COMMANDS: Final = {
    "up": "Start everything on this machine: PostgreSQL, Redis, API, projector, worker.",
    "serve": "Run one process of the HTTP API.",
    "work": "Run the worker: jobs that come back by the clock.",
    "project": "Run, watch, rebuild and verify the read models.",
    "programme": "Show the programme of points and levels, or replace it.",
    "points": "Show what a member has, or had at a position or an instant.",
    "migrate": "Bring the database to this version's schema.",
    "token": "Print a signed token, and nothing else.",
    "doctor": "Check what the ledger stands on: each line a tick, or what to do.",
    "export": "Write the journal to a file, for finance.",
    "import": "Append a CSV file of earned points or opening balances.",
}
"""Name → what `ledger --help` says of it. The command itself is `command` in the module of that name."""

_MODULES: Final = {"import": "import_file"}


class _Commands(click.Group):
    """Knows the commands by name and loads one when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # as above
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"{__name__}.{_MODULES.get(cmd_name, cmd_name)}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # as above
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ledger-service", message="%(version)s")
def ledger() -> None:
    """An event-sourced ledger of points and of money in escrow."""


def main() -> None:
    """Run the command line; never returns."""
    try:
        status = ledger.main(prog_name="ledger", standalone_mode=False)
    except BaseException as error:  # whatever it is, the person gets one line
        from api.cli.failures import explain  # knows every kind of error, and so imports a lot

        status = explain(error)
    sys.exit(status if isinstance(status, int) else 0)
