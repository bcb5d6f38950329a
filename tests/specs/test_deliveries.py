"""What a provider tells: every type in every state of a payment, every trouble, and what follows for the purchase."""

import pytest

from ledger import ids
from ledger.domain.deliveries import APPLIED, DeliveryType, TroubleCode
from ledger.domain.payment_events import PAYMENT_STATUSES
from ledger.payment_errors import AmountNotAvailable
from tests.specs.escrow import STAGES, Escrow, at_stage

TYPES = ("processing", "failed", "confirmed", "completed", "partial", "chargeback")
AMOUNT = {"partial": 4_000}
"""In minor units; 100.00 where a type is not named, of a payment of 100.00."""

COMES_TO = {
    "pending": (
        "processing none",
        "failed failed",
        "confirmed funded held=100",
        "completed funded held=100",
        "partial partial held=40",
        "pending none",
    ),
    "processing": (
        "processing none",
        "failed failed",
        "confirmed funded held=100",
        "completed funded held=100",
        "partial partial held=40",
        "processing none",
    ),
    "failed": (
        "failed failed",
        "failed failed",
        "confirmed funded held=100",
        "completed funded held=100",
        "partial partial held=40",
        "failed failed",
    ),
    "cancelled": (
        "cancelled cancelled",
        "cancelled cancelled",
        "cancelled cancelled PAYMENT_CANCELLED",
        "cancelled cancelled PAYMENT_CANCELLED",
        "cancelled cancelled PAYMENT_CANCELLED",
        "cancelled cancelled PAYMENT_CANCELLED",
    ),
    "partial": (
        "partial partial held=40",
        "partial partial held=40",
        "confirmed funded held=100 suspense=40",
        "completed funded held=100 suspense=40",
        "partial partial held=80",
        "refunded refunded refunded=40",
    ),
    "confirmed": (
        "confirmed funded held=100",
        "confirmed funded held=100",
        "confirmed funded held=100 suspense=100",
        "completed funded held=100 suspense=100",
        "confirmed funded held=100 suspense=40",
        "refunded refunded refunded=100",
    ),
    "completed": (
        "completed funded held=100",
        "completed funded held=100",
        "completed funded held=100 suspense=100",
        "completed funded held=100 suspense=100",
        "completed funded held=100 suspense=40",
        "refunded refunded refunded=100",
    ),
    "disputed": (
        "confirmed funded disputed=100",
        "confirmed funded disputed=100",
        "confirmed funded disputed=100 suspense=100",
        "completed funded disputed=100 suspense=100",
        "confirmed funded disputed=100 suspense=40",
        "refunded refunded refunded=100",
    ),
    "partly disputed": (
        "confirmed funded held=40 disputed=60",
        "confirmed funded held=40 disputed=60",
        "confirmed funded held=40 disputed=60 suspense=100",
        "completed funded held=40 disputed=60 suspense=100",
        "confirmed funded held=40 disputed=60 suspense=40",
        "refunded refunded refunded=100",
    ),
    "releasing": (
        "confirmed releasing releasing=100",
        "confirmed releasing releasing=100",
        "confirmed releasing releasing=100 suspense=100",
        "completed releasing releasing=100 suspense=100",
        "confirmed releasing releasing=100 suspense=40",
        "refunded refunded refunded=100",
    ),
    "refunding": (
        "confirmed refunding refunding=100",
        "confirmed refunding refunding=100",
        "confirmed refunding refunding=100 suspense=100",
        "completed refunding refunding=100 suspense=100",
        "confirmed refunding refunding=100 suspense=40",
        "refunded refunded refunded=100",
    ),
    "released": (
        "confirmed released released=100",
        "confirmed released released=100",
        "confirmed released released=100 suspense=100",
        "completed released released=100 suspense=100",
        "confirmed released released=100 suspense=40",
        "confirmed released released=100 ALREADY_RELEASED",
    ),
    "partly released": (
        "confirmed funded held=40 released=60",
        "confirmed funded held=40 released=60",
        "confirmed funded held=40 released=60 suspense=100",
        "completed funded held=40 released=60 suspense=100",
        "confirmed funded held=40 released=60 suspense=40",
        "confirmed released released=60 refunded=40 ALREADY_RELEASED",
    ),
    "refunded": (
        "refunded refunded refunded=100",
        "refunded refunded refunded=100",
        "refunded refunded refunded=100 suspense=100",
        "refunded refunded refunded=100 suspense=100",
        "refunded refunded refunded=100 suspense=40",
        "refunded refunded refunded=100 MORE_THAN_PAID",
    ),
    "charged back": (
        "refunded refunded refunded=100",
        "refunded refunded refunded=100",
        "refunded refunded refunded=100 suspense=100",
        "refunded refunded refunded=100 suspense=100",
        "refunded refunded refunded=100 suspense=40",
        "refunded refunded refunded=100 MORE_THAN_PAID",
    ),
}
"""State → what each of `TYPES` makes of it, by a transaction that is new: status, escrow state, buckets in whole dollars,
and the dead letter it leaves."""


