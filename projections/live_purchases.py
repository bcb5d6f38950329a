"""Live events of purchases, payments and disputes: the `data` that each event becomes for its parties.

Pure. Imports `ledger` only. Read next: `live_events.py`, which puts names, rooms and data together.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from ledger.domain import payment_events
from ledger.domain.payment_events import (
    InstructionCancelled,
    InstructionReserved,
    InstructionStatus,
    Kind,
    PaymentRefunded,
    PaymentReleased,
)
from ledger.money import MoneyText, money_text
from ledger.payment_views import BucketsView, EvidenceView, buckets_view
from projections.projection import LogEvent

# ── purchases ─────────────────────────────────────────────────────────────────────────────────────────────────────


class PurchaseUpdated(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """Something happened to a purchase: what the event says, no more.

    It was registered, points were redeemed on it or reversed, its status changed, a payment was opened, or a dispute
    holds it (`hold`) or does so no more.
    """

    purchase_request_id: str
    buyer_id: str
    seller_id: str
    status: str | UnsetType = UNSET
    previous_status: str | UnsetType = UNSET
    reason: str = ""
    price: MoneyText | UnsetType = UNSET
    discount: MoneyText | UnsetType = UNSET
    points_spent: int = 0
    points_earned: int = 0
    points_returned: int = 0
    points_clawed_back: int = 0
    payment_id: str | UnsetType = UNSET
    dispute_id: str | UnsetType = UNSET
    hold: bool | UnsetType = UNSET


def _purchase(event: Any, **said: Any) -> PurchaseUpdated:
    return PurchaseUpdated(
        purchase_request_id=event.purchase_request_id, buyer_id=event.buyer_id, seller_id=event.seller_id, **said
    )


def _registered(logged: LogEvent) -> PurchaseUpdated:
    event = logged.event
    return _purchase(event, status="pending", price=money_text(event.price_minor, event.currency))


def _redeemed(logged: LogEvent) -> PurchaseUpdated:
    event = logged.event
    discount = money_text(event.discount_minor, event.currency)
    return _purchase(event, discount=discount, points_spent=event.points)


def _status_changed(logged: LogEvent) -> PurchaseUpdated:
    event = logged.event
    return _purchase(
        event,
        status=event.status,
        previous_status=event.previous,
        reason=event.reason,
        points_earned=event.points_earned,
        points_returned=event.points_returned,
    )


def _payment_opened(logged: LogEvent) -> PurchaseUpdated:
    return _purchase(logged.event, payment_id=logged.event.payment_id)


def _held(logged: LogEvent) -> PurchaseUpdated:
    return _purchase(logged.event, dispute_id=logged.event.dispute_id, hold=True)


def _held_no_more(logged: LogEvent) -> PurchaseUpdated:
    return _purchase(logged.event, dispute_id=logged.event.dispute_id, hold=False)


def _reversed(logged: LogEvent) -> PurchaseUpdated:
    event = logged.event
    return _purchase(
        event,
        payment_id=event.payment_id,
        points_clawed_back=event.points_clawed,
        points_returned=event.points_returned,
    )


PURCHASE_EVENTS: Final[Mapping[str, Callable[[LogEvent], Any]]] = {
    "purchase.registered.v1": _registered,
    "purchase.points-redeemed.v1": _redeemed,
    "purchase.status-changed.v1": _status_changed,
    "purchase.payment-opened.v1": _payment_opened,
    "purchase.disputed.v1": _held,
    "purchase.dispute-decided.v1": _held_no_more,
    "purchase.points-reversed.v1": _reversed,
}

# ── payments ──────────────────────────────────────────────────────────────────────────────────────────────────────


class InstructionUpdated(msgspec.Struct, frozen=True, rename="camel"):
    """The instruction that the event is about."""

    instruction_id: str
    kind: Kind
    amount: MoneyText
    status: InstructionStatus
    tx_hash: str | UnsetType = UNSET


class PaymentUpdated(msgspec.Struct, frozen=True, rename="camel"):
    """A payment as it stands now, after whatever happened to it."""

    id: str
    purchase_request_id: str
    buyer_id: str
    seller_id: str
    status: str
    escrow_state: str
    buckets: BucketsView
    instruction: InstructionUpdated | UnsetType = UNSET
    dispute_id: str | UnsetType = UNSET


def _payment(logged: LogEvent) -> PaymentUpdated:
    event = logged.event
    return PaymentUpdated(
        event.payment_id,
        event.purchase_request_id,
        event.buyer_id,
        event.seller_id,
        event.after.status,
        event.after.escrow_state,
        buckets_view(event.after, event.currency),
        _instruction(event),
        getattr(event, "dispute_id", "") or UNSET,
    )


def _instruction(event: Any) -> InstructionUpdated | UnsetType:
    match event:
        case InstructionReserved():
            return InstructionUpdated(event.instruction_id, event.kind, _amount(event), "reserved")
        case InstructionCancelled():
            return InstructionUpdated(event.instruction_id, event.kind, _amount(event), "cancelled")
        case PaymentReleased():
            return InstructionUpdated(event.instruction_id, "release", _amount(event), "confirmed", event.tx_hash)
        case PaymentRefunded():
            return InstructionUpdated(event.instruction_id, "refund", _amount(event), "confirmed", event.tx_hash)
    return UNSET


def _amount(event: Any) -> MoneyText:
    return money_text(event.amount_minor, event.currency)


PAYMENT_EVENTS: Final[Mapping[str, Callable[[LogEvent], Any]]] = dict.fromkeys(payment_events.TAGS, _payment)
"""All of them: each leaves the payment in a state of its own."""

# ── disputes ──────────────────────────────────────────────────────────────────────────────────────────────────────


class DisputeUpdated(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """Something happened to a dispute: what the event says, no more."""

    id: str
    purchase_request_id: str
    payment_id: str
    buyer_id: str
    seller_id: str
    status: str | UnsetType = UNSET
    amount: MoneyText | UnsetType = UNSET
    category: str | UnsetType = UNSET
    priority: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    resolver_id: str | UnsetType = UNSET
    evidence: EvidenceView | UnsetType = UNSET
    action: str | UnsetType = UNSET
    note: str | UnsetType = UNSET
    to_buyer: MoneyText | UnsetType = UNSET
    to_seller: MoneyText | UnsetType = UNSET
    instructions: list[str] = []


def _dispute(event: Any, **said: Any) -> DisputeUpdated:
    return DisputeUpdated(
        id=event.dispute_id,
        purchase_request_id=event.purchase_request_id,
        payment_id=event.payment_id,
        buyer_id=event.buyer_id,
        seller_id=event.seller_id,
        **said,
    )


def _opened(logged: LogEvent) -> DisputeUpdated:
    event = logged.event
    words = {"category": event.category, "priority": event.priority, "reason": event.reason}
    return _dispute(event, status="pending", amount=_amount(event), **words)


def _assigned(logged: LogEvent) -> DisputeUpdated:
    return _dispute(logged.event, status="in_progress", resolver_id=logged.event.resolver_id)


def _evidence_added(logged: LogEvent) -> DisputeUpdated:
    event = logged.event
    piece = EvidenceView(event.evidence_id, event.by, event.role, event.text, event.occurred_at, event.url or UNSET)
    return _dispute(event, evidence=piece)


def _resolved(logged: LogEvent) -> DisputeUpdated:
    event = logged.event
    return _dispute(
        event,
        status="resolved",
        action=event.action,
        note=event.note,
        to_buyer=money_text(event.to_buyer_minor, event.currency),
        to_seller=money_text(event.to_seller_minor, event.currency),
        instructions=[*event.instructions],
    )


def _closed(logged: LogEvent) -> DisputeUpdated:
    return _dispute(logged.event, status="closed")


DISPUTE_EVENTS: Final[Mapping[str, Callable[[LogEvent], Any]]] = {
    "dispute.opened.v1": _opened,
    "dispute.assigned.v1": _assigned,
    "dispute.evidence-added.v1": _evidence_added,
    "dispute.resolved.v1": _resolved,
    "dispute.closed.v1": _closed,
}
