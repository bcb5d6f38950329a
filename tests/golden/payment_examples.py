"""One example of everything stored about payments, disputes and money in suspense. Part of `examples.py`."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from ledger.domain import dead_letters, dispute_events, disputes, payment_events, payments, purchase_events, suspense
from ledger.domain.deliveries import Delivery
from ledger.domain.lots import RestoredLot
from ledger.domain.payment_events import Standing

AT: Final = datetime(2026, 3, 1, 12, 30, 45, 123456, tzinfo=UTC)
UNTIL: Final = datetime(2027, 3, 1, 12, 30, 45, 123456, tzinfo=UTC)
BACK_TO: Final = (RestoredLot(2, 30, 42, UNTIL), RestoredLot(3, 12, 1000, None))
PARTIES: Final[dict[str, Any]] = {
    "purchase_request_id": "p-1", "buyer_id": "u-1", "seller_id": "u-2", "occurred_at": AT,
}  # fmt: skip
FUNDED: Final = Standing(
    "confirmed", "partial", gross=1000, provider_fees=20, platform_fees=25, held=400, disputed=100, releasing=200,
    refunding=55, released=150, refunded=50, suspense=7,
)  # fmt: skip
OF_PAYMENT: Final[dict[str, Any]] = {**PARTIES, "payment_id": "pay-1", "currency": "USD", "after": FUNDED}
OF_DISPUTE: Final[dict[str, Any]] = {**PARTIES, "payment_id": "pay-1", "dispute_id": "d-1"}
OF_INSTRUCTION: Final[dict[str, Any]] = {**OF_PAYMENT, "instruction_id": "i-1", "amount_minor": 200}
DELIVERY: Final = Delivery("l-1", "stripe", "msg-1", "payment.confirmed", "pay-1", 1007, "USD", "0x01", 20)

EVENTS: Final[Mapping[str, msgspec.Struct]] = {
    "purchase.payment-opened.v1": purchase_events.PurchasePaymentOpened("p-1", "u-1", "u-2", "pay-1", AT),
    "purchase.disputed.v1": purchase_events.PurchaseDisputed("p-1", "u-1", "u-2", "d-1", AT),
    "purchase.dispute-decided.v1": purchase_events.PurchaseDisputeDecided("p-1", "u-1", "u-2", "d-1", AT),
    "purchase.points-reversed.v1": purchase_events.PurchasePointsReversed(
        "p-1", "u-1", "u-2", "pay-1", 9, 7, 42, BACK_TO, AT
    ),
    "payment.opened.v1": payment_events.PaymentOpened(
        **OF_PAYMENT | {"after": Standing()}, provider="stripe", due_minor=1000, delivered=True
    ),
    "payment.delivery-received.v1": payment_events.PaymentDeliveryReceived(
        **OF_PAYMENT, provider="stripe", webhook_id="msg-1", type="payment.confirmed", amount_minor=1007, tx_hash="0x01",
        provider_fee_minor=20,
    ),
    "payment.funded.v1": payment_events.PaymentFunded(
        **OF_PAYMENT, tx_hash="0x01", amount_minor=1007, counted_minor=1000, excess_minor=7, provider_fee_minor=20,
        platform_fee_minor=25, suspense_id="l-1", from_suspense="l-0", funded=True,
    ),
    "payment.cancelled.v1": payment_events.PaymentCancelled(**OF_PAYMENT, reason="replaced"),
    "payment.delivered.v1": payment_events.PaymentDelivered(**OF_PAYMENT, purchase_status="delivered"),
    "payment.instruction-reserved.v1": payment_events.InstructionReserved(
        **OF_INSTRUCTION, kind="release", source="disputed", dispute_id="d-1"
    ),
    "payment.instruction-cancelled.v1": payment_events.InstructionCancelled(
        **OF_INSTRUCTION, kind="refund", dispute_id="d-1", reason="charged back"
    ),
    "payment.released.v1": payment_events.PaymentReleased(**OF_INSTRUCTION, tx_hash="0x02", dispute_id="d-1"),
    "payment.refunded.v1": payment_events.PaymentRefunded(
        **OF_INSTRUCTION, tx_hash="0x03", fee_returned_minor=5, dispute_id="d-1"
    ),
    "payment.disputed.v1": payment_events.PaymentDisputed(**OF_PAYMENT, dispute_id="d-1", amount_minor=100),
    "payment.hold-lifted.v1": payment_events.PaymentHoldLifted(**OF_PAYMENT, dispute_id="d-1", amount_minor=100),
    "payment.charged-back.v1": payment_events.PaymentChargedBack(
        **OF_PAYMENT, tx_hash="0x04", amount_minor=900, from_held_minor=400, from_disputed_minor=100,
        from_platform_fees_minor=25, receivable_minor=150, pending_minor=225,
    ),
    "payment.fee-taken.v1": payment_events.PaymentFeeTaken(
        **OF_PAYMENT, provider_fee_minor=20, from_held_minor=12, from_platform_fees_minor=5, from_refunded_minor=3,
        pending_minor=3,
    ),
    "payment.excess-settled.v1": payment_events.PaymentExcessSettled(**OF_PAYMENT, suspense_id="l-1", amount_minor=7),
    "dispute.opened.v1": dispute_events.DisputeOpened(
        **OF_DISPUTE, opened_by="u-1", category="wrong_item", priority="high", reason="Another book", amount_minor=100,
        currency="USD", reserved=("i-1", "i-2"),
    ),
    "dispute.assigned.v1": dispute_events.DisputeAssigned(**OF_DISPUTE, resolver_id="u-9"),
    "dispute.evidence-added.v1": dispute_events.EvidenceAdded(
        **OF_DISPUTE, evidence_id="e-1", by="u-1", role="buyer", text="A photograph ☃", url="https://files.example/p.jpg"
    ),
    "dispute.resolved.v1": dispute_events.DisputeResolved(
        **OF_DISPUTE, action="compensation", note="Half", by="u-9", currency="USD", to_buyer_minor=40,
        to_seller_minor=50, returned_minor=10, instructions=("i-3", "i-4"),
    ),
    "dispute.closed.v1": dispute_events.DisputeClosed(**OF_DISPUTE),
    "suspense.parked.v1": suspense.SuspenseParked(
        "l-1", 7, "USD", "EXCESS", "stripe", AT, "pay-1", "0x01", "p-1", "l-1"
    ),
    "suspense.settled.v1": suspense.SuspenseSettled("l-1", "return", 5, 2, "USD", "Paid twice", AT, "pay-2", "0x05"),
    "letter.written.v1": dead_letters.DeadLetterWritten(
        "l-1", "WRONG_CURRENCY", "Payment pay-1 is in EUR, not USD.", DELIVERY, AT, "l-1"
    ),
    "letter.replayed.v1": dead_letters.DeadLetterReplayed("l-1", AT),
    "letter.skipped.v1": dead_letters.DeadLetterSkipped("l-1", "Seen", AT),
}  # fmt: skip

STATES: Final[Mapping[str, msgspec.Struct]] = {
    "state.payment.1": payments.Payment(
        "p-1", "u-1", "u-2", "stripe", "USD", 1000, AT, FUNDED, frozenset({"payment.confirmed"}),
        cancelled=True, delivered=True, transactions={"0x01": 1007}, chargebacks={"0x04": 900}, fees={"0x01": 20},
        pending_chargeback_minor=225, receivable_minor=150, platform_fee_minor=25, refunded_minor=50,
        fee_returned_minor=5,
        instructions={"i-1": payments.Instruction("i-1", "refund", 50, "confirmed", "0x03", 5, "d-1")},
    ),
    "state.dispute.1": disputes.Dispute(
        "closed", "p-1", "pay-1", "u-1", "u-2", "wrong_item", "high", "Another book", 100, "USD", "u-9", "compensation",
        ("i-1",), ("i-3",), (disputes.Evidence("e-1", "u-1", "buyer", "A photograph", AT, "https://files.example"),),
    ),
    "state.suspense.1": suspense.SuspenseItem("EXCESS", 7, 2, "USD", "stripe", "pay-1", "0x01"),
    "state.letter.1": dead_letters.DeadLetter("waiting", "WRONG_CURRENCY", DELIVERY, "l-1"),
}  # fmt: skip
