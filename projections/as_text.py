"""Rows and columns as text that PostgreSQL reads: written by msgspec at once, not value by value by the driver.

A value costs a fifth of what it costs as a driver's parameter; the database takes a little longer to read it, beside the
process that folds the next page. For text, whole numbers, flags, instants with their offset, and None; not for bytes.
Imports `ledger` and asyncpg only. Read next: `points_page.py`, which writes a row an event with it.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import msgspec

from projections.projection import SCHEMA, Connection, copy_rows

_encode: Final = msgspec.json.Encoder().encode
_encode_lines: Final = msgspec.json.Encoder().encode_lines
_ESCAPE: Final = b"\\"


async def copy_as_text(
    connection: Connection, table: str, columns: tuple[str, ...], rows: Sequence[Sequence[Any]]
) -> None:
    """As `copy_rows`: a row of JSON without its brackets is a line of CSV, as long as no text needs an escape."""
    text = _encode_lines(rows)
    if _ESCAPE in text:
        await copy_rows(connection, table, columns, rows)
        return
    await connection.copy_to_table(
        table.partition(".")[2],
        source=_whole(text[1:-2].replace(b"]\n[", b"\n")),  # a line feed within a text is an escape
        schema_name=SCHEMA,
        columns=list(columns),
        format="csv",
        null="null",
    )


async def _whole(text: bytes) -> AsyncIterator[bytes]:
    yield text


def array_as_text(column: Sequence[Any]) -> str:
    """An array to be sent as text and cast (`$1::text::bigint[]`): JSON's, in braces."""
    text = _encode(column)
    if _ESCAPE in text:
        return "{" + ",".join(map(_element, column)) + "}"
    return "{" + text[1:-1].decode() + "}"


def _element(value: Any) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return _encode(value).decode()
