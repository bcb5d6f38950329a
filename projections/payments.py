"""Payments as their parties see them: status, escrow state, buckets, instructions. Definition and queries.

Imports `ledger` only. Read next: `payments_page.py`, which folds them, and `payment_scope.py`: who sees which.
"""

from typing import Any, ClassVar, Final

import msgspec

from ledger import ids
from ledger.domain.payments import Payment
from ledger.payment_errors import NotYourPayment, PaymentNotFound
from ledger.payment_views import PaymentView, payment_view
from projections.audit_trail import COUNTED_AT_MOST
from projections.cursor import Slice, SortOrder
from projections.instruction_rows import INSTRUCTIONS, instruction_of
from projections.list_pages import page_of_list, start_of
from projections.payment_scope import PaymentScope
from projections.payments_page import PAYMENTS, PaymentsPage, standing_of
from projections.projection import Page, Table, table_names
from projections.read_models import Answer, ReadModels


class Payments:
    """One row a payment, one row an instruction."""

    name: ClassVar[str] = "payments"
    code_version: ClassVar[int] = 1
    tables: ClassVar[tuple[Table, ...]] = (PAYMENTS, INSTRUCTIONS)
    reads_data: ClassVar[bool] = True
    reads_metadata: ClassVar[bool] = False

    def page(self, build: int) -> Page:
        """An empty page for that build's tables."""
        names = table_names(self, build)
        return PaymentsPage(names["main"], names["instructions"])


PAYMENTS_MODEL: Final = Payments()

_ONE: Final = """
SELECT p.*, i.instruction_id, i.kind, i.amount_minor, i.dispute_id, i.instruction_status, i.tx_hash, i.fee_returned_minor
FROM {main} AS p
LEFT JOIN (SELECT payment_id, instruction_id, kind, amount_minor, dispute_id, status AS instruction_status, tx_hash,
                  fee_returned_minor, reserved FROM {instructions}) AS i ON i.payment_id = p.payment_id
WHERE p.payment_id = $1
ORDER BY i.reserved, i.instruction_id
"""


async def get_payment(
    models: ReadModels, payment_id: str, party: str | None = None, *, min_position: int = 0
) -> Answer[PaymentView]:
    """The payment with its instructions, for anybody or for that party alone. `PaymentNotFound`, `NotYourPayment`."""
    found = await models.read(
        PAYMENTS_MODEL, _ONE, payment_id, min_position=min_position, stream=ids.payment_stream(payment_id)
    )
    if not found.rows:
        raise PaymentNotFound(f"No payment {payment_id}.")
    payment = view_of(found.rows[0])
    check_party(payment_id, party, payment.buyer_id, payment.seller_id)
    instructions = [
        instruction_of({**row, "status": row["instruction_status"]})
        for row in found.rows
        if row["instruction_id"] is not None
    ]
    shown = msgspec.structs.replace(payment, instructions=instructions)
    return Answer(shown, found.position, shown.version, found.meta())


async def list_payments(
    models: ReadModels,
    scope: PaymentScope,
    *,
    page: int = 1,
    limit: int = 20,
    offset: int | None = None,
    sort_order: SortOrder = "desc",
    after: str | None = None,
    min_position: int = 0,
) -> Answer[Slice[PaymentView]]:
    """Payments in the order they were opened. `offset` rows are passed over instead of pages, if it is given.

    `after` is the cursor of the page before and takes the place of both. `total` is exact up to `COUNTED_AT_MOST`.
    """
    if offset is None:
        offset = (page - 1) * limit
    start = start_of(after, sort_order)
    rows, arguments = scope.rows(4)
    found = await models.read(
        PAYMENTS_MODEL,
        _list_query(rows, sort_order),
        start,
        limit + 1,  # one more tells whether there is a next page
        0 if after is not None else offset,
        *arguments,
        min_position=min_position,
    )
    return page_of_list(found, view_of, ordered_by="opened", page=offset // limit + 1, limit=limit, order=sort_order)


def check_party(payment_id: str, party: str | None, buyer_id: str, seller_id: str) -> None:
    """Refuse who is neither; None is anybody."""
    if party is not None and party not in (buyer_id, seller_id):
        raise NotYourPayment(f"Payment {payment_id} is not yours.")


def view_of(row: Any) -> PaymentView:
    """A row as it is shown, without instructions."""
    payment = Payment(
        row["purchase_id"],
        row["buyer_id"],
        row["seller_id"],
        row["provider"],
        row["currency"],
        row["due_minor"],
        standing=standing_of(row),
    )
    return payment_view(row["payment_id"], payment, row["version"], row["created_at"], row["updated_at"])


def _list_query(rows: str, order: SortOrder) -> str:
    beyond = ">" if order == "asc" else "<"
    return f"""
SELECT n.total, p.*
FROM (SELECT count(*) AS total FROM (SELECT 1 FROM {rows} LIMIT {COUNTED_AT_MOST}) AS c) AS n
LEFT JOIN LATERAL (
  SELECT t.* FROM {rows} AND t.opened {beyond} $1 ORDER BY t.opened {order} LIMIT $2 OFFSET $3
) AS p ON true
ORDER BY p.opened {order}
"""
