"""A payment, stream `payment-<id>`: money in for a purchase, kept in escrow until it goes to one side or the other.

What it is and how it stands, opening it and giving it up. Pure. Standard library and msgspec only.
Read next: `deliveries.py` (how money comes in), `instructions.py` (how it goes out), `disputes.py` (how it is held).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from ledger.domain.payment_events import (
    BUCKETS,
    COUNTING,
    Event,
    InstructionCancelled,
    InstructionReserved,
    Kind,
    PaymentCancelled,
    PaymentChargedBack,
    PaymentDelivered,
    PaymentDeliveryReceived,
    PaymentDisputed,
    PaymentExcessSettled,
    PaymentFeeTaken,
    PaymentFunded,
    PaymentHoldLifted,
    PaymentOpened,
    PaymentRefunded,
    PaymentReleased,
    Standing,
)
from ledger.domain.purchases import Purchase, check_registered
from ledger.errors import CorruptionError, InvalidTransition, NotYourPurchase, PurchaseNotInProgress
from ledger.payment_errors import NothingDue, NotYourPayment, PaymentAlreadyPaid, PaymentExists, PaymentNotFound

# ── commands ──────────────────────────────────────────────────────────────────────────────────────────────────────


class OpenPayment(msgspec.Struct, frozen=True):
    """Pay what is due on a purchase through a provider. The id is made at the door; who asks is its buyer or service."""

    payment_id: str
    purchase_request_id: str
    provider: str
    user_id: str
    role: str


class CancelPayment(msgspec.Struct, frozen=True):
    """Give it up, as long as nothing is paid."""

    payment_id: str
    user_id: str
    role: str


# ── state ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Instruction(msgspec.Struct, frozen=True, rename="camel"):
    """An order to release or refund so much: reserved, then confirmed or cancelled."""

    instruction_id: str
    kind: Kind
    amount_minor: int
    status: str = "reserved"
    tx_hash: str = ""
    fee_returned_minor: int = 0
    dispute_id: str = ""


class Payment(msgspec.Struct, frozen=True, rename="camel"):
    """The payment now; opened nowhere while `purchase_request_id` is empty.

    `transactions` and `chargebacks` map a txHash to its amount, `fees` to the most the provider said it costs.
    `platform_fee_minor` is the fee as it was fixed, `refunded_minor` what refunds took from what was held,
    `fee_returned_minor` the fee they returned with it.
    """

    purchase_request_id: str = ""
    buyer_id: str = ""
    seller_id: str = ""
    provider: str = ""
    currency: str = ""
    due_minor: int = 0
    opened_at: datetime | None = None
    standing: Standing = Standing()
    seen: frozenset[str] = frozenset()
    cancelled: bool = False
    delivered: bool = False
    transactions: dict[str, int] = {}
    chargebacks: dict[str, int] = {}
    fees: dict[str, int] = {}
    pending_chargeback_minor: int = 0
    receivable_minor: int = 0
    platform_fee_minor: int = 0
    refunded_minor: int = 0
    fee_returned_minor: int = 0
    instructions: dict[str, Instruction] = {}

    @property
    def exists(self) -> bool:
        """Whether it was opened."""
        return bool(self.purchase_request_id)

    @property
    def is_live(self) -> bool:
        """Whether money is expected or there: a purchase has one such payment at most."""
        return self.exists and self.standing.status not in ("cancelled", "failed", "refunded")

    @property
    def is_funded(self) -> bool:
        """Whether all that was due has come in."""
        return self.exists and self.standing.gross == self.due_minor

    @property
    def held_at_funding_minor(self) -> int:
        """What escrow got of the money: gross without the fees as they were taken."""
        return self.standing.gross - self.standing.provider_fees - self.platform_fee_minor

    @property
    def charged_back_minor(self) -> int:
        """What the provider took back of what was here: refunded, and by no instruction."""
        return self.standing.refunded - self.refunded_minor - self.fee_returned_minor


def status_of(payment: Payment, standing: Standing) -> str:
    """The first status that holds."""
    at_rest = standing.held + standing.disputed + standing.releasing + standing.refunding + standing.released == 0
    if payment.cancelled:
        return "cancelled"
    if standing.refunded and at_rest:
        return "refunded"
    if standing.gross == payment.due_minor:
        return "completed" if "payment.completed" in payment.seen else "confirmed"
    if standing.gross:
        return "partial"
    if "payment.failed" in payment.seen:
        return "failed"
    return "processing" if "payment.processing" in payment.seen else "pending"


def escrow_state_of(payment: Payment, standing: Standing) -> str:
    """The first escrow state that holds. Asked after the status."""
    if standing.releasing:
        return "releasing"
    if standing.refunding:
        return "refunding"
    if standing.held + standing.disputed:
        if standing.gross < payment.due_minor:
            return "partial"
        return "releasable" if payment.delivered else "funded"
    if standing.released:
        return "released"
    if standing.refunded:
        return "refunded"
    return standing.status if standing.status in ("cancelled", "failed") else "none"


def moved(payment: Payment, **change: int) -> Standing:
    """How it stands after these buckets changed by so much. Broken invariants are never written down."""
    now = payment.standing
    standing = msgspec.structs.replace(now, **{name: getattr(now, name) + by for name, by in change.items()})
    check_standing(standing)
    standing = msgspec.structs.replace(standing, status=status_of(payment, standing))
    return msgspec.structs.replace(standing, escrow_state=escrow_state_of(payment, standing))


def check_standing(standing: Standing) -> None:
    """No bucket is negative, and together they are gross: or the ledger is broken, and says so."""
    amounts = {name: getattr(standing, name) for name in BUCKETS}
    if sum(amounts.values()) != standing.gross or min(*amounts.values(), standing.suspense) < 0:
        msg = f"the buckets {amounts} are not gross {standing.gross}"
        raise CorruptionError(msg)


def fact(payment_id: str, payment: Payment, now: datetime, after: Standing) -> dict[str, Any]:
    """The fields that every event of a payment begins with."""
    return {
        "payment_id": payment_id,
        "purchase_request_id": payment.purchase_request_id,
        "buyer_id": payment.buyer_id,
        "seller_id": payment.seller_id,
        "currency": payment.currency,
        "occurred_at": now,
        "after": after,
    }


# ── evolve ────────────────────────────────────────────────────────────────────────────────────────────────────────


def evolve(state: Payment, event: Event) -> Payment:
    """The payment after the event; the given one stays as it is."""
    return msgspec.structs.replace(state, standing=event.after, **_changes(state, event))


def _changes(state: Payment, event: Event) -> Mapping[str, Any]:
    """What the event changes beside the standing."""
    match event:
        case PaymentOpened():
            return {
                "purchase_request_id": event.purchase_request_id,
                "buyer_id": event.buyer_id,
                "seller_id": event.seller_id,
                "provider": event.provider,
                "currency": event.currency,
                "due_minor": event.due_minor,
                "opened_at": event.occurred_at,
                "delivered": event.delivered,
            }
        case PaymentDeliveryReceived():
            return {"seen": state.seen | {event.type}, "fees": _fees_after(state, event)}
        case PaymentFunded():
            return {
                "transactions": {**state.transactions, event.tx_hash: event.amount_minor},
                "platform_fee_minor": state.platform_fee_minor + event.platform_fee_minor,
            }
        case PaymentCancelled():
            return {"cancelled": True}
        case PaymentDelivered():
            return {"delivered": True}
        case PaymentDisputed() | PaymentHoldLifted():
            return {}
        case PaymentFeeTaken():
            return {"pending_chargeback_minor": event.pending_minor}
        case PaymentExcessSettled():
            return {"pending_chargeback_minor": state.pending_chargeback_minor - event.charged_back_minor}
        case PaymentChargedBack():
            chargebacks = state.chargebacks
            if event.tx_hash:
                chargebacks = {**chargebacks, event.tx_hash: event.amount_minor}
            return {
                "chargebacks": chargebacks,
                "pending_chargeback_minor": event.pending_minor,
                "receivable_minor": state.receivable_minor + event.receivable_minor,
            }
        case _:
            return _instruction_changes(state, event)


def _fees_after(state: Payment, event: PaymentDeliveryReceived) -> dict[str, int]:
    """A transaction may be named many times: it costs the most that was said, and never more than it brought."""
    fee = min(event.provider_fee_minor, event.amount_minor)
    if event.type not in COUNTING or fee <= state.fees.get(event.tx_hash, 0):
        return state.fees
    return {**state.fees, event.tx_hash: fee}


def _instruction_changes(
    state: Payment, event: InstructionReserved | InstructionCancelled | PaymentReleased | PaymentRefunded
) -> Mapping[str, Any]:
    changes: dict[str, Any] = {}
    known = state.instructions.get(event.instruction_id)
    match event:
        case InstructionReserved():
            known = Instruction(event.instruction_id, event.kind, event.amount_minor, dispute_id=event.dispute_id)
        case InstructionCancelled():
            known = _settled(known, "cancelled")
        case PaymentReleased():
            known = _settled(known, "confirmed", event.tx_hash)
        case PaymentRefunded():
            known = _settled(known, "confirmed", event.tx_hash, event.fee_returned_minor)
            changes["refunded_minor"] = state.refunded_minor + event.amount_minor
            changes["fee_returned_minor"] = state.fee_returned_minor + event.fee_returned_minor
    changes["instructions"] = {**state.instructions, event.instruction_id: known}
    return changes


def _settled(known: Instruction | None, status: str, tx_hash: str = "", fee_returned_minor: int = 0) -> Instruction:
    if known is None:
        raise CorruptionError("an instruction ends that never began")
    return msgspec.structs.replace(known, status=status, tx_hash=tx_hash, fee_returned_minor=fee_returned_minor)


# ── decide ────────────────────────────────────────────────────────────────────────────────────────────────────────


def check_opened(payment_id: str, state: Payment) -> None:
    """Refuse a command on a payment nobody opened."""
    if not state.exists:
        raise PaymentNotFound(f"No payment {payment_id}.")


def check_may(payment_id: str, state: Payment, user_id: str, role: str, roles: tuple[str, ...], party: str) -> None:
    """It is for these roles, and for that party of the payment: whatever their role is called."""
    check_opened(payment_id, state)
    if role not in roles and user_id != party:
        raise NotYourPayment(f"Payment {payment_id} is not yours to do this with.")


FINISHED: Final = ("cancelled", "refunded")


def decide_open(command: OpenPayment, purchase: Purchase, live: Payment, now: datetime) -> list[Event]:
    """An intent for the amount due. Refused: somebody else's purchase, one that is over, a second one, nothing due."""
    purchase_id = command.purchase_request_id
    check_registered(purchase_id, purchase)
    if command.role != "service" and command.user_id != purchase.buyer_id:
        raise NotYourPurchase(f"Purchase {purchase_id} is not yours.")
    if live.is_live:
        raise PaymentExists(
            f"Purchase {purchase_id} has payment {purchase.payment_id}, which is {live.standing.status}."
        )
    if purchase.status in FINISHED:
        raise PurchaseNotInProgress(f"Purchase {purchase_id} is {purchase.status}: nothing is paid on it.")
    if purchase.due_minor < 1:
        raise NothingDue(f"Nothing is due on purchase {purchase_id}.")
    payment = Payment(
        purchase_id, purchase.buyer_id, purchase.seller_id, command.provider, purchase.currency, purchase.due_minor
    )
    return [
        PaymentOpened(
            **fact(command.payment_id, payment, now, Standing()),
            provider=command.provider,
            due_minor=purchase.due_minor,
            delivered=purchase.status in ("delivered", "completed"),
        )
    ]


