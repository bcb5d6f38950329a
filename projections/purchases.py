"""Purchases as their parties see them: price, discount, status, payment, hold, points. Definition and queries.

Imports `ledger` only. Read next: `purchases_page.py`, which folds them.
"""

from datetime import datetime
from typing import Any, ClassVar, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from ledger import ids
from ledger.domain.payment_events import EscrowState, PaymentStatus
from ledger.domain.purchases import Purchase
from ledger.errors import NotYourPurchase, PurchaseNotFound
from ledger.money import MoneyText, money_text
from projections.audit_trail import COUNTED_AT_MOST
from projections.cursor import Slice, SortOrder
from projections.history import AsOf, fold_stream, position_as_of
from projections.list_pages import page_of_list, start_of
from projections.projection import Page, Table, table_names
from projections.purchases_page import PAYMENTS, PURCHASES, PurchasesPage
from projections.read_models import Answer, ReadModels

Status = Literal["pending", "pending_payment", "active", "delivery", "delivered", "completed", "cancelled", "refunded"]


class Purchases:
    """One row a purchase, one a payment."""

    name: ClassVar[str] = "purchases"
    code_version: ClassVar[int] = 2
    tables: ClassVar[tuple[Table, ...]] = (PURCHASES, PAYMENTS)
    reads_data: ClassVar[bool] = True
    reads_metadata: ClassVar[bool] = False

    def page(self, build: int) -> Page:
        """An empty page for that build's tables."""
        names = table_names(self, build)
        return PurchasesPage(names["main"], names["payments"])


_PURCHASES: Final = Purchases()


