"""Use cases of a provider's delivery: it changes its payment, or it is kept as a dead letter with its money.

Read next: `../domain/deliveries.py` for the rules, `suspense.py` for what an admin does about the rest.
"""

from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType

from ledger import ids
from ledger.decision import ClaimOnce, Decision, View
from ledger.domain import dead_letters, deliveries
from ledger.domain.deliveries import CHARGEBACK, Delivery, Trouble
from ledger.domain.payment_events import COUNTING, Event, PaymentChargedBack, PaymentFunded
from ledger.domain.payments import Payment
from ledger.domain.suspense import EXCESS, SuspenseParked
from ledger.errors import Conflict
from ledger.money import format_minor
from ledger.use_cases.draft import Draft
from ledger.use_cases.payments import tx_claim
from ledger.use_cases.refunds import add_with_consequences


class DeliveryAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """The delivery is stored. `dead_letter` names the letter it became, if it could not be true."""

    webhook_id: str
    payment_id: str
    dead_letter: str | UnsetType = UNSET


def receive_delivery(view: View, command: Delivery, now: datetime) -> Decision:
    """Once a webhook-id, which is the key it comes under. Its transaction is claimed with its money, wherever that goes."""
    draft = Draft(view)
    payment: Payment = draft.read(ids.payment_stream(command.payment_id))
    moves_money = bool(command.tx_hash) and command.type in (*COUNTING, CHARGEBACK)
    taken = moves_money and view.is_taken("tx", command.tx_hash)
    trouble = deliveries.trouble_with(command, payment, tx_taken=taken)
    claims: list[ClaimOnce] = []
    if trouble is not None:
        trouble, claims = _money_once(view, command, trouble, taken=taken)
        write_letter(draft, command, trouble, now)
        return Decision(
            202, DeliveryAnswer(command.webhook_id, command.payment_id, command.letter_id), draft.writes, claims
        )
    if moves_money and not taken:
        claims.append(tx_claim(command.tx_hash))
    events = deliveries.decide_delivery(command, payment, draft.read(ids.PROGRAMME_STREAM), now)
    letter = add_delivery(draft, command, events, now)
    answer = DeliveryAnswer(command.webhook_id, command.payment_id, command.letter_id if letter else UNSET)
    return Decision(202, answer, draft.writes, claims)


def add_delivery(draft: Draft, command: Delivery, events: list[Event], now: datetime) -> bool:
    """Draft what a delivery changes; whether it also left a letter: a chargeback of what was not held any more."""
    add_with_consequences(draft, command.payment_id, events, now)
    for event in events:
        if isinstance(event, PaymentFunded) and event.excess_minor:
            park(draft, event.suspense_id, command, event.excess_minor, EXCESS, now)
    trouble = _charged_back_in_vain(draft.read(ids.payment_stream(command.payment_id)), events)
    if trouble is not None:
        write_letter(draft, command, trouble, now)
    return trouble is not None


def _charged_back_in_vain(payment: Payment, events: list[Event]) -> Trouble | None:
    """What a chargeback could not take from what is held. Of a payment that is not complete the rest may still come."""
    chargebacks = [event for event in events if isinstance(event, PaymentChargedBack)]
    owed = sum(event.receivable_minor for event in chargebacks)
    more = payment.pending_chargeback_minor if chargebacks and payment.is_funded else 0
    if not owed and not more:
        return None
    owed_text, more_text = (f"{format_minor(minor, payment.currency)} {payment.currency}" for minor in (owed, more))
    said = [f"{owed_text} were not held any more: the seller owes them."] if owed else []
    if more:
        said.append(f"{more_text} are more than was paid and not refunded.")
    return Trouble("ALREADY_RELEASED" if owed else "MORE_THAN_PAID", " ".join(said))


def write_letter(draft: Draft, delivery: Delivery, trouble: Trouble, now: datetime) -> None:
    """Keep the delivery, and park the money it brought."""
    draft.add(ids.letter_stream(delivery.letter_id), dead_letters.decide_write(delivery, trouble, now))
    if trouble.money_minor:
        park(draft, delivery.letter_id, delivery, trouble.money_minor, trouble.code, now)


def park(draft: Draft, suspense_id: str, delivery: Delivery, amount: int, reason: str, now: datetime) -> None:
    """Money that belongs nowhere yet; the purchase is named where its payment is known."""
    payment: Payment = draft.read(ids.payment_stream(delivery.payment_id))
    parked = SuspenseParked(
        suspense_id,
        amount,
        delivery.currency,
        reason,
        delivery.provider,
        now,
        delivery.payment_id,
        delivery.tx_hash,
        payment.purchase_request_id,
        letter_id="" if reason == EXCESS else suspense_id,
    )
    draft.add(ids.suspense_stream(suspense_id), [parked])


def _money_once(view: View, delivery: Delivery, trouble: Trouble, *, taken: bool) -> tuple[Trouble, list[ClaimOnce]]:
    """However often the provider says it, under whatever webhook-id, the money of a transaction waits once."""
    if not trouble.money_minor or not delivery.tx_hash:
        return trouble, []
    if not taken:
        return trouble, [tx_claim(delivery.tx_hash)]
    # Its hash was counted with another amount: what it is more than that waits. Only the first time: of a third amount
    # nobody knows how much of it waits already, and money that never came must not wait to be paid out.
    if view.is_taken("tx-amount", delivery.tx_hash):
        return msgspec.structs.replace(trouble, money_minor=0), []

    def refusal() -> Conflict:
        return Conflict(f"Another amount of transaction {delivery.tx_hash} is waiting already.")

    return trouble, [ClaimOnce("tx-amount", delivery.tx_hash, refusal)]
