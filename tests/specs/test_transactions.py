"""What a member reads of each event: one line for those that move the balance, none for the others."""

from datetime import UTC, datetime

import msgspec
import pytest

from ledger.domain import points
from ledger.transactions import transaction_of
from tests.specs.account import (
    alloc,
    back,
    crossed,
    day,
    deducted,
    earned,
    expired,
    granted,
    left,
    locked,
    opened,
    restored,
    spent,
    unlocked,
)

DEADLINE = day(6, 1)
LINES = {
    "an earn for a purchase names it": (
        earned(50, balance=150, lifetime=200, expires=DEADLINE, source="purchase", reference="p-1", description="Bought"),
        {
            "type": "earn", "source": "purchase", "amount": 50, "balance": 150, "description": "Bought", "metadata": {},
            "reference": "p-1", "purchaseRequestId": "p-1",
            "occurredAt": "2026-01-01T00:00:00Z", "expiresAt": "2026-06-01T00:00:00Z",
        },
    ),
    "an earn for something else does not": (
        earned(50, balance=150, lifetime=200, expires=None, source="review", reference="r-1", metadata={"stars": 5}),
        {
            "type": "earn", "source": "review", "amount": 50, "balance": 150, "description": "",
            "metadata": {"stars": 5}, "reference": "r-1", "occurredAt": "2026-01-01T00:00:00Z",
        },
    ),
    "a grant": (
        granted(50, balance=150, lifetime=200, reason="Sorry", expires=DEADLINE, metadata={"ticket": 7}),
        {
            "type": "admin_grant", "source": "admin", "amount": 50, "balance": 150, "description": "Sorry",
            "metadata": {"ticket": 7}, "occurredAt": "2026-01-01T00:00:00Z", "expiresAt": "2026-06-01T00:00:00Z",
        },
    ),
    "a grant with a reference": (
        granted(50, balance=150, lifetime=200, reference="import-7"),
        {
            "type": "admin_grant", "source": "admin", "amount": 50, "balance": 150, "description": "thanks",
            "metadata": {}, "reference": "import-7", "occurredAt": "2026-01-01T00:00:00Z",
        },
    ),
    "a deduction is positive too": (
        deducted(50, balance=150, of=alloc(lot2=50), reason="Fraud", reference="case-1", metadata={"by": "x"}),
        {
            "type": "admin_deduct", "source": "admin", "amount": 50, "balance": 150, "description": "Fraud",
            "metadata": {"by": "x"}, "reference": "case-1", "occurredAt": "2026-03-01T12:00:00Z",
        },
    ),
    "a spend is positive too": (
        spent(50, balance=150, of=alloc(lot2=50), reference="p-1", description="Discount", metadata={"by": "x"}),
        {
            "type": "spend", "source": "redemption", "amount": 50, "balance": 150, "description": "Discount",
            "metadata": {"by": "x"}, "reference": "p-1", "occurredAt": "2026-03-01T12:00:00Z",
        },
    ),
    "an expiry is positive too, and occurred at the deadline": (
        expired(2, 50, balance=150, at=DEADLINE),
        {
            "type": "expire", "source": "expiry", "amount": 50, "balance": 150, "description": "Points expired",
            "metadata": {}, "occurredAt": "2026-06-01T00:00:00Z",
        },
    ),
    "a spend on a purchase names it": (
        spent(50, balance=150, of=alloc(lot2=50), reference="p-1", purchase_request_id="p-1"),
        {
            "type": "spend", "source": "redemption", "amount": 50, "balance": 150, "description": "", "metadata": {},
            "reference": "p-1", "purchaseRequestId": "p-1", "occurredAt": "2026-03-01T12:00:00Z",
        },
    ),
    "a referral reward names whose purchase it was for": (
        earned(
            100, balance=100, lifetime=100, expires=None, source="referral", reference="u-2", referred_user="u-2"),
        {
            "type": "earn", "source": "referral", "amount": 100, "balance": 100, "description": "", "metadata": {},
            "reference": "u-2", "referredUser": "u-2", "occurredAt": "2026-01-01T00:00:00Z",
        },
    ),
    "a return names the purchase": (
        restored(50, balance=200, to=(back(2, 50, of=200),)),
        {
            "type": "restore", "source": "redemption", "amount": 50, "balance": 200, "metadata": {},
            "description": "Points returned from p-1", "reference": "p-1", "purchaseRequestId": "p-1",
            "occurredAt": "2026-03-01T12:00:00Z",
        },
    ),
    "a return says what expires at once": (
        restored(50, balance=200, to=(back(2, 50, of=200, expires=DEADLINE),), expired=50),
        {
            "type": "restore", "source": "redemption", "amount": 50, "balance": 200, "metadata": {},
            "description": "Points returned from p-1; 50 of them were past their deadline and expired at once",
            "reference": "p-1", "purchaseRequestId": "p-1", "occurredAt": "2026-03-01T12:00:00Z",
        },
    ),
    "a clawback names the purchase": (
        points.PointsClawedBack("u-1", 50, 50, "p-1", DEADLINE, alloc(lot2=50), 150, "p-1"),
        {
            "type": "clawback", "source": "purchase", "amount": 50, "balance": 150, "metadata": {},
            "description": "Points taken back: purchase p-1 was refunded", "reference": "p-1",
            "purchaseRequestId": "p-1", "occurredAt": "2026-06-01T00:00:00Z",
        },
    ),
    "a clawback says what was not there": (
        points.PointsClawedBack("u-1", 50, 80, "p-1", DEADLINE, alloc(lot2=50), 0, "p-1"),
        {
            "type": "clawback", "source": "purchase", "amount": 50, "balance": 0, "metadata": {},
            "description": "Points taken back: purchase p-1 was refunded; 30 more were not there any more",
            "reference": "p-1", "purchaseRequestId": "p-1", "occurredAt": "2026-06-01T00:00:00Z",
        },
    ),
}  # fmt: skip
NO_LINE = [
    opened(),
    crossed("silver", 2, 1000, lifetime=1000),
    left("silver", 2, "bronze", 1, lifetime=1000),
    locked(),
    unlocked(),
    points.ReferralCodeAssigned("u-1", "ABCD2345", DEADLINE),
    points.ReferrerBound("u-1", "u-2", "ABCD2345", DEADLINE),
    points.ReferralSignedUp("u-1", "u-2", "ABCD2345", DEADLINE),
    points.ReferralCompleted("u-1", "u-2", "p-1", 100, DEADLINE),
    points.PointsClawedBack("u-1", 0, 80, "p-1", DEADLINE, (), 0, "p-1"),
]


