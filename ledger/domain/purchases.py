"""A purchase between two members, stream `purchase-<id>`: its price, its status, and the points redeemed on it.

What a status means for points is decided beside it: `completed` earns, `cancelled` returns what was redeemed. Pure.
Standard library and msgspec only. Read next: `redemptions.py`, then `../use_cases/purchases.py`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec

from ledger.domain.lots import MAX_POINTS, RestoredLot
from ledger.domain.programme import Programme, points_for
from ledger.domain.purchase_events import (
    Event,
    PurchaseDisputed,
    PurchaseDisputeDecided,
    PurchasePaymentOpened,
    PurchasePointsRedeemed,
    PurchasePointsReversed,
    PurchaseRegistered,
    PurchaseStatusChanged,
)
from ledger.errors import (
    BalanceTooLarge,
    InvalidCommand,
    InvalidTransition,
    NotYourPurchase,
    PurchaseExists,
    PurchaseNotFound,
    PurchaseNotInProgress,
    RedemptionAlreadyClaimed,
)
from ledger.money import Money, unit_of

STATUSES: Final = (
    "pending", "pending_payment", "active", "delivery", "delivered", "completed", "cancelled", "refunded",
)  # fmt: skip
TRANSITIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "pending": ("pending_payment", "cancelled"),
    "pending_payment": ("active", "cancelled"),
    "active": ("delivery", "cancelled"),
    "delivery": ("delivered", "cancelled"),
    "delivered": ("completed",),
    "completed": (),
    "cancelled": (),
    "refunded": (),
}
"""From each status, those a command may set. `refunded` is set by the ledger alone, when the payment is refunded."""
IN_PROGRESS: Final = ("pending", "pending_payment")

# ── commands ──────────────────────────────────────────────────────────────────────────────────────────────────────


class RegisterPurchase(msgspec.Struct, frozen=True):
    """A buyer and a seller agreed on a price."""

    purchase_request_id: str
    buyer_id: str
    seller_id: str
    price: Money


class ChangePurchaseStatus(msgspec.Struct, frozen=True):
    """One step on, or out."""

    purchase_request_id: str
    status: str
    reason: str = ""
    refund_id: str = ""
    """Made at the door: what is held is refunded when it is cancelled."""


# ── state and evolve ──────────────────────────────────────────────────────────────────────────────────────────────


class Purchase(msgspec.Struct, frozen=True, rename="camel"):
    """The purchase now; registered nowhere while `status` is empty.

    `points_spent` and `lots` are what is redeemed and not returned, `points_redeemed` all that ever was; `points_earned`
    is what was earned and not taken back, `points_to_claw` what refunds have asked back so far of the
    `points_completed` it earned. `payment_id` is the payment opened last, `dispute_id` a dispute that is open.
    """

    status: str = ""
    buyer_id: str = ""
    seller_id: str = ""
    price_minor: int = 0
    currency: str = ""
    discount_minor: int = 0
    points_spent: int = 0
    points_earned: int = 0
    lots: tuple[RestoredLot, ...] = ()
    payment_id: str = ""
    dispute_id: str = ""
    points_redeemed: int = 0
    points_completed: int = 0
    points_to_claw: int = 0
    earned_lot: int = 0
    refunded_before_minor: int = 0
    registered_at: datetime | None = None

    @property
    def due_minor(self) -> int:
        """What is left to pay in money."""
        return self.price_minor - self.discount_minor


def evolve(state: Purchase, event: Event) -> Purchase:
    """The purchase after the event; the given one stays as it is."""
    match event:
        case PurchaseRegistered():
            return Purchase(
                "pending",
                event.buyer_id,
                event.seller_id,
                event.price_minor,
                event.currency,
                registered_at=event.occurred_at,
            )
        case PurchasePointsRedeemed():
            return msgspec.structs.replace(
                state,
                discount_minor=event.discount_minor,
                points_spent=event.points,
                points_redeemed=event.points,
                lots=event.lots,
            )
        case PurchaseStatusChanged():
            return msgspec.structs.replace(
                state,
                status=event.status,
                points_earned=state.points_earned + event.points_earned,
                points_completed=state.points_completed + event.points_earned,
                points_spent=state.points_spent - event.points_returned,
                lots=() if event.points_returned else state.lots,
                earned_lot=event.earned_lot or state.earned_lot,
                refunded_before_minor=event.refunded_before_minor or state.refunded_before_minor,
            )
        case PurchasePaymentOpened():
            return msgspec.structs.replace(state, payment_id=event.payment_id)
        case PurchaseDisputed():
            return msgspec.structs.replace(state, dispute_id=event.dispute_id)
        case PurchaseDisputeDecided():
            return msgspec.structs.replace(state, dispute_id="")
        case PurchasePointsReversed():
            return msgspec.structs.replace(
                state,
                points_earned=state.points_earned - event.points_clawed,
                points_to_claw=state.points_to_claw + event.points_to_claw,
                points_spent=state.points_spent - event.points_returned,
                lots=without(state.lots, event.lots),
            )


def without(lots: tuple[RestoredLot, ...], parts: tuple[RestoredLot, ...]) -> tuple[RestoredLot, ...]:
    """What is left of the lots when these parts of them are gone."""
    gone = {part.lot_id: part.amount for part in parts}
    left = (msgspec.structs.replace(lot, amount=lot.amount - gone.get(lot.lot_id, 0)) for lot in lots)
    return tuple(lot for lot in left if lot.amount)


# ── decide ────────────────────────────────────────────────────────────────────────────────────────────────────────


def decide_register(command: RegisterPurchase, state: Purchase, now: datetime) -> list[Event]:
    """Register it. Refused: an id that is taken, one member on both sides, a price of nothing."""
    if state.status:
        raise PurchaseExists(f"Purchase {command.purchase_request_id} is registered already.")
    if command.buyer_id == command.seller_id:
        raise InvalidCommand.field("sellerId", "must be another member than the buyer.")
    if command.price.minor < 1:
        raise InvalidCommand.field("price.amount", "must be more than zero.")
    price = command.price
    return [
        PurchaseRegistered(
            command.purchase_request_id, command.buyer_id, command.seller_id, price.minor, price.currency, now
        )
    ]


def check_registered(purchase_id: str, state: Purchase) -> None:
    """Refuse a command on a purchase nobody registered."""
    if not state.status:
        raise PurchaseNotFound(f"No purchase {purchase_id}.")


def check_transition(command: ChangePurchaseStatus, state: Purchase) -> None:
    """Refused: a word that is no status, an unknown purchase, a step that is not in the table."""
    if command.status not in STATUSES:
        raise InvalidCommand.field("status", f"must be one of {', '.join(STATUSES)}.")
    check_registered(command.purchase_request_id, state)
    if command.status not in TRANSITIONS[state.status]:
        raise InvalidTransition(
            f"Purchase {command.purchase_request_id} is {state.status} and does not become {command.status}."
        )


def decide_status(
    command: ChangePurchaseStatus,
    state: Purchase,
    now: datetime,
    *,
    points_earned: int = 0,
    points_returned: int = 0,
    earned_lot: int = 0,
    refunded_before_minor: int = 0,
) -> list[Event]:
    """Take the step, with what it does to the buyer's points. Refused as `check_transition`."""
    check_transition(command, state)
    step = stepped(command.purchase_request_id, state, command.status, now, command.reason)
    return [
        msgspec.structs.replace(
            step,
            points_earned=points_earned,
            points_returned=points_returned,
            earned_lot=earned_lot,
            refunded_before_minor=refunded_before_minor,
        )
    ]


