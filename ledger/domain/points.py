"""The rules of points: what a command on a member's account does, `account-<userId>`.

A spend takes from the lot that expires first and writes the allocation into the event; nobody computes it again.
Pure: the clock is an argument. Events and state are in `account_events.py` and `account.py`, by their names here too.
Standard library and msgspec only. Read next: `../handler.py`, which puts these decisions into use cases.
"""

from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from ledger.domain.account import PointsAccount, available, copy_account, evolve, expiries
from ledger.domain.account_events import (
    TAGS,
    AccountLockedByAdmin,
    AccountOpened,
    AccountUnlocked,
    Event,
    LevelCrossed,
    LevelLeft,
    PointsClawedBack,
    PointsDeducted,
    PointsEarned,
    PointsExpired,
    PointsGranted,
    PointsRestored,
    PointsSpent,
    ReferralCodeAssigned,
    ReferralCompleted,
    ReferralSignedUp,
    ReferrerBound,
)
from ledger.domain.levels import RedecideLevels, crossings
from ledger.domain.lots import MAX_POINTS, Allocation, RestoredLot, allocate
from ledger.domain.programme import Programme
from ledger.errors import AccountLocked, BalanceTooLarge, InsufficientPoints, InvalidCommand, WouldGoBelowZero

__all__ = [
    "MAX_POINTS", "TAGS", "AccountLockedByAdmin", "AccountOpened", "AccountUnlocked", "Allocation", "Event",
    "LevelCrossed", "LevelLeft", "PointsAccount", "PointsClawedBack", "PointsDeducted", "PointsEarned", "PointsExpired", "PointsGranted",
    "PointsRestored", "PointsSpent", "RedecideLevels", "ReferralCodeAssigned", "ReferralCompleted", "ReferralSignedUp",
    "ReferrerBound", "RestoredLot", "available", "copy_account", "evolve",
]  # fmt: skip
"""What goes by this module's name though it is written beside it. Everything below as well."""

EARN_SOURCES: Final = ("purchase", "referral", "review", "bonus")

# ── commands ──────────────────────────────────────────────────────────────────────────────────────────────────────


class OpenAccount(msgspec.Struct, frozen=True, gc=False):
    """Open the account of a member. A second time changes nothing."""

    user_id: str


class EarnPoints(msgspec.Struct, frozen=True, gc=False):
    """Points for something the member did. `amount` None: the programme's review reward (source review only).

    `expires_at` unset means the programme's default, None means never.
    """

    user_id: str
    amount: int | None
    source: str
    reference: str
    occurred_at: datetime | None = None
    expires_at: datetime | UnsetType | None = UNSET
    description: str = ""
    metadata: dict[str, Any] = {}
    referred_user: str | None = None


class GrantPoints(msgspec.Struct, frozen=True, gc=False):
    """Points given by an admin (or an opening balance). They never expire unless a deadline is named."""

    user_id: str
    amount: int
    reason: str
    reference: str | None = None
    occurred_at: datetime | None = None
    expires_at: datetime | UnsetType | None = UNSET
    metadata: dict[str, Any] = {}


class DeductPoints(msgspec.Struct, frozen=True, gc=False):
    """Points taken away by an admin. Also works on a locked account."""

    user_id: str
    amount: int
    reason: str
    reference: str | None = None
    occurred_at: datetime | None = None
    metadata: dict[str, Any] = {}


class SpendPoints(msgspec.Struct, frozen=True, gc=False):
    """Points the member pays with."""

    user_id: str
    amount: int
    reference: str
    occurred_at: datetime | None = None
    description: str = ""
    metadata: dict[str, Any] = {}
    purchase_request_id: str | None = None


class ExpireLots(msgspec.Struct, frozen=True, gc=False):
    """Record the expiry of every overdue lot (the sweeper's command)."""

    user_id: str


class LockAccount(msgspec.Struct, frozen=True, gc=False):
    """Stop all spending from the account."""

    user_id: str
    reason: str


class UnlockAccount(msgspec.Struct, frozen=True, gc=False):
    """Allow spending again."""

    user_id: str
    reason: str


# ── decide ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def decide_open(command: OpenAccount, state: PointsAccount) -> list[Event]:
    """Open the account; an open one stays as it is."""
    return [] if state.exists else [AccountOpened(command.user_id)]


def decide_earn(command: EarnPoints, state: PointsAccount, programme: Programme, now: datetime) -> list[Event]:
    """Add a lot of earned points. Refused: unknown account, balance too large, a deadline before it began."""
    amount = command.amount
    if amount is None:
        if command.source != "review":
            raise InvalidCommand.field("amount", "is required for this source.")
        amount = programme.review_reward
    if command.source not in EARN_SOURCES:
        raise InvalidCommand.field("source", f"must be one of {', '.join(EARN_SOURCES)}.")
    occurred_at = _occurred_at(command.occurred_at, now)
    expires_at = command.expires_at
    if expires_at is UNSET:
        days = programme.expiry_days
        expires_at = None if days is None else occurred_at + timedelta(days=days)
    events = expiries(state, command.user_id, now)
    balance = events[-1].balance if events else state.balance
    _check_room(balance, state.lifetime, amount)
    earned = PointsEarned(
        command.user_id,
        amount,
        command.source,
        command.reference,
        occurred_at,
        _deadline(expires_at, occurred_at),
        balance + amount,
        state.lifetime + amount,
        command.description,
        command.metadata,
        command.referred_user,
    )
    added = _with_new_lot(earned, state.version + len(events) + 1, state.tier, programme, now)
    return [*events, *added] if events else added


