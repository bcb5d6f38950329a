"""One example of everything that is stored for ever, as the code of today would write it.

The file of the same name beside this module holds the bytes. A file is written once, when its tag is new
(`python tests/golden/record.py`), and never again: what is in somebody's log cannot be changed here.
An event that has a successor leaves this table and keeps its file; its upcaster is tested by reading it.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from ledger.domain import exports, points, programme, purchase_events, purchases, referrals
from ledger.domain.lots import Allocation, RestoredLot
from ledger.store.codec import Actor, Metadata
from tests.golden import payment_examples

AT: Final = datetime(2026, 3, 1, 12, 30, 45, 123456, tzinfo=UTC)
UNTIL: Final = datetime(2027, 3, 1, 12, 30, 45, 123456, tzinfo=UTC)
FREE: Final[dict[str, Any]] = {
    "text": 'é ☃ " \\ \n',
    "number": 1.5,
    "big": 2**53,
    "list": [True, None],
    "object": {"": 0},
}
"""Metadata is the client's: whatever JSON holds has to come back as it went in."""
BACK_TO: Final = (RestoredLot(2, 30, 42, UNTIL), RestoredLot(3, 12, 1000, None))
LEVELS: Final = (
    programme.Level("new", 1, 0, ("Perk",), "icon", "#000000"),
    programme.Level("old", 2, 500, is_active=False),
)
OF_LOTS: Final = (Allocation(2, 30), Allocation(3, 12))

EVENTS: Final[Mapping[str, msgspec.Struct]] = {
    "points.account-opened.v1": points.AccountOpened("u-1"),
    "points.earned.v1": points.PointsEarned("u-1", 42, "purchase", "p-1", AT, UNTIL, 142, 1042, "Order p-1", FREE),
    "points.granted.v1": points.PointsGranted("u-1", 42, "Apology", None, AT, None, 142, 1042, {}),
    "points.deducted.v1": points.PointsDeducted("u-1", 42, "Mistake", "case-7", AT, OF_LOTS, 100, FREE),
    "points.spent.v1": points.PointsSpent("u-1", 42, "p-2", AT, OF_LOTS, 100, "Discount", {}),
    "points.expired.v1": points.PointsExpired("u-1", 2, 42, AT, 100),
    "points.level-crossed.v1": points.LevelCrossed("u-1", "silver", 2, 1000, 1042, AT),
    "points.account-locked.v1": points.AccountLockedByAdmin("u-1", "Fraud suspected"),
    "points.account-unlocked.v1": points.AccountUnlocked("u-1", "Cleared"),
    "points.restored.v1": points.PointsRestored("u-1", 42, "p-2", AT, BACK_TO, 142, "p-2", 12),
    "points.level-left.v1": points.LevelLeft("u-1", "gold", 3, "bronze", 1, 1042, AT),
    "points.referral-code-assigned.v1": points.ReferralCodeAssigned("u-1", "ABCD2345", AT),
    "points.referrer-bound.v1": points.ReferrerBound("u-1", "u-2", "ABCD2345", AT),
    "points.referral-signed-up.v1": points.ReferralSignedUp("u-2", "u-1", "ABCD2345", AT),
    "points.referral-completed.v1": points.ReferralCompleted("u-1", "u-2", "p-1", 100, AT),
    "programme.replaced.v1": programme.ProgrammeReplaced(
        "1.5", 200, None, 50, 5, 250, "Europe/Vienna", "reverse", "EUR", LEVELS
    ),
    "referral.code-created.v1": referrals.CodeCreated("ABCD2345", "u-1", AT),
    "purchase.registered.v1": purchase_events.PurchaseRegistered("p-1", "u-1", "u-2", 1234, "USD", AT),
    "purchase.points-redeemed.v1": purchase_events.PurchasePointsRedeemed(
        "p-1", "u-1", "u-2", 42, 42, "USD", BACK_TO, AT
    ),
    "purchase.status-changed.v1": purchase_events.PurchaseStatusChanged(
        "p-1", "u-1", "u-2", "delivery", "cancelled", AT, "Lost", 0, 42
    ),
    "points.clawed-back.v1": points.PointsClawedBack("u-1", 42, 50, "p-1", AT, OF_LOTS, 100, "p-1"),
    **payment_examples.EVENTS,
    "ledger.exported.v1": exports.LedgerExported("exp-1", "csv", 42, AT, "member", "PTS", AT, UNTIL),
}

METADATA: Final[Mapping[str, Metadata]] = {
    "metadata.full": Metadata(
        Actor("admin-1", "admin"), AT, "req-1", "018f9c3e-0000-7000-8000-000000000001", "corr-1", "cause-1", "key-1"
    ),
    "metadata.bare": Metadata(Actor("u-1", "buyer"), AT, "req-2", "018f9c3e-0000-7000-8000-000000000002", "req-2"),
}


def _account() -> points.PointsAccount:
    state = points.PointsAccount()
    for event in (
        points.AccountOpened("u-1"),
        points.PointsEarned("u-1", 42, "bonus", "r-1", AT, UNTIL, 42, 42),
        points.PointsGranted("u-1", 1000, "Opening balance", None, AT, None, 1042, 1042),
        points.LevelCrossed("u-1", "silver", 2, 1000, 1042, AT),
        points.PointsSpent("u-1", 2, "p-1", AT, (Allocation(2, 2),), 1040),
        points.AccountLockedByAdmin("u-1", "Fraud suspected"),
        points.ReferrerBound("u-1", "u-2", "ABCD2345", AT),
        points.ReferralCodeAssigned("u-1", "EFGH6789", AT),
        points.ReferralSignedUp("u-1", "u-3", "EFGH6789", AT),
        points.ReferralCompleted("u-1", "u-2", "p-1", 100, AT),
    ):
        state = points.evolve(state, event)
    return state


STATES: Final[Mapping[str, msgspec.Struct]] = {
    "state.account.2": _account(),
    "state.programme.1": programme.Programme(
        levels=(programme.Level("new", 1, 0, ("Perk",), "icon", "#000000", False),)
    ),
    "state.code.1": referrals.ReferralCode("u-1"),
    "state.purchase.2": purchases.Purchase(
        "completed", "u-1", "u-2", 1234, "USD", 42, 42, 11, BACK_TO, "pay-1", "d-1", 84, 12, 1, 5, 100, AT
    ),
    **payment_examples.STATES,
    "state.export.1": exports.Export("csv", 42),
}
"""`state.<category>.<schema>`: what a snapshot holds. A changed shape needs a new `schema` in its category."""