def decide_cancel(command: CancelPayment, state: Payment, now: datetime) -> list[Event]:
    """Refused: somebody else's, one on which something is paid, one that is cancelled."""
    check_may(command.payment_id, state, command.user_id, command.role, ("service",), state.buyer_id)
    if state.standing.gross:
        raise PaymentAlreadyPaid(
            f"Payment {command.payment_id} is {state.standing.status}: it is refunded, not cancelled."
        )
    if state.cancelled:
        raise InvalidTransition(f"Payment {command.payment_id} is cancelled and does not become cancelled.")
    return give_up(command.payment_id, state, "", now)


def give_up(payment_id: str, state: Payment, reason: str, now: datetime) -> list[Event]:
    """Cancel it for a reason of the ledger's own: its purchase ended, or another payment takes its place."""
    cancelled = msgspec.structs.replace(state, cancelled=True)
    return [PaymentCancelled(**fact(payment_id, state, now, moved(cancelled)), reason=reason)]


def decide_delivered(payment_id: str, state: Payment, status: str, now: datetime) -> list[Event]:
    """What was paid for has arrived: said once, and only where it is not said already."""
    if not state.exists or state.delivered or state.cancelled:
        return []
    delivered = msgspec.structs.replace(state, delivered=True)
    return [PaymentDelivered(**fact(payment_id, state, now, moved(delivered)), purchase_status=status)]
