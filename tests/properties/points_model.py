"""What a points account is, said a second time and as plainly as possible: a dict of lots and a sum.

The properties hold the rules against this. Slow on purpose; it shares no code with `ledger/domain/points.py`.
"""

from datetime import datetime
from random import Random

import msgspec

from ledger.domain import points
from ledger.domain.lots import Allocation
from ledger.domain.programme import Programme

TRANSACTION_SIGN = {
    points.PointsEarned: 1,
    points.PointsGranted: 1,
    points.PointsSpent: -1,
    points.PointsRestored: 1,
    points.PointsDeducted: -1,
    points.PointsClawedBack: -1,
    points.PointsExpired: -1,
}
"""Which way each event moves the balance; the others do not."""


class ModelLot(msgspec.Struct):
    rest: int
    expires_at: datetime | None

    def counts_at(self, instant: datetime) -> bool:
        return self.expires_at is None or instant < self.expires_at


class Model:
    """Fold events into lots by the events alone."""

    def __init__(self) -> None:
        self.version = 0
        self.lifetime = 0
        self.recorded_balance = 0
        self.locked = False
        self.tier = 1
        self.level = ""
        self.lots: dict[int, ModelLot] = {}
        self.began: dict[int, tuple[int, datetime | None]] = {}
        """Of every lot there ever was: its points and its deadline."""

    def take_in(self, event: points.Event) -> None:
        self.version += 1
        sign = TRANSACTION_SIGN.get(type(event), 0)
        self.recorded_balance += sign * getattr(event, "amount", 0)
        match event:
            case points.PointsEarned() | points.PointsGranted():
                self.lots[self.version] = ModelLot(event.amount, event.expires_at)
                self.began[self.version] = (event.amount, event.expires_at)
                self.lifetime += event.amount
            case points.PointsSpent() | points.PointsDeducted() | points.PointsClawedBack():
                for part in event.allocation:
                    self._take(part.lot_id, part.amount)
            case points.PointsExpired():
                self._take(event.lot_id, event.amount)
                assert event.lot_id not in self.lots, "an expiry takes all that was left"
            case points.PointsRestored():
                for part in event.lots:
                    self._give_back(part)
            case points.LevelCrossed():
                assert event.tier > self.tier, "a level is crossed once"
                self.tier, self.level = event.tier, event.level
            case points.LevelLeft():
                assert (event.tier, event.level) == (self.tier, self.level), "the level it was"
                assert event.now_tier < event.tier
                self.tier, self.level = event.now_tier, event.now_level
            case points.AccountLockedByAdmin():
                self.locked = True
            case points.AccountUnlocked():
                self.locked = False
            case _:
                pass

    def _take(self, lot_id: int, amount: int) -> None:
        lot = self.lots[lot_id]
        assert 0 < amount <= lot.rest, f"{amount} taken from lot {lot_id}, which holds {lot.rest}"
        lot.rest -= amount
        if not lot.rest:
            del self.lots[lot_id]

    def _give_back(self, part: points.RestoredLot) -> None:
        points_of_lot, expires_at = self.began[part.lot_id]
        assert (part.points, part.expires_at) == (points_of_lot, expires_at), "to the lot it was, with its deadline"
        lot = self.lots.setdefault(part.lot_id, ModelLot(0, expires_at))
        lot.rest += part.amount
        assert 0 < part.amount <= lot.rest <= points_of_lot

    def balance_at(self, instant: datetime) -> int:
        """What can be spent then, if nothing else happens before."""
        return sum(lot.rest for lot in self.lots.values() if lot.counts_at(instant))

    def overdue_at(self, instant: datetime) -> list[int]:
        """Lots whose expiry has to be recorded, earliest deadline first, then oldest."""
        due = [
            (lot.expires_at, lot_id)
            for lot_id, lot in self.lots.items()
            if lot.expires_at and lot.expires_at <= instant
        ]
        return [lot_id for _, lot_id in sorted(due)]

    def paying_order(self, instant: datetime) -> list[int]:
        """Lots as a spend takes them: deadlines by time, then without a deadline; the older first."""
        alive = [(lot.expires_at, lot_id) for lot_id, lot in self.lots.items() if lot.counts_at(instant)]
        dated = sorted((deadline, lot_id) for deadline, lot_id in alive if deadline is not None)
        endless = sorted(lot_id for deadline, lot_id in alive if deadline is None)
        return [lot_id for _, lot_id in dated] + endless

    def pays(self, amount: int, order: list[int]) -> tuple[Allocation, ...]:
        """The allocation of `amount` when lots are asked in this order."""
        parts = []
        for lot_id in order:
            part = min(amount, self.lots[lot_id].rest)
            if part:
                parts.append(Allocation(lot_id, part))
            amount -= part
        assert amount == 0
        return tuple(parts)

    def pays_in_any_order(self, amount: int, instant: datetime, chance: Random) -> tuple[Allocation, ...]:
        """An allocation somebody made under other rules: any order, lots not even emptied before the next."""
        order = self.paying_order(instant)
        chance.shuffle(order)
        wanted = dict.fromkeys(order, 0)
        for lot_id in order:
            wanted[lot_id] = chance.randint(0, min(amount, self.lots[lot_id].rest))
            amount -= wanted[lot_id]
        for lot_id in order:
            more = min(amount, self.lots[lot_id].rest - wanted[lot_id])
            wanted[lot_id] += more
            amount -= more
        return tuple(Allocation(lot_id, part) for lot_id, part in wanted.items() if part)


def levels_above(programme: Programme, tier: int, lifetime: int) -> list[str]:
    """Every level above the tier that these lifetime points reach, in order."""
    return [level.name for level in programme.levels if level.tier > tier and level.min_points <= lifetime]


def tier_of(programme: Programme, lifetime: int) -> int:
    """The tier these lifetime points reach."""
    return max(level.tier for level in programme.levels if level.min_points <= lifetime)