class PurchaseView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A purchase. Its payment is the one opened last; `hold`: a dispute is open.

    `points_earned` and `points_spent` are the buyer's, less what refunds have reversed; `version` is its stream's.
    """

    purchase_request_id: str
    buyer_id: str
    seller_id: str
    status: Status
    price: MoneyText
    discount: MoneyText
    amount_due: MoneyText
    payment_id: str | UnsetType = UNSET
    payment_status: PaymentStatus | Literal["none"]
    escrow_state: EscrowState
    hold: bool
    points_earned: int
    points_spent: int
    version: int
    created_at: datetime
    updated_at: datetime


_WITH_PAYMENT: Final = """
SELECT p.*, m.status AS payment_status, m.escrow_state, greatest(p.updated_at, m.updated_at) AS changed_at
FROM {purchases} AS p LEFT JOIN {{payments}} AS m ON m.payment_id = p.payment_id
"""
_ONE: Final = _WITH_PAYMENT.format(purchases="{main}") + "WHERE p.purchase_id = $1"
# Buyer and seller differ, so a purchase is found by one side alone; each side has its index in the order of the list.
_OF_PARTY: Final = """(
  SELECT * FROM {main} WHERE buyer_id = $4 UNION ALL SELECT * FROM {main} WHERE seller_id = $4
)"""


async def get_purchase(
    models: ReadModels, purchase_id: str, party: str | None = None, *, min_position: int = 0
) -> Answer[PurchaseView]:
    """The purchase, for anybody or for that party alone. `PurchaseNotFound`, `NotYourPurchase`."""
    found = await models.read(
        _PURCHASES, _ONE, purchase_id, min_position=min_position, stream=ids.purchase_stream(purchase_id)
    )
    if not found.rows:
        raise PurchaseNotFound(f"No purchase {purchase_id}.")
    purchase = _view(found.rows[0])
    if party is not None and party not in (purchase.buyer_id, purchase.seller_id):
        raise NotYourPurchase(f"Purchase {purchase_id} is not yours.")
    return Answer(purchase, found.position, purchase.version, found.meta())


async def get_purchase_as_of(
    models: ReadModels, purchase_id: str, as_of: AsOf, now: datetime, party: str | None = None
) -> Answer[PurchaseView]:
    """The purchase and its payment as they were, from the log. `PurchaseNotFound` also where it was not there yet."""
    up_to = await position_as_of(models.pool, as_of, now)
    found = await fold_stream(models.pool, ids.purchase_stream(purchase_id), up_to)
    if found.first is not None and party is not None and party not in (found.first.buyer_id, found.first.seller_id):
        raise NotYourPurchase(f"Purchase {purchase_id} is not yours.")
    if not found.version:
        then = " yet" if found.first is not None else ""
        raise PurchaseNotFound(f"No purchase {purchase_id}{then}.")
    purchase: Purchase = found.state
    updated_at = found.updated_at
    payment_status = escrow_state = "none"
    if purchase.payment_id:
        paid = await fold_stream(models.pool, ids.payment_stream(purchase.payment_id), up_to)
        payment_status, escrow_state = paid.state.standing.status, paid.state.standing.escrow_state
        if paid.version:
            updated_at = max(updated_at, paid.updated_at)
    view = _view(
        {
            **msgspec.structs.asdict(purchase),
            "purchase_id": purchase_id,
            "payment_status": payment_status,
            "escrow_state": escrow_state,
            "version": found.version,
            "created_at": found.created_at,
            "changed_at": updated_at,
        }
    )
    return Answer(view, up_to, found.version)


async def list_purchases(
    models: ReadModels,
    party: str | None = None,
    *,
    status: str | None = None,
    page: int = 1,
    limit: int = 20,
    sort_order: SortOrder = "desc",
    after: str | None = None,
    min_position: int = 0,
) -> Answer[Slice[PurchaseView]]:
    """Purchases in the order of their registration: those of a party, buyer or seller, or all.

    `after` is the cursor of the page before and takes the place of `page`. `total` is exact up to `COUNTED_AT_MOST`.
    """
    start = start_of(after, sort_order)
    found = await models.read(
        _PURCHASES,
        _list_query(of_party=party is not None, by_status=status is not None, order=sort_order),
        start,
        limit + 1,  # one more tells whether there is a next page
        0 if after is not None else (page - 1) * limit,
        *(value for value in (party, status) if value is not None),
        min_position=min_position,
    )
    return page_of_list(found, _view, ordered_by="registered", page=page, limit=limit, order=sort_order)


def _list_query(*, of_party: bool, by_status: bool, order: SortOrder) -> str:
    """The filters that are given, and no others, so that each finds its index. Built from literals of this file."""
    source = _OF_PARTY if of_party else "{main}"
    where = f"t.status = ${5 if of_party else 4}" if by_status else "true"
    beyond = ">" if order == "asc" else "<"
    shown = f"""(
  SELECT t.* FROM {source} AS t WHERE {where} AND t.registered {beyond} $1
  ORDER BY t.registered {order} LIMIT $2 OFFSET $3
)"""
    return f"""
SELECT n.total, p.*
FROM (
  SELECT count(*) AS total FROM (SELECT 1 FROM {source} AS t WHERE {where} LIMIT {COUNTED_AT_MOST}) AS c
) AS n
LEFT JOIN LATERAL ({_WITH_PAYMENT.format(purchases=shown)}) AS p ON true
ORDER BY p.registered {order}
"""


def _view(row: Any) -> PurchaseView:
    currency = row["currency"]
    return PurchaseView(
        purchase_request_id=row["purchase_id"],
        buyer_id=row["buyer_id"],
        seller_id=row["seller_id"],
        status=row["status"],
        price=money_text(row["price_minor"], currency),
        discount=money_text(row["discount_minor"], currency),
        amount_due=money_text(row["price_minor"] - row["discount_minor"], currency),
        payment_id=row["payment_id"] or UNSET,
        payment_status=row["payment_status"] or "none",
        escrow_state=row["escrow_state"] or "none",
        hold=bool(row["dispute_id"]),
        points_earned=row["points_earned"],
        points_spent=row["points_spent"],
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["changed_at"],
    )
