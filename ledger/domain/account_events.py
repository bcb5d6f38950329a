"""What can happen to a member's account: every event of a stream `account-<userId>`, and their stored names.

Defaults are left out of the bytes, so that a field with a default can be added at the end without a new version: old
bytes stay as they are. `balance` and `lifetime` are what they are after the event, of recorded events alone: the
running sum of the history. Standard library and msgspec only. Read next: `account.py`, which folds them.
"""

from datetime import datetime
from typing import Any, Final

import msgspec

from ledger.domain.lots import Allocation, RestoredLot

# ── points ────────────────────────────────────────────────────────────────────────────────────────────────────────


class AccountOpened(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """The account exists from now on."""

    user_id: str


class PointsEarned(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """A lot of earned points; its id is the version of this event in its stream.

    `referred_user` is set on the programme's referral reward alone: whose first purchase completed.
    """

    user_id: str
    amount: int
    source: str
    reference: str
    occurred_at: datetime
    expires_at: datetime | None
    balance: int
    lifetime: int
    description: str = ""
    metadata: dict[str, Any] = {}
    referred_user: str | None = None


class PointsGranted(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """A lot of granted points; its id is the version of this event in its stream."""

    user_id: str
    amount: int
    reason: str
    reference: str | None
    occurred_at: datetime
    expires_at: datetime | None
    balance: int
    lifetime: int
    metadata: dict[str, Any] = {}


class PointsDeducted(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """Points taken away, from these lots."""

    user_id: str
    amount: int
    reason: str
    reference: str | None
    occurred_at: datetime
    allocation: tuple[Allocation, ...]
    balance: int
    metadata: dict[str, Any] = {}


class PointsSpent(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """Points paid with, from these lots."""

    user_id: str
    amount: int
    reference: str
    occurred_at: datetime
    allocation: tuple[Allocation, ...]
    balance: int
    description: str = ""
    metadata: dict[str, Any] = {}
    purchase_request_id: str | None = None


class PointsRestored(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """Points that went back to the lots they were taken from, with the deadlines those had.

    `expired` of them lie in lots already past their deadline: their expiry follows in the same append.
    """

    user_id: str
    amount: int
    reference: str
    occurred_at: datetime
    lots: tuple[RestoredLot, ...]
    balance: int
    purchase_request_id: str | None = None
    expired: int = 0


class PointsClawedBack(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """Points earned on a purchase, taken back with its refund. Of `asked` only `amount` was there; never below zero."""

    user_id: str
    amount: int
    asked: int
    reference: str
    occurred_at: datetime
    allocation: tuple[Allocation, ...]
    balance: int
    purchase_request_id: str


class PointsExpired(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """What was left of a lot at its deadline. It occurred at the deadline, whenever it was recorded."""

    user_id: str
    lot_id: int
    amount: int
    occurred_at: datetime
    balance: int


class LevelCrossed(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """The lifetime points reached a level: one event per level."""

    user_id: str
    level: str
    tier: int
    min_points: int
    lifetime: int
    occurred_at: datetime


class LevelLeft(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """The levels were changed, and the lifetime points reach a lower one now: from (`level`, `tier`) down to another."""

    user_id: str
    level: str
    tier: int
    now_level: str
    now_tier: int
    lifetime: int
    occurred_at: datetime


class AccountLockedByAdmin(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """Spending is stopped."""

    user_id: str
    reason: str


class AccountUnlocked(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """Spending is allowed again."""

    user_id: str
    reason: str


# ── referrals: decided in `referrals.py` ──────────────────────────────────────────────────────────────────────────


class ReferralCodeAssigned(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """The member's referral code from now on. Codes they had before keep leading to them."""

    user_id: str
    code: str
    occurred_at: datetime


class ReferrerBound(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """The member was brought by that referrer, once and for ever."""

    user_id: str
    referrer_id: str
    code: str
    occurred_at: datetime


class ReferralSignedUp(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """Somebody signed up with a code of this member: the referrer's side of a binding."""

    user_id: str
    referred_user: str
    code: str
    occurred_at: datetime


class ReferralCompleted(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """The first purchase of a referred member completed; `reward` is what their referrer earned by it, once."""

    user_id: str
    referrer_id: str
    purchase_request_id: str
    reward: int
    occurred_at: datetime


TAGS: Final[dict[str, type[msgspec.Struct]]] = {
    "points.account-opened.v1": AccountOpened,
    "points.earned.v1": PointsEarned,
    "points.granted.v1": PointsGranted,
    "points.deducted.v1": PointsDeducted,
    "points.spent.v1": PointsSpent,
    "points.restored.v1": PointsRestored,
    "points.clawed-back.v1": PointsClawedBack,
    "points.expired.v1": PointsExpired,
    "points.level-crossed.v1": LevelCrossed,
    "points.level-left.v1": LevelLeft,
    "points.account-locked.v1": AccountLockedByAdmin,
    "points.account-unlocked.v1": AccountUnlocked,
    "points.referral-code-assigned.v1": ReferralCodeAssigned,
    "points.referrer-bound.v1": ReferrerBound,
    "points.referral-signed-up.v1": ReferralSignedUp,
    "points.referral-completed.v1": ReferralCompleted,
}
"""The stored names, frozen for ever. A changed event is a new tag with an upcaster in `../store/codec.py`."""

Event = (
    AccountOpened
    | PointsEarned
    | PointsGranted
    | PointsDeducted
    | PointsSpent
    | PointsRestored
    | PointsClawedBack
    | PointsExpired
    | LevelCrossed
    | LevelLeft
    | AccountLockedByAdmin
    | AccountUnlocked
    | ReferralCodeAssigned
    | ReferrerBound
    | ReferralSignedUp
    | ReferralCompleted
)