def seen(world: Escrow, letter: str | None) -> str:
    buckets = world.buckets()
    buckets.pop("gross", None)
    words = [*world.state(), *(f"{name}={minor // 100}" for name, minor in buckets.items())]
    return " ".join([*words, *([code_of(world, letter)] if letter else [])])


def code_of(world: Escrow, letter: str) -> str:
    return world.read(ids.letter_stream(letter)).code


def waits(world: Escrow) -> list[tuple[str, int]]:
    """What waits in suspense: why, and how much."""
    items = [world.read(ids.suspense_stream(item)) for item in world.subjects(ids.SUSPENSE)]
    return [(item.reason, item.rest_minor) for item in items if item.rest_minor]


@pytest.mark.parametrize("number", range(len(TYPES)), ids=TYPES)
@pytest.mark.parametrize("stage", STAGES)
def test_every_state_and_every_type(stage, number):
    world = at_stage(stage)
    kind = TYPES[number]
    letter = world.hook(kind, AMOUNT.get(kind, 10_000), "new")
    assert seen(world, letter) == COMES_TO[stage][number]
    world.check()


@pytest.mark.parametrize("stage", STAGES)
def test_the_same_again_changes_nothing_but_that_it_was_told(stage):
    for kind in TYPES:
        world = at_stage(stage)
        world.hook(kind, 5_000, "new")
        before, accounts, count = world.standing(), world.trial(), len(world.names())
        world.hook(kind, 5_000, "new")
        assert (world.standing(), world.trial()) == (before, accounts)
        assert world.names()[count:] in (["PaymentDeliveryReceived"], [])


def test_the_table_has_every_type_and_comes_by_every_status():
    assert {f"payment.{kind}" for kind in TYPES} == set(DeliveryType.__args__)
    assert {text.split()[0] for row in COMES_TO.values() for text in row} == set(PAYMENT_STATUSES)
    assert set(COMES_TO) == set(STAGES)


# ── what cannot be ──

TROUBLE = {
    # what is told of a payment that is pending, the sentence, the money that waits
    "UNKNOWN_PAYMENT": ({"payment": "pay-9"}, "No payment pay-9.", 10_000),
    "OTHER_PROVIDER": ({"provider": "chain"}, "Payment pay-1 is paid through stripe.", 10_000),
    "WRONG_CURRENCY": ({"currency": "EUR"}, "Payment pay-1 is in USD, not EUR.", 10_000),
    "NO_TX_HASH": ({"tx": ""}, "A payment.confirmed counts by its txHash, and has none.", 10_000),
}


@pytest.mark.parametrize(("code", "how"), [(code, row[0]) for code, row in TROUBLE.items()], ids=TROUBLE)
def test_what_cannot_be_is_a_dead_letter_and_its_money_waits(code, how):
    world = at_stage("pending")
    before = world.payment()
    letter = world.hook("confirmed", 10_000, **{"tx": "t-1", **how})
    state = world.read(ids.letter_stream(letter))
    _, message, money = TROUBLE[code]
    written = world.events[ids.letter_stream(letter)][0]
    assert (state.code, written.message, state.suspense_id) == (code, message, letter)
    assert waits(world) == [(code, money)]
    assert world.payment() == before, "no payment is changed"
    world.check()


@pytest.mark.parametrize("kind", ["processing", "failed"])
@pytest.mark.parametrize("code", TROUBLE)
def test_what_brings_no_money_leaves_none(code, kind):
    world = at_stage("pending")
    letter = world.hook(kind, 10_000, **{"tx": "t-1", **TROUBLE[code][0]})
    assert (letter is None) == (code == "NO_TX_HASH"), "only what counts needs a transaction"
    assert waits(world) == []


