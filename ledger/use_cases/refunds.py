"""What follows when a payment changes: for its purchase, for the buyer's points, for a dispute. In the same append.

Read next: `../domain/reversals.py` for the points, `payments.py` for who calls this.
"""

from collections.abc import Sequence
from datetime import datetime

from ledger import ids
from ledger.domain import disputes, purchase_events, purchases, reversals
from ledger.domain.account_events import PointsClawedBack
from ledger.domain.payment_events import (
    Event,
    InstructionCancelled,
    PaymentChargedBack,
    PaymentFunded,
    PaymentRefunded,
    PaymentReleased,
)
from ledger.domain.payments import Payment
from ledger.domain.programme import Programme
from ledger.domain.purchases import Purchase
from ledger.use_cases.draft import Draft


def add_with_consequences(draft: Draft, payment_id: str, events: Sequence[Event], now: datetime) -> None:
    """Draft the payment's events and all that they mean elsewhere."""
    draft.add(ids.payment_stream(payment_id), events)
    payment: Payment = draft.read(ids.payment_stream(payment_id))
    purchase_stream = ids.purchase_stream(payment.purchase_request_id)
    purchase: Purchase = draft.read(purchase_stream)
    funded = any(isinstance(event, PaymentFunded) and event.funded for event in events)
    if funded and purchase.status in purchases.IN_PROGRESS:
        draft.add(purchase_stream, [purchases.stepped(payment.purchase_request_id, purchase, "active", now)])
    # What is left after a refund may go by other events too: fees take the last of it when the rest is paid.
    over = payment.standing.status == "refunded"
    if over or any(isinstance(event, PaymentRefunded | PaymentChargedBack) for event in events):
        _reverse_points(draft, payment_id, payment, now)
        _mark_refunded(draft, payment, now)
    for event in events:
        if isinstance(event, InstructionCancelled | PaymentReleased | PaymentRefunded) and event.dispute_id:
            stream = ids.dispute_stream(event.dispute_id)
            draft.add(stream, disputes.decide_settle(event.dispute_id, draft.read(stream), payment, now))


def _mark_refunded(draft: Draft, payment: Payment, now: datetime) -> None:
    stream = ids.purchase_stream(payment.purchase_request_id)
    purchase: Purchase = draft.read(stream)
    if payment.standing.status == "refunded" and purchase.status != "refunded":
        draft.add(stream, [purchases.stepped(payment.purchase_request_id, purchase, "refunded", now)])


def _reverse_points(draft: Draft, payment_id: str, payment: Payment, now: datetime) -> None:
    """Under the policy `reverse`: what the refunds so far ask of the points, less what is done."""
    programme: Programme = draft.read(ids.PROGRAMME_STREAM)
    if programme.refund_policy != "reverse":
        return
    purchase_id = payment.purchase_request_id
    purchase: Purchase = draft.read(ids.purchase_stream(purchase_id))
    reversal = reversals.reversal_of(purchase, payment)
    if reversal.is_nothing:
        return
    stream = ids.account_stream(purchase.buyer_id)
    events = reversals.decide_reversal(reversal, purchase_id, purchase, draft.read(stream), now)
    clawed = sum(event.amount for event in events if isinstance(event, PointsClawedBack))
    draft.add(stream, events)
    draft.add(
        ids.purchase_stream(purchase_id),
        [
            purchase_events.PurchasePointsReversed(
                purchase_id,
                purchase.buyer_id,
                purchase.seller_id,
                payment_id,
                reversal.points_to_claw,
                clawed,
                sum(part.amount for part in reversal.lots),
                reversal.lots,
                now,
            )
        ],
    )
