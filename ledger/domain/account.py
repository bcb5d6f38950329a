"""A member's points account as it stands: the state of a stream `account-<userId>` and its fold.

Pure: `evolve` never refuses. Standard library and msgspec only. Read next: `points.py`, which decides on it,
and `account_at_rest.py`: how it is kept.
"""

from datetime import datetime
from itertools import chain

import msgspec

from ledger.domain.account_events import (
    AccountLockedByAdmin,
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
from ledger.domain.lots import (
    Allocation,
    Chunks,
    Lot,
    add_lot,
    is_any_overdue,
    lots_of,
    overdue_lots,
    restore_to_lots,
    take_from_lots,
)
from ledger.errors import UserNotFound

# ── state ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class PointsAccount(msgspec.Struct, rename="camel", gc=False):
    """The account now: live lots in the order they are spent, and the sums an event carries.

    `balance` counts overdue lots whose expiry is not recorded yet; `available(state, now)` does not.
    `level` names the tier's level as of when it was reached, empty for the one everybody begins with.
    The lots lie in chunks of bytes that are replaced, never changed: see `lots.py`.
    """

    version: int = 0
    balance: int = 0
    lifetime: int = 0
    tier: int = 1
    locked: bool = False
    lock_reason: str = ""
    chunks: Chunks = []
    level: str = ""
    referral_code: str = ""
    referrer: str = ""
    referrals: int = 0
    referral_completed: bool = False

    @property
    def exists(self) -> bool:
        """Whether the account was opened."""
        return self.version > 0

    def live_lots(self) -> list[Lot]:
        """The lots with points left, in the order they are spent."""
        return [*chain.from_iterable(map(lots_of, self.chunks))]


def copy_account(state: PointsAccount) -> PointsAccount:
    """A copy that may be evolved while the original stays as it is."""
    copied: PointsAccount = state.__copy__()  # type: ignore[attr-defined]  # msgspec has it, its stubs do not; `copy` asks four questions first
    copied.chunks = state.chunks.copy()
    return copied


# ── evolve ────────────────────────────────────────────────────────────────────────────────────────────────────────


def evolve(state: PointsAccount, event: Event) -> PointsAccount:
    """Take the event in. Sets fields of the given state and returns it; never refuses."""
    state.version += 1
    kind = type(event)
    if kind is PointsEarned or kind is PointsGranted:
        add_lot(state.chunks, state.version, event.amount, event.amount, event.expires_at)  # type: ignore[union-attr]  # narrowed by `kind`: isinstance twice a command is measurable
        state.balance = event.balance  # type: ignore[union-attr]  # as above
        state.lifetime = event.lifetime  # type: ignore[union-attr]  # as above
    elif kind is PointsSpent or kind is PointsDeducted:
        take_from_lots(state.chunks, event.allocation)  # type: ignore[union-attr]  # as above
        state.balance = event.balance  # type: ignore[union-attr]  # as above
    elif isinstance(event, PointsExpired):
        take_from_lots(state.chunks, (Allocation(event.lot_id, event.amount),))
        state.balance = event.balance
    elif isinstance(event, PointsRestored):
        restore_to_lots(state.chunks, event.lots)
        state.balance = event.balance
    elif isinstance(event, PointsClawedBack):
        take_from_lots(state.chunks, event.allocation)
        state.balance = event.balance
    else:
        _evolve_standing(state, event)
    return state


def _evolve_standing(state: PointsAccount, event: Event) -> None:
    """What moves no points: level, lock, referrals."""
    match event:
        case LevelCrossed():
            state.tier, state.level = event.tier, event.level
        case LevelLeft():
            state.tier, state.level = event.now_tier, event.now_level
        case AccountLockedByAdmin():
            state.locked, state.lock_reason = True, event.reason
        case AccountUnlocked():
            state.locked, state.lock_reason = False, ""
        case ReferralCodeAssigned():
            state.referral_code = event.code
        case ReferrerBound():
            state.referrer = event.referrer_id
        case ReferralSignedUp():
            state.referrals += 1
        case ReferralCompleted():
            state.referral_completed = True
        case _:
            pass


# ── what decisions begin with ─────────────────────────────────────────────────────────────────────────────────────


def available(state: PointsAccount, now: datetime) -> int:
    """Points that can be spent at `now`."""
    return state.balance - sum(lot.remaining for lot in overdue_lots(state.chunks, now))


def check_exists(state: PointsAccount, user_id: str) -> None:
    """Refuse a command on an account nobody opened."""
    if not state.exists:
        raise UserNotFound(f"No account for user {user_id}.")


def expiries(state: PointsAccount, user_id: str, now: datetime) -> list[PointsExpired]:
    """One event per overdue lot, recorded before whatever else happens to an existing account."""
    if not state.version:
        check_exists(state, user_id)
    events: list[PointsExpired] = []
    if not is_any_overdue(state.chunks, now):
        return events
    balance = state.balance
    for lot in overdue_lots(state.chunks, now):
        balance -= lot.remaining
        events.append(PointsExpired(user_id, lot.lot_id, lot.remaining, lot.expires_at or now, balance))
    return events
