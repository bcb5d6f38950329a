"""How commands speak: data on stdout, for people or as `--json`; everything else on stderr; progress if one watches.

May import: click, rich, msgspec. Read next: `doctor.py` for an example.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
"""Every command that prints data takes it."""


class Failed(click.ClickException):
    """The command could not do what was asked. One line, status 1."""


def print_json(data: Any) -> None:
    """One line of JSON on stdout."""
    click.echo(msgspec.json.encode(data))


def print_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Rows under headings, numbers to the right, as wide as they need to be when nobody watches."""
    console = Console(width=None if sys.stdout.isatty() else 200)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, heading in enumerate(headings):
        numeric = all(isinstance(row[index], int | float) for row in rows)
        table.add_column(heading, justify="right" if numeric and rows else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_shown(cell) for cell in row))
    console.print(table)


def _shown(cell: object) -> str:
    if isinstance(cell, bool) or cell is None:
        return {True: "yes", False: "no"}.get(cell, "") if cell is not None else ""
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:,.1f}" if isinstance(cell, float) else str(cell)


class Advance(Protocol):
    """Tell how far it is: `done` of `total` (None: as said at first)."""

    def __call__(self, done: int, total: int | None = None) -> None: ...


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Advance]:
    """A bar on stderr while a person watches; nothing for a pipe or a log."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda done, total=None: None  # noqa: ARG005  # the shape of `Advance`
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(show_speed=True),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(description, total=total)

        def advance(done: int, total: int | None = None) -> None:
            bar.update(task, completed=done, total=total)

        yield advance


def report(data: Any, as_json: bool, show: Callable[[], None]) -> None:
    """Print the data as JSON, or let `show` write it for a person."""
    if as_json:
        print_json(data)
    else:
        show()
