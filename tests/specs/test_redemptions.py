"""Redeeming: whose purchase, when, how often; what points buy in currencies of 0, 2, 3 and 6 decimals."""

from decimal import Decimal

import pytest

from ledger.domain import points
from ledger.errors import (
    AccountLocked,
    InsufficientPoints,
    InvalidCommand,
    NotYourPurchase,
    PurchaseNotFound,
    PurchaseNotInProgress,
    RedemptionAlreadyClaimed,
    RedemptionWorthNothing,
)
from ledger.ids import purchase_stream
from ledger.money import MoneyText
from ledger.store.codec import encode
from tests.specs.account import NOW
from tests.specs.world import STEPS, World


@pytest.fixture
def world():
    made = World()
    made.member("bob", "sue")
    made.do(points.GrantPoints("bob", 1000, "gift"))
    made.purchase("p-1", "bob", "sue", 2500)
    return made


def test_points_pay_a_part_of_the_price(world):
    answer = world.redeem("bob", 320, "p-1")
    assert (answer.discount.credit_amount, answer.discount.credit_minor, answer.discount.currency) == (
        Decimal("3.20"),
        320,
        "USD",
    )
    assert str(answer.discount.credit_amount) == "3.20"
    assert answer.remaining_points == 680 == world.balance("bob")
    transaction = answer.transaction
    assert (transaction.type, transaction.source, transaction.amount, transaction.balance) == (
        "spend", "redemption", 320, 680,
    )  # fmt: skip
    assert (transaction.purchase_request_id, transaction.reference) == ("p-1", "p-1")
    assert (world.purchase_state("p-1").due_minor, world.purchase_state("p-1").points_spent) == (2180, 320)


def test_the_lots_that_paid_are_written_into_the_purchase(world):
    world.do(points.GrantPoints("bob", 5, "soon", expires_at=NOW.replace(month=5)))
    world.redeem("bob", 105, "p-1")
    redeemed = world.events[purchase_stream("p-1")][-1]
    spent = world.of("bob")[-1]
    assert [(part.lot_id, part.amount) for part in redeemed.lots] == [
        (part.lot_id, part.amount) for part in spent.allocation
    ]
    assert [(part.points, part.expires_at) for part in redeemed.lots] == [(5, NOW.replace(month=5)), (1000, None)]


def test_an_overdue_lot_does_not_pay(world):
    world.do(points.EarnPoints("bob", 500, "bonus", "r", expires_at=NOW.replace(month=4)))
    world.wait(60)
    world.redeem("bob", 100, "p-1")
    assert [type(event).__name__ for event in world.of("bob")[-2:]] == ["PointsExpired", "PointsSpent"]
    assert [part.lot_id for part in world.of("bob")[-1].allocation] == [2]


PAID = [
    # price, currency, points asked for, credit, points taken
    (2500, "USD", 320, 320, 320),
    (300, "USD", 320, 300, 300),
    (1, "USD", 1000, 1, 1),
    (500, "JPY", 320, 3, 300),
    (500, "JPY", 399, 3, 300),
    (2, "JPY", 1000, 2, 200),
    (5000, "KWD", 320, 3200, 320),
    (5, "KWD", 320, 5, 1),
    (15, "KWD", 320, 15, 2),
    (5_000_000, "USDT", 320, 3_200_000, 320),
    (3_199_999, "USDT", 1000, 3_199_999, 320),
    (1, "USDT", 7, 1, 1),
]


@pytest.mark.parametrize(("price", "currency", "asked", "credit", "taken"), PAID)
def test_the_discount_is_capped_and_rounded_down_and_the_fewest_points_are_taken(
    world, price, currency, asked, credit, taken
):
    world.purchase("p-2", "bob", "sue", price, currency)
    answer = world.redeem("bob", asked, "p-2")
    assert (answer.discount.credit_minor, answer.transaction.amount) == (credit, taken)
    assert world.balance("bob") == 1000 - taken
    assert world.purchase_state("p-2").due_minor == price - credit


@pytest.mark.parametrize(
    ("currency", "asked", "message"),
    [
        ("JPY", 99, "99 points buy nothing: 1 JPY costs 100 points."),
        ("JPY", 1, "1 points buy nothing: 1 JPY costs 100 points."),
    ],
)
def test_points_that_buy_nothing_are_refused(world, currency, asked, message):
    world.purchase("p-2", "bob", "sue", 500, currency)
    with pytest.raises(RedemptionWorthNothing) as refusal:
        world.redeem("bob", asked, "p-2")
    assert refusal.value.message == message
    assert world.balance("bob") == 1000


