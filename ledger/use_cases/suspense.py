"""Use cases of what an admin does about deliveries that could not be true, and about money that belongs nowhere yet.

Read next: `../domain/suspense.py` and `../domain/dead_letters.py` for the rules.
"""

from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType

from ledger import ids
from ledger.decision import Decision, View
from ledger.domain import dead_letters, deliveries, suspense
from ledger.domain.dead_letters import DeadLetter
from ledger.domain.deliveries import APPLIED, CHARGEBACK, Delivery
from ledger.domain.payment_events import COUNTING, PaymentExcessSettled
from ledger.domain.payments import Payment, fact, moved
from ledger.domain.suspense import EXCESS, SettleSuspense, SuspenseItem
from ledger.money import MoneyText, money_text
from ledger.payment_errors import StillImpossible
from ledger.use_cases.deliveries import add_delivery
from ledger.use_cases.draft import Draft
from ledger.use_cases.payments import tx_claim
from ledger.use_cases.refunds import add_with_consequences


class SuspenseAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """The item after the command: so much of it found its place, so much still waits."""

    id: str
    action: str
    amount: MoneyText
    remaining: MoneyText
    payment_id: str | UnsetType = UNSET
    tx_hash: str | UnsetType = UNSET


class DeadLetterAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """The letter after the command."""

    id: str
    status: str


def settle_suspense(view: View, command: SettleSuspense, now: datetime) -> Decision:
    """Back to where it came from, or to a payment as far as that lacks it."""
    draft = Draft(view)
    stream = ids.suspense_stream(command.suspense_id)
    item: SuspenseItem = draft.read(stream)
    suspense.check_waits(command.suspense_id, item)
    claims = [tx_claim(command.tx_hash)] if command.tx_hash else []
    if command.action == "apply":
        payment: Payment = draft.read(ids.payment_stream(command.payment_id))
        origin: Payment = draft.read(ids.payment_stream(item.payment_id)) if item.payment_id else Payment()
        amount = suspense.amount_to_apply(command, item, payment, origin)
        counted_as = _counted_as(command.suspense_id, item, amount)
        if counted_as != item.tx_hash:
            claims.append(tx_claim(counted_as))
        _apply(draft, command, item, amount, counted_as, now)
    else:
        amount = item.rest_minor
    if item.payment_id:
        _take_excess(draft, command, item, amount, now)
    draft.add(stream, suspense.decide_settle(command, item, amount, now))
    answer = SuspenseAnswer(
        command.suspense_id,
        command.action,
        money_text(amount, item.currency),
        money_text(item.rest_minor - amount, item.currency),
        command.payment_id or UNSET,
        command.tx_hash or UNSET,
    )
    return Decision(200, answer, draft.writes, claims)


def _counted_as(suspense_id: str, item: SuspenseItem, amount: int) -> str:
    """The transaction it is counted as. Whole, it keeps its own: the provider may yet name it for that payment.

    A part of one does not, as the other part is counted elsewhere: it gets a name that is nobody else's.
    """
    if item.tx_hash and amount == item.amount_minor and item.reason not in (EXCESS, "OTHER_AMOUNT"):
        return item.tx_hash
    return f"suspense:{suspense_id}:{item.rest_minor}"


def _apply(
    draft: Draft, command: SettleSuspense, item: SuspenseItem, amount: int, counted_as: str, now: datetime
) -> None:
    """Count it as if it had just come in."""
    payment: Payment = draft.read(ids.payment_stream(command.payment_id))
    delivery = Delivery(
        command.suspense_id,
        item.provider,
        command.suspense_id,
        "payment.confirmed",
        command.payment_id,
        amount,
        item.currency,
        counted_as,
    )
    programme = draft.read(ids.PROGRAMME_STREAM)
    events = deliveries.fund(delivery, payment, programme, now, from_suspense=command.suspense_id)
    add_with_consequences(draft, command.payment_id, events, now)


def _take_excess(draft: Draft, command: SettleSuspense, item: SuspenseItem, amount: int, now: datetime) -> None:
    """It is beside its payment's buckets no more. What was charged back of it has been returned by that."""
    stream = ids.payment_stream(item.payment_id)
    payment: Payment = draft.read(stream)
    after = moved(payment, suspense=-amount)
    settled = PaymentExcessSettled(
        **fact(item.payment_id, payment, now, after),
        suspense_id=command.suspense_id,
        amount_minor=amount,
        charged_back_minor=min(amount, payment.pending_chargeback_minor) if command.action == "return" else 0,
    )
    draft.add(stream, [settled])


def replay_dead_letter(view: View, command: dead_letters.ReplayDeadLetter, now: datetime) -> Decision:
    """Ask again. Its money is taken from where it waits; refused: it could still not be true, or that is settled."""
    draft = Draft(view)
    stream = ids.letter_stream(command.letter_id)
    letter: DeadLetter = draft.read(stream)
    told = dead_letters.waiting_delivery(command.letter_id, letter)
    delivery = msgspec.structs.replace(told, letter_id=command.new_id)
    payment: Payment = draft.read(ids.payment_stream(delivery.payment_id))
    # If it brought money, the claim on its transaction is the letter's own.
    moves_money = bool(delivery.tx_hash) and delivery.type in (*COUNTING, CHARGEBACK)
    taken = moves_money and not letter.suspense_id and view.is_taken("tx", delivery.tx_hash)
    trouble = deliveries.trouble_with(delivery, payment, tx_taken=taken)
    if trouble is not None or letter.code in APPLIED:
        why = trouble.message if trouble else "all that could be taken back was."
        raise StillImpossible(f"Dead letter {command.letter_id} cannot be applied: {why}")
    if letter.suspense_id:
        _take_all(draft, letter.suspense_id, command, delivery, now)
    programme = draft.read(ids.PROGRAMME_STREAM)
    events = deliveries.decide_delivery(delivery, payment, programme, now, from_suspense=letter.suspense_id)
    add_delivery(draft, delivery, events, now)
    draft.add(stream, [dead_letters.DeadLetterReplayed(command.letter_id, now)])
    claims = [tx_claim(delivery.tx_hash)] if moves_money and not taken and not letter.suspense_id else []
    return Decision(200, DeadLetterAnswer(command.letter_id, "replayed"), draft.writes, claims)


def _take_all(
    draft: Draft, suspense_id: str, command: dead_letters.ReplayDeadLetter, delivery: Delivery, now: datetime
) -> None:
    """The letter's money leaves suspense for its payment. Refused: some of it is settled already."""
    stream = ids.suspense_stream(suspense_id)
    item: SuspenseItem = draft.read(stream)
    if item.rest_minor != delivery.amount_minor:
        raise StillImpossible(f"Dead letter {command.letter_id} cannot be applied: its money is settled already.")
    settle = SettleSuspense(suspense_id, "apply", f"Dead letter {command.letter_id} replayed", delivery.payment_id)
    draft.add(stream, suspense.decide_settle(settle, item, item.rest_minor, now))


def skip_dead_letter(view: View, command: dead_letters.SkipDeadLetter, now: datetime) -> Decision:
    """Put away: nothing will come of it. Its money, if it brought any, waits on."""
    draft = Draft(view)
    stream = ids.letter_stream(command.letter_id)
    draft.add(stream, dead_letters.decide_skip(command, draft.read(stream), now))
    return Decision(200, DeadLetterAnswer(command.letter_id, "skipped"), draft.writes)
