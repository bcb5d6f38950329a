"""Payments by the million, for a file: the rows of the list, newest first, all of one moment, never many in memory.

Imports `ledger` only. Read next: `payment_scope.py`, `csv_cells.py`.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from ledger.money import format_minor
from ledger.payment_views import BUCKET_FIELDS
from projections.csv_cells import csv_line, text_cell
from projections.payment_scope import PaymentScope
from projections.payments import PAYMENTS_MODEL
from projections.read_models import ReadModels, Stream

COLUMNS: Final = (
    "id", "purchase_request_id", "buyer_id", "seller_id", "provider", "currency", "amount", "status", "escrow_state",
    *BUCKET_FIELDS,
    "version", "created_at", "updated_at",
)  # fmt: skip
"""The header. Amounts are decimal strings in the row's currency, times UTC in RFC 3339."""

_TEXTS: Final = ("payment_id", "purchase_id", "buyer_id", "seller_id", "provider", "currency")


def stream_payments(
    models: ReadModels, scope: PaymentScope, *, min_position: int = 0
) -> AbstractAsyncContextManager[Stream]:
    """The payments of the scope in the order they were opened."""
    rows, arguments = scope.rows(1)
    query = f"SELECT t.* FROM {rows} ORDER BY t.opened DESC"
    return models.stream(PAYMENTS_MODEL, query, *arguments, min_position=min_position)


async def csv_of(rows: AsyncIterator[Any]) -> AsyncIterator[str]:
    """The header, always, and a line a payment."""
    yield csv_line(COLUMNS)
    async for row in rows:
        yield _line(row)


def _line(row: Any) -> str:
    currency = row["currency"]
    return csv_line(
        (
            *(text_cell(row[column]) for column in _TEXTS),
            format_minor(row["due_minor"], currency),
            row["status"],
            row["escrow_state"],
            *(format_minor(row[bucket], currency) for bucket in BUCKET_FIELDS),
            str(row["version"]),
            row["created_at"].isoformat().replace("+00:00", "Z"),
            row["updated_at"].isoformat().replace("+00:00", "Z"),
        )
    )
