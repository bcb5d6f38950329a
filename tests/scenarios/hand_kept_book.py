"""What twenty members should have, kept by hand: plain sums over plain lists, written from the rules and not from the code.

Nothing of the service is imported. Instants that the service takes from its own clock are known `about`, the others exactly.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from math import ceil, floor
from typing import Any

DECIMALS = {"USD": 2, "JPY": 0, "BHD": 3, "USDT": 6}
Level = tuple[str, int, int]
"""Name, tier, and the lifetime points it begins at."""
LEVELS: list[Level] = [("bronze", 1, 0), ("silver", 2, 1000), ("gold", 3, 2500), ("platinum", 4, 10000)]
STEPS = ["pending", "pending_payment", "active", "delivery", "delivered", "completed"]


@dataclass
class Lot:
    number: int
    began: int
    left: int
    deadline: datetime | None
    about: bool = False


@dataclass
class Line:
    type: str
    source: str
    amount: int
    balance: int
    reference: str | None = None
    occurred: datetime | None = None


@dataclass
class Move:
    """To a level: up one at a time, down at once. By the member's own points, or by a change of the levels."""

    kind: str
    left: str | None
    to: Level
    lifetime: int
    by_change: bool


@dataclass
class Person:
    name: str
    lots: list[Lot] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    lifetime: int = 0
    code: str | None = None
    referrer: str | None = None
    rewarded: int | None = None
    brought: list[str] = field(default_factory=list)
    moves: list["Move"] = field(default_factory=list)

    @property
    def balance(self) -> int:
        return self.lines[-1].balance if self.lines else 0


@dataclass
class Purchase:
    buyer: str
    seller: str
    price: int
    currency: str
    status: str = "pending"
    discount: int = 0
    spent: int = 0
    earned: int = 0
    paid_from: list[tuple[Lot, int]] = field(default_factory=list)


@dataclass
class Programme:
    rate: Fraction = Fraction(1)
    points_for_one: int = 100
    expiry_days: int | None = 365
    reward: int = 100
    review: int = 10


