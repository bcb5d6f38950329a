"""Money that belongs nowhere yet, for those who settle it. Table, fold and queries together.

Imports `ledger` only. Read next: `webhook_letters.py`: why most of it is here.
"""

from datetime import datetime
from typing import Any, ClassVar, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from ledger.domain.suspense import SuspenseParked, SuspenseSettled
from ledger.money import MoneyText, money_text
from projections.audit_trail import COUNTED_AT_MOST
from projections.cursor import Slice, SortOrder
from projections.keyed_rows import KeyedRows
from projections.list_pages import page_of_list, start_of
from projections.projection import Connection, LogEvent, Page, Table, table_names
from projections.read_models import Answer, ReadModels

SuspenseStatus = Literal["open", "settled"]

_TABLE: Final = Table(
    part="",
    columns=(
        ("suspense_id", 'text COLLATE "C" NOT NULL'),
        ("amount_minor", "bigint NOT NULL"),
        ("currency", "text NOT NULL"),
        ("reason", "text NOT NULL"),
        ("provider", "text NOT NULL"),
        ("payment_id", "text NOT NULL"),
        ("purchase_id", "text NOT NULL"),
        ("tx_hash", "text NOT NULL"),
        ("letter_id", "text NOT NULL"),
        ("parked", "bigint NOT NULL"),
        ("created_at", "timestamptz NOT NULL"),
        ("rest_minor", "bigint NOT NULL CHECK (rest_minor >= 0)"),
        ("version", "integer NOT NULL"),
        ("updated_at", "timestamptz NOT NULL"),
        ("position", "bigint NOT NULL"),
    ),
    key=("suspense_id",),
    upserted=True,
    indexes=("(parked)", "(parked) WHERE rest_minor > 0"),
    subject=("suspense", "suspense_id"),
)


_ABOUT_SUSPENSE: Final = frozenset({SuspenseParked, SuspenseSettled})


class Suspense:
    """One row an item."""

    name: ClassVar[str] = "suspense"
    code_version: ClassVar[int] = 1
    tables: ClassVar[tuple[Table, ...]] = (_TABLE,)
    reads_data: ClassVar[bool] = True
    reads_metadata: ClassVar[bool] = False

    def page(self, build: int) -> Page:
        """An empty page for that build's table."""
        return _SuspensePage(table_names(self, build)["main"])


_SUSPENSE: Final = Suspense()


class _SuspensePage:
    """Items of one page."""

    __slots__ = ("_items",)

    def __init__(self, table: str) -> None:
        self._items = KeyedRows(_TABLE, table, ("rest_minor", "version", "updated_at", "position"))

    def apply(self, event: LogEvent) -> None:
        fact = event.event
        if type(fact) not in _ABOUT_SUSPENSE:
            return
        now = {"version": event.version, "updated_at": event.recorded_at, "position": event.position}
        match fact:
            case SuspenseParked():
                row = {
                    "suspense_id": fact.suspense_id,
                    "amount_minor": fact.amount_minor,
                    "currency": fact.currency,
                    "reason": fact.reason,
                    "provider": fact.provider,
                    "payment_id": fact.payment_id,
                    "purchase_id": fact.purchase_request_id,
                    "tx_hash": fact.tx_hash,
                    "letter_id": fact.letter_id,
                    "parked": event.position,
                    "created_at": event.recorded_at,
                    "rest_minor": fact.amount_minor,
                }
                self._items.add(event, row | now)
            case SuspenseSettled():
                self._items.change(fact.suspense_id, rest_minor=fact.rest_minor, **now)

    async def flush(self, connection: Connection) -> None:
        await self._items.flush(connection)


class SuspenseView(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """So much came in; `remaining` of it still waits. `reason` is `EXCESS` or the code of the dead letter it came with.

    `payment_id` is the payment that the delivery named, which need not exist.
    """

    id: str
    status: SuspenseStatus
    amount: MoneyText
    remaining: MoneyText
    reason: str
    provider: str
    payment_id: str | UnsetType = UNSET
    purchase_request_id: str | UnsetType = UNSET
    tx_hash: str | UnsetType = UNSET
    dead_letter_id: str | UnsetType = UNSET
    version: int
    created_at: datetime
    updated_at: datetime


async def list_suspense(
    models: ReadModels,
    *,
    status: SuspenseStatus | None = None,
    page: int = 1,
    limit: int = 20,
    sort_order: SortOrder = "desc",
    after: str | None = None,
    min_position: int = 0,
) -> Answer[Slice[SuspenseView]]:
    """Items in the order they came; `open` ones have something remaining. `after` as in `list_purchases`."""
    start = start_of(after, sort_order)
    where = {None: "true", "open": "t.rest_minor > 0", "settled": "t.rest_minor = 0"}[status]
    found = await models.read(
        _SUSPENSE,
        _list_query(where, sort_order),
        start,
        limit + 1,  # one more tells whether there is a next page
        0 if after is not None else (page - 1) * limit,
        min_position=min_position,
    )
    return page_of_list(found, _view, ordered_by="parked", page=page, limit=limit, order=sort_order)


def _list_query(where: str, order: SortOrder) -> str:
    beyond = ">" if order == "asc" else "<"
    return f"""
SELECT n.total, p.*
FROM (SELECT count(*) AS total FROM (SELECT 1 FROM {{main}} AS t WHERE {where} LIMIT {COUNTED_AT_MOST}) AS c) AS n
LEFT JOIN LATERAL (
  SELECT t.* FROM {{main}} AS t WHERE {where} AND t.parked {beyond} $1
  ORDER BY t.parked {order} LIMIT $2 OFFSET $3
) AS p ON true
ORDER BY p.parked {order}
"""


def _view(row: Any) -> SuspenseView:
    currency = row["currency"]
    return SuspenseView(
        id=row["suspense_id"],
        status="open" if row["rest_minor"] else "settled",
        amount=money_text(row["amount_minor"], currency),
        remaining=money_text(row["rest_minor"], currency),
        reason=row["reason"],
        provider=row["provider"],
        payment_id=row["payment_id"] or UNSET,
        purchase_request_id=row["purchase_id"] or UNSET,
        tx_hash=row["tx_hash"] or UNSET,
        dead_letter_id=row["letter_id"] or UNSET,
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