@pytest.mark.parametrize(("event", "line"), LINES.values(), ids=LINES.keys())
def test_the_line_of(event, line):
    transaction = transaction_of(event)
    assert transaction is not None
    transaction.stamp(41, datetime(2026, 3, 1, 12, 0, 1, tzinfo=UTC))
    stamped = {"id": "txn_41", "position": 41, "createdAt": "2026-03-01T12:00:01Z"}
    assert msgspec.to_builtins(transaction) == line | stamped


@pytest.mark.parametrize("event", NO_LINE, ids=lambda event: type(event).__name__)
def test_no_line_is_written_by(event):
    assert transaction_of(event) is None


def test_every_kind_of_event_has_been_asked():
    asked = {type(event) for event, _ in LINES.values()} | {type(event) for event in NO_LINE}
    assert asked == set(points.TAGS.values())


def test_the_offset_of_an_event_becomes_its_position():
    transaction = transaction_of(opened(), 0) or transaction_of(expired(2, 1, balance=0, at=DEADLINE), 3)
    assert transaction is not None
    assert (transaction.position, transaction.id, transaction.created_at) == (3, None, None)
    transaction.stamp(100, DEADLINE)
    assert (transaction.position, transaction.id, transaction.created_at) == (103, "txn_103", DEADLINE)
