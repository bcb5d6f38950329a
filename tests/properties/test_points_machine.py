"""A points account under any commands in any order, on a clock that jumps: what holds at every instant of it.

The seed is printed with a failure; `POINTS_SEED=<seed>` runs the same again.
"""

import os
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import ClassVar

import msgspec
import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ledger import ids
from ledger.domain import levels, points, redemptions, referrals, reversals
from ledger.domain import lots as lot_chunks
from ledger.domain.account_at_rest import encode_account, pack_account, unpack_account
from ledger.domain.lots import Allocation, RestoredLot, described
from ledger.domain.points import MAX_POINTS, PointsAccount, available, copy_account, evolve
from ledger.domain.programme import DEFAULT_PROGRAMME, Level, Programme
from ledger.domain.purchases import Purchase
from ledger.errors import (
    AccountLocked,
    BalanceTooLarge,
    InsufficientPoints,
    InvalidCommand,
    LedgerError,
    UserNotFound,
    WouldGoBelowZero,
)
from ledger.store.codec import CATEGORIES, decode, encode, tag_of
from ledger.transactions import transaction_of
from tests.properties.points_model import TRANSACTION_SIGN, Model, levels_above, tier_of

SEED = int(os.environ.get("POINTS_SEED") or secrets.randbelow(2**32))
USER = "u-1"
START = datetime(2026, 1, 1, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)

PROGRAMMES = [
    DEFAULT_PROGRAMME,
    msgspec.structs.replace(
        DEFAULT_PROGRAMME,
        levels=tuple(Level(f"easy {tier}", tier, least) for tier, least in enumerate([0, 5, 50, 500, 5000], 1)),
    ),
    msgspec.structs.replace(
        DEFAULT_PROGRAMME,
        expiry_days=30,
        levels=tuple(Level(f"hard {tier}", tier, least) for tier, least in [(1, 0), (3, 20_000), (9, 2**52)]),
    ),
]
amounts = st.one_of(
    st.integers(1, 50),
    st.integers(1, 3000),
    st.sampled_from([999, 1000, 1001, 2500, 10_000, MAX_POINTS - 1, MAX_POINTS]),
)
pauses = st.one_of(
    st.integers(0, 3).map(lambda days: timedelta(days=days)),
    st.integers(0, 400).map(lambda days: timedelta(days=days)),
    st.integers(0, 10**6).map(lambda us: timedelta(microseconds=us)),
)
deadlines = st.one_of(
    st.just(msgspec.UNSET),
    st.none(),
    st.integers(1, 40).map(lambda days: timedelta(days=days)),
    st.just(MOMENT),
    st.integers(-40, 0).map(lambda days: timedelta(days=days)),
)
"""Of a new lot, from now: the programme's, never, ahead, at once, past (an import)."""
ages = st.sampled_from([None, timedelta(0), timedelta(days=1), timedelta(days=60), timedelta(days=500)])
"""How long ago it occurred."""


