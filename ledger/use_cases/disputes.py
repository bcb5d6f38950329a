"""Use cases of a dispute: opening it holds money, deciding it sends the money on. Both in one append with the payment.

Read next: `../domain/disputes.py` for the rules.
"""

from datetime import datetime

from ledger import ids
from ledger.decision import Decision, View
from ledger.domain import disputes
from ledger.domain.disputes import Dispute
from ledger.domain.instructions import amount_of_held, reserve
from ledger.domain.payment_events import Kind, PaymentDisputed, PaymentHoldLifted
from ledger.domain.payments import Payment, fact, moved
from ledger.domain.purchase_events import PurchaseDisputed, PurchaseDisputeDecided
from ledger.domain.purchases import Purchase
from ledger.payment_errors import AmountNotAvailable
from ledger.payment_views import DisputeView, dispute_view, instruction_view
from ledger.use_cases.draft import Draft
from ledger.use_cases.payments import last_payment


def open_dispute(view: View, command: disputes.OpenDispute, now: datetime) -> Decision:
    """Held becomes disputed, and the purchase is on hold."""
    draft = Draft(view)
    stream = ids.purchase_stream(command.purchase_request_id)
    purchase: Purchase = draft.read(stream)
    disputes.check_disputable(command, purchase)
    payment = last_payment(draft, purchase)
    if not payment.exists:
        raise AmountNotAvailable(f"Nothing is held for purchase {command.purchase_request_id}: it has no payment.")
    amount = amount_of_held(payment, command.amount)
    events = disputes.decide_open(command, purchase, payment, amount, now)
    draft.add(ids.dispute_stream(command.dispute_id), events)
    after = moved(payment, held=-amount, disputed=amount)
    held = PaymentDisputed(
        **fact(purchase.payment_id, payment, now, after), dispute_id=command.dispute_id, amount_minor=amount
    )
    draft.add(ids.payment_stream(purchase.payment_id), [held])
    on_hold = PurchaseDisputed(
        command.purchase_request_id, purchase.buyer_id, purchase.seller_id, command.dispute_id, now
    )
    draft.add(stream, [on_hold])
    return Decision(201, _answer(draft, command.dispute_id), draft.writes)


def assign_dispute(view: View, command: disputes.AssignDispute, now: datetime) -> Decision:
    """Somebody takes it up."""
    draft = Draft(view)
    stream = ids.dispute_stream(command.dispute_id)
    draft.add(stream, disputes.decide_assign(command, draft.read(stream), now))
    return Decision(200, _answer(draft, command.dispute_id), draft.writes)


def add_evidence(view: View, command: disputes.AddEvidence, now: datetime) -> Decision:
    """Somebody has something to say."""
    draft = Draft(view)
    stream = ids.dispute_stream(command.dispute_id)
    draft.add(stream, disputes.decide_evidence(command, draft.read(stream), now))
    return Decision(200, _answer(draft, command.dispute_id), draft.writes)


def resolve_dispute(view: View, command: disputes.ResolveDispute, now: datetime) -> Decision:
    """Each part becomes an instruction of its own; what goes to nobody is held again."""
    draft = Draft(view)
    stream = ids.dispute_stream(command.dispute_id)
    dispute: Dispute = draft.read(stream)
    disputes.check_resolvable(command, dispute)
    payment_id, payment_stream = dispute.payment_id, ids.payment_stream(dispute.payment_id)
    payment: Payment = draft.read(payment_stream)
    split = disputes.split_of(command, dispute, payment.standing.disputed)
    parts: list[tuple[Kind, str, int]] = [
        ("refund", command.refund_id, split.to_buyer),
        ("release", command.release_id, split.to_seller),
    ]
    made: list[str] = []
    for kind, instruction_id, amount in parts:
        if amount:
            event = reserve(
                payment_id,
                draft.read(payment_stream),
                instruction_id,
                kind,
                amount,
                now,
                source="disputed",
                dispute_id=command.dispute_id,
            )
            draft.add(payment_stream, [event])
            made.append(instruction_id)
    if split.returned:
        after = moved(payment, disputed=-split.returned, held=split.returned)
        lifted = PaymentHoldLifted(
            **fact(payment_id, payment, now, after), dispute_id=command.dispute_id, amount_minor=split.returned
        )
        draft.add(payment_stream, [lifted])
    draft.add(stream, disputes.decide_resolve(command, dispute, split, tuple(made), now))
    purchase_id = dispute.purchase_request_id
    decided = PurchaseDisputeDecided(purchase_id, dispute.buyer_id, dispute.seller_id, command.dispute_id, now)
    draft.add(ids.purchase_stream(purchase_id), [decided])
    return Decision(200, _answer(draft, command.dispute_id), draft.writes)


def _answer(draft: Draft, dispute_id: str) -> DisputeView:
    """With the instructions it is about: those reserved before it, and those its decision made."""
    dispute: Dispute = draft.read(ids.dispute_stream(dispute_id))
    payment: Payment = draft.read(ids.payment_stream(dispute.payment_id))
    listed = [payment.instructions[one] for one in (*dispute.reserved, *dispute.instructions)]
    views = [instruction_view(dispute.payment_id, one, payment.currency) for one in listed]
    return dispute_view(dispute_id, dispute, views)
