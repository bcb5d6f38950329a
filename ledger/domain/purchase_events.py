"""What can happen to a purchase: every event of a stream `purchase-<id>`, and their stored names.

Each names both parties, so that whoever tells them needs nothing else. Defaults are left out of the bytes.
Standard library and msgspec only. Read next: `purchases.py`, which folds and decides them.
"""

from datetime import datetime
from typing import Final

import msgspec

from ledger.domain.lots import RestoredLot


class PurchaseRegistered(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The purchase exists from now on, `pending`."""

    purchase_request_id: str
    buyer_id: str
    seller_id: str
    price_minor: int
    currency: str
    occurred_at: datetime


class PurchasePointsRedeemed(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Points of the buyer pay a part of the price. The lots they came from are kept: a cancellation returns them."""

    purchase_request_id: str
    buyer_id: str
    seller_id: str
    points: int
    discount_minor: int
    currency: str
    lots: tuple[RestoredLot, ...]
    occurred_at: datetime


class PurchaseStatusChanged(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One step. `points_earned` by the buyer, `points_returned` to them, in the same append.

    `earned_lot` is the lot of the points earned, `refunded_before_minor` what had been refunded by then.
    """

    purchase_request_id: str
    buyer_id: str
    seller_id: str
    previous: str
    status: str
    occurred_at: datetime
    reason: str = ""
    points_earned: int = 0
    points_returned: int = 0
    earned_lot: int = 0
    refunded_before_minor: int = 0


class PurchasePaymentOpened(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """That payment is to bring what is due."""

    purchase_request_id: str
    buyer_id: str
    seller_id: str
    payment_id: str
    occurred_at: datetime


class PurchaseDisputed(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A dispute about it was opened: until it is decided the purchase is not cancelled, and has no other."""

    purchase_request_id: str
    buyer_id: str
    seller_id: str
    dispute_id: str
    occurred_at: datetime


class PurchaseDisputeDecided(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The dispute about it is decided."""

    purchase_request_id: str
    buyer_id: str
    seller_id: str
    dispute_id: str
    occurred_at: datetime


class PurchasePointsReversed(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A refund took earned points back and returned spent ones, under the policy `reverse`.

    `points_to_claw` were to be taken, `points_clawed` were there to take. `lots` are the parts that went back.
    """

    purchase_request_id: str
    buyer_id: str
    seller_id: str
    payment_id: str
    points_to_claw: int
    points_clawed: int
    points_returned: int
    lots: tuple[RestoredLot, ...]
    occurred_at: datetime


TAGS: Final[dict[str, type[msgspec.Struct]]] = {
    "purchase.registered.v1": PurchaseRegistered,
    "purchase.points-redeemed.v1": PurchasePointsRedeemed,
    "purchase.status-changed.v1": PurchaseStatusChanged,
    "purchase.payment-opened.v1": PurchasePaymentOpened,
    "purchase.disputed.v1": PurchaseDisputed,
    "purchase.dispute-decided.v1": PurchaseDisputeDecided,
    "purchase.points-reversed.v1": PurchasePointsReversed,
}
"""The stored names, frozen for ever."""

Event = (
    PurchaseRegistered
    | PurchasePointsRedeemed
    | PurchaseStatusChanged
    | PurchasePaymentOpened
    | PurchaseDisputed
    | PurchaseDisputeDecided
    | PurchasePointsReversed
)
