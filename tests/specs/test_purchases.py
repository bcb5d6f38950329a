"""Purchases: every pair of status and command, what completing earns and what cancelling returns."""

from itertools import pairwise

import pytest

from ledger import ids
from ledger.domain import points
from ledger.domain.programme import Programme
from ledger.domain.purchase_events import PurchaseRegistered, PurchaseStatusChanged
from ledger.domain.purchases import (
    STATUSES,
    TRANSITIONS,
    ChangePurchaseStatus,
    Purchase,
    RegisterPurchase,
    decide_register,
    decide_status,
    evolve,
    points_on_completion,
)
from ledger.errors import (
    BalanceTooLarge,
    InvalidCommand,
    InvalidTransition,
    PurchaseExists,
    PurchaseNotFound,
    UserNotFound,
)
from ledger.money import Money, MoneyText
from ledger.store.codec import encode
from tests.specs.account import NOW
from tests.specs.decider import Decider, sentences
from tests.specs.world import STEPS, World

PATH = ("pending", *STEPS)
"""The one way through."""
CANCELLABLE = ("pending", "pending_payment", "active", "delivery")


# ── the purchase alone ──


@pytest.mark.parametrize(
    ("rate", "earned"), [("0.5", 2**52 - 1), ("1", 2**53 - 1), ("1.000001", None), ("9999999", None)]
)
def test_what_completing_earns_is_refused_as_too_large_a_balance_and_not_as_a_wrong_amount(rate, earned):
    purchase = Purchase("delivered", "bob", "sue", 2**53 - 1, "JPY")
    programme = Programme(points_per_unit=rate)
    if earned is None:
        with pytest.raises(BalanceTooLarge, match="would be earned"):
            points_on_completion(purchase, programme)
    else:
        assert points_on_completion(purchase, programme) == earned


def _decide(command, state, now=NOW):
    rule = decide_register if isinstance(command, RegisterPurchase) else decide_status
    return rule(command, state, now)


given = Decider(initial=Purchase, evolve=evolve, decide=_decide).given


def register(**changes) -> RegisterPurchase:
    return RegisterPurchase(**{
        "purchase_request_id": "p-1", "buyer_id": "bob", "seller_id": "sue", "price": Money(1000, "USD"), **changes
    })  # fmt: skip


def changed(previous: str, status: str, **more) -> PurchaseStatusChanged:
    return PurchaseStatusChanged("p-1", "bob", "sue", previous, status, NOW, **more)


def to(status: str, reason: str = "") -> ChangePurchaseStatus:
    return ChangePurchaseStatus("p-1", status, reason)


REGISTERED = PurchaseRegistered("p-1", "bob", "sue", 1000, "USD", NOW)
NO_STATUS = f"status: must be one of {', '.join(STATUSES)}."


@sentences({
    "it is registered": given().when(register()).then(REGISTERED),
    "its id is taken": given(REGISTERED).when(register(price=Money(1, "USD"))).refused(
        PurchaseExists, "Purchase p-1 is registered already."),
    "the same again is a second one too": given(REGISTERED).when(register()).refused(
        PurchaseExists, "Purchase p-1 is registered already."),
    "nobody buys from themselves": given().when(register(seller_id="bob")).refused(
        InvalidCommand, "sellerId: must be another member than the buyer."),
    "nothing is sold for nothing": given().when(register(price=Money(0, "USD"))).refused(
        InvalidCommand, "price.amount: must be more than zero."),
    "one goes on with a reason": given(REGISTERED).when(to("cancelled", "changed my mind")).then(
        changed("pending", "cancelled", reason="changed my mind")),
    "one that is not there does not go on": given().when(to("active")).refused(PurchaseNotFound, "No purchase p-1."),
    "a word that is no status is refused before all else": given().when(to("shipped")).refused(
        InvalidCommand, NO_STATUS),
})  # fmt: skip
def test_a_purchase(row):
    row.check()


def _history(status: str) -> list:
    if status in PATH:
        steps = PATH[: PATH.index(status) + 1]
        return [REGISTERED, *(changed(before, after) for before, after in pairwise(steps))]
    return [REGISTERED, changed("pending", status)]


@pytest.mark.parametrize("wanted", STATUSES)
@pytest.mark.parametrize("status", STATUSES)
def test_every_status_and_every_command(status, wanted):
    """The rule of the specification, said apart from the table: one step at a time, out before delivered."""
    allowed = (status, wanted) in set(pairwise(PATH)) or (wanted == "cancelled" and status in CANCELLABLE)
    row = given(*_history(status)).when(to(wanted))
    if allowed:
        row.then(changed(status, wanted)).check()
    else:
        message = f"Purchase p-1 is {status} and does not become {wanted}."
        row.refused(InvalidTransition, message).check()


def test_the_table_names_every_status():
    assert set(TRANSITIONS) == set(STATUSES)
    assert {wanted for row in TRANSITIONS.values() for wanted in row} <= set(STATUSES)
    assert "refunded" not in {wanted for row in TRANSITIONS.values() for wanted in row}


# ── with the accounts of both ──


@pytest.fixture
def world():
    made = World()
    made.member("bob", "sue")
    return made


@pytest.mark.parametrize(("buyer", "seller", "missing"), [("x", "sue", "x"), ("bob", "y", "y")])
def test_both_must_be_members(world, buyer, seller, missing):
    with pytest.raises(UserNotFound) as refusal:
        world.purchase("p-1", buyer, seller, 100)
    assert refusal.value.message == f"No account for user {missing}."