class PointsMachine(RuleBasedStateMachine):
    """Every rule gives one command; what comes of it is foretold by the model, then taken in by both."""

    met: ClassVar[set[object]] = set()
    """Kinds of events and of states that came up in the whole run."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.account = PointsAccount()
        self.model = Model()
        self.history: list[points.Event] = []
        self.programme = DEFAULT_PROGRAMME
        self.settled = True
        """Whether levels were decided since the programme changed."""
        self.redeemed: list[tuple[RestoredLot, ...]] = []
        """What purchases that may still be cancelled were paid from."""

    # ── what may happen ──

    @initialize()
    def open(self) -> None:
        self._append(points.decide_open(points.OpenAccount(USER), self.account))

    @rule(pause=pauses)
    def wait(self, pause: timedelta) -> None:
        self.now += pause

    @precondition(lambda self: any(lot.expires_at for lot in self.model.lots.values()))
    @rule(data=st.data(), offset=st.sampled_from([-MOMENT, timedelta(0), MOMENT]))
    def wait_for_a_deadline(self, data: st.DataObject, offset: timedelta) -> None:
        coming = sorted({lot.expires_at for lot in self.model.lots.values() if lot.expires_at})
        self.now = max(self.now, data.draw(st.sampled_from(coming)) + offset)

    @rule()
    def open_again(self) -> None:
        assert points.decide_open(points.OpenAccount(USER), self.account) == []

    @rule(amount=amounts, deadline=deadlines, age=ages)
    def earn(self, amount: int, deadline: timedelta | None, age: timedelta | None) -> None:
        occurred_at, expires_at = self._times(deadline, age)
        command = points.EarnPoints(USER, amount, "bonus", "ref", occurred_at, expires_at)
        self._add(lambda: points.decide_earn(command, self.account, self.programme, self.now), command)

    @rule(amount=amounts, deadline=deadlines, age=ages)
    def grant(self, amount: int, deadline: timedelta | None, age: timedelta | None) -> None:
        occurred_at, expires_at = self._times(deadline, age)
        command = points.GrantPoints(USER, amount, "reason", None, occurred_at, expires_at)
        self._add(lambda: points.decide_grant(command, self.account, self.programme, self.now), command)

    @rule(number=st.integers(2, 12), days=st.integers(1, 40), step=st.integers(-2, 2))
    def grant_a_series(self, number: int, days: int, step: int) -> None:
        """Enough lots for several chunks, at the end of them, at their front or all in one place."""
        for index in range(number):
            expires_at = self.now + timedelta(days=days + 24 + index * step)
            command = points.GrantPoints(USER, 1, "reason", expires_at=expires_at)
            self._add(self._decider(command), command)

    @rule(amount=amounts)
    def spend(self, amount: int) -> None:
        self._spend(amount)

    @precondition(lambda self: self.model.balance_at(self.now) > 0)
    @rule(data=st.data())
    def spend_some(self, data: st.DataObject) -> None:
        self._spend(data.draw(st.integers(1, self.model.balance_at(self.now))))

    @precondition(lambda self: self.model.balance_at(self.now) < MAX_POINTS)
    @rule()
    def spend_one_too_many(self) -> None:
        self._spend(self.model.balance_at(self.now) + 1)

    @rule(amount=amounts)
    def deduct(self, amount: int) -> None:
        self._deduct(amount)

    @precondition(lambda self: self.model.balance_at(self.now) > 0)
    @rule()
    def deduct_everything(self) -> None:
        self._deduct(self.model.balance_at(self.now))

    @precondition(lambda self: self.model.balance_at(self.now) > 0 and not self.model.locked)
    @rule(data=st.data())
    def redeem(self, data: st.DataObject) -> None:
        """A spend whose lots are remembered, as a purchase does."""
        amount = data.draw(st.integers(1, self.model.balance_at(self.now)))
        before = self.account.chunks.copy()
        assert self._spend(amount)
        spent = self.history[-1]
        assert isinstance(spent, points.PointsSpent)
        lots = described(before, spent.allocation)
        assert [Allocation(part.lot_id, part.amount) for part in lots] == [*spent.allocation]
        self.redeemed.append(lots)

    @precondition(lambda self: self.redeemed)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self._cancel(data.draw(st.integers(0, len(self.redeemed) - 1)))

    @precondition(lambda self: not self.model.locked and self.model.lifetime < MAX_POINTS - 10)
    @rule(amount=st.integers(1, 10), days=st.integers(1, 40))
    def redeem_an_earn_and_cancel_too_late(self, amount: int, days: int) -> None:
        command = points.EarnPoints(USER, amount, "bonus", "ref", expires_at=self.now + timedelta(days=days))
        self._add(lambda: points.decide_earn(command, self.account, self.programme, self.now), command)
        before = self.account.chunks.copy()
        assert self._spend(self.model.balance_at(self.now))
        spent = self.history[-1]
        assert isinstance(spent, points.PointsSpent)
        self.redeemed.append(described(before, spent.allocation))
        self.now += timedelta(days=days)
        self._cancel(len(self.redeemed) - 1)

    @precondition(lambda self: any(part.expires_at for lots in self.redeemed for part in lots))
    @rule()
    def cancel_when_a_lot_is_past_its_deadline(self) -> None:
        dated = [n for n, lots in enumerate(self.redeemed) if any(part.expires_at for part in lots)]
        self.now = max(self.now, *(part.expires_at for part in self.redeemed[dated[0]] if part.expires_at))
        self._cancel(dated[0])

    def _cancel(self, number: int) -> None:
        """Everything goes back to where it came from; what is past its deadline goes at once, and nothing else."""
        lots = self.redeemed.pop(number)
        balance = self.model.balance_at(self.now)
        events = redemptions.decide_restore(redemptions.RestorePoints(USER, "p-1", lots), self.account, self.now)
        restored, *gone = self._expect_expiries(events)
        assert isinstance(restored, points.PointsRestored)
        assert restored.lots == lots
        past = [part for part in lots if part.expires_at is not None and part.expires_at <= self.now]
        past.sort(key=lambda part: (part.expires_at, part.lot_id))
        assert [(event.lot_id, event.amount) for event in gone] == [(part.lot_id, part.amount) for part in past]
        assert restored.expired == sum(part.amount for part in past)
        lifetime = self.model.lifetime
        self._append(events)
        assert self.model.lifetime == lifetime
        assert self.model.balance_at(self.now) == balance + restored.amount - restored.expired
        assert not self.model.overdue_at(self.now)
        self.met |= {"came back and went"} if past else set()

    @rule(asked=amounts, own=st.integers(0, 40))
    def claw_back(self, asked: int, own: int) -> None:
        """A refund asks points back: what is there, of the purchase's own lot first, then as in any spend."""
        purchase = Purchase("completed", USER, "s-1", earned_lot=own)
        reversal = reversals.Reversal(asked, ())
        balance = self.model.balance_at(self.now)
        events = reversals.decide_reversal(reversal, "p-1", purchase, self.account, self.now)
        (clawed,) = self._expect_expiries(events)
        assert isinstance(clawed, points.PointsClawedBack)
        assert (clawed.amount, clawed.asked, clawed.balance) == (
            min(asked, balance), asked, balance - min(asked, balance),
        )  # fmt: skip
        order = self.model.paying_order(self.now)
        order = [lot for lot in order if lot == own] + [lot for lot in order if lot != own]
        assert clawed.allocation == self.model.pays(clawed.amount, order)
        self._append(events)
        self.met |= {"not all was there"} if asked > balance else set()

    @rule(programme=st.sampled_from(PROGRAMMES), at_once=st.booleans())
    def change_the_programme(self, programme: Programme, *, at_once: bool) -> None:
        self.programme = programme
        self.settled = False
        if at_once:
            self.decide_levels_again()

    @rule()
    def decide_levels_again(self) -> None:
        command = levels.RedecideLevels(USER)
        events = levels.decide_levels(command, self.account, self.programme, self.now)
        if events:
            moves = self._expect_expiries(events)
            above = levels_above(self.programme, self.model.tier, self.model.lifetime)
            assert [event.level for event in moves if isinstance(event, points.LevelCrossed)] == above
            assert len(moves) == (len(above) or 1)
        self._append(events)
        self.settled = True
        assert levels.decide_levels(command, self.account, self.programme, self.now) == []

    @rule()
    def get_a_code(self) -> None:
        of_account, _ = referrals.decide_code(USER, "AAAAAAAA", self.account, self.now)
        self._append(of_account)

    @rule()
    def bring_somebody(self) -> None:
        _, mine = referrals.decide_bind("u-3", "AAAAAAAA", USER, PointsAccount(), lambda _user: self.account, self.now)
        before = self.account.referrals
        self._expect_expiries(mine)
        self._append(mine)
        assert self.account.referrals == before + 1

    @rule(completed=st.booleans())
    def be_brought(self, *, completed: bool) -> None:
        referrer = PointsAccount(version=1)
        mine, _ = referrals.decide_bind("u-1", "BBBBBBBB", "u-2", self.account, lambda _user: referrer, self.now)
        assert (mine == []) == (self.account.referrer == "u-2")
        self._append(mine)
        if completed and referrals.has_pending_referral(self.account):
            self.complete_the_referral()

    @precondition(lambda self: referrals.has_pending_referral(self.account))
    @rule()
    def complete_the_referral(self) -> None:
        self.expire()
        self._append(referrals.decide_completed(USER, "p-1", 100, self.account, self.now))
        assert not referrals.has_pending_referral(self.account)

    @rule()
    def expire(self) -> None:
        events = points.decide_expire(points.ExpireLots(USER), self.account, self.now)
        assert self._expect_expiries(events) == []
        self._append(events)
        assert points.decide_expire(points.ExpireLots(USER), self.account, self.now) == []

    @rule()
    def lock(self) -> None:
        events = points.decide_lock(points.LockAccount(USER, "reason"), self.account, self.now)
        if self.model.locked:
            assert events == []
        else:
            assert self._expect_expiries(events) == [points.AccountLockedByAdmin(USER, "reason")]
        self._append(events)

    @rule()
    def unlock(self) -> None:
        events = points.decide_unlock(points.UnlockAccount(USER, "reason"), self.account, self.now)
        if self.model.locked:
            assert self._expect_expiries(events) == [points.AccountUnlocked(USER, "reason")]
        else:
            assert events == []
        self._append(events)

    @precondition(lambda self: self.model.balance_at(self.now) > 0 and not self.model.overdue_at(self.now))
    @rule(data=st.data(), number=st.integers(0, 2**32))
    def replay_a_spend_decided_under_another_order(self, data: st.DataObject, number: int) -> None:
        """History is followed, not recomputed: lots may have been taken in any order when it was written."""
        amount = data.draw(st.integers(1, self.model.balance_at(self.now)))
        allocation = self.model.pays_in_any_order(amount, self.now, Random(number))
        balance = self.model.recorded_balance - amount
        self._append([points.PointsSpent(USER, amount, "old", self.now, allocation, balance)])

    # ── what holds at every instant ──

    @invariant()
    def balance_is_the_sum_of_unexpired_lots_at_every_instant(self) -> None:
        instants = {self.now, self.now + timedelta(days=10_000)}
        for lot in self.model.lots.values():
            if lot.expires_at:
                instants |= {lot.expires_at - MOMENT, lot.expires_at, lot.expires_at + MOMENT}
        for instant in instants:
            assert available(self.account, instant) == self.model.balance_at(instant)

    @invariant()
    def recorded_balance_is_the_running_sum_of_the_transactions(self) -> None:
        running = 0
        for event in self.history:
            transaction = transaction_of(event)
            assert (transaction is None) == (type(event) not in TRANSACTION_SIGN or not event.amount)
            if transaction is not None:
                assert transaction.amount > 0
                running += TRANSACTION_SIGN[type(event)] * transaction.amount
                assert transaction.balance == running
                assert running >= 0
        assert self.account.balance == running == self.model.recorded_balance

    @invariant()
    def nothing_is_negative_or_too_large(self) -> None:
        assert 0 <= available(self.account, self.now) <= self.account.balance <= self.account.lifetime <= MAX_POINTS
        assert all(0 < lot.remaining <= lot.points for lot in self.account.live_lots())

    @invariant()
    def live_lots_are_those_of_the_model_in_the_order_they_pay(self) -> None:
        assert all(1 <= len(lot_chunks.lots_of(chunk)) <= lot_chunks.CHUNK_LOTS for chunk in self.account.chunks)
        rests = {lot.lot_id: lot.remaining for lot in self.account.live_lots()}
        assert rests == {lot_id: lot.rest for lot_id, lot in self.model.lots.items()}
        assert list(rests) == self.model.paying_order(datetime.min.replace(tzinfo=UTC))

    @invariant()
    def replaying_the_stored_events_gives_the_live_state(self) -> None:
        replayed = PointsAccount()
        for event in self.history:
            stored = encode(event)
            replayed = evolve(replayed, decode(tag_of(event), stored))
        assert replayed == self.account

    @invariant()
    def a_snapshot_gives_the_same_state_back(self) -> None:
        category = CATEGORIES[ids.ACCOUNT]
        assert category.decode_state(category.encode_state(self.account)) == self.account
        copy = category.copy(self.account)
        assert category.decode_state(category.encode_state(copy)) == copy

    @invariant()
    def an_account_at_rest_comes_back_the_same(self) -> None:
        packed = pack_account(self.account)
        assert (packed is None) == (len(self.account.chunks) > 1)
        if packed is not None:
            assert unpack_account(b"in front" + packed, len(b"in front")) == self.account

    @invariant()
    def the_level_is_the_fold_of_its_events_and_once_decided_what_the_lifetime_reaches(self) -> None:
        assert self.account.lifetime == self.model.lifetime
        assert (self.account.tier, self.account.level) == (self.model.tier, self.model.level)
        if self.settled:
            assert self.account.tier == tier_of(self.programme, self.model.lifetime)

    # ── how it happens ──

    def _times(self, deadline: object, age: timedelta | None) -> tuple[datetime | None, object]:
        occurred_at = None if age is None else self.now - age
        return occurred_at, self.now + deadline if isinstance(deadline, timedelta) else deadline

    def _decider(self, command: points.GrantPoints) -> Callable[[], list[points.Event]]:
        return lambda: points.decide_grant(command, self.account, self.programme, self.now)

    def _add(self, decide: Callable[[], list[points.Event]], command: points.EarnPoints | points.GrantPoints) -> None:
        occurred_at = command.occurred_at or self.now
        expires_at = command.expires_at
        if expires_at is msgspec.UNSET:
            earned = isinstance(command, points.EarnPoints)
            expires_at = occurred_at + timedelta(days=self.programme.expiry_days or 0) if earned else None
        wrong = set()
        if expires_at is not None and expires_at <= occurred_at:
            wrong.add(InvalidCommand)
        if self.model.lifetime + command.amount > MAX_POINTS:
            wrong.add(BalanceTooLarge)
        if wrong:
            self._refused(tuple(wrong), decide)
            return
        events = decide()
        rest = self._expect_expiries(events)
        added = rest[0]
        assert (added.amount, added.occurred_at, added.expires_at) == (command.amount, occurred_at, expires_at)
        crossed = levels_above(self.programme, self.model.tier, self.model.lifetime + command.amount)
        assert [event.level for event in rest[1:] if isinstance(event, points.LevelCrossed)] == crossed
        past = expires_at is not None and expires_at <= self.now
        assert len(rest) == 1 + len(crossed) + past
        self._append(events)
        assert not self.model.overdue_at(self.now), "a lot that began past its deadline is recorded at once"

    def _spend(self, amount: int) -> bool:
        """Whether it was spent."""
        command = points.SpendPoints(USER, amount, "order")
        if self.model.locked:
            self._refused(AccountLocked, lambda: points.decide_spend(command, self.account, self.now))
        elif amount > self.model.balance_at(self.now):
            self._refused(InsufficientPoints, lambda: points.decide_spend(command, self.account, self.now))
        else:
            self._take(amount, points.decide_spend(command, self.account, self.now))
            return True
        return False

    def _deduct(self, amount: int) -> None:
        command = points.DeductPoints(USER, amount, "reason")
        if amount > self.model.balance_at(self.now):
            self._refused(WouldGoBelowZero, lambda: points.decide_deduct(command, self.account, self.now))
        else:
            self._take(amount, points.decide_deduct(command, self.account, self.now))

    def _take(self, amount: int, events: list[points.Event]) -> None:
        (taken,) = self._expect_expiries(events)
        assert taken.amount == amount == sum(part.amount for part in taken.allocation)
        assert taken.allocation == self.model.pays(amount, self.model.paying_order(self.now))
        self._append(events)

    def _refused(self, error: type[LedgerError] | tuple[type[LedgerError], ...], decide: Callable[[], object]) -> None:
        before = encode_account(self.account)
        with pytest.raises(error):
            decide()
        assert encode_account(self.account) == before

    def _expect_expiries(self, events: list[points.Event]) -> list:
        """What is overdue is recorded first, as of its deadline, one event a lot. Returns the others."""
        due = self.model.overdue_at(self.now)
        for event, lot_id in zip(events, due, strict=False):
            lot = self.model.lots[lot_id]
            assert isinstance(event, points.PointsExpired)
            assert (event.lot_id, event.amount, event.occurred_at) == (lot_id, lot.rest, lot.expires_at)
        assert len(events) >= len(due)
        return events[len(due) :]

    def _append(self, events: list[points.Event]) -> None:
        """Take the events in: on a copy first, as the committer does, so that the original has to stay as it was."""
        before = encode_account(self.account)
        copy = copy_account(self.account)
        for event in events:
            copy = evolve(copy, event)
        assert encode_account(self.account) == before, "what happens to a copy does not happen to the original"
        for event in events:
            self.account = evolve(self.account, event)
            self.model.take_in(event)
            self.history.append(event)
            self.met.add(type(event))
        if len(self.account.chunks) > 2:
            self.met.add("several chunks")
        assert copy == self.account


