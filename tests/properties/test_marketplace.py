"""A small marketplace of members who refer, buy, redeem, complete and cancel at random, beside plain book-keeping.

The seed of each walk is its parameter, so that a failure names it.
"""

from collections import Counter
from datetime import timedelta
from fractions import Fraction
from random import Random

import pytest

from ledger import ids
from ledger.domain import levels, points
from ledger.domain.programme import Level
from ledger.domain.purchase_events import PurchasePointsRedeemed, PurchaseStatusChanged
from ledger.domain.referrals import CodeCreated
from ledger.errors import LedgerError
from ledger.new_codes import fresh_codes
from tests.properties.points_model import TRANSACTION_SIGN, Model, tier_of
from tests.specs.world import STEPS, World

USERS = [f"u{n}" for n in range(6)]
UNIT = {"USD": 100, "JPY": 1, "KWD": 1000, "USDT": 1_000_000}
LEVELS = [
    (Level("a", 1, 0), Level("b", 2, 100), Level("c", 3, 400)),
    (Level("a", 1, 0), Level("b", 2, 30), Level("c", 3, 60), Level("d", 4, 90)),
    (Level("a", 1, 0), Level("d", 4, 5000)),
]


class Market:
    """The walk: one step, one command, and what the books say must have come of it."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.world = World()
        self.codes: dict[str, str] = {}
        self.referrer: dict[str, str] = {}
        self.rewarded: set[str] = set()
        self.path: dict[str, str] = {}
        self.price: dict[str, tuple[str, int, str]] = {}
        self.discount: Counter[str] = Counter()
        self.came_up: Counter[str] = Counter()
        self.world.member(*USERS)

    def step(self) -> None:
        names = ("wait", "grant", "code", "refer", "buy", "buy", "go_on", "go_on", "go_on", "go_on", "cancel", "redeem")
        what = self.chance.choice((*names, "redeem", "redeem", "programme", "lock", "deduct"))
        before = len(self.world.log)
        try:
            getattr(self, what)()
            self.came_up[what] += 1
        except LedgerError as refusal:
            self.came_up[refusal.code] += 1
            assert len(self.world.log) == before, "a refusal changes nothing"

    def user(self) -> str:
        return self.chance.choice(USERS)

    def wait(self) -> None:
        self.world.now += timedelta(days=self.chance.choice([1, 5, 40]))

    def grant(self) -> None:
        days = self.chance.choice([None, 3, 30])
        deadline = None if days is None else self.world.now + timedelta(days=days)
        self.world.do(points.GrantPoints(self.user(), self.chance.randint(1, 200), "gift", expires_at=deadline))

    def deduct(self) -> None:
        self.world.do(points.DeductPoints(self.user(), self.chance.randint(1, 20), "mistake"))

    def lock(self) -> None:
        kind = self.chance.choice([points.LockAccount, points.UnlockAccount, points.UnlockAccount])
        self.world.do(kind(self.user(), "reason"))

    def code(self) -> None:
        user = self.user()
        code = self.world.code_of(user, fresh_codes(1)[0])
        self.codes[code] = user

    def refer(self) -> None:
        if not self.codes:
            return
        code = self.chance.choice(list(self.codes))
        user, owner = self.user(), self.codes[code]
        above = owner
        while above != user and above in self.referrer:
            above = self.referrer[above]
        allowed = above != user and self.referrer.get(user, owner) == owner
        try:
            self.world.member(user, code=code)
        except LedgerError:
            assert not allowed
            raise
        assert allowed
        self.referrer[user] = owner

    def buy(self) -> None:
        buyer, seller = self.user(), self.user()
        purchase, currency = f"p-{len(self.price)}", self.chance.choice(list(UNIT))
        minor = self.chance.randint(1, 60 * UNIT[currency])
        self.world.purchase(purchase, buyer, seller, minor, currency)
        assert buyer != seller
        self.price[purchase] = (buyer, minor, currency)
        self.path[purchase] = "pending"

    def purchase(self) -> str:
        # The newest are asked for more often: else most would be over.
        return self.chance.choice([*self.path][-6:]) if self.path else "p-none"

    def go_on(self) -> None:
        purchase = self.purchase()
        status = self.path.get(purchase, "")
        following = dict(zip(("pending", *STEPS), STEPS, strict=False)).get(status, "completed")
        answer = self.world.status(purchase, following)
        self.path[purchase] = following
        buyer, minor, currency = self.price[purchase]
        if following == "completed":
            rate = Fraction(self.world.read(ids.PROGRAMME_STREAM).points_per_unit)
            assert answer.points_earned == Fraction(minor - self.discount[purchase], UNIT[currency]) * rate // 1
            if buyer in self.referrer:
                self.rewarded.add(buyer)

    def cancel(self) -> None:
        purchase = self.purchase()
        allowed = self.path.get(purchase) in {"pending", "pending_payment", "active", "delivery"}
        buyer = self.price[purchase][0] if purchase in self.price else USERS[0]
        lifetime = self.world.account(buyer).lifetime
        try:
            self.world.status(purchase, "cancelled")
        except LedgerError:
            assert not allowed
            raise
        assert allowed
        self.path[purchase] = "cancelled"
        assert self.world.account(buyer).lifetime == lifetime

    def redeem(self) -> None:
        purchase = self.purchase()
        if purchase not in self.price:
            return
        buyer, minor, currency = self.price[purchase]
        user = buyer if self.chance.random() < 0.9 else self.user()
        asked = self.chance.randint(1, max(1, self.world.balance(user)))
        balance = self.world.balance(user)
        answer = self.world.redeem(user, asked, purchase)
        assert (user, self.path[purchase] in {"pending", "pending_payment"}) == (buyer, True)
        assert self.discount[purchase] == 0
        cost = self.world.read(ids.PROGRAMME_STREAM).points_per_credit_unit
        credit = min(Fraction(asked * UNIT[currency], cost) // 1, minor)
        assert answer.discount.credit_minor == credit >= 1
        taken = answer.transaction.amount
        assert Fraction(taken * UNIT[currency], cost) >= credit > Fraction((taken - 1) * UNIT[currency], cost)
        assert self.world.balance(user) == balance - taken >= 0
        self.discount[purchase] = credit

    def programme(self) -> None:
        self.world.programme(
            points_per_unit=self.chance.choice(["1", "2.5", "0.333"]),
            points_per_credit_unit=self.chance.choice([1, 3, 100]),
            expiry_days=self.chance.choice([None, 10, 30]),
            levels=self.chance.choice(LEVELS),
        )
        programme = self.world.read(ids.PROGRAMME_STREAM)
        for user in USERS:
            self.world.do(levels.RedecideLevels(user))
            self.world.do(levels.RedecideLevels(user))
            assert self.world.account(user).tier == tier_of(programme, self.world.account(user).lifetime)

    def check(self) -> None:
        """The log alone, read as plainly as can be, says what the states say."""
        events = [event for _, event in self.world.log]
        for user in USERS:
            model = Model()
            for event in self.world.of(user):
                model.take_in(event)
            state = self.world.account(user)
            assert (state.balance, state.lifetime, state.tier) == (model.recorded_balance, model.lifetime, model.tier)
            assert {lot.lot_id: lot.remaining for lot in state.live_lots()} == {
                lot_id: lot.rest for lot_id, lot in model.lots.items()
            }
            assert self.world.balance(user) == model.balance_at(self.world.now)
            assert state.referrer == self.referrer.get(user, "")
            assert state.referrals == list(self.referrer.values()).count(user)
        rewards = Counter(event.referred_user for event in events if isinstance(event, points.PointsEarned))
        del rewards[None]
        assert rewards == Counter(self.rewarded)
        made = [event.code for event in events if isinstance(event, CodeCreated)]
        assert len(made) == len(set(made))
        moved = sum(TRANSACTION_SIGN.get(type(event), 0) * getattr(event, "amount", 0) for event in events)
        assert moved == sum(self.world.account(user).balance for user in USERS)
        self._check_purchases()

    def _check_purchases(self) -> None:
        for purchase, status in self.path.items():
            buyer, minor, _ = self.price[purchase]
            state = self.world.purchase_state(purchase)
            assert (state.status, state.due_minor) == (status, minor - self.discount[purchase])
            history = self.world.events[ids.purchase_stream(purchase)]
            redeemed = [event for event in history if isinstance(event, PurchasePointsRedeemed)]
            taken = [e for e in self.world.of(buyer) if isinstance(e, points.PointsSpent) and e.reference == purchase]
            back = [e for e in self.world.of(buyer) if isinstance(e, points.PointsRestored) and e.reference == purchase]
            assert [event.points for event in redeemed] == [event.amount for event in taken]
            assert len(taken) <= 1
            assert [e.amount for e in back] == ([e.amount for e in taken] if status == "cancelled" else [])
            assert [e.lots for e in back] == ([e.lots for e in redeemed] if status == "cancelled" else [])
            steps = [event.status for event in history if isinstance(event, PurchaseStatusChanged)]
            assert len(steps) == len(set(steps))


@pytest.mark.parametrize("seed", range(40))
def test_whatever_a_marketplace_does_the_books_agree(seed):
    market = Market(seed)
    for number in range(250):
        market.step()
        if number % 25 == 0:
            market.check()
    market.check()


def test_the_walks_come_by_everything():
    came_up: Counter[str] = Counter()
    for seed in range(40):
        market = Market(seed)
        for _ in range(250):
            market.step()
        came_up += market.came_up
        came_up += Counter(type(event).__name__ for _, event in market.world.log)
        came_up["expired at once"] += sum(getattr(event, "expired", 0) > 0 for _, event in market.world.log)
    assert {
        "SELF_REFERRAL", "REFERRAL_CYCLE", "REFERRER_ALREADY_BOUND", "INVALID_TRANSITION", "PURCHASE_NOT_IN_PROGRESS",
        "REDEMPTION_ALREADY_CLAIMED", "REDEMPTION_WORTH_NOTHING", "ACCOUNT_LOCKED", "NOT_YOUR_PURCHASE",
        "PURCHASE_NOT_FOUND", "PointsRestored", "LevelLeft", "LevelCrossed", "ReferralCompleted", "expired at once",
    } <= {name for name, times in came_up.items() if times}  # fmt: skip