def decide_grant(command: GrantPoints, state: PointsAccount, programme: Programme, now: datetime) -> list[Event]:
    """Add a lot of granted points; without a deadline unless one is named. Refused as `decide_earn`."""
    occurred_at = _occurred_at(command.occurred_at, now)
    expires_at = None if command.expires_at is UNSET else _deadline(command.expires_at, occurred_at)
    events = expiries(state, command.user_id, now)
    balance = events[-1].balance if events else state.balance
    _check_room(balance, state.lifetime, command.amount)
    granted = PointsGranted(
        command.user_id,
        command.amount,
        command.reason,
        command.reference,
        occurred_at,
        expires_at,
        balance + command.amount,
        state.lifetime + command.amount,
        command.metadata,
    )
    return [*events, *_with_new_lot(granted, state.version + len(events) + 1, state.tier, programme, now)]


def decide_deduct(command: DeductPoints, state: PointsAccount, now: datetime) -> list[Event]:
    """Take points away. Refused: unknown account, below zero."""
    occurred_at = _occurred_at(command.occurred_at, now)
    _check_amount(command.amount)
    expired = expiries(state, command.user_id, now)
    balance = expired[-1].balance if expired else state.balance
    if command.amount > balance:
        raise WouldGoBelowZero(f"{balance} points available, {command.amount} to be deducted.")
    allocation = allocate(state.chunks, len(expired), command.amount)
    return [
        *expired,
        PointsDeducted(
            command.user_id,
            command.amount,
            command.reason,
            command.reference,
            occurred_at,
            allocation,
            balance - command.amount,
            command.metadata,
        ),
    ]


def decide_spend(command: SpendPoints, state: PointsAccount, now: datetime) -> list[Event]:
    """Spend points, earliest deadline first. Refused: unknown or locked account, not enough available."""
    occurred_at = _occurred_at(command.occurred_at, now)
    _check_amount(command.amount)
    expired = expiries(state, command.user_id, now)
    if state.locked:
        raise AccountLocked(f"The account of {command.user_id} is locked.")
    balance = expired[-1].balance if expired else state.balance
    if command.amount > balance:
        raise InsufficientPoints(f"{balance} points available, {command.amount} asked for.")
    allocation = allocate(state.chunks, len(expired), command.amount)
    return [
        *expired,
        PointsSpent(
            command.user_id,
            command.amount,
            command.reference,
            occurred_at,
            allocation,
            balance - command.amount,
            command.description,
            command.metadata,
            command.purchase_request_id,
        ),
    ]


def decide_expire(command: ExpireLots, state: PointsAccount, now: datetime) -> list[Event]:
    """Record the expiry of every overdue lot; none overdue is no event."""
    return [*expiries(state, command.user_id, now)]


def decide_lock(command: LockAccount, state: PointsAccount, now: datetime) -> list[Event]:
    """Lock the account; a locked one stays as it is."""
    expired = expiries(state, command.user_id, now)
    return [] if state.locked else [*expired, AccountLockedByAdmin(command.user_id, command.reason)]


def decide_unlock(command: UnlockAccount, state: PointsAccount, now: datetime) -> list[Event]:
    """Unlock the account; an unlocked one stays as it is."""
    expired = expiries(state, command.user_id, now)
    return [*expired, AccountUnlocked(command.user_id, command.reason)] if state.locked else []


def _check_amount(amount: int) -> None:
    if not 1 <= amount <= MAX_POINTS:
        raise InvalidCommand.field("amount", f"must be a whole number from 1 to {MAX_POINTS}.")


def _check_room(balance: int, lifetime: int, amount: int) -> None:
    _check_amount(amount)
    if lifetime + amount > MAX_POINTS or balance + amount > MAX_POINTS:
        raise BalanceTooLarge(f"{lifetime} lifetime points and {amount} more would pass {MAX_POINTS}.")


def _occurred_at(given: datetime | None, now: datetime) -> datetime:
    if given is None:
        return now
    if given > now:
        raise InvalidCommand.field("occurredAt", "must not lie in the future.")
    return given


def _deadline(expires_at: datetime | None, occurred_at: datetime) -> datetime | None:
    if expires_at is not None and expires_at <= occurred_at:
        raise InvalidCommand.field("expiresAt", "must be later than occurredAt.")
    return expires_at


def _with_new_lot(
    added: PointsEarned | PointsGranted, lot_id: int, tier: int, programme: Programme, now: datetime
) -> list[Event]:
    """The new lot, every level its points cross, and its expiry where the deadline is already past (imports)."""
    events: list[Event] = [
        added,
        *crossings(added.user_id, tier, added.lifetime, programme, added.occurred_at),
    ]
    if added.expires_at is not None and added.expires_at <= now:
        balance = added.balance - added.amount
        events.append(PointsExpired(added.user_id, lot_id, added.amount, added.expires_at, balance))
    return events
