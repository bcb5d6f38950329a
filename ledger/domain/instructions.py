"""Money on its way out of escrow, in two steps: reserved by an instruction, gone when its transaction is confirmed.

The platform's fee goes back with a refund in proportion to all refunds together, so that many partial ones return it to
the last minor unit. Pure. Standard library and msgspec only. Read next: `disputes.py`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from ledger.domain.payment_events import (
    Event,
    InstructionCancelled,
    InstructionReserved,
    Kind,
    PaymentRefunded,
    PaymentReleased,
    Source,
)
from ledger.domain.payments import Instruction, Payment, check_may, check_opened, fact, moved
from ledger.errors import CorruptionError, InvalidCommand, InvalidTransition
from ledger.money import Money, format_minor
from ledger.payment_errors import AmountNotAvailable, AmountOnHold, InstructionNotFound

BUCKET_OF: dict[Kind, str] = {"release": "releasing", "refund": "refunding"}
"""Kind of instruction → the bucket in which its amount is reserved."""
DONE: dict[Kind, str] = {"release": "released", "refund": "refunded"}
"""Kind of instruction → the bucket its amount is in when it is confirmed."""

STEPS: Final[Mapping[str, Mapping[str, str]]] = {
    "reserved": {"confirm": "confirmed", "cancel": "cancelled"},
    "confirmed": {},
    "cancelled": {},
}
"""Status of an instruction → what may be done with it, and the status after. To do the same again changes nothing."""

# ── commands ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Instruct(msgspec.Struct, frozen=True):
    """Release or refund so much; None is all that is held. A release is its buyer's, a refund its seller's, or an admin's."""

    instruction_id: str
    payment_id: str
    kind: Kind
    amount: Money | None
    user_id: str
    role: str


class ConfirmInstruction(msgspec.Struct, frozen=True):
    """It was paid out, by that transaction."""

    instruction_id: str
    payment_id: str
    kind: Kind
    tx_hash: str


class CancelInstruction(msgspec.Struct, frozen=True):
    """It will not be paid out."""

    instruction_id: str
    payment_id: str
    kind: Kind


# ── decide ────────────────────────────────────────────────────────────────────────────────────────────────────────


def decide_instruct(command: Instruct, state: Payment, now: datetime) -> list[Event]:
    """Reserve it. Refused: who may not, another currency, more than is held."""
    check_opened(command.payment_id, state)
    party = state.buyer_id if command.kind == "release" else state.seller_id
    check_may(command.payment_id, state, command.user_id, command.role, ("admin",), party)
    amount = amount_of_held(state, command.amount)
    return [reserve(command.payment_id, state, command.instruction_id, command.kind, amount, now)]


def amount_of_held(state: Payment, wanted: Money | None) -> int:
    """So much of what is held, or all of it. Refused: another currency, nothing, more than there is."""
    held, disputed = state.standing.held, state.standing.disputed
    if wanted is None:
        amount = held
    elif wanted.currency != state.currency:
        raise InvalidCommand.field("amount.currency", f"must be {state.currency}, the currency of the payment.")
    elif wanted.minor < 1:
        raise InvalidCommand.field("amount.amount", "must be more than zero.")
    else:
        amount = wanted.minor
    if 0 < amount <= held:
        return amount
    asked = f"{_text(amount, state)} asked for" if amount else "nothing can be taken"
    there = f"{_text(held, state)} held"
    if disputed and held + disputed >= amount:
        raise AmountOnHold(f"{there} and {_text(disputed, state)} on hold by a dispute, {asked}.")
    raise AmountNotAvailable(f"{there}, {asked}.")


def reserve(
    payment_id: str,
    state: Payment,
    instruction_id: str,
    kind: Kind,
    amount: int,
    now: datetime,
    *,
    source: Source = "held",
    dispute_id: str = "",
) -> InstructionReserved:
    """Set so much aside, out of what is held or what was disputed."""
    if not instruction_id:
        raise CorruptionError("an instruction without an id can be neither confirmed nor cancelled")
    after = moved(state, **{source: -amount, BUCKET_OF[kind]: amount})
    return InstructionReserved(
        **fact(payment_id, state, now, after),
        instruction_id=instruction_id,
        kind=kind,
        amount_minor=amount,
        source=source,
        dispute_id=dispute_id,
    )


def instruction_of(command: ConfirmInstruction | CancelInstruction, state: Payment) -> Instruction:
    """The instruction of that kind. Refused: there is none."""
    check_opened(command.payment_id, state)
    found = state.instructions.get(command.instruction_id)
    if found is None or found.kind != command.kind:
        raise InstructionNotFound(f"Payment {command.payment_id} has no {command.kind} {command.instruction_id}.")
    return found


def decide_confirm(command: ConfirmInstruction, state: Payment, now: datetime) -> list[Event]:
    """It has left. The same again is nothing; refused: a cancelled one, one that another transaction confirmed."""
    found = instruction_of(command, state)
    if found.status == "confirmed" and found.tx_hash == command.tx_hash:
        return []
    if "confirm" not in STEPS[found.status]:
        by = f" by transaction {found.tx_hash}" if found.tx_hash else ""
        raise InvalidTransition(
            f"Instruction {found.instruction_id} is {found.status}{by} and does not become confirmed."
        )
    amount, kind = found.amount_minor, found.kind
    detail: dict[str, Any] = {
        "instruction_id": found.instruction_id,
        "amount_minor": amount,
        "tx_hash": command.tx_hash,
        "dispute_id": found.dispute_id,
    }
    if kind == "release":
        after = moved(state, releasing=-amount, released=amount)
        return [PaymentReleased(**fact(command.payment_id, state, now, after), **detail)]
    fee = fee_to_return(state, amount)
    after = moved(state, refunding=-amount, platform_fees=-fee, refunded=amount + fee)
    return [PaymentRefunded(**fact(command.payment_id, state, now, after), **detail, fee_returned_minor=fee)]


def fee_to_return(state: Payment, amount: int) -> int:
    """What of the platform's fee a refund returns: all refunds' part of it, rounded down, less what they returned."""
    escrow = state.held_at_funding_minor
    if not state.platform_fee_minor or escrow < 1:
        return 0
    together = state.platform_fee_minor * (state.refunded_minor + amount) // escrow
    # A chargeback may have taken the fee before.
    return max(0, min(together - state.fee_returned_minor, state.standing.platform_fees))


def decide_cancel_instruction(command: CancelInstruction, state: Payment, now: datetime) -> list[Event]:
    """What was reserved is held again. The same again is nothing; refused: a confirmed one."""
    found = instruction_of(command, state)
    if found.status == "cancelled":
        return []
    if "cancel" not in STEPS[found.status]:
        raise InvalidTransition(f"Instruction {found.instruction_id} is {found.status} and does not become cancelled.")
    return [take_back(command.payment_id, state, found, now)]


def take_back(
    payment_id: str, state: Payment, instruction: Instruction, now: datetime, reason: str = ""
) -> InstructionCancelled:
    """The event that ends a reserved instruction without paying it."""
    amount = instruction.amount_minor
    after = moved(state, **{BUCKET_OF[instruction.kind]: -amount, "held": amount})
    return InstructionCancelled(
        **fact(payment_id, state, now, after),
        instruction_id=instruction.instruction_id,
        kind=instruction.kind,
        amount_minor=amount,
        dispute_id=instruction.dispute_id,
        reason=reason,
    )


def _text(minor: int, state: Payment) -> str:
    return f"{format_minor(minor, state.currency)} {state.currency}"
