"""A member's points account, `account-<userId>`: stream → commands → events → state → evolve → decide.

Points come in lots, each with its own deadline. A spend takes from the lot that expires first and writes the
allocation into the event; nobody ever computes it again. Pure: the clock is an argument, `evolve` never refuses.
Standard library and msgspec only. Read next: `../handler.py`, which puts these decisions into use cases.
"""

from datetime import datetime, timedelta
from itertools import chain
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from ledger.domain.lots import Allocation, Chunks, Lot, add_lot, allocate, overdue_lots, take_from_lots
from ledger.domain.programme import Level, Programme
from ledger.errors import (
    AccountLocked,
    BalanceTooLarge,
    InsufficientPoints,
    InvalidCommand,
    UserNotFound,
    WouldGoBelowZero,
)

MAX_POINTS: Final = 2**53 - 1
"""Largest amount, balance and lifetime: what a JSON number carries exactly in every language."""

EARN_SOURCES: Final = ("purchase", "referral", "review", "bonus")

# ── commands ──────────────────────────────────────────────────────────────────────────────────────────────────────


class OpenAccount(msgspec.Struct, frozen=True):
    """Open the account of a member. A second time changes nothing."""

    user_id: str


class EarnPoints(msgspec.Struct, frozen=True):
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


class GrantPoints(msgspec.Struct, frozen=True):
    """Points given by an admin (or an opening balance). They never expire unless a deadline is named."""

    user_id: str
    amount: int
    reason: str
    reference: str | None = None
    occurred_at: datetime | None = None
    expires_at: datetime | UnsetType | None = UNSET
    metadata: dict[str, Any] = {}


class DeductPoints(msgspec.Struct, frozen=True):
    """Points taken away by an admin. Also works on a locked account."""

    user_id: str
    amount: int
    reason: str
    reference: str | None = None
    occurred_at: datetime | None = None
    metadata: dict[str, Any] = {}


class SpendPoints(msgspec.Struct, frozen=True):
    """Points the member pays with."""

    user_id: str
    amount: int
    reference: str
    occurred_at: datetime | None = None
    description: str = ""
    metadata: dict[str, Any] = {}


class ExpireLots(msgspec.Struct, frozen=True):
    """Record the expiry of every overdue lot (the sweeper's command)."""

    user_id: str


class LockAccount(msgspec.Struct, frozen=True):
    """Stop all spending from the account."""

    user_id: str
    reason: str


class UnlockAccount(msgspec.Struct, frozen=True):
    """Allow spending again."""

    user_id: str
    reason: str


# ── events ────────────────────────────────────────────────────────────────────────────────────────────────────────
# Defaults are left out, so that a field with a default can be added without a new version: old bytes stay as they are.
# `balance` and `lifetime` are what they are after the event, of recorded events alone: the running sum of the history.


