"""Opening a payment and giving it up: whose, when, how often; and what a payment is called in every state."""

import pytest

from ledger.domain import payments
from ledger.domain.payment_events import (
    BUCKETS,
    ESCROW_STATES,
    PAYMENT_STATUSES,
    PaymentCancelled,
    PaymentOpened,
    Standing,
)
from ledger.domain.payments import CancelPayment, OpenPayment, Payment
from ledger.domain.points import GrantPoints
from ledger.domain.purchases import Purchase
from ledger.errors import (
    CorruptionError,
    InvalidTransition,
    NotYourPurchase,
    PurchaseNotFound,
    PurchaseNotInProgress,
)
from ledger.payment_errors import NothingDue, NotYourPayment, PaymentAlreadyPaid, PaymentExists, PaymentNotFound
from tests.specs.account import NOW
from tests.specs.decider import Decider, sentences
from tests.specs.escrow import STAGES, Escrow, at_stage

SAYS = {
    "payment_id": "pay-1", "purchase_request_id": "p-1", "buyer_id": "bob", "seller_id": "sue", "currency": "USD",
    "occurred_at": NOW,
}  # fmt: skip
OPENED = PaymentOpened(**SAYS, after=Standing(), provider="stripe", due_minor=10_000)
CANCELLED = PaymentCancelled(**SAYS, after=Standing("cancelled", "cancelled"))


UNREGISTERED = Purchase()


def _decide(command, state, purchase=UNREGISTERED, now=NOW):
    if isinstance(command, OpenPayment):
        return payments.decide_open(command, purchase, state, now)
    return payments.decide_cancel(command, state, now)


given = Decider(initial=Payment, evolve=payments.evolve, decide=_decide).given


def purchase(status: str = "pending", price: int = 10_000, discount: int = 0) -> Purchase:
    return Purchase(status, "bob", "sue", price, "USD", discount, payment_id="pay-0")


def opens(user: str = "bob", role: str = "buyer") -> OpenPayment:
    return OpenPayment("pay-1", "p-1", "stripe", user, role)


def cancels(user: str = "bob", role: str = "buyer") -> CancelPayment:
    return CancelPayment("pay-1", user, role)


@sentences({
    "the buyer opens it": given().when(opens(), purchase=purchase()).then(OPENED),
    "the shop opens it": given().when(opens("shop", "service"), purchase=purchase("pending_payment")).then(OPENED),
    "the seller does not": given().when(opens("sue", "seller"), purchase=purchase()).refused(
        NotYourPurchase, "Purchase p-1 is not yours."),
    "an admin does not": given().when(opens("ada", "admin"), purchase=purchase()).refused(
        NotYourPurchase, "Purchase p-1 is not yours."),
    "a purchase that is not there": given().when(opens()).refused(PurchaseNotFound, "No purchase p-1."),
    "it knows what is with the buyer already": given().when(opens(), purchase=purchase("delivered")).then(
        PaymentOpened(**SAYS, after=Standing(), provider="stripe", due_minor=10_000, delivered=True)),
    "a discount is not due": given().when(opens(), purchase=purchase(discount=9_999)).then(
        PaymentOpened(**SAYS, after=Standing(), provider="stripe", due_minor=1)),
    "nothing is due": given().when(opens(), purchase=purchase(discount=10_000)).refused(
        NothingDue, "Nothing is due on purchase p-1."),
    "a purchase that is cancelled": given().when(opens(), purchase=purchase("cancelled")).refused(
        PurchaseNotInProgress, "Purchase p-1 is cancelled: nothing is paid on it."),
    "a purchase that is refunded": given().when(opens(), purchase=purchase("refunded")).refused(
        PurchaseNotInProgress, "Purchase p-1 is refunded: nothing is paid on it."),
    "a second one beside one that is expected": given(OPENED).when(opens(), purchase=purchase()).refused(
        PaymentExists, "Purchase p-1 has payment pay-0, which is pending."),
    "after one that was cancelled": given(OPENED, CANCELLED).when(opens(), purchase=purchase()).then(OPENED),
    "the buyer cancels it": given(OPENED).when(cancels()).then(CANCELLED),
    "the shop cancels it": given(OPENED).when(cancels("shop", "service")).then(CANCELLED),
    "the seller does not cancel it": given(OPENED).when(cancels("sue", "seller")).refused(
        NotYourPayment, "Payment pay-1 is not yours to do this with."),
    "an admin does not cancel it": given(OPENED).when(cancels("ada", "admin")).refused(
        NotYourPayment, "Payment pay-1 is not yours to do this with."),
    "it is cancelled once": given(OPENED, CANCELLED).when(cancels()).refused(
        InvalidTransition, "Payment pay-1 is cancelled and does not become cancelled."),
    "one nobody opened is not cancelled": given().when(cancels()).refused(PaymentNotFound, "No payment pay-1."),
})  # fmt: skip
def test_a_payment(row):
    row.check()


# ── in every state ──

LIVE = {*STAGES} - {"failed", "cancelled", "refunded", "charged back"}
CANCELLABLE = {"pending", "processing", "failed"}


