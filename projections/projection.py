"""What a projection is: a name, a code version, its tables, and a page that folds events and writes rows.

A page is stateless: it is made for a handful of events, folds them in memory and writes the rows they change, without
reading any. Events carry what is true after them, so that suffices. Imports `ledger` and asyncpg only.
Read next: `points.py` for an example, `advance.py` for who folds and writes.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, TypeAlias

import asyncpg
import msgspec

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection: TypeAlias = asyncpg.Connection[Any] | PoolConnectionProxy[Any]
    Pool: TypeAlias = asyncpg.Pool[Any]
else:
    Connection: TypeAlias = asyncpg.Connection
    Pool: TypeAlias = asyncpg.Pool

SCHEMA: Final = "read_models"


class LogEvent(msgspec.Struct, frozen=True, gc=False):
    """One event of the log, decoded once for all projections. `metadata` and `hash` are empty where nobody asked."""

    position: int
    stream: str
    version: int
    type: str
    recorded_at: datetime
    event: Any
    metadata: bytes
    hash: bytes = b""


class Undecodable(msgspec.Struct, frozen=True):
    """What stands in `LogEvent.event` for data that cannot be read: poison for every projection that reads it."""

    error: Exception


class Table(msgspec.Struct, frozen=True):
    """One table of a projection. `part` is empty for the main one: `rm_<name>_v<build>`, else `rm_<name>_<part>_v<build>`.

    `upserted` tables need their key while they are built; append-only ones get it with the other indexes, last.
    `subject` names (category, column): the row belongs to the stream `<category>-<column>`, or, where the category is
    empty, to the stream the column names. A table without one can
    only be verified as a whole. `explained_by` is the column that holds the position of the event that made the row
    what it is.
    """

    part: str
    columns: tuple[tuple[str, str], ...]
    key: tuple[str, ...]
    upserted: bool
    include: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()
    options: str = ""
    subject: tuple[str, str] | None = None
    explained_by: str = "position"

    def in_build(self, name: str, build: int) -> str:
        """The table's name in that build, without schema."""
        return f"rm_{name}_{self.part}_v{build}" if self.part else f"rm_{name}_v{build}"

    def create(self, table: str) -> str:
        """DDL of the bare table."""
        columns = ", ".join(f"{column} {kind}" for column, kind in self.columns)
        options = f" WITH ({self.options})" if self.options else ""
        return f"CREATE TABLE {SCHEMA}.{table} ({columns}){options}"

    def create_key(self, table: str) -> str:
        """DDL of the unique index that is the table's key."""
        include = f" INCLUDE ({', '.join(self.include)})" if self.include else ""
        return f"CREATE UNIQUE INDEX IF NOT EXISTS {table}_key ON {SCHEMA}.{table} ({', '.join(self.key)}){include}"

    def create_indexes(self, table: str) -> list[str]:
        """DDL of the other indexes."""
        return [
            f"CREATE INDEX IF NOT EXISTS {table}_i{number} ON {SCHEMA}.{table} {index}"
            for number, index in enumerate(self.indexes, 1)
        ]


class Page(Protocol):
    """The fold of a few consecutive events for one build. Used once."""

    def apply(self, event: LogEvent) -> None:
        """Take the event in. Whatever it raises makes the event poison."""

    async def flush(self, connection: Connection) -> None:
        """Write the rows the events change, sorted by key, inside the transaction that is open."""


class Projection(Protocol):
    """A read model's definition. `code_version` goes up when tables or fold change: a new build is made then."""

    name: ClassVar[str]
    code_version: ClassVar[int]
    tables: ClassVar[tuple[Table, ...]]
    reads_data: ClassVar[bool]
    reads_metadata: ClassVar[bool]

    def page(self, build: int) -> Page:
        """An empty page for that build's tables."""


def table_names(projection: Projection, build: int) -> Mapping[str, str]:
    """Part → table with schema, as query templates name them; the main table is `main`."""
    return {table.part or "main": f"{SCHEMA}.{table.in_build(projection.name, build)}" for table in projection.tables}


async def copy_rows(connection: Connection, table: str, columns: tuple[str, ...], rows: Iterable[Any]) -> None:
    """COPY rows into a read-model table (named with its schema)."""
    await connection.copy_records_to_table(
        table.partition(".")[2], schema_name=SCHEMA, columns=list(columns), records=rows
    )


def one_of(column: str, words: tuple[str, ...]) -> str:
    """A text column that holds one of these words: the domain's list is the database's check."""
    listed = ", ".join(f"'{word}'" for word in words)
    return f"text NOT NULL CHECK ({column} IN ({listed}))"