class AccountOpened(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The account exists from now on."""

    user_id: str


class PointsEarned(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A lot of earned points; its id is the version of this event in its stream."""

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


class PointsGranted(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
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


class PointsDeducted(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Points taken away, from these lots."""

    user_id: str
    amount: int
    reason: str
    reference: str | None
    occurred_at: datetime
    allocation: tuple[Allocation, ...]
    balance: int
    metadata: dict[str, Any] = {}


class PointsSpent(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Points paid with, from these lots."""

    user_id: str
    amount: int
    reference: str
    occurred_at: datetime
    allocation: tuple[Allocation, ...]
    balance: int
    description: str = ""
    metadata: dict[str, Any] = {}


class PointsExpired(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What was left of a lot at its deadline. It occurred at the deadline, whenever it was recorded."""

    user_id: str
    lot_id: int
    amount: int
    occurred_at: datetime
    balance: int


class LevelCrossed(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The lifetime points reached a level: one event per level."""

    user_id: str
    level: str
    tier: int
    min_points: int
    lifetime: int
    occurred_at: datetime


class AccountLockedByAdmin(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Spending is stopped."""

    user_id: str
    reason: str


class AccountUnlocked(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Spending is allowed again."""

    user_id: str
    reason: str


TAGS: Final[dict[str, type[msgspec.Struct]]] = {
    "points.account-opened.v1": AccountOpened,
    "points.earned.v1": PointsEarned,
    "points.granted.v1": PointsGranted,
    "points.deducted.v1": PointsDeducted,
    "points.spent.v1": PointsSpent,
    "points.expired.v1": PointsExpired,
    "points.level-crossed.v1": LevelCrossed,
    "points.account-locked.v1": AccountLockedByAdmin,
    "points.account-unlocked.v1": AccountUnlocked,
}
"""The stored names, frozen for ever. A changed event is a new tag with an upcaster in `../store/codec.py`."""

Event = (
    AccountOpened
    | PointsEarned
    | PointsGranted
    | PointsDeducted
    | PointsSpent
    | PointsExpired
    | LevelCrossed
    | AccountLockedByAdmin
    | AccountUnlocked
)

# ── state ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class PointsAccount(msgspec.Struct, rename="camel"):
    """The account now: live lots in the order they are spent, and the sums an event carries.

    `balance` counts overdue lots whose expiry is not recorded yet; `available(state, now)` does not.
    The lots lie in chunks that are replaced, never changed: a copy shares them, so that copying and changing an account
    of 100,000 lots costs microseconds.
    """

    version: int = 0
    balance: int = 0
    lifetime: int = 0
    tier: int = 1
    locked: bool = False
    lock_reason: str = ""
    chunks: Chunks = []

    @property
    def exists(self) -> bool:
        """Whether the account was opened."""
        return self.version > 0

    def live_lots(self) -> list[Lot]:
        """The lots with points left, in the order they are spent."""
        return [*chain.from_iterable(self.chunks)]


def copy_account(state: PointsAccount) -> PointsAccount:
    """A copy that may be evolved while the original stays as it is."""
    return PointsAccount(
        state.version,
        state.balance,
        state.lifetime,
        state.tier,
        state.locked,
        state.lock_reason,
        state.chunks.copy(),
    )


# ── evolve ────────────────────────────────────────────────────────────────────────────────────────────────────────


def evolve(state: PointsAccount, event: Event) -> PointsAccount:
    """Take the event in. Sets fields of the given state and returns it; never refuses."""
    state.version += 1
    kind = type(event)
    if kind is PointsEarned or kind is PointsGranted:
        add_lot(state.chunks, Lot(state.version, event.amount, event.amount, event.expires_at))  # type: ignore[union-attr]  # narrowed by `kind`: isinstance twice a command is measurable
        state.balance = event.balance  # type: ignore[union-attr]  # as above
        state.lifetime = event.lifetime  # type: ignore[union-attr]  # as above
    elif kind is PointsSpent or kind is PointsDeducted:
        take_from_lots(state.chunks, event.allocation)  # type: ignore[union-attr]  # as above
        state.balance = event.balance  # type: ignore[union-attr]  # as above
    elif isinstance(event, PointsExpired):
        take_from_lots(state.chunks, (Allocation(event.lot_id, event.amount),))
        state.balance = event.balance
    elif isinstance(event, LevelCrossed):
        state.tier = event.tier
    elif isinstance(event, AccountLockedByAdmin):
        state.locked = True
        state.lock_reason = event.reason
    elif isinstance(event, AccountUnlocked):
        state.locked = False
        state.lock_reason = ""
    return state


# ── decide ────────────────────────────────────────────────────────────────────────────────────────────────────────


def available(state: PointsAccount, now: datetime) -> int:
    """Points that can be spent at `now`."""
    return state.balance - sum(lot.remaining for lot in overdue_lots(state.chunks, now))


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
    events = _expiries(state, command.user_id, now)
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
    )
    return [*events, *_with_new_lot(earned, state.version + len(events) + 1, state.tier, programme.levels, now)]


def decide_grant(command: GrantPoints, state: PointsAccount, programme: Programme, now: datetime) -> list[Event]:
    """Add a lot of granted points; without a deadline unless one is named. Refused as `decide_earn`."""
    occurred_at = _occurred_at(command.occurred_at, now)
    expires_at = None if command.expires_at is UNSET else _deadline(command.expires_at, occurred_at)
    events = _expiries(state, command.user_id, now)
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
    return [*events, *_with_new_lot(granted, state.version + len(events) + 1, state.tier, programme.levels, now)]


def decide_deduct(command: DeductPoints, state: PointsAccount, now: datetime) -> list[Event]:
    """Take points away. Refused: unknown account, below zero."""
    occurred_at = _occurred_at(command.occurred_at, now)
    _check_amount(command.amount)
    expired = _expiries(state, command.user_id, now)
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
    expired = _expiries(state, command.user_id, now)
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
        ),
    ]


def decide_expire(command: ExpireLots, state: PointsAccount, now: datetime) -> list[Event]:
    """Record the expiry of every overdue lot; none overdue is no event."""
    return [*_expiries(state, command.user_id, now)]


def decide_lock(command: LockAccount, state: PointsAccount, now: datetime) -> list[Event]:
    """Lock the account; a locked one stays as it is."""
    expired = _expiries(state, command.user_id, now)
    return [] if state.locked else [*expired, AccountLockedByAdmin(command.user_id, command.reason)]


def decide_unlock(command: UnlockAccount, state: PointsAccount, now: datetime) -> list[Event]:
    """Unlock the account; an unlocked one stays as it is."""
    expired = _expiries(state, command.user_id, now)
    return [*expired, AccountUnlocked(command.user_id, command.reason)] if state.locked else []


def _check_exists(state: PointsAccount, user_id: str) -> None:
    if not state.exists:
        raise UserNotFound(f"No account for user {user_id}.")


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


def _expiries(state: PointsAccount, user_id: str, now: datetime) -> list[PointsExpired]:
    """One event per overdue lot, recorded before whatever else happens to an existing account."""
    _check_exists(state, user_id)
    events: list[PointsExpired] = []
    if not state.chunks or (first := state.chunks[0][0].expires_at) is None or first > now:
        return events
    balance = state.balance
    for lot in overdue_lots(state.chunks, now):
        balance -= lot.remaining
        events.append(PointsExpired(user_id, lot.lot_id, lot.remaining, lot.expires_at or now, balance))
    return events


def _with_new_lot(
    added: PointsEarned | PointsGranted, lot_id: int, tier: int, levels: tuple[Level, ...], now: datetime
) -> list[Event]:
    """The new lot, every level its points cross, and its expiry where the deadline is already past (imports)."""
    events: list[Event] = [added]
    events += [
        LevelCrossed(added.user_id, level.name, level.tier, level.min_points, added.lifetime, added.occurred_at)
        for level in levels
        if level.tier > tier and level.is_active and level.min_points <= added.lifetime
    ]
    if added.expires_at is not None and added.expires_at <= now:
        balance = added.balance - added.amount
        events.append(PointsExpired(added.user_id, lot_id, added.amount, added.expires_at, balance))
    return events
