"""What a refund does to points under the policy `reverse`: earned ones are taken back, spent ones returned.

In proportion to all refunds together, rounded down, so that many partial refunds end where one whole refund does.
Pure. Standard library and msgspec only. Read next: `../use_cases/refunds.py`.
"""

from datetime import datetime

import msgspec

from ledger.domain.account import PointsAccount, copy_account, evolve, expiries
from ledger.domain.account_events import Event, PointsClawedBack
from ledger.domain.lots import RestoredLot, allocate_own_first
from ledger.domain.payments import Payment
from ledger.domain.purchases import Purchase
from ledger.domain.redemptions import RestorePoints, decide_restore


class Reversal(msgspec.Struct, frozen=True):
    """So many points to take back, and the parts of lots to return."""

    points_to_claw: int
    lots: tuple[RestoredLot, ...]

    @property
    def is_nothing(self) -> bool:
        """Whether no points move."""
        return not self.points_to_claw and not self.lots


def reversal_of(purchase: Purchase, payment: Payment) -> Reversal:
    """What is still to be taken back and returned when the payment is as it is.

    Spent points go by what refunds took of what was held at funding. Earned ones go by what refunds took since the
    purchase completed: what had been refunded by then earned nothing.
    """
    if payment.standing.status == "refunded":
        # Nothing is left anywhere: all of it, however little was paid.
        return Reversal(purchase.points_completed - purchase.points_to_claw, purchase.lots)
    escrow = escrow_when_paid(payment)
    refunded = refunded_of_held(payment)
    before = min(purchase.refunded_before_minor, refunded)
    to_claw = _share(purchase.points_completed, refunded - before, escrow - before) - purchase.points_to_claw
    to_return = _share(purchase.points_redeemed, refunded, escrow) - (purchase.points_redeemed - purchase.points_spent)
    return Reversal(max(0, to_claw), last_of(purchase.lots, max(0, to_return)))


def escrow_when_paid(payment: Payment) -> int:
    """What is held of a payment when all that is due has come. A part that is refunded before is a small part of it."""
    return payment.due_minor - payment.standing.provider_fees - payment.platform_fee_minor


def refunded_of_held(payment: Payment) -> int:
    """What went back to the buyer of what was held: by refunds, and by the provider itself, even after the release."""
    back = payment.refunded_minor + payment.charged_back_minor + payment.receivable_minor
    return min(back, escrow_when_paid(payment))


def _share(points: int, part: int, whole: int) -> int:
    return points * part // whole if whole > 0 else 0


def last_of(lots: tuple[RestoredLot, ...], points: int) -> tuple[RestoredLot, ...]:
    """Parts of so many points: what was taken last, and lives longest, goes back first."""
    parts: list[RestoredLot] = []
    for lot in reversed(lots):
        part = min(lot.amount, points)
        if part:
            parts.append(msgspec.structs.replace(lot, amount=part))
            points -= part
    return tuple(reversed(parts))


def decide_reversal(
    reversal: Reversal, purchase_id: str, purchase: Purchase, account: PointsAccount, now: datetime
) -> list[Event]:
    """On the buyer's account: what was spent comes back first, so that it is there to be taken."""
    user_id = purchase.buyer_id
    events: list[Event] = []
    if reversal.lots:
        events += decide_restore(RestorePoints(user_id, purchase_id, reversal.lots), account, now)
    else:
        events += expiries(account, user_id, now)
    if reversal.points_to_claw:
        account = copy_account(account)
        for event in events:
            account = evolve(account, event)
        events.append(claw_back(reversal.points_to_claw, purchase_id, purchase, account, now))
    return events


def claw_back(
    asked: int, purchase_id: str, purchase: Purchase, account: PointsAccount, now: datetime
) -> PointsClawedBack:
    """As many of them as there are, those of the purchase's own lot first. Nothing overdue is alive any more."""
    amount = min(asked, account.balance)
    return PointsClawedBack(
        purchase.buyer_id,
        amount,
        asked,
        purchase_id,
        now,
        allocate_own_first(account.chunks, purchase.earned_lot, amount),
        account.balance - amount,
        purchase_id,
    )
