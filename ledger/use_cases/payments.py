"""Use cases of a payment: opening it, giving it up, and its money's way out in two steps.

Read next: `../domain/payments.py` and `../domain/instructions.py` for the rules, `refunds.py` for what follows.
"""

from datetime import datetime

from ledger import ids
from ledger.decision import ClaimOnce, Decision, View
from ledger.domain import instructions, payments
from ledger.domain.payments import Payment
from ledger.domain.purchase_events import PurchasePaymentOpened
from ledger.domain.purchases import Purchase
from ledger.payment_errors import TxHashUsed
from ledger.payment_views import InstructionView, PaymentView, instruction_view, payment_view
from ledger.use_cases.draft import Draft
from ledger.use_cases.refunds import add_with_consequences


def tx_claim(tx_hash: str) -> ClaimOnce:
    """A transaction belongs to one payment or one instruction, for ever."""

    def refusal() -> TxHashUsed:
        return TxHashUsed(f"Transaction {tx_hash} belongs to another payment or instruction.")

    return ClaimOnce("tx", tx_hash, refusal)


def open_payment(view: View, command: payments.OpenPayment, now: datetime) -> Decision:
    """One live payment a purchase. One that has failed gives way: it is cancelled with the opening of the next."""
    draft = Draft(view)
    stream = ids.purchase_stream(command.purchase_request_id)
    purchase: Purchase = draft.read(stream)
    before = last_payment(draft, purchase)
    events = payments.decide_open(command, purchase, before, now)
    give_way(draft, purchase, now)
    draft.add(ids.payment_stream(command.payment_id), events)
    opened = PurchasePaymentOpened(
        command.purchase_request_id, purchase.buyer_id, purchase.seller_id, command.payment_id, now
    )
    draft.add(stream, [opened])
    return Decision(201, _answer(draft, command.payment_id, now), draft.writes)


def last_payment(draft: Draft, purchase: Purchase) -> Payment:
    """The payment that was opened last on the purchase; one that does not exist if there is none."""
    if not purchase.payment_id:
        return Payment()
    payment: Payment = draft.read(ids.payment_stream(purchase.payment_id))
    return payment


def give_way(draft: Draft, purchase: Purchase, now: datetime) -> None:
    """Cancel a payment that has failed, so that nothing can come in on it beside what takes its place."""
    payment = last_payment(draft, purchase)
    if payment.standing.status == "failed":
        events = payments.give_up(purchase.payment_id, payment, "it had failed, and something else took its place", now)
        draft.add(ids.payment_stream(purchase.payment_id), events)


def cancel_payment(view: View, command: payments.CancelPayment, now: datetime) -> Decision:
    """As long as nothing is paid."""
    draft = Draft(view)
    stream = ids.payment_stream(command.payment_id)
    draft.add(stream, payments.decide_cancel(command, draft.read(stream), now))
    return Decision(200, _answer(draft, command.payment_id, now), draft.writes)


def instruct(view: View, command: instructions.Instruct, now: datetime) -> Decision:
    """Reserve an amount to be released or refunded."""
    draft = Draft(view)
    stream = ids.payment_stream(command.payment_id)
    draft.add(stream, instructions.decide_instruct(command, draft.read(stream), now))
    return Decision(201, _instruction(draft, command.payment_id, command.instruction_id), draft.writes)


def confirm_instruction(view: View, command: instructions.ConfirmInstruction, now: datetime) -> Decision:
    """The entry is appended here, and what follows from it. The same confirmation again is the same answer."""
    draft = Draft(view)
    events = instructions.decide_confirm(command, draft.read(ids.payment_stream(command.payment_id)), now)
    if events:
        add_with_consequences(draft, command.payment_id, events, now)
    claims = [tx_claim(command.tx_hash)] if events else []
    return Decision(200, _instruction(draft, command.payment_id, command.instruction_id), draft.writes, claims)


def cancel_instruction(view: View, command: instructions.CancelInstruction, now: datetime) -> Decision:
    """What it reserved is held again."""
    draft = Draft(view)
    events = instructions.decide_cancel_instruction(command, draft.read(ids.payment_stream(command.payment_id)), now)
    if events:
        add_with_consequences(draft, command.payment_id, events, now)
    return Decision(200, _instruction(draft, command.payment_id, command.instruction_id), draft.writes)


def _answer(draft: Draft, payment_id: str, now: datetime) -> PaymentView:
    stream = ids.payment_stream(payment_id)
    payment: Payment = draft.read(stream)
    return payment_view(payment_id, payment, draft.version(stream), payment.opened_at or now, now)


def _instruction(draft: Draft, payment_id: str, instruction_id: str) -> InstructionView:
    payment: Payment = draft.read(ids.payment_stream(payment_id))
    return instruction_view(payment_id, payment.instructions[instruction_id], payment.currency)