def test_a_chargeback_needs_a_transaction_too_and_brings_no_money():
    world = at_stage("confirmed")
    letter = world.hook("chargeback", 10_000)
    assert (code_of(world, letter), waits(world)) == ("NO_TX_HASH", [])


def test_what_comes_for_a_cancelled_payment_waits():
    world = at_stage("cancelled")
    letter = world.hook("confirmed", 10_000, "t-1")
    assert (code_of(world, letter), waits(world)) == ("PAYMENT_CANCELLED", [("PAYMENT_CANCELLED", 10_000)])
    assert world.hook("failed") is None, "that it came to nothing is no trouble"


def test_a_transaction_has_one_amount():
    world = at_stage("confirmed")
    letter = world.hook("completed", 12_000, "in-pay-1")
    assert world.events[ids.letter_stream(letter)][0].message == "Transaction in-pay-1 was 100.00 USD, not 120.00."
    assert (code_of(world, letter), waits(world)) == ("OTHER_AMOUNT", [("OTHER_AMOUNT", 2_000)])
    world.hook("completed", 12_000, "in-pay-1")
    assert waits(world) == [("OTHER_AMOUNT", 2_000)], "the same is said again, no more has come"
    world.hook("completed", 7_000, "in-pay-1")
    assert waits(world) == [("OTHER_AMOUNT", 2_000)]
    assert (world.state()[0], world.standing().gross) == ("confirmed", 10_000)
    world.check()


def test_a_transaction_belongs_to_one_payment():
    world = at_stage("confirmed")
    world.sold(purchase="p-2", payment="pay-2")
    letter = world.hook("confirmed", 10_000, "in-pay-1", payment="pay-2")
    assert (code_of(world, letter), waits(world)) == ("TX_HASH_USED", []), "its money is counted where it belongs"
    assert world.standing("pay-2").gross == 0


def test_a_transaction_that_paid_out_pays_nothing_in():
    world = at_stage("released")
    (name,) = world.payment().instructions
    world.sold(purchase="p-2", payment="pay-2")
    letter = world.hook("confirmed", 10_000, f"out-{name}", payment="pay-2")
    assert (code_of(world, letter), waits(world)) == ("TX_HASH_USED", [])


def test_the_money_of_one_transaction_waits_once_under_however_many_letters():
    world = at_stage("pending")
    letters = [world.hook(kind, 10_000, "t-1", payment="pay-9") for kind in ("partial", "confirmed", "completed")]
    assert None not in letters
    assert waits(world) == [("UNKNOWN_PAYMENT", 10_000)]


def test_every_trouble_has_been_asked():
    here = {*TROUBLE, "PAYMENT_CANCELLED", "OTHER_AMOUNT", "TX_HASH_USED", *APPLIED}
    assert here == set(TroubleCode.__args__)


# ── fees, said whenever ──


@pytest.mark.parametrize("order", [("confirmed", "completed"), ("completed", "confirmed")])
@pytest.mark.parametrize("fees", [(0, 300), (300, 0), (300, 300), (200, 300)])
def test_a_transaction_costs_the_most_that_was_said_of_it(order, fees):
    world = Escrow()
    world.sold()
    for kind, fee in zip(order, fees, strict=True):
        world.hook(kind, 10_000, "t-1", provider_fee_minor=fee)
    assert world.buckets() == {"gross": 10_000, "provider_fees": 300, "held": 9_700}
    assert world.state() == ("completed", "funded")
    world.check()


def test_a_fee_is_never_more_than_its_transaction_brought():
    world = Escrow()
    world.sold()
    world.hook("partial", 1_000, "t-1", provider_fee_minor=5_000)
    assert world.buckets() == {"gross": 1_000, "provider_fees": 1_000}
    world.hook("partial", 9_000, "t-2", provider_fee_minor=90)
    assert world.buckets() == {"gross": 10_000, "provider_fees": 1_090, "held": 8_910}


def test_a_fee_said_after_the_chargeback_is_the_sellers_to_owe():
    """As if it had been said before: what the provider keeps it did not give back to the buyer."""
    world = at_stage("charged back")
    world.hook("completed", 10_000, "in-pay-1", provider_fee_minor=300)
    assert world.buckets() == {"gross": 10_000, "provider_fees": 300, "refunded": 9_700}
    assert world.trial()["receivable:sue", "USD"] == 300
    world.check()


