"""A dispute about a purchase, stream `dispute-<id>`: it holds a part of the money until somebody neutral decides.

Pure. Standard library and msgspec only. Read next: `../use_cases/disputes.py`, which moves the money with it.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from ledger.domain.dispute_events import (
    Action,
    Category,
    DisputeAssigned,
    DisputeClosed,
    DisputeOpened,
    DisputeResolved,
    Event,
    EvidenceAdded,
    Priority,
)
from ledger.domain.payments import Payment
from ledger.domain.purchases import Purchase, check_registered
from ledger.errors import InvalidCommand, InvalidTransition, NotYourPurchase
from ledger.money import Money, format_minor
from ledger.payment_errors import DisputeExists, DisputeNotFound, NotYourDispute

COMMANDS: Final[Mapping[str, Mapping[str, str]]] = {
    "pending": {"assign": "in_progress", "evidence": "pending", "resolve": "resolved"},
    "in_progress": {"assign": "in_progress", "evidence": "in_progress", "resolve": "resolved"},
    "resolved": {"settle": "closed"},
    "closed": {},
}
"""Status → what may be done in it, and the status after. `settle` is the ledger's own: the last instruction ended."""
MOST_EVIDENCE: Final = 200
RESOLVERS: Final = ("admin", "resolver")

# ── commands ──────────────────────────────────────────────────────────────────────────────────────────────────────


class OpenDispute(msgspec.Struct, frozen=True):
    """A party of a purchase wants so much of its money held; None is all that is held."""

    dispute_id: str
    purchase_request_id: str
    user_id: str
    category: Category
    priority: Priority
    reason: str
    amount: Money | None = None


class AssignDispute(msgspec.Struct, frozen=True):
    """Somebody takes it up."""

    dispute_id: str
    resolver_id: str


class AddEvidence(msgspec.Struct, frozen=True):
    """A text, and where more is to be seen."""

    evidence_id: str
    dispute_id: str
    user_id: str
    role: str
    text: str
    url: str = ""


class ResolveDispute(msgspec.Struct, frozen=True):
    """The decision. With neither part given, `refund` sends all to the buyer and any other action returns it to held."""

    dispute_id: str
    user_id: str
    action: Action
    note: str
    refund_id: str
    release_id: str
    to_buyer: Money | None = None
    to_seller: Money | None = None


# ── state and evolve ──────────────────────────────────────────────────────────────────────────────────────────────


