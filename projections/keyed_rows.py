"""Rows of one table as a page of events leaves them: new ones by COPY, changed ones by one UPDATE.

For events that carry what is true after them: nothing is read back, the last value of a column counts.
Imports `ledger` only. Read next: `payments_page.py`, which is made of it.
"""

from typing import Any, Final

from ledger.errors import CorruptionError
from projections.projection import Connection, LogEvent, Table, copy_rows

Key = tuple[Any, ...]

_UPDATE: Final = "UPDATE {table} AS t SET {sets} FROM unnest({arrays}) AS n({columns}) WHERE {match}"


class KeyedRows:
    """The rows of one page. `changing` are the columns that events change later; None leaves one as it is."""

    __slots__ = ("_added", "_changed", "_changing", "_name", "_table")

    def __init__(self, table: Table, name: str, changing: tuple[str, ...]) -> None:
        """`name` is the table of a build, with its schema."""
        self._table = table
        self._name = name
        self._changing = changing
        self._added: dict[Key, dict[str, Any]] = {}
        self._changed: dict[Key, dict[str, Any]] = {}

    def add(self, log: LogEvent, row: dict[str, Any]) -> None:
        """A new row, all its columns. A second one of the same key is a broken log."""
        key = tuple(row[column] for column in self._table.key)
        if key in self._added or key in self._changed:
            msg = f"{self._table.key} {key} begins again at position {log.position}"
            raise CorruptionError(msg)
        self._added[key] = row

    def change(self, *key: Any, **columns: Any) -> None:
        """What an event changes in a row that is there, from this page or an earlier one."""
        row = self._added.get(key)
        if row is None:
            row = self._changed.get(key)
            if row is None:
                row = self._changed[key] = dict(zip(self._table.key, key, strict=True))
        row.update(columns)

    async def flush(self, connection: Connection) -> None:
        """Write them, in the order of their keys."""
        if self._added:
            columns = tuple(name for name, _ in self._table.columns)
            rows = [[row[column] for column in columns] for _, row in sorted(self._added.items())]
            await copy_rows(connection, self._name, columns, rows)
        if self._changed:
            changed = [row for _, row in sorted(self._changed.items())]
            columns = (*self._table.key, *self._changing)
            arrays = [[row.get(column) for row in changed] for column in columns]
            tag = await connection.execute(self._update(columns), *arrays)
            if tag != f"UPDATE {len(changed)}":
                msg = f"of {len(changed)} rows of {self._name} that go on, the read model holds others: {tag}"
                raise CorruptionError(msg)

    def _update(self, columns: tuple[str, ...]) -> str:
        kinds = dict(self._table.columns)
        return _UPDATE.format(
            table=self._name,
            sets=", ".join(f"{column} = coalesce(n.{column}, t.{column})" for column in self._changing),
            arrays=", ".join(f"${number}::{kinds[column].split()[0]}[]" for number, column in enumerate(columns, 1)),
            columns=", ".join(columns),
            match=" AND ".join(f"t.{column} = n.{column}" for column in self._table.key),
        )