# ── chargebacks ──

TAKEN = {
    # what happened to 100.00, what is charged back, the buckets, what the seller owes
    "what is held first": (lambda w: w.dispute(3_000), 5_000, {"held": 2_000, "disputed": 3_000, "refunded": 5_000}, 0),
    "then what is reserved": (lambda w: w.instruct("release", 6_000), 5_000, {"held": 5_000, "refunded": 5_000}, 0),
    "then what is disputed": (
        lambda w: (w.dispute(3_000), w.instruct("release", 6_000)),
        8_000,
        {"disputed": 2_000, "refunded": 8_000},
        0,
    ),
    "a reservation it does not need stays": (
        lambda w: w.instruct("release", 6_000),
        4_000,
        {"releasing": 6_000, "refunded": 4_000},
        0,
    ),
    "the newest release before the older, and a refund last": (
        lambda w: (w.instruct("release", 3_000), w.instruct("refund", 3_000), w.instruct("release", 4_000)),
        4_000,
        {"releasing": 3_000, "refunding": 3_000, "refunded": 4_000},
        0,
    ),
    "what was released the seller owes": (
        lambda w: w.gone("release", 7_000),
        8_000,
        {"released": 7_000, "refunded": 3_000},
        5_000,
    ),
    "what was refunded nobody owes a second time": (
        lambda w: (w.gone("release", 2_000), w.gone("refund", 8_000)),
        10_000,
        {"released": 2_000, "refunded": 8_000},
        2_000,
    ),
}


@pytest.mark.parametrize(("first", "minor", "buckets", "owed"), TAKEN.values(), ids=TAKEN)
def test_a_chargeback_takes(first, minor, buckets, owed):
    world = at_stage("confirmed")
    first(world)
    world.hook("chargeback", minor, "back-1")
    assert world.buckets() == {"gross": 10_000, **buckets}
    assert world.trial().get(("receivable:sue", "USD"), 0) == owed
    world.check()


def test_a_chargeback_that_comes_first_takes_what_comes():
    world = at_stage("pending")
    world.hook("chargeback", 7_000, "back-1")
    assert world.buckets() == {}
    world.hook("partial", 4_000, "t-1")
    assert world.buckets() == {"gross": 4_000, "refunded": 4_000}
    world.hook("confirmed", 6_000, "t-2")
    assert world.buckets() == {"gross": 10_000, "held": 3_000, "refunded": 7_000}
    assert world.payment().pending_chargeback_minor == 0
    world.check()


def test_the_platform_gives_its_fee_and_the_seller_owes_what_the_provider_kept():
    world = Escrow()
    world.programme(platform_fee_bps=1000)
    world.paid(provider_fee_minor=300)
    letter = world.hook("chargeback", 10_000, "back-1")
    assert world.buckets() == {"gross": 10_000, "provider_fees": 300, "refunded": 9_700}
    assert world.state() == ("refunded", "refunded")
    written = world.events[ids.letter_stream(letter)][0]
    assert (written.code, written.message) == (
        "ALREADY_RELEASED", "3.00 USD were not held any more: the seller owes them.")  # fmt: skip
    world.check()


def test_an_overpayment_that_is_charged_back_is_no_debt_of_the_seller_and_is_not_spent_again():
    """100 due, 150 paid, 150 charged back: the 50 that wait are gone too, and only returning them says so."""
    world = at_stage("pending")
    world.hook("confirmed", 15_000, "t-1")
    letter = world.hook("chargeback", 15_000, "back-1")
    (item,) = world.subjects(ids.SUSPENSE)
    assert (code_of(world, letter), world.payment().pending_chargeback_minor) == ("MORE_THAN_PAID", 5_000)
    assert ("receivable:sue", "USD") not in world.trial()
    world.sold(purchase="p-2", payment="pay-2")
    with pytest.raises(AmountNotAvailable) as refusal:
        world.settle(item, "apply", payment="pay-2")
    assert refusal.value.message == f"The provider has taken back what waits under {item}: return it."
    world.settle(item, "return")
    assert (world.payment().pending_chargeback_minor, world.waiting()) == (0, {})
    world.check()
