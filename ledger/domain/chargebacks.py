"""The provider takes money back for the buyer: from what is held, then from what is reserved, then from what is disputed.

What is gone already the seller owes; what is not here yet is taken when it comes, so that a chargeback may arrive before
the payment it is of. Pure. Standard library and msgspec only. Read next: `../use_cases/deliveries.py`.
"""

from datetime import datetime

from ledger.domain.instructions import take_back
from ledger.domain.payment_events import Event, PaymentChargedBack
from ledger.domain.payments import Instruction, Payment, evolve, fact, moved


def charge_back(payment_id: str, state: Payment, amount_minor: int, tx_hash: str, now: datetime) -> list[Event]:
    """Take it, and what is pending. A reservation that is needed for it is cancelled, the newest release first.

    After what is disputed the platform gives its fee. The rest was released, or kept by the provider: the seller owes
    it, and never more than that. What the buyer has back by a refund nobody owes a second time.
    """
    wanted = state.pending_chargeback_minor + amount_minor
    events: list[Event] = []
    for instruction in reversed(_reserved(state)):
        if state.standing.held >= wanted:
            break
        cancelled = take_back(payment_id, state, instruction, now, reason="charged back")
        events.append(cancelled)
        state = evolve(state, cancelled)
    standing = state.standing
    held = min(wanted, standing.held)
    disputed = min(wanted - held, standing.disputed)
    fees = min(wanted - held - disputed, standing.platform_fees)
    rest = wanted - held - disputed - fees
    # Of a payment that is not complete what is missing may still come, and pays before the seller does.
    gone = standing.released + (standing.provider_fees if state.is_funded else 0) - state.receivable_minor
    receivable = min(rest, max(0, gone))
    after = moved(state, held=-held, disputed=-disputed, platform_fees=-fees, refunded=held + disputed + fees)
    events.append(
        PaymentChargedBack(
            **fact(payment_id, state, now, after),
            tx_hash=tx_hash,
            amount_minor=amount_minor,
            from_held_minor=held,
            from_disputed_minor=disputed,
            from_platform_fees_minor=fees,
            receivable_minor=receivable,
            pending_minor=rest - receivable,
        )
    )
    return events


def charge_pending(payment_id: str, state: Payment, now: datetime) -> list[Event]:
    """Take what was charged back before it was paid, as far as it is here now."""
    if not state.pending_chargeback_minor:
        return []
    events = charge_back(payment_id, state, 0, "", now)
    last = events[-1]
    assert isinstance(last, PaymentChargedBack), "a chargeback ends with itself"
    return [] if last.pending_minor == state.pending_chargeback_minor else events


def _reserved(state: Payment) -> list[Instruction]:
    """Oldest first; releases are taken back before refunds, which go to the buyer anyway."""
    reserved = [one for one in state.instructions.values() if one.status == "reserved"]
    return sorted(reserved, key=lambda one: one.kind == "release")
