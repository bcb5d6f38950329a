"""Payments, their instructions and disputes as they are shown: one shape for answers of commands and for reads.

Pure: standard library and msgspec only. Read next: `../projections/payments.py`.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from ledger.domain.dispute_events import Action, Category, Priority, Status
from ledger.domain.disputes import Dispute
from ledger.domain.payment_events import EscrowState, InstructionStatus, Kind, PaymentStatus, Standing
from ledger.domain.payments import Instruction, Payment
from ledger.money import MoneyText, money_text

# ── shapes ────────────────────────────────────────────────────────────────────────────────────────────────────────


class BucketsView(msgspec.Struct, frozen=True, rename="camel"):
    """Where the money is: `gross` is the sum of those between it and `suspense`, which is beyond it."""

    gross: MoneyText
    provider_fees: MoneyText
    platform_fees: MoneyText
    held: MoneyText
    disputed: MoneyText
    releasing: MoneyText
    refunding: MoneyText
    released: MoneyText
    refunded: MoneyText
    suspense: MoneyText


class InstructionView(msgspec.Struct, frozen=True, rename="camel"):
    """An order to release or refund so much. `tx_hash` is the transaction that confirmed it.

    `fee_returned` is the part of the platform's fee that went back with a refund, on top of the amount.
    """

    instruction_id: str
    payment_id: str
    kind: Kind
    amount: MoneyText
    status: InstructionStatus
    tx_hash: str | UnsetType = UNSET
    fee_returned: MoneyText | UnsetType = UNSET
    dispute_id: str | UnsetType = UNSET


class PaymentView(msgspec.Struct, frozen=True, rename="camel"):
    """A payment; `amount` is what is due, `version` that of its stream. Instructions where one payment is asked for."""

    id: str
    purchase_request_id: str
    buyer_id: str
    seller_id: str
    provider: str
    amount: MoneyText
    status: PaymentStatus
    escrow_state: EscrowState
    buckets: BucketsView
    version: int
    created_at: datetime
    updated_at: datetime
    instructions: Sequence[InstructionView] | UnsetType = UNSET


class EvidenceView(msgspec.Struct, frozen=True, rename="camel"):
    """One piece of evidence: by whom, in which role, when."""

    id: str
    user_id: str
    role: str
    text: str
    created_at: datetime
    url: str | UnsetType = UNSET


class DisputeView(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A dispute. `amount` was held by it, `instructions` were reserved before it or made by its decision."""

    id: str
    purchase_request_id: str
    payment_id: str
    buyer_id: str
    seller_id: str
    amount: MoneyText
    status: Status
    category: Category
    priority: Priority
    reason: str
    resolver_id: str | UnsetType = UNSET
    action: Action | UnsetType = UNSET
    instructions: Sequence[InstructionView]
    evidence: Sequence[EvidenceView]


# ── from states ───────────────────────────────────────────────────────────────────────────────────────────────────

BUCKET_FIELDS: Final = BucketsView.__struct_fields__
"""All buckets, gross and suspense included, in the order they are shown."""


def buckets_view(standing: Standing, currency: str) -> BucketsView:
    """Every bucket as money."""
    return BucketsView(*(money_text(getattr(standing, bucket), currency) for bucket in BUCKET_FIELDS))


def payment_view(
    payment_id: str, payment: Payment, version: int, created_at: datetime, updated_at: datetime
) -> PaymentView:
    """The payment, without its instructions."""
    standing = payment.standing
    return PaymentView(
        payment_id,
        payment.purchase_request_id,
        payment.buyer_id,
        payment.seller_id,
        payment.provider,
        money_text(payment.due_minor, payment.currency),
        standing.status,  # type: ignore[arg-type]  # one of them: the domain made it
        standing.escrow_state,  # type: ignore[arg-type]  # as above
        buckets_view(standing, payment.currency),
        version,
        created_at,
        updated_at,
    )


def instruction_view(payment_id: str, instruction: Instruction, currency: str) -> InstructionView:
    """The instruction as it is now."""
    fee = instruction.fee_returned_minor
    return InstructionView(
        instruction.instruction_id,
        payment_id,
        instruction.kind,
        money_text(instruction.amount_minor, currency),
        instruction.status,  # type: ignore[arg-type]  # one of them: the domain made it
        instruction.tx_hash or UNSET,
        money_text(fee, currency) if fee else UNSET,
        instruction.dispute_id or UNSET,
    )


def instructions_view(payment_id: str, payment: Payment) -> list[InstructionView]:
    """All instructions of a payment, oldest first."""
    return [instruction_view(payment_id, one, payment.currency) for one in payment.instructions.values()]


def dispute_view(dispute_id: str, dispute: Dispute, instructions: Sequence[InstructionView]) -> DisputeView:
    """The dispute, with the instructions it lists as they are now."""
    return DisputeView(
        id=dispute_id,
        purchase_request_id=dispute.purchase_request_id,
        payment_id=dispute.payment_id,
        buyer_id=dispute.buyer_id,
        seller_id=dispute.seller_id,
        amount=money_text(dispute.amount_minor, dispute.currency),
        status=dispute.status,  # type: ignore[arg-type]  # these words: the domain checked them
        category=dispute.category,  # type: ignore[arg-type]  # as above
        priority=dispute.priority,  # type: ignore[arg-type]  # as above
        reason=dispute.reason,
        resolver_id=dispute.resolver_id or UNSET,
        action=dispute.action or UNSET,  # type: ignore[arg-type]  # as above
        instructions=instructions,
        evidence=[
            EvidenceView(one.evidence_id, one.by, one.role, one.text, one.added_at, one.url or UNSET)
            for one in dispute.evidence
        ],
    )