class Evidence(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One piece, by whom and when."""

    evidence_id: str
    by: str
    role: str
    text: str
    added_at: datetime
    url: str = ""


class Dispute(msgspec.Struct, frozen=True, rename="camel"):
    """The dispute now; opened nowhere while `status` is empty. `instructions` are those that its decision made."""

    status: str = ""
    purchase_request_id: str = ""
    payment_id: str = ""
    buyer_id: str = ""
    seller_id: str = ""
    category: str = ""
    priority: str = ""
    reason: str = ""
    amount_minor: int = 0
    currency: str = ""
    resolver_id: str = ""
    action: str = ""
    reserved: tuple[str, ...] = ()
    instructions: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether it holds money."""
        return self.status in ("pending", "in_progress")


def evolve(state: Dispute, event: Event) -> Dispute:
    """The dispute after the event; the given one stays as it is."""
    match event:
        case DisputeOpened():
            return Dispute(
                "pending",
                event.purchase_request_id,
                event.payment_id,
                event.buyer_id,
                event.seller_id,
                event.category,
                event.priority,
                event.reason,
                event.amount_minor,
                event.currency,
                reserved=event.reserved,
            )
        case DisputeAssigned():
            return msgspec.structs.replace(state, status="in_progress", resolver_id=event.resolver_id)
        case EvidenceAdded():
            piece = Evidence(event.evidence_id, event.by, event.role, event.text, event.occurred_at, event.url)
            return msgspec.structs.replace(state, evidence=(*state.evidence, piece))
        case DisputeResolved():
            return msgspec.structs.replace(
                state, status="resolved", action=event.action, instructions=event.instructions
            )
        case DisputeClosed():
            return msgspec.structs.replace(state, status="closed")


# ── decide ────────────────────────────────────────────────────────────────────────────────────────────────────────


def decide_open(command: OpenDispute, purchase: Purchase, payment: Payment, amount: int, now: datetime) -> list[Event]:
    """Hold so much. Refused before, by `check_disputable`: who may not, a second one."""
    return [
        DisputeOpened(
            dispute_id=command.dispute_id,
            purchase_request_id=command.purchase_request_id,
            payment_id=purchase.payment_id,
            buyer_id=purchase.buyer_id,
            seller_id=purchase.seller_id,
            occurred_at=now,
            opened_by=command.user_id,
            category=command.category,
            priority=command.priority,
            reason=command.reason,
            amount_minor=amount,
            currency=payment.currency,
            reserved=tuple(one.instruction_id for one in payment.instructions.values() if one.status == "reserved"),
        )
    ]


def check_disputable(command: OpenDispute, purchase: Purchase) -> None:
    """Refused: an unknown purchase, somebody else's, one with a dispute that is open."""
    purchase_id = command.purchase_request_id
    check_registered(purchase_id, purchase)
    if command.user_id not in (purchase.buyer_id, purchase.seller_id):
        raise NotYourPurchase(f"Purchase {purchase_id} is not yours.")
    if purchase.dispute_id:
        raise DisputeExists(f"Purchase {purchase_id} has dispute {purchase.dispute_id}, which is open.")


def check_step(dispute_id: str, state: Dispute, step: str) -> None:
    """Refused: an unknown dispute, a step that its status does not have."""
    if not state.status:
        raise DisputeNotFound(f"No dispute {dispute_id}.")
    if step not in COMMANDS[state.status]:
        raise InvalidTransition(f"Dispute {dispute_id} is {state.status}: {step} is not possible.")


def decide_assign(command: AssignDispute, state: Dispute, now: datetime) -> list[Event]:
    """Somebody neutral takes it up; to be given the same again is nothing."""
    check_step(command.dispute_id, state, "assign")
    if command.resolver_id in (state.buyer_id, state.seller_id):
        raise InvalidCommand.field("resolverId", "must be neither the buyer nor the seller.")
    if command.resolver_id == state.resolver_id:
        return []
    return [DisputeAssigned(**_fact(command.dispute_id, state, now), resolver_id=command.resolver_id)]


def decide_evidence(command: AddEvidence, state: Dispute, now: datetime) -> list[Event]:
    """Refused: who is neither party nor resolver, a dispute that is decided, more than anybody reads."""
    check_exists(command.dispute_id, state)
    if command.role not in RESOLVERS and command.user_id not in (state.buyer_id, state.seller_id):
        raise NotYourDispute(f"Dispute {command.dispute_id} is not yours.")
    check_step(command.dispute_id, state, "evidence")
    if len(state.evidence) >= MOST_EVIDENCE:
        raise InvalidCommand(
            f"Dispute {command.dispute_id} has {MOST_EVIDENCE} pieces of evidence, and no room for more."
        )
    return [
        EvidenceAdded(
            **_fact(command.dispute_id, state, now),
            evidence_id=command.evidence_id,
            by=command.user_id,
            role=command.role,
            text=command.text,
            url=command.url,
        )
    ]


def check_exists(dispute_id: str, state: Dispute) -> None:
    """Refused: an unknown dispute."""
    if not state.status:
        raise DisputeNotFound(f"No dispute {dispute_id}.")


class Split(msgspec.Struct, frozen=True):
    """Where the disputed amount goes; the parts together are all of it."""

    to_buyer: int
    to_seller: int
    returned: int


def split_of(command: ResolveDispute, state: Dispute, disputed: int) -> Split:
    """The parts as they were given, or as the action has them. `disputed` is what is on hold now. Refused: another sum."""
    if command.to_buyer is None and command.to_seller is None:
        return Split(disputed, 0, 0) if command.action == "refund" else Split(0, 0, disputed)
    for field, part in (("toBuyer", command.to_buyer), ("toSeller", command.to_seller)):
        if part is not None and part.currency != state.currency:
            raise InvalidCommand.field(f"{field}.currency", f"must be {state.currency}, the currency of the payment.")
    to_buyer = command.to_buyer.minor if command.to_buyer else 0
    to_seller = command.to_seller.minor if command.to_seller else 0
    if to_buyer + to_seller != disputed:
        together, wanted = (format_minor(minor, state.currency) for minor in (to_buyer + to_seller, disputed))
        raise InvalidCommand.field(
            "toBuyer", f"and toSeller are {together} together, {wanted} {state.currency} are disputed."
        )
    return Split(to_buyer, to_seller, 0)


def check_resolvable(command: ResolveDispute, state: Dispute) -> None:
    """Refused: an unknown dispute, a party as its own judge, one that is decided."""
    check_exists(command.dispute_id, state)
    if command.user_id in (state.buyer_id, state.seller_id):
        raise NotYourDispute(f"Dispute {command.dispute_id} is yours: somebody else decides it.")
    check_step(command.dispute_id, state, "resolve")


def decide_resolve(
    command: ResolveDispute, state: Dispute, split: Split, instructions: tuple[str, ...], now: datetime
) -> list[Event]:
    """The decision; with nothing to pay out it is closed at once."""
    resolved = DisputeResolved(
        **_fact(command.dispute_id, state, now),
        action=command.action,
        note=command.note,
        by=command.user_id,
        currency=state.currency,
        to_buyer_minor=split.to_buyer,
        to_seller_minor=split.to_seller,
        returned_minor=split.returned,
        instructions=instructions,
    )
    if instructions:
        return [resolved]
    return [resolved, DisputeClosed(**_fact(command.dispute_id, state, now))]


def decide_settle(dispute_id: str, state: Dispute, payment: Payment, now: datetime) -> list[Event]:
    """Close it, if it is decided and none of its instructions is reserved any more. `payment` is as it is after them."""
    if state.status != "resolved":
        return []
    if any(payment.instructions[one].status == "reserved" for one in state.instructions):
        return []
    return [DisputeClosed(**_fact(dispute_id, state, now))]


def _fact(dispute_id: str, state: Dispute, now: datetime) -> dict[str, Any]:
    return {
        "dispute_id": dispute_id,
        "purchase_request_id": state.purchase_request_id,
        "payment_id": state.payment_id,
        "buyer_id": state.buyer_id,
        "seller_id": state.seller_id,
        "occurred_at": now,
    }
