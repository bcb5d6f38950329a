"""The words the specifications of a points account are written in: its events and commands, with quiet defaults.

Amounts, balances and deadlines are always written out; user, reasons and instants only where a row is about them.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from msgspec import UNSET

from ledger.domain import levels, points, redemptions
from ledger.domain.lots import RestoredLot, lot_order
from ledger.domain.points import Allocation, PointsAccount
from ledger.domain.programme import DEFAULT_PROGRAMME, Programme
from tests.specs.decider import Decider

USER: Final = "u-1"
NOW: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
"""When a command comes, where a row does not say otherwise."""
BEGAN: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""When what is given occurred."""
YEAR: Final = timedelta(days=365)
MOMENT: Final = timedelta(microseconds=1)
MAX: Final = 9_007_199_254_740_991


def day(month: int, of_month: int, year: int = 2026) -> datetime:
    """Midnight UTC."""
    return datetime(year, month, of_month, tzinfo=UTC)


def alloc(**parts: int) -> tuple[Allocation, ...]:
    """`alloc(lot2=30, lot5=10)`: 30 from lot 2, then 10 from lot 5."""
    return tuple(Allocation(int(lot.removeprefix("lot")), amount) for lot, amount in parts.items())


# ── events ──


def opened() -> points.AccountOpened:
    return points.AccountOpened(USER)


def earned(
    amount: int, *, balance: int, lifetime: int, expires: datetime | None, at: datetime = BEGAN, **more: Any
) -> points.PointsEarned:
    more = {"source": "bonus", "reference": "ref", **more}
    return points.PointsEarned(
        user_id=USER, amount=amount, occurred_at=at, expires_at=expires, balance=balance, lifetime=lifetime, **more
    )


def granted(
    amount: int, *, balance: int, lifetime: int, expires: datetime | None = None, at: datetime = BEGAN, **more: Any
) -> points.PointsGranted:
    more = {"reason": "thanks", "reference": None, **more}
    return points.PointsGranted(
        user_id=USER, amount=amount, occurred_at=at, expires_at=expires, balance=balance, lifetime=lifetime, **more
    )


def deducted(
    amount: int, *, balance: int, of: tuple[Allocation, ...], at: datetime = NOW, **more: Any
) -> points.PointsDeducted:
    more = {"reason": "mistake", "reference": None, **more}
    return points.PointsDeducted(user_id=USER, amount=amount, occurred_at=at, allocation=of, balance=balance, **more)


def spent(
    amount: int, *, balance: int, of: tuple[Allocation, ...], at: datetime = NOW, **more: Any
) -> points.PointsSpent:
    more = {"reference": "order", **more}
    return points.PointsSpent(user_id=USER, amount=amount, occurred_at=at, allocation=of, balance=balance, **more)


def expired(lot: int, amount: int, *, balance: int, at: datetime) -> points.PointsExpired:
    return points.PointsExpired(user_id=USER, lot_id=lot, amount=amount, occurred_at=at, balance=balance)


def crossed(level: str, tier: int, minimum: int, *, lifetime: int, at: datetime = NOW) -> points.LevelCrossed:
    return points.LevelCrossed(
        user_id=USER, level=level, tier=tier, min_points=minimum, lifetime=lifetime, occurred_at=at
    )


def left(
    level: str, tier: int, now_level: str, now_tier: int, *, lifetime: int, at: datetime = NOW
) -> points.LevelLeft:
    return points.LevelLeft(USER, level, tier, now_level, now_tier, lifetime, at)


def back(lot: int, amount: int, *, of: int, expires: datetime | None = None) -> RestoredLot:
    """`amount` goes back to the lot, which began with `of`."""
    return RestoredLot(lot, amount, of, expires)


def restored(
    amount: int, *, balance: int, to: tuple[RestoredLot, ...], at: datetime = NOW, **more: Any
) -> points.PointsRestored:
    more = {"reference": "p-1", "purchase_request_id": "p-1", **more}
    return points.PointsRestored(user_id=USER, amount=amount, occurred_at=at, lots=to, balance=balance, **more)


def locked(reason: str = "suspicion") -> points.AccountLockedByAdmin:
    return points.AccountLockedByAdmin(USER, reason)


def unlocked(reason: str = "cleared") -> points.AccountUnlocked:
    return points.AccountUnlocked(USER, reason)


# ── commands ──


def open_account() -> points.OpenAccount:
    return points.OpenAccount(USER)


def earn(amount: int | None, *, expires: Any = UNSET, at: datetime | None = None, **more: Any) -> points.EarnPoints:
    more = {"source": "bonus", "reference": "ref", **more}
    return points.EarnPoints(user_id=USER, amount=amount, occurred_at=at, expires_at=expires, **more)


def grant(amount: int, *, expires: Any = UNSET, at: datetime | None = None, **more: Any) -> points.GrantPoints:
    more = {"reason": "thanks", **more}
    return points.GrantPoints(user_id=USER, amount=amount, occurred_at=at, expires_at=expires, **more)


def deduct(amount: int, *, at: datetime | None = None, **more: Any) -> points.DeductPoints:
    more = {"reason": "mistake", **more}
    return points.DeductPoints(user_id=USER, amount=amount, occurred_at=at, **more)


def spend(amount: int, *, at: datetime | None = None, **more: Any) -> points.SpendPoints:
    more = {"reference": "order", **more}
    return points.SpendPoints(user_id=USER, amount=amount, occurred_at=at, **more)


def expire() -> points.ExpireLots:
    return points.ExpireLots(USER)


def lock(reason: str = "suspicion") -> points.LockAccount:
    return points.LockAccount(USER, reason)


def unlock(reason: str = "cleared") -> points.UnlockAccount:
    return points.UnlockAccount(USER, reason)


def restore(*lots: RestoredLot) -> redemptions.RestorePoints:
    return redemptions.RestorePoints(USER, "p-1", lots)


def redecide() -> levels.RedecideLevels:
    return levels.RedecideLevels(USER)


# ── the decider ──


def decide(
    command: Any, state: PointsAccount, now: datetime = NOW, programme: Programme = DEFAULT_PROGRAMME
) -> Sequence[points.Event]:
    """The one door to the rules of points."""
    match command:
        case points.OpenAccount():
            return points.decide_open(command, state)
        case points.EarnPoints():
            return points.decide_earn(command, state, programme, now)
        case points.GrantPoints():
            return points.decide_grant(command, state, programme, now)
        case points.DeductPoints():
            return points.decide_deduct(command, state, now)
        case points.SpendPoints():
            return points.decide_spend(command, state, now)
        case points.ExpireLots():
            return points.decide_expire(command, state, now)
        case points.LockAccount():
            return points.decide_lock(command, state, now)
        case points.UnlockAccount():
            return points.decide_unlock(command, state, now)
        case redemptions.RestorePoints():
            return redemptions.decide_restore(command, state, now)
        case levels.RedecideLevels():
            return levels.decide_levels(command, state, programme, now)
        case _:
            raise AssertionError(f"no rule for {command}")


def sound(state: PointsAccount) -> None:
    """What holds of every account, whatever happened: else the events of a row contradict each other."""
    lots = state.live_lots()
    assert state.balance == sum(lot.remaining for lot in lots), "the recorded balance is what its lots hold"
    assert all(0 < lot.remaining <= lot.points for lot in lots)
    assert lots == sorted(lots, key=lot_order)
    assert 0 <= state.balance <= state.lifetime <= MAX


ACCOUNT: Final = Decider(initial=PointsAccount, evolve=points.evolve, decide=decide, sound=sound)
given: Final = ACCOUNT.given
