"""What a payment is, said a second time from the specification: buckets moved event by event, the words asked in order.

Fed with events alone, never with what they say about the standing after them: that is compared. Slow on purpose; it
shares no code with `ledger/domain/payments.py`.
"""

from collections import Counter

from ledger.domain import payment_events as events

RESERVED = {"release": "releasing", "refund": "refunding"}
COUNTED = {"payment.confirmed", "payment.completed", "payment.partial"}


class PaymentModel:
    """One payment."""

    def __init__(self) -> None:
        self.due = 0
        self.types: set[str] = set()
        self.cancelled = False
        self.delivered = False
        self.b: Counter[str] = Counter()
        self.suspense = 0
        self.said: dict[str, int] = {}
        """Transaction → what it brought: of every delivery that was taken for true, of what was applied from suspense."""
        self.fixed_fee = 0
        self.taken_by_refunds = 0
        self.returned_fee = 0
        self.was_refunded = False
        self.plain = True
        """No chargeback, and no fee taken afterwards: the platform's fee is where it was."""

    def take_in(self, event: events.PaymentFact) -> None:
        b = self.b
        match event:
            case events.PaymentOpened():
                self.due, self.delivered = event.due_minor, event.delivered
            case events.PaymentDeliveryReceived():
                self.types.add(event.type)
                if event.type in COUNTED:
                    assert self.said.setdefault(event.tx_hash, event.amount_minor) == event.amount_minor
            case events.PaymentFunded():
                assert self.said.setdefault(event.tx_hash, event.amount_minor) == event.amount_minor
                fees = event.provider_fee_minor + event.platform_fee_minor
                b.update(
                    gross=event.counted_minor,
                    held=event.counted_minor - fees,
                    provider_fees=event.provider_fee_minor,
                    platform_fees=event.platform_fee_minor,
                )
                assert event.counted_minor + event.excess_minor == event.amount_minor
                self.suspense += event.excess_minor
                self.fixed_fee += event.platform_fee_minor
                assert event.funded == (event.counted_minor > 0 and b["gross"] == self.due)
            case events.PaymentCancelled():
                assert not b["gross"], "what is paid is not cancelled"
                self.cancelled = True
            case events.PaymentDelivered():
                self.delivered = True
            case events.InstructionReserved():
                b.update({event.source: -event.amount_minor, RESERVED[event.kind]: event.amount_minor})
            case events.InstructionCancelled():
                b.update({RESERVED[event.kind]: -event.amount_minor, "held": event.amount_minor})
            case events.PaymentReleased():
                b.update(releasing=-event.amount_minor, released=event.amount_minor)
            case events.PaymentRefunded():
                fee = event.fee_returned_minor
                b.update(refunding=-event.amount_minor, platform_fees=-fee, refunded=event.amount_minor + fee)
                self._check_fee(event)
            case events.PaymentDisputed():
                b.update(held=-event.amount_minor, disputed=event.amount_minor)
            case events.PaymentHoldLifted():
                b.update(held=event.amount_minor, disputed=-event.amount_minor)
            case events.PaymentChargedBack():
                held, disputed, fees = event.from_held_minor, event.from_disputed_minor, event.from_platform_fees_minor
                b.update(held=-held, disputed=-disputed, platform_fees=-fees, refunded=held + disputed + fees)
                self.plain = False
            case events.PaymentFeeTaken():
                held, fees, back = event.from_held_minor, event.from_platform_fees_minor, event.from_refunded_minor
                b.update(held=-held, platform_fees=-fees, refunded=-back, provider_fees=held + fees + back)
                self.plain = False
            case events.PaymentExcessSettled():
                self.suspense -= event.amount_minor
        self._check_standing(event.after)

    def _check_fee(self, event: events.PaymentRefunded) -> None:
        """All refunds together return floor(platform fee x refunded / held at funding)."""
        self.taken_by_refunds += event.amount_minor
        self.returned_fee += event.fee_returned_minor
        at_funding = self.b["gross"] - self.b["provider_fees"] - self.fixed_fee
        share = self.fixed_fee * self.taken_by_refunds // at_funding
        assert self.returned_fee <= self.fixed_fee
        assert self.returned_fee == share if self.plain else self.returned_fee <= max(share, self.returned_fee)
        if self.plain and self.taken_by_refunds == at_funding:
            assert self.b["platform_fees"] == 0, "the last refund takes the remainder"

    def _check_standing(self, after: events.Standing) -> None:
        assert {name: getattr(after, name) for name in events.BUCKETS} == {
            name: self.b[name] for name in events.BUCKETS
        }
        assert after.gross == self.b["gross"] == sum(self.b[name] for name in events.BUCKETS)
        assert after.suspense == self.suspense >= 0
        assert min(self.b.values(), default=0) >= 0
        assert (after.status, after.escrow_state) == (self.status(), self.escrow_state())
        self.was_refunded |= after.status == "refunded"

    def gross(self) -> int:
        """The sum over distinct transactions, up to what is due."""
        return min(self.due, sum(self.said.values()))

    def status(self) -> str:
        """Section 4.2, in its order."""
        b = self.b
        if self.cancelled:
            return "cancelled"
        if b["refunded"] > 0 and not any(
            b[name] for name in ("held", "disputed", "releasing", "refunding", "released")
        ):
            return "refunded"
        if b["gross"] == self.due:
            return "completed" if "payment.completed" in self.types else "confirmed"
        if b["gross"] > 0:
            return "partial"
        for word in ("failed", "processing"):
            if f"payment.{word}" in self.types:
                return word
        return "pending"

    def escrow_state(self) -> str:
        """Section 4.2, in its order."""
        b = self.b
        for word in ("releasing", "refunding"):
            if b[word] > 0:
                return word
        if b["held"] + b["disputed"] > 0:
            if b["gross"] < self.due:
                return "partial"
            return "releasable" if self.delivered else "funded"
        for word in ("released", "refunded"):
            if b[word] > 0:
                return word
        return self.status() if self.status() in {"cancelled", "failed"} else "none"
