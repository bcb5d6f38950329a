"""What can happen to a dispute: every event of a stream `dispute-<id>`, their stored names, and the words they use.

Defaults are left out of the bytes. Standard library and msgspec only. Read next: `disputes.py`, which decides them.
"""

from datetime import datetime
from typing import Final, Literal, get_args

import msgspec

Category = Literal["product_quality", "delivery_delay", "wrong_item", "payment_issue", "seller_behavior", "other"]
Priority = Literal["low", "medium", "high", "urgent"]
Action = Literal["refund", "replacement", "compensation", "warning_seller", "ban_seller", "no_action"]
Status = Literal["pending", "in_progress", "resolved", "closed"]
CATEGORIES: Final[tuple[str, ...]] = get_args(Category)
PRIORITIES: Final[tuple[str, ...]] = get_args(Priority)
ACTIONS: Final[tuple[str, ...]] = get_args(Action)
STATUSES: Final[tuple[str, ...]] = get_args(Status)
"""The one source of these words: routes, their documentation and the read model's checks are made from it."""


class DisputeFact(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What every event of a dispute says: which, about what, between whom, when."""

    dispute_id: str
    purchase_request_id: str
    payment_id: str
    buyer_id: str
    seller_id: str
    occurred_at: datetime


class DisputeOpened(DisputeFact, frozen=True, kw_only=True):
    """So much is held. `reserved` are the instructions that were reserved before and are not confirmed yet."""

    opened_by: str
    category: Category
    priority: Priority
    reason: str
    amount_minor: int
    currency: str
    reserved: tuple[str, ...] = ()


class DisputeAssigned(DisputeFact, frozen=True, kw_only=True):
    """That resolver works on it."""

    resolver_id: str


class EvidenceAdded(DisputeFact, frozen=True, kw_only=True):
    """Somebody had something to say."""

    evidence_id: str
    by: str
    role: str
    text: str
    url: str = ""


class DisputeResolved(DisputeFact, frozen=True, kw_only=True):
    """Decided: so much to each side, the rest is held again. `instructions` are those the parts became."""

    action: Action
    note: str
    by: str
    currency: str
    to_buyer_minor: int = 0
    to_seller_minor: int = 0
    returned_minor: int = 0
    instructions: tuple[str, ...] = ()


class DisputeClosed(DisputeFact, frozen=True, kw_only=True):
    """All its instructions are confirmed or cancelled."""


TAGS: Final[dict[str, type[msgspec.Struct]]] = {
    "dispute.opened.v1": DisputeOpened,
    "dispute.assigned.v1": DisputeAssigned,
    "dispute.evidence-added.v1": EvidenceAdded,
    "dispute.resolved.v1": DisputeResolved,
    "dispute.closed.v1": DisputeClosed,
}
"""The stored names, frozen for ever."""

Event = DisputeOpened | DisputeAssigned | EvidenceAdded | DisputeResolved | DisputeClosed
