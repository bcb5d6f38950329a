"""Whatever goes wrong becomes one line on stderr and a status: 1 refused or failed, 2 wrong usage, 78 a setting that
cannot be right, 130 interrupted. `LOG_LEVEL=debug` shows where an unexpected error comes from.

May import: click, asyncpg, ledger, workers. Read next: `__init__.py`.
"""

import os
from typing import Final

import asyncpg
import click

from ledger.errors import LedgerError
from ledger.import_rows import ImportRefusedError
from ledger.settings import SettingsError
from ledger.store.migrate import MigrationError
from projections.rebuild import RebuildStoppedError
from workers.local_stack import StackError

OURS: Final = (
    click.ClickException,
    LedgerError,
    SettingsError,
    MigrationError,
    RebuildStoppedError,
    StackError,
    ImportRefusedError,
)
"""Their messages tell a person what to do."""


def explain(error: BaseException) -> int:
    """Say it in one line on stderr; return the exit status."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return 130
    if isinstance(error, BrokenPipeError):
        # Whoever read our output has seen enough; the interpreter must not try to flush it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    if isinstance(error, click.UsageError):
        error.show()
        return error.exit_code
    if not isinstance(error, OURS) and os.environ.get("LOG_LEVEL", "").lower() == "debug":
        raise error
    click.echo(f"ledger: {_line(error)}", err=True)
    return os.EX_CONFIG if isinstance(error, SettingsError) else 1


def _line(error: BaseException) -> str:
    message = " ".join((error.format_message() if isinstance(error, click.ClickException) else str(error)).split())
    if isinstance(error, OURS):
        return message
    if isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError):
        return f"the database refuses: {message}"
    if isinstance(error, OSError):
        return message or type(error).__name__
    return f"{type(error).__name__}: {message} (LOG_LEVEL=debug shows where)"
