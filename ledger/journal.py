"""The journal: what one event means in double entry. Every balance, statement and export is made from this alone.

One event in, postings out that sum to zero in each currency, without looking at anything else. A posting's amount is
debit when positive and credit when negative, in minor units; points are whole, of the currency `PTS`.
Pure: standard library and msgspec only. Read next: `../projections/journal.py`, which keeps them.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from ledger.domain import account_events as points
from ledger.domain import payment_events as payments
from ledger.domain.suspense import EXCESS, SuspenseParked, SuspenseSettled
from ledger.errors import CorruptionError

POINTS: Final = "PTS"

ISSUANCE: Final = "issuance"
REDEEMED: Final = "redeemed"
BREAKAGE: Final = "breakage"
ADJUSTMENTS: Final = "adjustments"
PROVIDER_CLEARING: Final = "provider_clearing"
PROVIDER_FEES: Final = "fees:provider"
PLATFORM_FEES: Final = "fees:platform"
SUSPENSE: Final = "suspense"

ACCOUNTS: Final[Mapping[str, str]] = {
    ISSUANCE: "points given: what members earned, less what a refund took back",
    "member:<userId>": "a member's points; −320 are 320 points of theirs",
    REDEEMED: "points paid with, less those returned",
    BREAKAGE: "points that expired",
    ADJUSTMENTS: "points that admins granted, less those they deducted",
    PROVIDER_CLEARING: "money that providers took in, less what they took back or was returned through them",
    "escrow:<purchase>": "money held for a purchase",
    "disputed:<purchase>": "money held by a dispute",
    "reserved:<purchase>": "money set aside to be released or refunded",
    PROVIDER_FEES: "what providers keep",
    PLATFORM_FEES: "what the platform keeps",
    "payable:<sellerId>": "money released to a seller",
    "refundable:<buyerId>": "money given back to a buyer",
    "receivable:<sellerId>": "money a seller owes: charged back after it was released",
    SUSPENSE: "money that belongs nowhere yet",
}
"""Every account there is. The chart of accounts in the documentation is written from it."""


class Posting(msgspec.Struct, frozen=True):
    """So much to one account: debit if positive, credit if negative. Never zero."""

    account: str
    currency: str
    amount: int


def postings_of(event: object) -> tuple[Posting, ...]:
    """The double entry of an event; empty where nothing of value moves. `CorruptionError` if it does not balance."""
    rule = _RULES.get(type(event))
    if rule is None:
        return ()
    currency = POINTS if type(event) in _OF_POINTS else event.currency  # type: ignore[attr-defined]  # all others have one
    postings = tuple(Posting(account, currency, amount) for account, amount in rule(event) if amount)
    if sum(posting.amount for posting in postings):
        msg = f"the postings of {event} do not sum to zero: {postings}"
        raise CorruptionError(msg)
    return postings


Lines = tuple[tuple[str, int], ...]
"""(account, amount), before those of nothing are left away."""


def _transfer(amount: int, *, debit: str, credit: str) -> Lines:
    return (debit, amount), (credit, -amount)


# ── points ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _earned(event: points.PointsEarned) -> Lines:
    return _transfer(event.amount, debit=ISSUANCE, credit=f"member:{event.user_id}")


def _granted(event: points.PointsGranted) -> Lines:
    return _transfer(event.amount, debit=ADJUSTMENTS, credit=f"member:{event.user_id}")


def _deducted(event: points.PointsDeducted) -> Lines:
    return _transfer(event.amount, debit=f"member:{event.user_id}", credit=ADJUSTMENTS)


def _spent(event: points.PointsSpent) -> Lines:
    return _transfer(event.amount, debit=f"member:{event.user_id}", credit=REDEEMED)


def _restored(event: points.PointsRestored) -> Lines:
    return _transfer(event.amount, debit=REDEEMED, credit=f"member:{event.user_id}")


def _clawed_back(event: points.PointsClawedBack) -> Lines:
    return _transfer(event.amount, debit=f"member:{event.user_id}", credit=ISSUANCE)


def _expired(event: points.PointsExpired) -> Lines:
    return _transfer(event.amount, debit=f"member:{event.user_id}", credit=BREAKAGE)


# ── money ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _funded(event: payments.PaymentFunded) -> Lines:
    fees = event.provider_fee_minor + event.platform_fee_minor
    return (
        (SUSPENSE if event.from_suspense else PROVIDER_CLEARING, event.amount_minor),
        (f"escrow:{event.purchase_request_id}", fees - event.counted_minor),
        (PROVIDER_FEES, -event.provider_fee_minor),
        (PLATFORM_FEES, -event.platform_fee_minor),
        (SUSPENSE, -event.excess_minor),
    )


def _reserved(event: payments.InstructionReserved) -> Lines:
    source = "escrow" if event.source == "held" else "disputed"
    purchase = event.purchase_request_id
    return _transfer(event.amount_minor, debit=f"{source}:{purchase}", credit=f"reserved:{purchase}")


def _instruction_cancelled(event: payments.InstructionCancelled) -> Lines:
    purchase = event.purchase_request_id
    return _transfer(event.amount_minor, debit=f"reserved:{purchase}", credit=f"escrow:{purchase}")


def _released(event: payments.PaymentReleased) -> Lines:
    debit = f"reserved:{event.purchase_request_id}"
    return _transfer(event.amount_minor, debit=debit, credit=f"payable:{event.seller_id}")


def _refunded(event: payments.PaymentRefunded) -> Lines:
    return (
        (f"reserved:{event.purchase_request_id}", event.amount_minor),
        (PLATFORM_FEES, event.fee_returned_minor),
        (f"refundable:{event.buyer_id}", -event.amount_minor - event.fee_returned_minor),
    )


def _disputed(event: payments.PaymentDisputed) -> Lines:
    purchase = event.purchase_request_id
    return _transfer(event.amount_minor, debit=f"escrow:{purchase}", credit=f"disputed:{purchase}")


def _hold_lifted(event: payments.PaymentHoldLifted) -> Lines:
    purchase = event.purchase_request_id
    return _transfer(event.amount_minor, debit=f"disputed:{purchase}", credit=f"escrow:{purchase}")


def _charged_back(event: payments.PaymentChargedBack) -> Lines:
    returned = event.from_held_minor + event.from_disputed_minor + event.from_platform_fees_minor
    return (
        (f"escrow:{event.purchase_request_id}", event.from_held_minor),
        (f"disputed:{event.purchase_request_id}", event.from_disputed_minor),
        (PLATFORM_FEES, event.from_platform_fees_minor),
        (f"refundable:{event.buyer_id}", -returned),
        (f"receivable:{event.seller_id}", event.receivable_minor),
        (PROVIDER_CLEARING, -event.receivable_minor),
    )


def _fee_taken(event: payments.PaymentFeeTaken) -> Lines:
    return (
        (f"escrow:{event.purchase_request_id}", event.from_held_minor),
        (PLATFORM_FEES, event.from_platform_fees_minor),
        (f"refundable:{event.buyer_id}", event.from_refunded_minor),
        (PROVIDER_FEES, -event.provider_fee_minor),
    )


def _parked(event: SuspenseParked) -> Lines:
    if event.reason == EXCESS:
        return ()  # the payment's own event has posted it
    return _transfer(event.amount_minor, debit=PROVIDER_CLEARING, credit=SUSPENSE)


def _settled(event: SuspenseSettled) -> Lines:
    if event.action == "apply":
        return ()  # as above, by the payment it went to
    return _transfer(event.amount_minor, debit=SUSPENSE, credit=PROVIDER_CLEARING)


_OF_POINTS: Final[Mapping[type, Callable[[Any], Lines]]] = {
    points.PointsEarned: _earned,
    points.PointsGranted: _granted,
    points.PointsDeducted: _deducted,
    points.PointsSpent: _spent,
    points.PointsRestored: _restored,
    points.PointsClawedBack: _clawed_back,
    points.PointsExpired: _expired,
}
_RULES: Final[Mapping[type, Callable[[Any], Lines]]] = {
    **_OF_POINTS,
    payments.PaymentFunded: _funded,
    payments.InstructionReserved: _reserved,
    payments.InstructionCancelled: _instruction_cancelled,
    payments.PaymentReleased: _released,
    payments.PaymentRefunded: _refunded,
    payments.PaymentDisputed: _disputed,
    payments.PaymentHoldLifted: _hold_lifted,
    payments.PaymentChargedBack: _charged_back,
    payments.PaymentFeeTaken: _fee_taken,
    SuspenseParked: _parked,
    SuspenseSettled: _settled,
}

_BUCKET_ACCOUNTS: Final[Mapping[str, str]] = {
    "provider_fees": PROVIDER_FEES,
    "platform_fees": PLATFORM_FEES,
    "held": "escrow",
    "disputed": "disputed",
    "releasing": "reserved",
    "refunding": "reserved",
    "released": "payable",
    "refunded": "refundable",
}


def check_agrees(before: payments.Standing, event: payments.PaymentFact) -> None:
    """The pair of the buckets: what they changed by is what is posted, account by account. Asked before every append."""
    allowed = {bucket for flow in payments.FLOWS.get(type(event), ()) for bucket in flow}
    strays = [b for b in (*_BUCKET_ACCOUNTS, "suspense") if b not in allowed and _change(before, event, b)]
    if strays:
        msg = f"{event} changes {strays}, which no such event may"
        raise CorruptionError(msg)
    changed: defaultdict[str, int] = defaultdict(int)
    for bucket, account in _BUCKET_ACCOUNTS.items():
        changed[account] += _change(before, event, bucket)
    for posting in postings_of(event):
        kind = posting.account if posting.account.startswith("fees:") else posting.account.partition(":")[0]
        changed[kind] += posting.amount
    # What comes in and what waits beside it stand for no bucket.
    broken = {kind: amount for kind, amount in changed.items() if amount and kind in set(_BUCKET_ACCOUNTS.values())}
    if broken:
        msg = f"the buckets after {event} are not what is posted: {broken}"
        raise CorruptionError(msg)


def _change(before: payments.Standing, event: payments.PaymentFact, bucket: str) -> int:
    change: int = getattr(event.after, bucket) - getattr(before, bucket)
    return change
