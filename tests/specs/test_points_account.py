"""Every rule of a points account, one row a case. The lot of the first earn or grant after `opened()` is lot 2."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec import structs

from ledger.domain.points import EARN_SOURCES, PointsAccount, available
from ledger.domain.programme import DEFAULT_PROGRAMME, Level
from ledger.errors import (
    AccountLocked,
    BalanceTooLarge,
    CorruptionError,
    InsufficientPoints,
    InvalidCommand,
    UserNotFound,
    WouldGoBelowZero,
)
from tests.specs.account import (
    ACCOUNT,
    BEGAN,
    MAX,
    MOMENT,
    NOW,
    USER,
    YEAR,
    alloc,
    crossed,
    day,
    deduct,
    deducted,
    earn,
    earned,
    expire,
    expired,
    given,
    grant,
    granted,
    lock,
    locked,
    open_account,
    opened,
    spend,
    spent,
    unlock,
    unlocked,
)
from tests.specs.decider import sentences

NEVER_EXPIRING_EARNS = structs.replace(DEFAULT_PROGRAMME, expiry_days=None)
THIRTY_DAYS = structs.replace(DEFAULT_PROGRAMME, expiry_days=30)
REVIEW_PAYS_25 = structs.replace(DEFAULT_PROGRAMME, review_reward=25)
NOBODY = f"No account for user {USER}."
BAD_AMOUNT = f"amount: must be a whole number from 1 to {MAX}."
BAD_SOURCE = "source: must be one of purchase, referral, review, bonus."
BAD_DEADLINE = "expiresAt: must be later than occurredAt."
FUTURE = "occurredAt: must not lie in the future."


# ── opening ───────────────────────────────────────────────────────────────────────────────────────────────────────


@sentences(
    {
        "an account is opened": given().when(open_account()).then(opened()),
        "opening a second time changes nothing": given(opened()).when(open_account()).nothing(),
        "opening a locked account changes nothing": given(opened(), locked()).when(open_account()).nothing(),
    }
)
def test_opening(row):
    row.check()


@sentences(
    {
        "earn": given().when(earn(1)).refused(UserNotFound, NOBODY),
        "earn for a review": given().when(earn(None, source="review")).refused(UserNotFound, NOBODY),
        "grant": given().when(grant(1)).refused(UserNotFound, NOBODY),
        "deduct": given().when(deduct(1)).refused(UserNotFound, NOBODY),
        "spend": given().when(spend(1)).refused(UserNotFound, NOBODY),
        "expire": given().when(expire()).refused(UserNotFound, NOBODY),
        "lock": given().when(lock()).refused(UserNotFound, NOBODY),
        "unlock": given().when(unlock()).refused(UserNotFound, NOBODY),
    }
)
def test_without_an_account_there_is_nobody_to(row):
    row.check()


# ── earning ───────────────────────────────────────────────────────────────────────────────────────────────────────


@sentences({
    "earned points expire after 365 days": given(opened())
        .when(earn(100))
        .then(earned(100, balance=100, lifetime=100, at=NOW, expires=NOW + YEAR)),
    "the programme says after how many days": given(opened())
        .when(earn(100), programme=THIRTY_DAYS)
        .then(earned(100, balance=100, lifetime=100, at=NOW, expires=NOW + timedelta(days=30))),
    "the programme may say never": given(opened())
        .when(earn(100), programme=NEVER_EXPIRING_EARNS)
        .then(earned(100, balance=100, lifetime=100, at=NOW, expires=None)),
    "a deadline that is named counts": given(opened())
        .when(earn(100, expires=day(4, 1)))
        .then(earned(100, balance=100, lifetime=100, at=NOW, expires=day(4, 1))),
    "null means never, whatever the programme says": given(opened())
        .when(earn(100, expires=None))
        .then(earned(100, balance=100, lifetime=100, at=NOW, expires=None)),
    "the days count from occurredAt, not from the recording": given(opened())
        .when(earn(100, at=day(2, 1)))
        .then(earned(100, balance=100, lifetime=100, at=day(2, 1), expires=day(2, 1, 2027))),
    "a day is 24 hours, over a leap day too": given(opened())
        .when(earn(100, at=day(2, 28, 2024)), now=day(2, 28, 2024))
        .then(earned(100, balance=100, lifetime=100, at=day(2, 28, 2024), expires=day(2, 27, 2025))),
    "points add up": given(opened(), earned(100, balance=100, lifetime=100, expires=day(5, 1)))
        .when(earn(50, expires=day(4, 1)))
        .then(earned(50, balance=150, lifetime=150, at=NOW, expires=day(4, 1))),
    "lifetime counts what was spent too": given(
            opened(), earned(100, balance=100, lifetime=100, expires=None), spent(60, balance=40, of=alloc(lot2=60)))
        .when(earn(50, expires=None))
        .then(earned(50, balance=90, lifetime=150, at=NOW, expires=None)),
    "reference, description and metadata are kept": given(opened())
        .when(earn(1, expires=None, source="referral", reference="u-9", description="Welcome", metadata={"a": [1]}))
        .then(earned(1, balance=1, lifetime=1, at=NOW, expires=None,
                     source="referral", reference="u-9", description="Welcome", metadata={"a": [1]})),
    "a locked account still earns": given(opened(), locked())
        .when(earn(1, expires=None))
        .then(earned(1, balance=1, lifetime=1, at=NOW, expires=None)),
})  # fmt: skip
def test_earning(row):
    row.check()


@pytest.mark.parametrize("source", ["purchase", "referral", "review", "bonus"])
def test_points_are_earned_from(source):
    given(opened()).when(earn(7, source=source, expires=None)).then(
        earned(7, balance=7, lifetime=7, at=NOW, expires=None, source=source)
    ).check()


def test_there_are_four_sources_to_earn_from():
    assert EARN_SOURCES == ("purchase", "referral", "review", "bonus")


@pytest.mark.parametrize("source", ["admin", "redemption", "expiry", "Purchase", ""])
def test_points_are_not_earned_from(source):
    given(opened()).when(earn(7, source=source)).refused(InvalidCommand, BAD_SOURCE).check()


@sentences({
    "without an amount it is the programme's reward": given(opened())
        .when(earn(None, source="review", expires=None))
        .then(earned(10, balance=10, lifetime=10, at=NOW, expires=None, source="review")),
    "the programme may change the reward": given(opened())
        .when(earn(None, source="review", expires=None), programme=REVIEW_PAYS_25)
        .then(earned(25, balance=25, lifetime=25, at=NOW, expires=None, source="review")),
    "an amount that is named counts": given(opened())
        .when(earn(3, source="review", expires=None), programme=REVIEW_PAYS_25)
        .then(earned(3, balance=3, lifetime=3, at=NOW, expires=None, source="review")),
    "only a review may omit the amount": given(opened())
        .when(earn(None, source="purchase"))
        .refused(InvalidCommand, "amount: is required for this source."),
    "a reward of nothing is refused": given(opened())
        .when(earn(None, source="review"), programme=structs.replace(DEFAULT_PROGRAMME, review_reward=0))
        .refused(InvalidCommand, BAD_AMOUNT),
})  # fmt: skip
def test_a_review(row):
    row.check()


@sentences({
    "a past occurredAt is kept": given(opened())
        .when(grant(5, at=day(1, 5, 2020)))
        .then(granted(5, balance=5, lifetime=5, at=day(1, 5, 2020))),
    "occurredAt may be this very instant": given(opened())
        .when(grant(5, at=NOW))
        .then(granted(5, balance=5, lifetime=5, at=NOW)),
    "an earn a moment ahead is refused": given(opened())
        .when(earn(5, at=NOW + MOMENT)).refused(InvalidCommand, FUTURE),
    "a grant a moment ahead is refused": given(opened())
        .when(grant(5, at=NOW + MOMENT)).refused(InvalidCommand, FUTURE),
    "a deduction a moment ahead is refused": given(opened(), granted(5, balance=5, lifetime=5))
        .when(deduct(5, at=NOW + MOMENT)).refused(InvalidCommand, FUTURE),
    "a spend a moment ahead is refused": given(opened(), granted(5, balance=5, lifetime=5))
        .when(spend(5, at=NOW + MOMENT)).refused(InvalidCommand, FUTURE),
    "a past deduction takes the lots of the recording": given(opened(), granted(5, balance=5, lifetime=5, at=BEGAN))
        .when(deduct(5, at=BEGAN - YEAR))
        .then(deducted(5, balance=0, of=alloc(lot2=5), at=BEGAN - YEAR)),
    "a past spend takes the lots of the recording": given(opened(), granted(5, balance=5, lifetime=5, at=BEGAN))
        .when(spend(5, at=BEGAN - YEAR))
        .then(spent(5, balance=0, of=alloc(lot2=5), at=BEGAN - YEAR)),
})  # fmt: skip
def test_occurred_at(row):
    row.check()


@sentences({
    "an earn whose deadline is past counts in lifetime only": given(opened())
        .when(earn(100, at=day(1, 1), expires=day(2, 1)))
        .then(earned(100, balance=100, lifetime=100, at=day(1, 1), expires=day(2, 1)),
              expired(2, 100, balance=0, at=day(2, 1))),
    "so does a grant": given(opened())
        .when(grant(100, at=day(1, 1), expires=day(2, 1)))
        .then(granted(100, balance=100, lifetime=100, at=day(1, 1), expires=day(2, 1)),
              expired(2, 100, balance=0, at=day(2, 1))),
    "so does an earn of more than 365 days ago": given(opened())
        .when(earn(100, at=day(1, 1, 2025)))
        .then(earned(100, balance=100, lifetime=100, at=day(1, 1, 2025), expires=day(1, 1)),
              expired(2, 100, balance=0, at=day(1, 1))),
    "a deadline at this very instant is past": given(opened())
        .when(grant(100, at=day(1, 1), expires=NOW))
        .then(granted(100, balance=100, lifetime=100, at=day(1, 1), expires=NOW), expired(2, 100, balance=0, at=NOW)),
    "a deadline a moment ahead is not": given(opened())
        .when(grant(100, at=day(1, 1), expires=NOW + MOMENT))
        .then(granted(100, balance=100, lifetime=100, at=day(1, 1), expires=NOW + MOMENT)),
    "other points stay": given(opened(), granted(40, balance=40, lifetime=40))
        .when(grant(100, at=day(1, 1), expires=day(2, 1)))
        .then(granted(100, balance=140, lifetime=140, at=day(1, 1), expires=day(2, 1)),
              expired(3, 100, balance=40, at=day(2, 1))),
    "it crosses levels all the same": given(opened())
        .when(grant(1000, at=day(1, 1), expires=day(2, 1)))
        .then(granted(1000, balance=1000, lifetime=1000, at=day(1, 1), expires=day(2, 1)),
              crossed("silver", 2, 1000, lifetime=1000, at=day(1, 1)),
              expired(2, 1000, balance=0, at=day(2, 1))),
    "a lot that fell due before is recorded first": given(
            opened(), earned(30, balance=30, lifetime=30, expires=day(2, 15)))
        .when(grant(100, at=day(1, 1), expires=day(2, 1)))
        .then(expired(2, 30, balance=0, at=day(2, 15)),
              granted(100, balance=100, lifetime=130, at=day(1, 1), expires=day(2, 1)),
              expired(4, 100, balance=0, at=day(2, 1))),
    "so is one before an earn": given(
            opened(), earned(30, balance=30, lifetime=30, expires=day(2, 15)))
        .when(earn(100, at=day(1, 1), expires=day(2, 1)))
        .then(expired(2, 30, balance=0, at=day(2, 15)),
              earned(100, balance=100, lifetime=130, at=day(1, 1), expires=day(2, 1)),
              expired(4, 100, balance=0, at=day(2, 1))),
    "a deadline at occurredAt is refused for an earn": given(opened())
        .when(earn(1, at=day(2, 1), expires=day(2, 1))).refused(InvalidCommand, BAD_DEADLINE),
    "a deadline at occurredAt is refused for a grant": given(opened())
        .when(grant(1, at=day(2, 1), expires=day(2, 1))).refused(InvalidCommand, BAD_DEADLINE),
    "a deadline before occurredAt is refused": given(opened())
        .when(earn(1, at=day(2, 1), expires=day(2, 1) - MOMENT)).refused(InvalidCommand, BAD_DEADLINE),
    "a deadline now, of points of now, is refused": given(opened())
        .when(grant(1, expires=NOW)).refused(InvalidCommand, BAD_DEADLINE),
    "a deadline a moment after occurredAt is taken": given(opened())
        .when(grant(1, expires=NOW + MOMENT)).then(granted(1, balance=1, lifetime=1, at=NOW, expires=NOW + MOMENT)),
})  # fmt: skip
def test_a_deadline(row):
    row.check()


# ── granting ──────────────────────────────────────────────────────────────────────────────────────────────────────


@sentences({
    "granted points never expire": given(opened()).when(grant(100)).then(granted(100, balance=100, lifetime=100, at=NOW)),
    "null says the same": given(opened())
        .when(grant(100, expires=None)).then(granted(100, balance=100, lifetime=100, at=NOW)),
    "unless a deadline is named": given(opened())
        .when(grant(100, expires=day(4, 1)))
        .then(granted(100, balance=100, lifetime=100, at=NOW, expires=day(4, 1))),
    "reason, reference and metadata are kept": given(opened())
        .when(grant(1, reason="Opening balance", reference="import-7", metadata={"row": 7}))
        .then(granted(1, balance=1, lifetime=1, at=NOW,
                      reason="Opening balance", reference="import-7", metadata={"row": 7})),
    "a locked account is still granted points": given(opened(), locked())
        .when(grant(1)).then(granted(1, balance=1, lifetime=1, at=NOW)),
})  # fmt: skip
def test_granting(row):
    row.check()


# ── limits ────────────────────────────────────────────────────────────────────────────────────────────────────────


@sentences({
    f"{name} of {amount}": given(opened(), granted(5, balance=5, lifetime=5))
        .when(command).refused(InvalidCommand, BAD_AMOUNT)
    for amount in (-1, 0, MAX + 1)
    for name, command in {
        "earn": earn(amount), "grant": grant(amount), "deduct": deduct(amount), "spend": spend(amount),
    }.items()
})  # fmt: skip
def test_an_amount_out_of_range_is_refused(row):
    row.check()


FULL = granted(MAX, balance=MAX, lifetime=MAX)
LEVELS_OF_FULL = (crossed("silver", 2, 1000, lifetime=MAX), crossed("gold", 3, 2500, lifetime=MAX),
                  crossed("platinum", 4, 10000, lifetime=MAX))  # fmt: skip


@sentences({
    "the largest amount is granted at once": given(opened())
        .when(grant(MAX)).then(granted(MAX, balance=MAX, lifetime=MAX, at=NOW), *LEVELS_OF_FULL),
    "the largest balance is spent at once": given(opened(), FULL)
        .when(spend(MAX)).then(spent(MAX, balance=0, of=alloc(lot2=MAX))),
    "the largest balance is deducted at once": given(opened(), FULL)
        .when(deduct(MAX)).then(deducted(MAX, balance=0, of=alloc(lot2=MAX))),
    "the last point that fits": given(opened(), granted(MAX - 1, balance=MAX - 1, lifetime=MAX - 1), *LEVELS_OF_FULL)
        .when(grant(1)).then(granted(1, balance=MAX, lifetime=MAX, at=NOW)),
    "one grant more is refused": given(opened(), FULL)
        .when(grant(1)).refused(BalanceTooLarge, f"{MAX} lifetime points and 1 more would pass {MAX}."),
    "one earn more is refused": given(opened(), FULL)
        .when(earn(1)).refused(BalanceTooLarge, f"{MAX} lifetime points and 1 more would pass {MAX}."),
    "lifetime is full even where the balance is empty": given(opened(), FULL, spent(MAX, balance=0, of=alloc(lot2=MAX)))
        .when(earn(1)).refused(BalanceTooLarge, f"{MAX} lifetime points and 1 more would pass {MAX}."),
})  # fmt: skip
def test_the_largest_balance(row):
    row.check()


# ── spending ──────────────────────────────────────────────────────────────────────────────────────────────────────

THREE_LOTS = (
    opened(),
    earned(50, balance=50, lifetime=50, expires=day(6, 1)),
    earned(30, balance=80, lifetime=80, expires=day(4, 1)),
    granted(20, balance=100, lifetime=100),
)


@sentences({
    "the lot that expires first pays first": given(*THREE_LOTS)
        .when(spend(10)).then(spent(10, balance=90, of=alloc(lot3=10))),
    "exactly a lot": given(*THREE_LOTS).when(spend(30)).then(spent(30, balance=70, of=alloc(lot3=30))),
    "a lot and a bit of the next": given(*THREE_LOTS)
        .when(spend(31)).then(spent(31, balance=69, of=alloc(lot3=30, lot2=1))),
    "the lot that never expires pays last": given(*THREE_LOTS)
        .when(spend(81)).then(spent(81, balance=19, of=alloc(lot3=30, lot2=50, lot4=1))),
    "everything": given(*THREE_LOTS).when(spend(100)).then(spent(100, balance=0, of=alloc(lot3=30, lot2=50, lot4=20))),
    "what an earlier spend left": given(*THREE_LOTS, spent(31, balance=69, of=alloc(lot3=30, lot2=1)))
        .when(spend(50)).then(spent(50, balance=19, of=alloc(lot2=49, lot4=1))),
    "of equal deadlines the oldest first": given(
            opened(), earned(10, balance=10, lifetime=10, expires=day(6, 1)),
            earned(10, balance=20, lifetime=20, expires=day(6, 1)))
        .when(spend(11)).then(spent(11, balance=9, of=alloc(lot2=10, lot3=1))),
    "of lots that never expire the oldest first": given(
            opened(), granted(10, balance=10, lifetime=10), granted(10, balance=20, lifetime=20))
        .when(spend(11)).then(spent(11, balance=9, of=alloc(lot2=10, lot3=1))),
    "a lot that never expires waits, however old": given(
            opened(), granted(10, balance=10, lifetime=10), earned(10, balance=20, lifetime=20, expires=day(6, 1)))
        .when(spend(11)).then(spent(11, balance=9, of=alloc(lot3=10, lot2=1))),
    "the last instant there is comes before never": given(
            opened(), granted(10, balance=10, lifetime=10),
            granted(10, balance=20, lifetime=20, expires=datetime.max.replace(tzinfo=UTC)))
        .when(spend(11)).then(spent(11, balance=9, of=alloc(lot3=10, lot2=1))),
    "the same deadline in another time zone is the same": given(
            opened(), earned(10, balance=10, lifetime=10, expires=datetime.fromisoformat("2026-06-01T02:00:00+02:00")),
            earned(10, balance=20, lifetime=20, expires=day(6, 1)))
        .when(spend(11)).then(spent(11, balance=9, of=alloc(lot2=10, lot3=1))),
    "reference, description and metadata are kept": given(opened(), granted(5, balance=5, lifetime=5))
        .when(spend(1, reference="p-1", description="Discount", metadata={"b": None}))
        .then(spent(1, balance=4, of=alloc(lot2=1), reference="p-1", description="Discount", metadata={"b": None})),
    "one point more than there are is refused": given(*THREE_LOTS)
        .when(spend(101)).refused(InsufficientPoints, "100 points available, 101 asked for."),
    "from an empty account is refused": given(opened())
        .when(spend(1)).refused(InsufficientPoints, "0 points available, 1 asked for."),
})  # fmt: skip
def test_spending(row):
    row.check()


OVERDUE = (
    opened(),
    earned(10, balance=10, lifetime=10, expires=day(2, 1)),
    earned(20, balance=30, lifetime=30, expires=day(5, 1)),
    earned(30, balance=60, lifetime=60, expires=day(1, 15)),
)
RECORDED = (expired(4, 30, balance=30, at=day(1, 15)), expired(2, 10, balance=20, at=day(2, 1)))


@sentences({
    "before a spend": given(*OVERDUE).when(spend(5)).then(*RECORDED, spent(5, balance=15, of=alloc(lot3=5))),
    "before a deduction": given(*OVERDUE).when(deduct(5)).then(*RECORDED, deducted(5, balance=15, of=alloc(lot3=5))),
    "before a grant": given(*OVERDUE).when(grant(5)).then(*RECORDED, granted(5, balance=25, lifetime=65, at=NOW)),
    "before an earn": given(*OVERDUE)
        .when(earn(5, expires=None)).then(*RECORDED, earned(5, balance=25, lifetime=65, at=NOW, expires=None)),
    "before a lock": given(*OVERDUE).when(lock()).then(*RECORDED, locked()),
    "before an unlock": given(*OVERDUE, locked()).when(unlock()).then(*RECORDED, unlocked()),
    "by the sweeper": given(*OVERDUE).when(expire()).then(*RECORDED),
    "what was left of it only": given(
            opened(), earned(10, balance=10, lifetime=10, expires=day(2, 1)), spent(4, balance=6, of=alloc(lot2=4)))
        .when(expire()).then(expired(2, 6, balance=0, at=day(2, 1))),
    "not where nothing is appended: opening again": given(*OVERDUE).when(open_account()).nothing(),
    "not where nothing is appended: locking again": given(*OVERDUE, locked()).when(lock()).nothing(),
    "not where nothing is appended: unlocking the unlocked": given(*OVERDUE).when(unlock()).nothing(),
    "it pays for nothing": given(*OVERDUE)
        .when(spend(21)).refused(InsufficientPoints, "20 points available, 21 asked for."),
    "it cannot be deducted": given(*OVERDUE)
        .when(deduct(21)).refused(WouldGoBelowZero, "20 points available, 21 to be deducted."),
    "its points make no room in lifetime": given(
            opened(), earned(MAX, balance=MAX, lifetime=MAX, expires=day(2, 1)))
        .when(earn(1)).refused(BalanceTooLarge, f"{MAX} lifetime points and 1 more would pass {MAX}."),
})  # fmt: skip
def test_an_overdue_lot_is_recorded(row):
    row.check()


ONE_LOT = (opened(), earned(10, balance=10, lifetime=10, expires=day(5, 1)))


@sentences({
    "a moment before it, it pays": given(*ONE_LOT)
        .when(spend(10), now=day(5, 1) - MOMENT)
        .then(spent(10, balance=0, of=alloc(lot2=10), at=day(5, 1) - MOMENT)),
    "exactly at it, it does not": given(*ONE_LOT)
        .when(spend(10), now=day(5, 1)).refused(InsufficientPoints, "0 points available, 10 asked for."),
    "a moment before it, there is nothing to record": given(*ONE_LOT)
        .when(expire(), now=day(5, 1) - MOMENT).nothing(),
    "exactly at it, it is recorded": given(*ONE_LOT)
        .when(expire(), now=day(5, 1)).then(expired(2, 10, balance=0, at=day(5, 1))),
    "long after it, it is recorded as of the deadline": given(*ONE_LOT)
        .when(expire(), now=day(5, 1, 2036)).then(expired(2, 10, balance=0, at=day(5, 1))),
})  # fmt: skip
def test_the_deadline_of_a_lot(row):
    row.check()


@pytest.mark.parametrize(
    ("instant", "points"),
    [(day(1, 14), 60), (day(1, 15) - MOMENT, 60), (day(1, 15), 30), (day(2, 1), 20), (day(5, 1), 0), (day(5, 2), 0)],
    ids=str,
)
def test_what_is_available_needs_no_sweeper(instant, points):
    assert available(ACCOUNT.fold(OVERDUE), instant) == points


# ── expiring ──────────────────────────────────────────────────────────────────────────────────────────────────────


@sentences({
    "with nothing overdue records nothing": given(*THREE_LOTS).when(expire()).nothing(),
    "with nothing at all records nothing": given(opened()).when(expire()).nothing(),
    "a second time records nothing": given(*OVERDUE, *RECORDED).when(expire()).nothing(),
    "half done before does the other half": given(*OVERDUE, RECORDED[0]).when(expire()).then(RECORDED[1]),
    "late does the same as in time": given(*OVERDUE)
        .when(expire(), now=day(4, 30)).then(*RECORDED),
    "of a lot spent to the last point records nothing": given(*ONE_LOT, spent(10, balance=0, of=alloc(lot2=10)))
        .when(expire(), now=day(5, 2)).nothing(),
    "never touches a lot without a deadline": given(opened(), granted(5, balance=5, lifetime=5))
        .when(expire(), now=datetime(9999, 12, 31, tzinfo=UTC)).nothing(),
    "goes on where the account is locked": given(*OVERDUE, locked()).when(expire()).then(*RECORDED),
})  # fmt: skip
def test_sweeping(row):
    row.check()


# ── deducting ─────────────────────────────────────────────────────────────────────────────────────────────────────


@sentences({
    "takes from the lot that expires first": given(*THREE_LOTS)
        .when(deduct(35)).then(deducted(35, balance=65, of=alloc(lot3=30, lot2=5))),
    "may take everything": given(*THREE_LOTS)
        .when(deduct(100)).then(deducted(100, balance=0, of=alloc(lot3=30, lot2=50, lot4=20))),
    "one point more would go below zero": given(*THREE_LOTS)
        .when(deduct(101)).refused(WouldGoBelowZero, "100 points available, 101 to be deducted."),
    "from an empty account would go below zero": given(opened())
        .when(deduct(1)).refused(WouldGoBelowZero, "0 points available, 1 to be deducted."),
    "works on a locked account": given(opened(), granted(5, balance=5, lifetime=5), locked())
        .when(deduct(5)).then(deducted(5, balance=0, of=alloc(lot2=5))),
    "reason, reference and metadata are kept": given(opened(), granted(5, balance=5, lifetime=5))
        .when(deduct(1, reason="Fraud", reference="case-1", metadata={"by": "x"}))
        .then(deducted(1, balance=4, of=alloc(lot2=1), reason="Fraud", reference="case-1", metadata={"by": "x"})),
})  # fmt: skip
def test_deducting(row):
    row.check()


# ── locking ───────────────────────────────────────────────────────────────────────────────────────────────────────


@sentences({
    "a lock is recorded": given(opened()).when(lock("fraud")).then(locked("fraud")),
    "a second lock changes nothing": given(opened(), locked()).when(lock("again")).nothing(),
    "an unlock is recorded": given(opened(), locked()).when(unlock("cleared")).then(unlocked("cleared")),
    "an unlock of what is not locked changes nothing": given(opened()).when(unlock()).nothing(),
    "a second unlock changes nothing": given(opened(), locked(), unlocked()).when(unlock()).nothing(),
    "it may be locked again": given(opened(), locked(), unlocked()).when(lock("again")).then(locked("again")),
    "a locked account spends nothing": given(opened(), granted(5, balance=5, lifetime=5), locked())
        .when(spend(1)).refused(AccountLocked, f"The account of {USER} is locked."),
    "not even what it does not have": given(opened(), locked())
        .when(spend(1)).refused(AccountLocked, f"The account of {USER} is locked."),
    "an unlocked one spends": given(opened(), granted(5, balance=5, lifetime=5), locked(), unlocked())
        .when(spend(5)).then(spent(5, balance=0, of=alloc(lot2=5))),
})  # fmt: skip
def test_locking(row):
    row.check()


# ── broken invariants ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("command", [spend(10), deduct(10)], ids=["spend", "deduct"])
def test_a_balance_no_lot_holds_stops_everything(command):
    broken = PointsAccount(version=2, balance=10, lifetime=10)
    with pytest.raises(CorruptionError):
        ACCOUNT.decide(command, broken)


def test_taking_more_than_a_lot_holds_stops_everything():
    state = ACCOUNT.fold([opened(), granted(5, balance=5, lifetime=5)])
    with pytest.raises(CorruptionError):
        ACCOUNT.evolve(state, spent(9, balance=0, of=alloc(lot2=9)))


def test_taking_from_a_lot_that_is_not_there_stops_everything():
    state = ACCOUNT.fold([opened(), granted(5, balance=5, lifetime=5)])
    with pytest.raises(CorruptionError):
        ACCOUNT.evolve(state, spent(5, balance=0, of=alloc(lot9=5)))


# ── levels ────────────────────────────────────────────────────────────────────────────────────────────────────────

AT_SILVER = (opened(), granted(1000, balance=1000, lifetime=1000), crossed("silver", 2, 1000, lifetime=1000))
SILVER_RETIRED = structs.replace(
    DEFAULT_PROGRAMME,
    levels=tuple(structs.replace(level, is_active=level.name != "silver") for level in DEFAULT_PROGRAMME.levels),
)
TWO_LEVELS = structs.replace(DEFAULT_PROGRAMME, levels=(Level("new", 1, 0), Level("old", 2, 5)))


@sentences({
    "one point short crosses nothing": given(opened()).when(grant(999)).then(granted(999, balance=999, lifetime=999, at=NOW)),
    "exactly its points cross it": given(opened())
        .when(grant(1000))
        .then(granted(1000, balance=1000, lifetime=1000, at=NOW), crossed("silver", 2, 1000, lifetime=1000)),
    "an earn crosses it too": given(opened(), granted(990, balance=990, lifetime=990))
        .when(earn(20, expires=None))
        .then(earned(20, balance=1010, lifetime=1010, at=NOW, expires=None), crossed("silver", 2, 1000, lifetime=1010)),
    "three by one grant, in order": given(opened())
        .when(grant(10_000))
        .then(granted(10_000, balance=10_000, lifetime=10_000, at=NOW),
              crossed("silver", 2, 1000, lifetime=10_000), crossed("gold", 3, 2500, lifetime=10_000),
              crossed("platinum", 4, 10_000, lifetime=10_000)),
    "each once: what was crossed is not crossed again": given(*AT_SILVER)
        .when(grant(1000)).then(granted(1000, balance=2000, lifetime=2000, at=NOW)),
    "the next ones follow": given(*AT_SILVER)
        .when(grant(9000))
        .then(granted(9000, balance=10_000, lifetime=10_000, at=NOW),
              crossed("gold", 3, 2500, lifetime=10_000), crossed("platinum", 4, 10_000, lifetime=10_000)),
    "spending does not take one away": given(*AT_SILVER, spent(1000, balance=0, of=alloc(lot2=1000)))
        .when(grant(1)).then(granted(1, balance=1, lifetime=1001, at=NOW)),
    "it is lifetime that counts, not the balance": given(
            opened(), granted(999, balance=999, lifetime=999), spent(999, balance=0, of=alloc(lot2=999)))
        .when(grant(1)).then(granted(1, balance=1, lifetime=1000, at=NOW), crossed("silver", 2, 1000, lifetime=1000)),
    "it is crossed when the points occurred": given(opened())
        .when(grant(1000, at=BEGAN))
        .then(granted(1000, balance=1000, lifetime=1000, at=BEGAN), crossed("silver", 2, 1000, lifetime=1000, at=BEGAN)),
    "a level that is not active is passed over": given(opened())
        .when(grant(2500), programme=SILVER_RETIRED)
        .then(granted(2500, balance=2500, lifetime=2500, at=NOW), crossed("gold", 3, 2500, lifetime=2500)),
    "the programme's levels count": given(opened())
        .when(grant(5), programme=TWO_LEVELS)
        .then(granted(5, balance=5, lifetime=5, at=NOW), crossed("old", 2, 5, lifetime=5)),
})  # fmt: skip
def test_a_level(row):
    row.check()
