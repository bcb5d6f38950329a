"""A member's history of points, line by line. Table, fold and queries together.

A row says that an event is a line of that member's history, of which type and when. What the line says is made by
`ledger.transactions.transaction_of` from the event itself, as in the command's answer: both are equal to the letter,
and no copy can drift. One index serves list, filter and count. Imports `ledger` only. Read next: `audit_trail.py`.
"""

from datetime import datetime
from operator import itemgetter
from typing import Any, ClassVar, Final

from ledger import ids
from ledger.errors import CorruptionError
from ledger.store import codec
from ledger.transactions import Transaction, transaction_of
from projections.as_text import copy_as_text
from projections.cursor import Slice, SortOrder, cursor_after, position_of
from projections.projection import Connection, LogEvent, Page, Table, table_names
from projections.read_models import Answer, ReadModels

TRANSACTION_TYPES: Final = ("earn", "spend", "expire", "admin_grant", "admin_deduct", "restore", "clawback")

_TABLE: Final = Table(
    part="",
    columns=(
        ("user_id", 'text COLLATE "C" NOT NULL'),
        ("position", "bigint NOT NULL"),
        ("type", "text NOT NULL"),
        ("occurred_at", "timestamptz NOT NULL"),
    ),
    key=("user_id", "position"),
    upserted=False,
    include=("type", "occurred_at"),
    subject=("account", "user_id"),
)
_COLUMNS: Final = tuple(name for name, _ in _TABLE.columns)

_LIST: Final = """
SELECT n.total, e.position, e.type AS tag, e.data, e.recorded_at
FROM (
  SELECT count(*) AS total FROM {{main}}
  WHERE user_id = $1 AND ($2::text IS NULL OR type = $2) AND ($3::timestamptz IS NULL OR occurred_at >= $3)
    AND ($4::timestamptz IS NULL OR occurred_at < $4)
) AS n
LEFT JOIN LATERAL (
  SELECT t.position FROM {{main}} AS t
  WHERE t.user_id = $1 AND ($2::text IS NULL OR t.type = $2) AND ($3::timestamptz IS NULL OR t.occurred_at >= $3)
    AND ($4::timestamptz IS NULL OR t.occurred_at < $4) AND t.position {beyond} $5
  ORDER BY t.position {order} LIMIT $6 OFFSET $7
) AS p ON true
LEFT JOIN ledger.events AS e ON e.position = p.position
ORDER BY e.position {order}
"""
_QUERIES: Final = {
    "asc": _LIST.format(beyond=">", order="ASC"),
    "desc": _LIST.format(beyond="<", order="DESC"),
}


class Transactions:
    """One row a line of history."""

    name: ClassVar[str] = "transactions"
    code_version: ClassVar[int] = 1
    tables: ClassVar[tuple[Table, ...]] = (_TABLE,)
    reads_data: ClassVar[bool] = True
    reads_metadata: ClassVar[bool] = False

    def page(self, build: int) -> Page:
        """An empty page for that build's table."""
        return _TransactionsPage(table_names(self, build)["main"])


_TRANSACTIONS: Final = Transactions()


class _TransactionsPage:
    """Rows to be, in the order of the table's columns."""

    __slots__ = ("_rows", "_table")

    def __init__(self, table: str) -> None:
        self._table = table
        self._rows: list[tuple[str, int, str, datetime]] = []

    def apply(self, event: LogEvent) -> None:
        line = transaction_of(event.event)
        if line is not None:
            self._rows.append((event.event.user_id, event.position, line.type, line.occurred_at))

    async def flush(self, connection: Connection) -> None:
        if self._rows:
            self._rows.sort(key=itemgetter(0))  # stable: positions stay in order
            await copy_as_text(connection, self._table, _COLUMNS, self._rows)


async def list_transactions(
    models: ReadModels,
    user_id: str,
    *,
    type_: str | None = None,
    from_: datetime | None = None,
    to: datetime | None = None,
    page: int = 1,
    limit: int = 20,
    sort_order: SortOrder = "desc",
    after: str | None = None,
    min_position: int = 0,
) -> Answer[Slice[Transaction]]:
    """The member's lines by position, filtered by type and by `occurred_at` in [from_, to).

    `after` is the cursor of the page before and takes the place of `page`: a reader sees each line once while new ones
    come. `total` counts all lines that match the filter.
    """
    start = _start(sort_order) if after is None else position_of(after, sort_order)
    found = await models.read(
        _TRANSACTIONS,
        _QUERIES[sort_order],
        user_id,
        type_,
        from_,
        to,
        start,
        limit + 1,  # one more tells whether there is a next page
        0 if after is not None else (page - 1) * limit,
        min_position=min_position,
        stream=ids.account_stream(user_id),
    )
    lines = [_line(row) for row in found.rows[:limit] if row["position"] is not None]
    more = len(found.rows) > limit
    cursor = cursor_after(lines[-1].position, sort_order) if more else None
    total = found.rows[0]["total"]
    answer = Slice(lines, total, page, limit, cursor)
    return Answer(answer, found.position, 0, {**found.meta(), **answer.meta()})


def _start(sort_order: SortOrder) -> int:
    return 0 if sort_order == "asc" else 2**63 - 1


def _line(row: Any) -> Transaction:
    line = transaction_of(codec.decode(row["tag"], row["data"]))
    if line is None:
        msg = f"the event at position {row['position']} makes no line of history, but has a row"
        raise CorruptionError(msg)
    line.stamp(row["position"], row["recorded_at"])
    return line
