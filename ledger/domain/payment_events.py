"""What can happen to a payment: every event of a stream `payment-<id>`, and their stored names.

Each names its parties and carries the whole standing after it, so that whoever reads one event needs no other: status,
escrow state and all buckets, in minor units of the payment's currency. What moved is said beside it, for the journal.
Defaults are left out of the bytes. Standard library and msgspec only. Read next: `payments.py`, which folds them.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, Literal, get_args

import msgspec

BUCKETS: Final = (
    "provider_fees", "platform_fees", "held", "disputed", "releasing", "refunding", "released", "refunded",
)  # fmt: skip
"""Where the money of a payment may lie; together they are `gross`."""
PaymentStatus = Literal[
    "cancelled", "refunded", "completed", "confirmed", "partial", "failed", "processing", "pending",
]  # fmt: skip
"""In the order they are asked: a payment has the first that holds."""
EscrowState = Literal[
    "releasing", "refunding", "partial", "releasable", "funded", "released", "refunded", "cancelled", "failed", "none",
]  # fmt: skip
"""In the order they are asked, as the statuses."""
InstructionStatus = Literal["reserved", "confirmed", "cancelled"]
PAYMENT_STATUSES: Final[tuple[str, ...]] = get_args(PaymentStatus)
ESCROW_STATES: Final[tuple[str, ...]] = get_args(EscrowState)
INSTRUCTION_STATUSES: Final[tuple[str, ...]] = get_args(InstructionStatus)
"""The one source of these words: routes, their documentation and the read models' checks are made from it."""

COUNTING: Final = ("payment.confirmed", "payment.completed", "payment.partial")
"""Deliveries of these types say that money came in."""

Kind = Literal["release", "refund"]
Source = Literal["held", "disputed"]


