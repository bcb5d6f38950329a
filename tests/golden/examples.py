"""One example of everything that is stored for ever, as the code of today would write it.

The file of the same name beside this module holds the bytes. A file is written once, when its tag is new
(`python tests/golden/record.py`), and never again: what is in somebody's log cannot be changed here.
An event that has a successor leaves this table and keeps its file; its upcaster is tested by reading it.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from ledger.domain import points, programme
from ledger.domain.lots import Allocation
from ledger.store.codec import Actor, Metadata

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
    ):
        state = points.evolve(state, event)
    return state


STATES: Final[Mapping[str, msgspec.Struct]] = {
    "state.account.1": _account(),
    "state.programme.1": programme.Programme(
        levels=(programme.Level("new", 1, 0, ("Perk",), "icon", "#000000", False),)
    ),
}
"""`state.<category>.<schema>`: what a snapshot holds. A changed shape needs a new `schema` in its category."""