def stepped(purchase_id: str, state: Purchase, status: str, now: datetime, reason: str = "") -> PurchaseStatusChanged:
    """The step to that status, whoever may take it: `refunded` and `active` are the ledger's own too."""
    return PurchaseStatusChanged(purchase_id, state.buyer_id, state.seller_id, state.status, status, now, reason)


def points_on_completion(state: Purchase, programme: Programme, refunded_minor: int = 0) -> int:
    """What the buyer earns when it completes: on what was due in money and not given back, rounded down.

    Refused: more than can be.
    """
    points = points_for(programme, max(0, state.due_minor - refunded_minor), unit_of(state.currency))
    if points > MAX_POINTS:
        raise BalanceTooLarge(f"{points} points would be earned; there can be {MAX_POINTS}.")
    return points


def check_redeemable(purchase_id: str, user_id: str, state: Purchase) -> None:
    """Whether the member may redeem points on it: whose it is comes first, then whether it may have any still."""
    check_registered(purchase_id, state)
    if state.buyer_id != user_id:
        raise NotYourPurchase(f"Purchase {purchase_id} is not yours.")
    if state.status not in IN_PROGRESS:
        raise PurchaseNotInProgress(f"Purchase {purchase_id} is {state.status}: points are redeemed before it is paid.")
    if state.points_spent:
        raise RedemptionAlreadyClaimed(f"Points were redeemed on purchase {purchase_id} already.")


def decide_redeemed(
    purchase_id: str, state: Purchase, points: int, discount_minor: int, lots: tuple[RestoredLot, ...], now: datetime
) -> list[Event]:
    """The discount, and the lots it was paid from."""
    return [
        PurchasePointsRedeemed(
            purchase_id, state.buyer_id, state.seller_id, points, discount_minor, state.currency, lots, now
        )
    ]
