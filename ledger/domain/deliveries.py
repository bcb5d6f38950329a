"""What a payment provider tells: money came in, failed to come, or was taken back. Any order, any number of times.

A delivery that is understood but impossible is a `Trouble`: it changes no payment, and somebody is told. Pure.
Standard library and msgspec only. Read next: `chargebacks.py`, then `suspense.py`, where the money of a `Trouble` waits.
"""

from datetime import datetime
from typing import Final, Literal

import msgspec

from ledger.domain.chargebacks import charge_back, charge_pending
from ledger.domain.payment_events import COUNTING, Event, PaymentDeliveryReceived, PaymentFeeTaken, PaymentFunded
from ledger.domain.payments import Payment, evolve, fact, moved
from ledger.domain.programme import Programme
from ledger.money import format_minor

DeliveryType = Literal[
    "payment.processing",
    "payment.confirmed",
    "payment.completed",
    "payment.failed",
    "payment.partial",
    "payment.chargeback",
]
CHARGEBACK: Final = "payment.chargeback"

TroubleCode = Literal[
    "UNKNOWN_PAYMENT",
    "OTHER_PROVIDER",
    "PAYMENT_CANCELLED",
    "WRONG_CURRENCY",
    "NO_TX_HASH",
    "OTHER_AMOUNT",
    "TX_HASH_USED",
    "ALREADY_RELEASED",
    "MORE_THAN_PAID",
]
"""Why a delivery is a dead letter. The last two have been applied, and somebody must know: see `APPLIED`."""
APPLIED: Final = ("ALREADY_RELEASED", "MORE_THAN_PAID")
"""Chargebacks of what was not here any more: the seller owes it, or nobody we know paid it."""


class Delivery(msgspec.Struct, frozen=True, rename="camel"):
    """One signed delivery. `webhook_id` is the provider's, `letter_id` ours, in case it becomes a dead letter."""

    letter_id: str
    provider: str
    webhook_id: str
    type: DeliveryType
    payment_id: str
    amount_minor: int
    currency: str
    tx_hash: str = ""
    provider_fee_minor: int = 0


class Trouble(msgspec.Struct, frozen=True):
    """Why a delivery cannot be true. `money_minor` came in all the same and belongs nowhere yet."""

    code: TroubleCode
    message: str
    money_minor: int = 0


def trouble_with(delivery: Delivery, state: Payment, *, tx_taken: bool) -> Trouble | None:
    """What is wrong with it. `tx_taken`: its transaction is claimed already, maybe by this payment itself."""
    counts, payment_id = delivery.type in COUNTING, delivery.payment_id
    mine = delivery.tx_hash in state.transactions or delivery.tx_hash in state.chargebacks
    money = delivery.amount_minor if counts and not (delivery.tx_hash and tx_taken) else 0
    if not state.exists:
        return Trouble("UNKNOWN_PAYMENT", f"No payment {payment_id}.", money)
    if delivery.provider != state.provider:
        return Trouble("OTHER_PROVIDER", f"Payment {payment_id} is paid through {state.provider}.", money)
    if delivery.currency != state.currency:
        return Trouble(
            "WRONG_CURRENCY", f"Payment {payment_id} is in {state.currency}, not {delivery.currency}.", money
        )
    if not counts and delivery.type != CHARGEBACK:
        return None
    if not delivery.tx_hash:
        return Trouble("NO_TX_HASH", f"A {delivery.type} counts by its txHash, and has none.", money)
    known = (state.transactions if counts else state.chargebacks).get(delivery.tx_hash)
    if known is not None and known != delivery.amount_minor:
        said, before = (format_minor(minor, state.currency) for minor in (delivery.amount_minor, known))
        more = max(0, delivery.amount_minor - known) if counts else 0
        return Trouble(
            "OTHER_AMOUNT", f"Transaction {delivery.tx_hash} was {before} {state.currency}, not {said}.", more
        )
    if tx_taken and not mine:
        return Trouble("TX_HASH_USED", f"Transaction {delivery.tx_hash} belongs to something else.")
    if state.cancelled:
        return Trouble("PAYMENT_CANCELLED", f"Payment {payment_id} is cancelled.", money)
    return None


