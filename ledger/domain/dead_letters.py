"""A delivery that could not be true, stream `letter-<id>`: kept for ever, replayed or put away by an admin.

Pure. Standard library and msgspec only. Read next: `../use_cases/deliveries.py`.
"""

from datetime import datetime
from typing import Final

import msgspec

from ledger.domain.deliveries import Delivery, Trouble
from ledger.errors import InvalidTransition
from ledger.payment_errors import DeadLetterNotFound


class ReplayDeadLetter(msgspec.Struct, frozen=True):
    """Ask again whether it is true now. The new ids are for what may come of it."""

    letter_id: str
    new_id: str


class SkipDeadLetter(msgspec.Struct, frozen=True):
    """Nothing will come of it."""

    letter_id: str
    reason: str


class DeadLetterWritten(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The delivery, why it is here, and where its money waits, if it brought any."""

    letter_id: str
    code: str
    message: str
    delivery: Delivery
    occurred_at: datetime
    suspense_id: str = ""


class DeadLetterReplayed(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """It was true in the end."""

    letter_id: str
    occurred_at: datetime


class DeadLetterSkipped(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Somebody has looked at it, and nothing is to be done."""

    letter_id: str
    reason: str
    occurred_at: datetime


TAGS: Final[dict[str, type[msgspec.Struct]]] = {
    "letter.written.v1": DeadLetterWritten,
    "letter.replayed.v1": DeadLetterReplayed,
    "letter.skipped.v1": DeadLetterSkipped,
}
"""The stored names, frozen for ever."""

Event = DeadLetterWritten | DeadLetterReplayed | DeadLetterSkipped


class DeadLetter(msgspec.Struct, frozen=True, rename="camel"):
    """The letter now; there is none while `status` is empty."""

    status: str = ""
    code: str = ""
    delivery: Delivery | None = None
    suspense_id: str = ""


def evolve(state: DeadLetter, event: Event) -> DeadLetter:
    """The letter after the event; the given one stays as it is."""
    match event:
        case DeadLetterWritten():
            return DeadLetter("waiting", event.code, event.delivery, event.suspense_id)
        case DeadLetterReplayed():
            return msgspec.structs.replace(state, status="replayed")
        case DeadLetterSkipped():
            return msgspec.structs.replace(state, status="skipped")


def decide_write(delivery: Delivery, trouble: Trouble, now: datetime) -> list[Event]:
    """Keep it, with the reason."""
    waits = delivery.letter_id if trouble.money_minor else ""
    return [DeadLetterWritten(delivery.letter_id, trouble.code, trouble.message, delivery, now, waits)]


def waiting_delivery(letter_id: str, state: DeadLetter) -> Delivery:
    """The delivery of a letter that waits. Refused: an unknown letter, one that was replayed or put away."""
    if state.delivery is None:
        raise DeadLetterNotFound(f"No dead letter {letter_id}.")
    if state.status != "waiting":
        raise InvalidTransition(f"Dead letter {letter_id} is {state.status}.")
    return state.delivery


def decide_skip(command: SkipDeadLetter, state: DeadLetter, now: datetime) -> list[Event]:
    """Refused as `waiting_delivery`."""
    waiting_delivery(command.letter_id, state)
    return [DeadLetterSkipped(command.letter_id, command.reason, now)]