def test_the_answer_is_the_purchase(world):
    answer = world.do(register(price=Money(1234, "USD")))
    assert (answer.status, answer.buyer_id, answer.seller_id) == ("pending", "bob", "sue")
    assert (answer.price, answer.discount, answer.amount_due) == (
        MoneyText("12.34", "USD"),
        MoneyText("0.00", "USD"),
        MoneyText("12.34", "USD"),
    )
    assert b'"amountDue":{"amount":"12.34","currency":"USD"}' in encode(answer)
    assert world.complete("p-1").points_earned == 12


@pytest.mark.parametrize(
    ("minor", "currency", "rate", "earned"),
    [
        (1999, "USD", "1", 19),
        (99, "USD", "1", 0),
        (100, "USD", "1", 1),
        (199, "JPY", "1", 199),
        (1999, "KWD", "1", 1),
        (1_999_999, "USDT", "1", 1),
        (1999, "USD", "1.5", 29),
        (1999, "USD", "0", 0),
    ],
)
def test_completing_earns_points_on_what_was_due_rounded_down(world, minor, currency, rate, earned):
    if rate != "1":
        world.programme(points_per_unit=rate)
    world.purchase("p-1", "bob", "sue", minor, currency)
    assert world.complete("p-1").points_earned == earned
    assert (world.balance("bob"), world.balance("sue")) == (earned, 0)
    assert len(world.of("bob")) == 1 + (earned > 0)
    assert world.events[ids.purchase_stream("p-1")][-1].points_earned == earned


def test_the_earn_names_the_purchase_and_expires_as_every_earn(world):
    world.purchase("p-1", "bob", "sue", 1000)
    world.complete("p-1")
    (earned,) = world.of("bob")[1:]
    assert (earned.source, earned.reference, earned.description) == ("purchase", "p-1", "Purchase p-1")
    assert (earned.expires_at - earned.occurred_at).days == 365


def test_completing_crosses_levels_one_by_one(world):
    world.purchase("p-1", "bob", "sue", 300_000)
    world.complete("p-1")
    assert [event.level for event in world.of("bob") if isinstance(event, points.LevelCrossed)] == ["silver", "gold"]


def test_an_earn_that_is_there_already_is_skipped_not_refused(world):
    world.purchase("p-1", "bob", "sue", 1000)
    world.do(points.EarnPoints("bob", 3, "purchase", "p-1"))
    assert world.complete("p-1").points_earned == 0
    assert world.balance("bob") == 3
    assert world.purchase_state("p-1").status == "completed"


def test_an_earn_of_the_same_purchase_comes_too_late(world):
    world.purchase("p-1", "bob", "sue", 1000)
    world.complete("p-1")
    (claim,) = world.decide(points.EarnPoints("bob", 3, "purchase", "p-1")).claims
    assert world.is_taken(claim.scope, claim.value)


def test_points_are_earned_by_a_locked_account_too(world):
    world.do(points.LockAccount("bob", "fraud"))
    world.purchase("p-1", "bob", "sue", 1000)
    world.complete("p-1")
    assert world.account("bob").balance == 10


def test_on_the_way_nothing_is_earned(world):
    world.purchase("p-1", "bob", "sue", 1000)
    world.status("p-1", *STEPS[:-1])
    assert world.balance("bob") == 0


# ── cancelling ──


@pytest.mark.parametrize("steps", [STEPS[:n] for n in range(4)], ids=CANCELLABLE)
def test_cancelling_returns_what_was_redeemed_to_its_lots(world, steps):
    world.do(points.GrantPoints("bob", 500, "gift"))
    world.purchase("p-1", "bob", "sue", 1000)
    world.redeem("bob", 320, "p-1")
    before = world.account("bob")
    world.status("p-1", *steps)
    answer = world.status("p-1", "cancelled")
    account = world.account("bob")
    assert (world.balance("bob"), account.lifetime, before.balance) == (500, 500, 180)
    assert [(lot.lot_id, lot.remaining) for lot in account.live_lots()] == [(2, 500)]
    assert (answer.points_spent, answer.points_earned) == (0, 0)
    assert world.events[ids.purchase_stream("p-1")][-1].points_returned == 320
    assert world.purchase_state("p-1").lots == (), "nothing is left to return"


def test_cancelling_without_a_redemption_touches_no_account(world):
    world.purchase("p-1", "bob", "sue", 1000)
    before = len(world.of("bob"))
    world.status("p-1", "cancelled")
    assert len(world.of("bob")) == before


def test_a_lot_that_is_past_its_deadline_comes_back_and_expires_at_once(world):
    world.do(points.EarnPoints("bob", 500, "bonus", "r"))
    world.purchase("p-1", "bob", "sue", 1000)
    world.redeem("bob", 320, "p-1")
    world.wait(400)
    world.status("p-1", "cancelled")
    assert world.balance("bob") == 0
    assert [type(event).__name__ for event in world.of("bob")[3:]] == [
        "PointsExpired",
        "PointsRestored",
        "PointsExpired",
    ]
    rest, restored, gone = world.of("bob")[3:]
    assert (rest.amount, restored.amount, restored.expired, gone.amount) == (180, 320, 320, 320)
    assert (restored.balance, gone.balance) == (320, 0)


def test_points_are_returned_once(world):
    world.do(points.GrantPoints("bob", 500, "gift"))
    world.purchase("p-1", "bob", "sue", 1000)
    world.redeem("bob", 320, "p-1")
    world.status("p-1", "cancelled")
    with pytest.raises(InvalidTransition):
        world.status("p-1", "cancelled")
    assert world.balance("bob") == 500