def decide_delivery(
    delivery: Delivery, state: Payment, programme: Programme, now: datetime, from_suspense: str = ""
) -> list[Event]:
    """What it changes; `trouble_with` has found nothing wrong. What was told before is received, and changes nothing.

    `from_suspense` names the item in which its money has waited.
    """
    seen = msgspec.structs.replace(state, seen=state.seen | {delivery.type})
    received = PaymentDeliveryReceived(
        **fact(delivery.payment_id, state, now, moved(seen)),
        provider=delivery.provider,
        webhook_id=delivery.webhook_id,
        type=delivery.type,
        amount_minor=delivery.amount_minor,
        tx_hash=delivery.tx_hash,
        provider_fee_minor=delivery.provider_fee_minor,
    )
    state = evolve(state, received)
    if delivery.type in COUNTING and delivery.tx_hash not in state.transactions:
        return [received, *fund(delivery, state, programme, now, from_suspense)]
    if delivery.type in COUNTING:
        return [received, *settle(delivery.payment_id, state, now)]
    if delivery.type == CHARGEBACK and delivery.tx_hash not in state.chargebacks:
        return [received, *charge_back(delivery.payment_id, state, delivery.amount_minor, delivery.tx_hash, now)]
    return [received]


def fund(
    delivery: Delivery, state: Payment, programme: Programme, now: datetime, from_suspense: str = ""
) -> list[Event]:
    """Count what came in up to the amount due; with the last of it the platform's fee is fixed and taken."""
    counted = min(delivery.amount_minor, state.due_minor - state.standing.gross)
    excess = delivery.amount_minor - counted
    complete = counted > 0 and state.standing.gross + counted == state.due_minor
    held = state.standing.held + counted
    provider_fee = min(missing_fee(state, counted), held)
    platform_fee = min(platform_fee_on(state.due_minor, programme), held - provider_fee) if complete else 0
    after = moved(
        state,
        gross=counted,
        held=counted - provider_fee - platform_fee,
        provider_fees=provider_fee,
        platform_fees=platform_fee,
        suspense=excess,
    )
    funded = PaymentFunded(
        **fact(delivery.payment_id, state, now, after),
        tx_hash=delivery.tx_hash,
        amount_minor=delivery.amount_minor,
        counted_minor=counted,
        excess_minor=excess,
        provider_fee_minor=provider_fee,
        platform_fee_minor=platform_fee,
        suspense_id=delivery.letter_id if excess else "",
        from_suspense=from_suspense,
        funded=complete,
    )
    return [funded, *settle(delivery.payment_id, evolve(state, funded), now)]


def settle(payment_id: str, state: Payment, now: datetime) -> list[Event]:
    """What the order of deliveries has left open: a fee that was not there to be taken, a chargeback that came first."""
    fee = take_fee(payment_id, state, now)
    for event in fee:
        state = evolve(state, event)
    return [*fee, *charge_pending(payment_id, state, now)]


def missing_fee(state: Payment, counted: int = 0) -> int:
    """What the provider keeps of what came in, when so much more is counted, less what is taken. At most all of it."""
    return min(sum(state.fees.values()), state.standing.gross + counted) - state.standing.provider_fees


def take_fee(payment_id: str, state: Payment, now: datetime) -> list[Event]:
    """The provider's fee comes first: from what is held, then from the platform's, then from what it charged back."""
    missing, standing = missing_fee(state), state.standing
    held = min(missing, standing.held)
    platform = min(missing - held, standing.platform_fees)
    refunded = min(missing - held - platform, state.charged_back_minor)
    fee = held + platform + refunded
    if not fee:
        return []
    after = moved(state, provider_fees=fee, held=-held, platform_fees=-platform, refunded=-refunded)
    return [
        PaymentFeeTaken(
            **fact(payment_id, state, now, after),
            provider_fee_minor=fee,
            from_held_minor=held,
            from_platform_fees_minor=platform,
            from_refunded_minor=refunded,
            pending_minor=state.pending_chargeback_minor + refunded,
        )
    ]


def platform_fee_on(due_minor: int, programme: Programme) -> int:
    """The platform's part of an amount due, rounded down."""
    return due_minor * programme.platform_fee_bps // 10_000