@pytest.mark.parametrize("stage", STAGES)
def test_a_second_payment_is_opened_only_after_one_that_came_to_nothing(stage):
    world = at_stage(stage)
    if stage in LIVE:
        with pytest.raises(PaymentExists) as refusal:
            world.open("p-1", "pay-2")
        assert refusal.value.message == f"Purchase p-1 has payment pay-1, which is {world.state()[0]}."
    elif world.purchase_state("p-1").status == "refunded":
        with pytest.raises(PurchaseNotInProgress):
            world.open("p-1", "pay-2")
    else:
        world.open("p-1", "pay-2")
        assert world.state("pay-1") == ("cancelled", "cancelled"), "nothing can come in on both"
        assert world.purchase_state("p-1").payment_id == "pay-2"


@pytest.mark.parametrize("stage", STAGES)
def test_it_is_cancelled_only_while_nothing_is_paid(stage):
    world = at_stage(stage)
    act = lambda: world.do(CancelPayment("pay-1", "bob", "buyer"))  # noqa: E731 - asked twice
    if stage in CANCELLABLE:
        act()
        assert world.state() == ("cancelled", "cancelled")
    elif stage == "cancelled":
        with pytest.raises(InvalidTransition):
            act()
    else:
        with pytest.raises(PaymentAlreadyPaid) as refusal:
            act()
        assert refusal.value.message == f"Payment pay-1 is {world.state()[0]}: it is refunded, not cancelled."


def test_money_that_comes_late_on_a_failed_payment_that_was_replaced_is_not_counted_twice():
    world = at_stage("failed")
    world.open("p-1", "pay-2")
    letter = world.hook("confirmed", 10_000, "t-1", payment="pay-1")
    assert letter is not None
    world.settle(letter, "apply", payment="pay-2")
    assert world.state("pay-2") == ("confirmed", "funded")
    assert world.standing("pay-1").gross == 0
    assert world.hook("confirmed", 10_000, "t-1", payment="pay-2") is None
    assert world.standing("pay-2").gross == 10_000
    world.check()


def test_a_failed_payment_may_yet_succeed():
    world = at_stage("failed")
    world.hook("confirmed", 10_000, "t-1")
    assert world.state() == ("confirmed", "funded")
    with pytest.raises(PaymentExists):
        world.open("p-1", "pay-2")


def test_a_failed_payment_gives_way_to_a_redemption():
    world = at_stage("failed")
    world.do(GrantPoints("bob", 1_000, "gift"))
    world.redeem("bob", 1_000, "p-1")
    assert world.state("pay-1") == ("cancelled", "cancelled")
    world.open("p-1", "pay-2")
    assert world.payment("pay-2").due_minor == 9_000


# ── what it is called ──

WORDS = {
    "releasable when it is delivered": (
        lambda w: (w.paid(), w.status("p-1", "delivery", "delivered")), ("confirmed", "releasable")),
    "releasable when it is completed": (
        lambda w: (w.paid(), w.status("p-1", "delivery", "delivered", "completed")), ("confirmed", "releasable")),
    "releasable if it was delivered before it was paid": (
        lambda w: (
            w.sold(), w.status("p-1", "pending_payment", "active", "delivery", "delivered"),
            w.hook("confirmed", 10_000, "t")),
        ("confirmed", "releasable")),
    "partial though it is delivered": (
        lambda w: (
            w.sold(), w.hook("partial", 1, "t"),
            w.status("p-1", "pending_payment", "active", "delivery", "delivered")),
        ("partial", "partial")),
    "releasing before refunding": (
        lambda w: (w.paid(), w.instruct("refund", 1), w.instruct("release", 1)), ("confirmed", "releasing")),
    "refunding before what is held": (lambda w: (w.paid(), w.instruct("refund", 1)), ("confirmed", "refunding")),
    "released, though a part was refunded": (
        lambda w: (w.paid(), w.gone("release", 1), w.gone("refund")), ("confirmed", "released")),
    "completed whatever comes after": (
        lambda w: (w.sold(), w.hook("completed", 10_000, "t"), w.hook("processing"), w.hook("failed")),
        ("completed", "funded")),
    "completed if that was said of a part": (
        lambda w: (w.sold(), w.hook("completed", 1, "t"), w.hook("partial", 9_999, "u")), ("completed", "funded")),
    "failed after processing": (lambda w: (w.sold(), w.hook("failed"), w.hook("processing")), ("failed", "failed")),
}  # fmt: skip


@pytest.mark.parametrize(("act", "words"), WORDS.values(), ids=WORDS)
def test_it_is(act, words):
    world = Escrow()
    act(world)
    assert world.state() == words


def test_the_states_come_by_every_word():
    words = [at_stage(stage).state() for stage in STAGES] + [words for _, words in WORDS.values()]
    assert {status for status, _ in words} == set(PAYMENT_STATUSES)
    assert {state for _, state in words} == set(ESCROW_STATES)


@pytest.mark.parametrize("bucket", BUCKETS)
def test_buckets_that_are_not_gross_are_never_written(bucket):
    payment = at_stage("confirmed").payment()
    with pytest.raises(CorruptionError):
        payments.moved(payment, **{bucket: 1})
    with pytest.raises(CorruptionError):
        payments.moved(payment, **{bucket: -10_001, "gross": -10_001})


def test_suspense_is_never_negative():
    with pytest.raises(CorruptionError):
        payments.moved(at_stage("confirmed").payment(), suspense=-1)
