"""Points that go back to the lots they were taken from, one row a case."""

import pytest

from ledger.domain.account_events import PointsRestored
from ledger.domain.lots import described
from ledger.errors import CorruptionError, UserNotFound
from tests.specs.account import (
    ACCOUNT,
    NOW,
    USER,
    alloc,
    back,
    day,
    deducted,
    expire,
    expired,
    given,
    granted,
    locked,
    opened,
    restore,
    restored,
    spend,
    spent,
)
from tests.specs.decider import sentences

LATER, SOONER = day(6, 1), day(4, 1)
PAST = day(2, 1)
TWO_LOTS = (
    opened(),
    granted(100, balance=100, lifetime=100, expires=LATER),
    granted(50, balance=150, lifetime=150, expires=SOONER),
)


@sentences({
    "nobody has points that could go back": given().when(restore(back(2, 1, of=1))).refused(
        UserNotFound, "No account for user u-1."),
    "a part goes back to a lot that is alive": given(
        opened(), granted(100, balance=100, lifetime=100), spent(30, balance=70, of=alloc(lot2=30)),
    ).when(restore(back(2, 30, of=100))).then(restored(30, balance=100, to=(back(2, 30, of=100),))),
    "a lot that was spent comes back with its deadline": given(
        opened(), granted(100, balance=100, lifetime=100, expires=LATER), spent(100, balance=0, of=alloc(lot2=100)),
    ).when(restore(back(2, 100, of=100, expires=LATER))).then(
        restored(100, balance=100, to=(back(2, 100, of=100, expires=LATER),))),
    "points go back to each of the lots they came from": given(
        *TWO_LOTS, spent(60, balance=90, of=alloc(lot3=50, lot2=10)),
    ).when(restore(back(3, 50, of=50, expires=SOONER), back(2, 10, of=100, expires=LATER))).then(
        restored(60, balance=150, to=(back(3, 50, of=50, expires=SOONER), back(2, 10, of=100, expires=LATER)))),
    "a part past its deadline comes back and goes at once": given(
        opened(),
        granted(100, balance=100, lifetime=100, expires=PAST),
        spent(100, balance=0, of=alloc(lot2=100), at=day(1, 2)),
    ).when(restore(back(2, 100, of=100, expires=PAST))).then(
        restored(100, balance=100, to=(back(2, 100, of=100, expires=PAST),), expired=100),
        expired(2, 100, balance=0, at=PAST)),
    "the rest of its lot goes first, with what it was": given(
        opened(),
        granted(100, balance=100, lifetime=100, expires=PAST),
        spent(30, balance=70, of=alloc(lot2=30), at=day(1, 2)),
    ).when(restore(back(2, 30, of=100, expires=PAST))).then(
        expired(2, 70, balance=0, at=PAST),
        restored(30, balance=30, to=(back(2, 30, of=100, expires=PAST),), expired=30),
        expired(2, 30, balance=0, at=PAST)),
    "a deadline of this very instant is past": given(
        opened(),
        granted(10, balance=10, lifetime=10, expires=NOW),
        spent(10, balance=0, of=alloc(lot2=10), at=day(1, 2)),
    ).when(restore(back(2, 10, of=10, expires=NOW))).then(
        restored(10, balance=10, to=(back(2, 10, of=10, expires=NOW),), expired=10),
        expired(2, 10, balance=0, at=NOW)),
    "what is overdue goes in the order of the deadlines, what is not stays": given(
        opened(),
        granted(10, balance=10, lifetime=10, expires=day(2, 2)),
        granted(20, balance=30, lifetime=30, expires=day(2, 1)),
        granted(30, balance=60, lifetime=60, expires=LATER),
        spent(60, balance=0, of=alloc(lot3=20, lot2=10, lot4=30), at=day(1, 2)),
    ).when(restore(
        back(2, 10, of=10, expires=day(2, 2)), back(3, 20, of=20, expires=day(2, 1)), back(4, 30, of=30, expires=LATER),
    )).then(
        restored(60, balance=60, expired=30, to=(
            back(2, 10, of=10, expires=day(2, 2)), back(3, 20, of=20, expires=day(2, 1)),
            back(4, 30, of=30, expires=LATER))),
        expired(3, 20, balance=40, at=day(2, 1)),
        expired(2, 10, balance=30, at=day(2, 2))),
    "points come back to a locked account": given(
        opened(), granted(10, balance=10, lifetime=10), spent(10, balance=0, of=alloc(lot2=10)), locked(),
    ).when(restore(back(2, 10, of=10))).then(restored(10, balance=10, to=(back(2, 10, of=10),))),
})  # fmt: skip
def test_restoring(row):
    row.check()


@sentences({
    "points that came back are spent as the first by their deadline": given(
        *TWO_LOTS,
        spent(50, balance=100, of=alloc(lot3=50)),
        restored(50, balance=150, to=(back(3, 50, of=50, expires=SOONER),)),
    ).when(spend(60)).then(spent(60, balance=90, of=alloc(lot3=50, lot2=10))),
    "a part that came back is one lot with what was left of it": given(
        opened(), granted(100, balance=100, lifetime=100), spent(40, balance=60, of=alloc(lot2=40)),
        deducted(10, balance=50, of=alloc(lot2=10)), restored(40, balance=90, to=(back(2, 40, of=100),)),
    ).when(spend(90)).then(spent(90, balance=0, of=alloc(lot2=90))),
    "a lot expires a second time when it has come back": given(
        opened(),
        granted(100, balance=100, lifetime=100, expires=PAST),
        spent(100, balance=0, of=alloc(lot2=100), at=day(1, 2)),
        restored(100, balance=100, to=(back(2, 100, of=100, expires=PAST),), at=day(1, 3)),
    ).when(expire()).then(expired(2, 100, balance=0, at=PAST)),
})  # fmt: skip
def test_what_came_back(row):
    row.check()


def test_more_than_a_lot_began_with_stops_everything():
    history = [opened(), granted(10, balance=10, lifetime=10), spent(5, balance=5, of=alloc(lot2=5))]
    for lots in ((back(2, 6, of=10),), (back(9, 11, of=10),)):
        state = ACCOUNT.fold(history)
        with pytest.raises(CorruptionError):
            ACCOUNT.evolve(state, PointsRestored(USER, 6, "p", NOW, lots, 11))


def test_an_allocation_is_described_by_what_its_lots_are():
    state = ACCOUNT.fold(TWO_LOTS)
    assert described(state.chunks, alloc(lot3=50, lot2=10)) == (
        back(3, 50, of=50, expires=SOONER),
        back(2, 10, of=100, expires=LATER),
    )