def test_the_rate_of_the_programme_decides(world):
    world.programme(points_per_credit_unit=3)
    answer = world.redeem("bob", 10, "p-1")
    assert (answer.discount.credit_minor, answer.transaction.amount) == (333, 10)


def test_nothing_is_left_to_pay_and_nothing_is_earned_on_nothing(world):
    world.purchase("p-2", "bob", "sue", 300)
    world.redeem("bob", 1000, "p-2")
    answer = world.complete("p-2")
    assert (answer.amount_due, answer.points_earned) == (MoneyText("0.00", "USD"), 0)


def test_what_is_earned_is_earned_on_what_was_due(world):
    world.redeem("bob", 320, "p-1")
    assert world.complete("p-1").points_earned == 21


REFUSED = {
    "a purchase that is not there": (lambda w: None, "bob", 10, "p-9", PurchaseNotFound, "No purchase p-9."),
    "somebody else's, even the seller": (
        lambda w: None, "sue", 10, "p-1", NotYourPurchase, "Purchase p-1 is not yours."),
    "somebody else's is told before all else": (
        lambda w: w.complete("p-1"), "sue", 0, "p-1", NotYourPurchase, "Purchase p-1 is not yours."),
    "one that is paid": (
        lambda w: w.status("p-1", *STEPS[:2]), "bob", 10, "p-1", PurchaseNotInProgress,
        "Purchase p-1 is active: points are redeemed before it is paid."),
    "one that was cancelled": (
        lambda w: w.status("p-1", "cancelled"), "bob", 10, "p-1", PurchaseNotInProgress,
        "Purchase p-1 is cancelled: points are redeemed before it is paid."),
    "a second time": (
        lambda w: w.redeem("bob", 10, "p-1"), "bob", 10, "p-1", RedemptionAlreadyClaimed,
        "Points were redeemed on purchase p-1 already."),
    "a locked account": (
        lambda w: w.do(points.LockAccount("bob", "fraud")), "bob", 10, "p-1", AccountLocked,
        "The account of bob is locked."),
    "a locked account, whatever it holds": (
        lambda w: w.do(points.LockAccount("bob", "fraud")), "bob", 5000, "p-1", AccountLocked,
        "The account of bob is locked."),
    "more than there is": (
        lambda w: None, "bob", 1001, "p-1", InsufficientPoints, "1000 points available, 1001 asked for."),
    "more than there is, though less would do": (
        lambda w: w.do(points.DeductPoints("bob", 990, "x")), "bob", 2000, "p-1", InsufficientPoints,
        "10 points available, 2000 asked for."),
    "nothing": (
        lambda w: None, "bob", 0, "p-1", InvalidCommand,
        "pointsToUse: must be a whole number from 1 to 9007199254740991."),
    "less than nothing": (
        lambda w: None, "bob", -5, "p-1", InvalidCommand,
        "pointsToUse: must be a whole number from 1 to 9007199254740991."),
}  # fmt: skip


@pytest.mark.parametrize(("first", "user", "asked", "purchase", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_refused_is(world, first, user, asked, purchase, error, message):
    first(world)
    before = len(world.log)
    with pytest.raises(error) as refusal:
        world.redeem(user, asked, purchase)
    assert (type(refusal.value), refusal.value.message) == (error, message)
    assert len(world.log) == before


@pytest.mark.parametrize("status", ["pending", "pending_payment"])
def test_points_are_redeemed_until_it_is_paid(world, status):
    if status != "pending":
        world.status("p-1", status)
    assert world.redeem("bob", 10, "p-1").discount.credit_minor == 10


def test_a_redemption_is_claimed_for_ever(world):
    world.claims.add(("redemption", "p-1"))
    with pytest.raises(RedemptionAlreadyClaimed):
        world.redeem("bob", 10, "p-1")


def test_the_discount_is_kept_to_the_last_digit(world):
    """An answer is kept as JSON: a float would not hold what a large amount is."""
    world.do(points.GrantPoints("bob", points.MAX_POINTS - 1000, "rich"))
    world.purchase("p-2", "bob", "sue", 2**53 - 1, "KWD")
    answer = world.redeem("bob", points.MAX_POINTS, "p-2")
    assert answer.discount.credit_minor == 2**53 - 1
    assert b'"creditAmount":"9007199254740.991"' in encode(answer)