class Book:
    """Every method writes down one command that the service has done, or says what it will answer."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.people: dict[str, Person] = {}
        self.purchases: dict[str, Purchase] = {}
        self.programme = Programme()
        self.levels = LEVELS
        self.claimed: set[tuple[str, str, str]] = set()
        self.rewards: list[tuple[str, int]] = []
        self._lots = 0

    # ── points ────────────────────────────────────────────────────────────────────────────────────────────────

    def available(self, user: str) -> int:
        return sum(lot.left for lot in self.people[user].lots if lot.deadline is None or lot.deadline > self.now)

    def add(
        self, user: str, amount: int, line: tuple[str, str], reference: str | None, deadline: Any, **more: Any
    ) -> None:
        """A lot comes in; `deadline` "default" is the programme's."""
        person = self._expired(user)
        occurred = more.get("occurred")
        about = False
        if deadline == "default":
            days = self.programme.expiry_days
            deadline = None if days is None else (occurred or self.now) + timedelta(days=days)
            about = occurred is None
        self._lots += 1
        lot = Lot(self._lots, amount, amount, deadline, about)
        person.lots.append(lot)
        before, person.lifetime = person.lifetime, person.lifetime + amount
        self._line(person, line, amount, reference, occurred)
        person.moves += [
            Move("crossed", None, to, person.lifetime, False) for to in self.levels if before < to[2] <= person.lifetime
        ]
        self._expired(user)

    def take(
        self, user: str, amount: int, line: tuple[str, str], reference: str | None = None
    ) -> list[tuple[Lot, int]]:
        """Earliest deadline first, then oldest; without a deadline last."""
        person = self._expired(user)
        parts, left = [], amount
        for lot in sorted(person.lots, key=lambda lot: (lot.deadline is None, lot.deadline or self.now, lot.number)):
            part = min(lot.left, left)
            if part:
                lot.left -= part
                left -= part
                parts.append((lot, part))
        assert not left
        self._line(person, line, -amount, reference)
        return parts

    def _expired(self, user: str) -> Person:
        person = self.people[user]
        overdue = [lot for lot in person.lots if lot.left and lot.deadline is not None and lot.deadline <= self.now]
        for lot in sorted(overdue, key=lambda lot: (lot.deadline, lot.number)):
            amount, lot.left = lot.left, 0
            self._line(person, ("expire", "expiry"), -amount, None, lot.deadline)
        return person

    def _line(
        self, person: Person, line: tuple[str, str], change: int, reference: str | None, occurred: Any = None
    ) -> None:
        person.lines.append(Line(*line, abs(change), person.balance + change, reference, occurred))

    # ── levels ────────────────────────────────────────────────────────────────────────────────────────────────

    def change_levels(self, levels: list[Level]) -> list[str]:
        """Other levels, of the same names; who is moved by that."""
        before, self.levels = self.levels, levels
        moved = []
        for user, person in self.people.items():
            was, now = _reached(before, person.lifetime), _reached(levels, person.lifetime)
            if now[1] < was[1]:
                person.moves.append(Move("left", was[0], now, person.lifetime, True))
            person.moves += [
                Move("crossed", None, to, person.lifetime, True) for to in levels if was[1] < to[1] <= now[1]
            ]
            if now[1] != was[1]:
                moved.append(user)
        return moved

    # ── purchases ─────────────────────────────────────────────────────────────────────────────────────────────

    def redemption(self, purchase: str, points: int) -> tuple[int, str, int, int]:
        """Status, error, points taken and minor units off, if the buyer asks for it now."""
        wanted = self.purchases[purchase]
        if wanted.status not in STEPS[:2]:
            return 409, "PURCHASE_NOT_IN_PROGRESS", 0, 0
        if wanted.spent:
            return 409, "REDEMPTION_ALREADY_CLAIMED", 0, 0
        if points > self.available(wanted.buyer):
            return 400, "INSUFFICIENT_POINTS", 0, 0
        unit, costs = 10 ** DECIMALS[wanted.currency], self.programme.points_for_one
        minor = min(floor(Fraction(points * unit, costs)), wanted.price)
        if not minor:
            return 400, "REDEMPTION_WORTH_NOTHING", 0, 0
        return 200, "", ceil(Fraction(minor * costs, unit)), minor

    def redeem(self, purchase: str, points: int, minor: int) -> None:
        wanted = self.purchases[purchase]
        wanted.paid_from = self.take(wanted.buyer, points, ("spend", "redemption"), purchase)
        wanted.spent, wanted.discount = points, minor

    def step(self, purchase: str, status: str) -> None:
        wanted = self.purchases[purchase]
        wanted.status = status
        if status == "completed":
            self._complete(purchase, wanted)
        elif status == "cancelled" and wanted.spent:
            self._restore(purchase, wanted)

    def _complete(self, purchase: str, wanted: Purchase) -> None:
        due = Fraction(wanted.price - wanted.discount, 10 ** DECIMALS[wanted.currency])
        earned = floor(due * self.programme.rate)
        claim = (wanted.buyer, "purchase", purchase)
        if earned and claim not in self.claimed:
            self.claimed.add(claim)
            wanted.earned = earned
            self.add(wanted.buyer, earned, ("earn", "purchase"), purchase, "default")
        buyer = self.people[wanted.buyer]
        if buyer.referrer is not None and buyer.rewarded is None:
            buyer.rewarded = self.programme.reward
            self.rewards.append((buyer.referrer, buyer.rewarded))
            self.add(buyer.referrer, buyer.rewarded, ("earn", "referral"), wanted.buyer, "default")

    def _restore(self, purchase: str, wanted: Purchase) -> None:
        person = self._expired(wanted.buyer)
        for lot, part in wanted.paid_from:
            lot.left += part
        self._line(person, ("restore", "redemption"), wanted.spent, purchase)
        self._expired(wanted.buyer)
        wanted.spent = 0

    # ── what should be read ───────────────────────────────────────────────────────────────────────────────────

    def level(self, user: str) -> tuple[str, tuple[str, int] | None]:
        """The level, and the next one with the points to go."""
        lifetime = self.people[user].lifetime
        ahead = next(((name, least - lifetime) for name, _, least in self.levels if least > lifetime), None)
        return _reached(self.levels, lifetime)[0], ahead

    def leaderboard(self) -> list[tuple[int, str, int, int]]:
        """Rank, member, referrals, points: most referrals, most points, who got there first."""
        last = {user: index for index, (user, _) in enumerate(self.rewards)}
        totals = {user: [points for whose, points in self.rewards if whose == user] for user in last}
        order = sorted(totals, key=lambda user: (-len(totals[user]), -sum(totals[user]), last[user]))
        return [(rank, user, len(totals[user]), sum(totals[user])) for rank, user in enumerate(order, 1)]


def _reached(levels: list[Level], lifetime: int) -> Level:
    return next(level for level in reversed(levels) if level[2] <= lifetime)
