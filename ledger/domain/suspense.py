"""Money that belongs nowhere yet, stream `suspense-<id>`: it goes back where it came from, or to a payment.

It came beyond an amount due, or with a delivery that could not be true. Pure. Standard library and msgspec only.
Read next: `dead_letters.py`.
"""

from datetime import datetime
from typing import Final, Literal

import msgspec

from ledger.domain.payments import Payment, check_opened
from ledger.errors import InvalidCommand, InvalidTransition
from ledger.payment_errors import AmountNotAvailable, SuspenseNotFound

Action = Literal["return", "apply"]
EXCESS: Final = "EXCESS"
"""The reason of what came beyond an amount due; otherwise it is the dead letter's."""


class SettleSuspense(msgspec.Struct, frozen=True):
    """Give it back, by that transaction if there was one, or count it for that payment."""

    suspense_id: str
    action: Action
    reason: str
    payment_id: str = ""
    tx_hash: str = ""


class SuspenseParked(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """So much came in and waits. Of an excess the payment's own event posts it; of a dead letter, this one."""

    suspense_id: str
    amount_minor: int
    currency: str
    reason: str
    provider: str
    occurred_at: datetime
    payment_id: str = ""
    tx_hash: str = ""
    purchase_request_id: str = ""
    letter_id: str = ""


class SuspenseSettled(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """So much of it found its place; `rest_minor` still waits. What was applied is posted by the payment's event."""

    suspense_id: str
    action: Action
    amount_minor: int
    rest_minor: int
    currency: str
    reason: str
    occurred_at: datetime
    payment_id: str = ""
    tx_hash: str = ""


TAGS: Final[dict[str, type[msgspec.Struct]]] = {
    "suspense.parked.v1": SuspenseParked,
    "suspense.settled.v1": SuspenseSettled,
}
"""The stored names, frozen for ever."""

Event = SuspenseParked | SuspenseSettled


class SuspenseItem(msgspec.Struct, frozen=True, rename="camel"):
    """What waits; there is no such item while `reason` is empty. `payment_id` is the payment it is the excess of."""

    reason: str = ""
    amount_minor: int = 0
    rest_minor: int = 0
    currency: str = ""
    provider: str = ""
    payment_id: str = ""
    tx_hash: str = ""


def evolve(state: SuspenseItem, event: Event) -> SuspenseItem:
    """The item after the event; the given one stays as it is."""
    match event:
        case SuspenseParked():
            return SuspenseItem(
                event.reason,
                event.amount_minor,
                event.amount_minor,
                event.currency,
                event.provider,
                event.payment_id if event.reason == EXCESS else "",
                event.tx_hash,
            )
        case SuspenseSettled():
            return msgspec.structs.replace(state, rest_minor=event.rest_minor)


def check_waits(suspense_id: str, state: SuspenseItem) -> None:
    """Refused: an unknown item, one that is settled."""
    if not state.reason:
        raise SuspenseNotFound(f"No money waits under {suspense_id}.")
    if not state.rest_minor:
        raise InvalidTransition(f"Suspense {suspense_id} is settled.")


def amount_to_apply(command: SettleSuspense, state: SuspenseItem, payment: Payment, origin: Payment) -> int:
    """As much of it as the payment still lacks, and as was not charged back from the payment it is the excess of.

    Refused: another currency, a payment that lacks nothing or is over, money that is not here any more.
    """
    if not command.payment_id:
        raise InvalidCommand.field("paymentId", "says which payment it is for.")
    check_opened(command.payment_id, payment)
    if payment.currency != state.currency:
        raise InvalidCommand.field("paymentId", f"is in {payment.currency}, the money in {state.currency}.")
    if payment.cancelled:
        raise InvalidTransition(f"Payment {command.payment_id} is cancelled.")
    missing = payment.due_minor - payment.standing.gross
    if missing < 1:
        raise AmountNotAvailable(f"Nothing is missing on payment {command.payment_id}.")
    here = origin.standing.suspense - origin.pending_chargeback_minor if state.payment_id else state.rest_minor
    if here < 1:
        raise AmountNotAvailable(f"The provider has taken back what waits under {command.suspense_id}: return it.")
    return min(state.rest_minor, missing, here)


def decide_settle(command: SettleSuspense, state: SuspenseItem, amount: int, now: datetime) -> list[Event]:
    """So much of it has found its place."""
    return [
        SuspenseSettled(
            command.suspense_id,
            command.action,
            amount,
            state.rest_minor - amount,
            state.currency,
            command.reason,
            now,
            command.payment_id,
            command.tx_hash,
        )
    ]