def test_an_account_under_any_commands_in_any_order(monkeypatch):
    monkeypatch.setattr(lot_chunks, "CHUNK_LOTS", 4)  # so that thirty steps fill, split and empty chunks
    print(f"POINTS_SEED={SEED}")  # pytest shows it with a failure
    PointsMachine.met.clear()
    limits = settings(
        max_examples=300,
        stateful_step_count=30,
        deadline=None,
        derandomize=False,
        database=None,
        print_blob=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    run_state_machine_as_test(seed(SEED)(PointsMachine), settings=limits)
    # What refunds do is met in test_payments_machine.py.
    assert PointsMachine.met >= set(points.TAGS.values()) - {points.PointsClawedBack}, (
        "a property over events that never happen proves nothing of them"
    )
    assert {"several chunks", "came back and went", "not all was there"} <= PointsMachine.met


def test_nothing_can_be_done_to_an_account_that_was_never_opened():
    absent = PointsAccount()
    for decide in (
        lambda: points.decide_earn(points.EarnPoints(USER, 1, "bonus", "r"), absent, DEFAULT_PROGRAMME, START),
        lambda: points.decide_grant(points.GrantPoints(USER, 1, "r"), absent, DEFAULT_PROGRAMME, START),
        lambda: points.decide_deduct(points.DeductPoints(USER, 1, "r"), absent, START),
        lambda: points.decide_spend(points.SpendPoints(USER, 1, "r"), absent, START),
        lambda: points.decide_expire(points.ExpireLots(USER), absent, START),
        lambda: points.decide_lock(points.LockAccount(USER, "r"), absent, START),
        lambda: points.decide_unlock(points.UnlockAccount(USER, "r"), absent, START),
    ):
        with pytest.raises(UserNotFound):
            decide()
    assert absent == PointsAccount()