class Standing(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A payment as it stands. `gross` is what was paid up to the amount due, `suspense` what came beyond it."""

    status: str = "pending"
    escrow_state: str = "none"
    gross: int = 0
    provider_fees: int = 0
    platform_fees: int = 0
    held: int = 0
    disputed: int = 0
    releasing: int = 0
    refunding: int = 0
    released: int = 0
    refunded: int = 0
    suspense: int = 0


class PaymentFact(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What every event of a payment says: which, whose, when, and how it stands after it."""

    payment_id: str
    purchase_request_id: str
    buyer_id: str
    seller_id: str
    currency: str
    occurred_at: datetime
    after: Standing


class PaymentOpened(PaymentFact, frozen=True, kw_only=True):
    """An intent to pay so much through that provider. `delivered`: what is paid for is already with the buyer."""

    provider: str
    due_minor: int
    delivered: bool = False


class PaymentDeliveryReceived(PaymentFact, frozen=True, kw_only=True):
    """The provider said something. What it changes about money is an event of its own, behind this one."""

    provider: str
    webhook_id: str
    type: str
    amount_minor: int
    tx_hash: str = ""
    provider_fee_minor: int = 0


class PaymentFunded(PaymentFact, frozen=True, kw_only=True):
    """Money came in by that transaction: counted up to what was due, the rest in suspense.

    The fees are what was taken from it and from what was held before. `from_suspense` names the item it was applied
    from; without, it came from the provider. `funded`: with it everything due is there.
    """

    tx_hash: str
    amount_minor: int
    counted_minor: int
    excess_minor: int = 0
    provider_fee_minor: int = 0
    platform_fee_minor: int = 0
    suspense_id: str = ""
    from_suspense: str = ""
    funded: bool = False


class PaymentCancelled(PaymentFact, frozen=True, kw_only=True):
    """Nobody will pay it."""

    reason: str = ""


class PaymentDelivered(PaymentFact, frozen=True, kw_only=True):
    """What was paid for has reached the buyer: the money may be released."""

    purchase_status: str


class InstructionReserved(PaymentFact, frozen=True, kw_only=True):
    """So much is set aside to be released or refunded, from what is held or from what was disputed."""

    instruction_id: str
    kind: Kind
    amount_minor: int
    source: Source = "held"
    dispute_id: str = ""


class InstructionCancelled(PaymentFact, frozen=True, kw_only=True):
    """What was set aside is held again."""

    instruction_id: str
    kind: Kind
    amount_minor: int
    dispute_id: str = ""
    reason: str = ""


class PaymentReleased(PaymentFact, frozen=True, kw_only=True):
    """The seller has it, by that transaction."""

    instruction_id: str
    amount_minor: int
    tx_hash: str
    dispute_id: str = ""


class PaymentRefunded(PaymentFact, frozen=True, kw_only=True):
    """The buyer has it back, by that transaction, and with it the platform's fee in proportion."""

    instruction_id: str
    amount_minor: int
    tx_hash: str
    fee_returned_minor: int = 0
    dispute_id: str = ""


class PaymentDisputed(PaymentFact, frozen=True, kw_only=True):
    """So much of what was held waits for the outcome of a dispute."""

    dispute_id: str
    amount_minor: int


class PaymentHoldLifted(PaymentFact, frozen=True, kw_only=True):
    """What was disputed is held again."""

    dispute_id: str
    amount_minor: int


class PaymentChargedBack(PaymentFact, frozen=True, kw_only=True):
    """The provider took money back for the buyer. `receivable_minor` was not here any more: the seller owes it.

    `pending_minor` is charged back before it was paid: taken when it comes. Of a payment that lacks nothing it is
    more than was ever paid on it, unless it is the excess that waits in suspense.
    """

    tx_hash: str
    amount_minor: int
    from_held_minor: int = 0
    from_disputed_minor: int = 0
    from_platform_fees_minor: int = 0
    receivable_minor: int = 0
    pending_minor: int = 0


class PaymentFeeTaken(PaymentFact, frozen=True, kw_only=True):
    """The provider's fee, as far as it could not be taken with the money it is for: said later, or more than was held.

    What it takes of `refunded` the chargeback had for it: that is pending again, and the seller's to owe.
    """

    provider_fee_minor: int
    from_held_minor: int = 0
    from_platform_fees_minor: int = 0
    from_refunded_minor: int = 0
    pending_minor: int = 0


class PaymentExcessSettled(PaymentFact, frozen=True, kw_only=True):
    """What came beyond the amount due went elsewhere; the item says where. So much of it was charged back before."""

    suspense_id: str
    amount_minor: int
    charged_back_minor: int = 0


FLOWS: Final[Mapping[type, tuple[tuple[str, str], ...]]] = {
    PaymentFunded: (("provider", "held"), ("held", "provider_fees"), ("held", "platform_fees"), ("provider", "suspense")),
    InstructionReserved: (
        ("held", "releasing"), ("held", "refunding"), ("disputed", "releasing"), ("disputed", "refunding"),
    ),
    InstructionCancelled: (("releasing", "held"), ("refunding", "held")),
    PaymentReleased: (("releasing", "released"),),
    PaymentRefunded: (("refunding", "refunded"), ("platform_fees", "refunded")),
    PaymentDisputed: (("held", "disputed"),),
    PaymentHoldLifted: (("disputed", "held"),),
    PaymentChargedBack: (("held", "refunded"), ("disputed", "refunded"), ("platform_fees", "refunded")),
    PaymentFeeTaken: (
        ("held", "provider_fees"), ("platform_fees", "provider_fees"), ("refunded", "provider_fees"),
    ),
    PaymentExcessSettled: (("suspense", "provider"),),
}  # fmt: skip
"""Event → from which bucket to which its money may go; an event that is not here moves none. Every append is held to it,
and the picture in the documentation is drawn from it. `provider` is outside."""

TAGS: Final[dict[str, type[msgspec.Struct]]] = {
    "payment.opened.v1": PaymentOpened,
    "payment.delivery-received.v1": PaymentDeliveryReceived,
    "payment.funded.v1": PaymentFunded,
    "payment.cancelled.v1": PaymentCancelled,
    "payment.delivered.v1": PaymentDelivered,
    "payment.instruction-reserved.v1": InstructionReserved,
    "payment.instruction-cancelled.v1": InstructionCancelled,
    "payment.released.v1": PaymentReleased,
    "payment.refunded.v1": PaymentRefunded,
    "payment.disputed.v1": PaymentDisputed,
    "payment.hold-lifted.v1": PaymentHoldLifted,
    "payment.charged-back.v1": PaymentChargedBack,
    "payment.fee-taken.v1": PaymentFeeTaken,
    "payment.excess-settled.v1": PaymentExcessSettled,
}
"""The stored names, frozen for ever."""

Event = (
    PaymentOpened
    | PaymentDeliveryReceived
    | PaymentFunded
    | PaymentCancelled
    | PaymentDelivered
    | InstructionReserved
    | InstructionCancelled
    | PaymentReleased
    | PaymentRefunded
    | PaymentDisputed
    | PaymentHoldLifted
    | PaymentChargedBack
    | PaymentFeeTaken
    | PaymentExcessSettled
)
