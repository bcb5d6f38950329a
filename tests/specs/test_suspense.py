"""Money that belongs nowhere yet, and dead letters: where it goes, what is replayed, and what never is."""

import pytest

from ledger import ids
from ledger.domain.dead_letters import ReplayDeadLetter, SkipDeadLetter
from ledger.domain.suspense import SuspenseItem, SuspenseParked, SuspenseSettled
from ledger.errors import InvalidCommand, InvalidTransition
from ledger.payment_errors import (
    AmountNotAvailable,
    DeadLetterNotFound,
    PaymentNotFound,
    StillImpossible,
    SuspenseNotFound,
    TxHashUsed,
)
from tests.specs.escrow import Escrow, at_stage


@pytest.fixture
def world():
    """50.00 too much came for `pay-1`; `pay-2` of 80.00 is pending."""
    made = Escrow()
    made.sold()
    made.hook("confirmed", 15_000, "t-1")
    made.sold(8_000, purchase="p-2", payment="pay-2")
    return made


def only(world: Escrow) -> str:
    (item,) = world.subjects(ids.SUSPENSE)
    return item


def item(world: Escrow, name: str) -> SuspenseItem:
    return world.read(ids.suspense_stream(name))


def letters(world: Escrow) -> list[str]:
    return [world.read(ids.letter_stream(one)).status for one in world.subjects(ids.LETTER)]


def replay(world: Escrow, letter: str) -> None:
    world.do(ReplayDeadLetter(letter, world.new("letter")))


# ── settling ──


def test_what_came_too_much_waits_beside_its_payment(world):
    assert world.buckets() == {"gross": 10_000, "held": 10_000, "suspense": 5_000}
    assert (item(world, only(world)).reason, world.waiting()) == ("EXCESS", {"USD": 5_000})
    world.check()


def test_it_goes_back(world):
    answer = world.settle(only(world), "return", tx="out-1")
    assert (answer.amount.amount, answer.remaining.amount, answer.tx_hash) == ("50.00", "0.00", "out-1")
    assert (world.buckets(), world.waiting()) == ({"gross": 10_000, "held": 10_000}, {})
    assert world.trial()["provider_clearing", "USD"] == 10_000
    world.check()


def test_it_goes_to_another_payment(world):
    answer = world.settle(only(world), "apply", payment="pay-2")
    assert (answer.amount.amount, answer.remaining.amount) == ("50.00", "0.00")
    assert (world.buckets("pay-2"), world.state("pay-2")) == ({"gross": 5_000, "held": 5_000}, ("partial", "partial"))
    assert world.buckets() == {"gross": 10_000, "held": 10_000}
    world.check()


def test_only_what_is_missing_is_applied_and_the_rest_waits_on(world):
    world.hook("partial", 7_000, "t-2", payment="pay-2")
    answer = world.settle(only(world), "apply", payment="pay-2")
    assert (answer.amount.amount, answer.remaining.amount) == ("10.00", "40.00")
    assert world.state("pay-2") == ("confirmed", "funded")
    assert world.purchase_state("p-2").status == "active", "funding it moves its purchase"
    world.settle(only(world), "return")
    assert world.waiting() == {}
    world.check()


def test_what_funds_the_last_of_it_takes_the_platforms_fee(world):
    world.programme(platform_fee_bps=1_000)
    world.hook("partial", 3_000, "t-2", payment="pay-2")
    world.settle(only(world), "apply", payment="pay-2")
    assert world.buckets("pay-2") == {"gross": 8_000, "platform_fees": 800, "held": 7_200}


REFUSED = {
    "what is not there": ("none", "return", "", SuspenseNotFound, "No money waits under none."),
    "for no payment": ("", "apply", "", InvalidCommand, "paymentId: says which payment it is for."),
    "for a payment nobody opened": ("", "apply", "pay-9", PaymentNotFound, "No payment pay-9."),
    "for a payment that lacks nothing": (
        "", "apply", "pay-1", AmountNotAvailable, "Nothing is missing on payment pay-1."),
    "for a payment in another currency": (
        "", "apply", "pay-3", InvalidCommand, "paymentId: is in JPY, the money in USD."),
    "for a payment that is cancelled": (
        "", "apply", "pay-4", InvalidTransition, "Payment pay-4 is cancelled."),
}  # fmt: skip


@pytest.mark.parametrize(("which", "action", "payment", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_refused_is(world, which, action, payment, error, message):
    world.sold(100, "JPY", purchase="p-3", payment="pay-3")
    world.sold(purchase="p-4", payment="pay-4")
    world.cancel("p-4")
    before = len(world.log)
    with pytest.raises(error) as refusal:
        world.settle(which or only(world), action, payment=payment)
    assert (type(refusal.value), refusal.value.message) == (error, message)
    assert len(world.log) == before


def test_it_is_settled_once(world):
    name = only(world)
    world.settle(name, "return")
    for action in ("return", "apply"):
        with pytest.raises(InvalidTransition) as refusal:
            world.settle(name, action, payment="pay-2")
        assert refusal.value.message == f"Suspense {name} is settled."


def test_it_is_returned_by_a_transaction_that_is_nobody_elses(world):
    with pytest.raises(TxHashUsed):
        world.settle(only(world), "return", tx="t-1")
    assert world.waiting() == {"USD": 5_000}


def test_a_part_of_a_transaction_does_not_take_its_name_along(world):
    """The provider says t-1 again, for the payment its excess went to: it is counted where it was, and nowhere else."""
    world.settle(only(world), "apply", payment="pay-2")
    letter = world.hook("completed", 15_000, "t-1", payment="pay-2")
    assert world.read(ids.letter_stream(letter)).code == "TX_HASH_USED"
    assert (world.waiting(), world.standing("pay-2").gross) == ({}, 5_000)
    world.check()


def test_the_name_a_part_goes_by_is_nobody_elses(world):
    world.settle(only(world), "apply", payment="pay-2")
    (name,) = world.payment("pay-2").transactions
    refund = world.instruct("refund", 100)
    with pytest.raises(TxHashUsed):
        world.confirm(refund, name)


def test_a_whole_transaction_keeps_its_name_so_that_the_provider_may_say_it_again(world):
    world.hook("confirmed", 8_000, "t-2", payment="pay-9")
    world.settle(world.subjects(ids.SUSPENSE)[1], "apply", payment="pay-2")
    assert world.state("pay-2") == ("confirmed", "funded")
    assert world.hook("completed", 8_000, "t-2", payment="pay-2", provider_fee_minor=80) is None
    assert world.buckets("pay-2") == {"gross": 8_000, "provider_fees": 80, "held": 7_920}
    assert world.state("pay-2")[0] == "completed"
    world.check()


def test_every_event_of_suspense_has_been_seen(world):
    world.settle(only(world), "return")
    seen = [type(event) for event in world.events[ids.suspense_stream(only(world))]]
    assert seen == [SuspenseParked, SuspenseSettled]


# ── dead letters ──

LETTERS = {
    "waiting": lambda w, letter: None,
    "replayed": lambda w, letter: (w.open("p-1", "pay-9"), replay(w, letter)),
    "skipped": lambda w, letter: w.do(SkipDeadLetter(letter, "x")),
}


@pytest.mark.parametrize("command", ["replay", "skip"])
@pytest.mark.parametrize("status", LETTERS)
def test_every_status_and_every_command(status, command):
    """A letter waits until it is replayed or put away, and then it is for ever what it is."""
    world = Escrow()
    world.purchase("p-1", "bob", "sue", 10_000)
    letter = world.hook("confirmed", 10_000, "t-1", payment="pay-9")
    LETTERS[status](world, letter)
    assert letters(world) == [status]
    if status == "waiting":
        world.open("p-1", "pay-9")
    act = {"replay": lambda: replay(world, letter), "skip": lambda: world.do(SkipDeadLetter(letter, "y"))}[command]
    if status == "waiting":
        act()
        assert letters(world) == [{"replay": "replayed", "skip": "skipped"}[command]]
        return
    with pytest.raises(InvalidTransition) as refusal:
        act()
    assert refusal.value.message == f"Dead letter {letter} is {status}."


@pytest.mark.parametrize("command", [ReplayDeadLetter("l-9", "new"), SkipDeadLetter("l-9", "x")])
def test_a_letter_nobody_wrote(world, command):
    with pytest.raises(DeadLetterNotFound):
        world.do(command)


def late_payment() -> tuple[Escrow, str]:
    """Paid before the payment was opened."""
    world = Escrow()
    world.purchase("p-1", "bob", "sue", 10_000)
    letter = world.hook("confirmed", 12_000, "t-1", payment="pay-1", provider_fee_minor=100)
    world.open("p-1", "pay-1")
    return world, letter


def test_replaying_a_letter_takes_its_money_from_where_it_waits():
    world, letter = late_payment()
    assert world.waiting() == {"USD": 12_000}
    replay(world, letter)
    assert world.buckets() == {"gross": 10_000, "provider_fees": 100, "held": 9_900, "suspense": 2_000}
    assert world.waiting() == {"USD": 2_000}, "what is too much waits under an item of its own"
    assert world.purchase_state("p-1").status == "active"
    world.check()


def test_money_that_was_settled_is_not_counted_by_a_replay():
    for action, payment in (("return", ""), ("apply", "pay-1")):
        world, letter = late_payment()
        world.settle(letter, action, payment=payment)
        before = world.standing()
        with pytest.raises(StillImpossible) as refusal:
            replay(world, letter)
        assert refusal.value.message == f"Dead letter {letter} cannot be applied: its money is settled already."
        assert (world.standing(), letters(world)) == (before, ["waiting"])
        world.do(SkipDeadLetter(letter, "settled by hand"))
        world.check()


def test_money_of_a_letter_that_is_put_away_waits_on():
    world, letter = late_payment()
    world.do(SkipDeadLetter(letter, "x"))
    world.settle(letter, "apply", payment="pay-1")
    assert world.standing().gross == 10_000
    world.check()


def test_a_second_letter_about_the_same_transaction_counts_nothing():
    world = Escrow()
    world.purchase("p-1", "bob", "sue", 10_000)
    first = world.hook("confirmed", 10_000, "t-1")
    second = world.hook("completed", 10_000, "t-1")
    world.open("p-1", "pay-1")
    with pytest.raises(StillImpossible):
        replay(world, second)
    replay(world, first)
    replay(world, second)
    assert (world.buckets(), world.state()[0]) == ({"gross": 10_000, "held": 10_000}, "completed")
    world.check()


STILL = {
    # what is told of a payment that is confirmed, why a replay does nothing
    "another currency": ({"currency": "EUR"}, "Payment pay-1 is in USD, not EUR."),
    "another provider": ({"provider": "chain"}, "Payment pay-1 is paid through stripe."),
    "no transaction": ({"tx": ""}, "A payment.completed counts by its txHash, and has none."),
    "another amount": ({"tx": "in-pay-1"}, "Transaction in-pay-1 was 100.00 USD, not 50.00."),
}


@pytest.mark.parametrize(("how", "why"), STILL.values(), ids=STILL)
def test_what_is_still_impossible_stays_a_letter(how, why):
    world = at_stage("confirmed")
    letter = world.hook("completed", 5_000, **{"tx": "t-2", **how})
    before = len(world.log)
    with pytest.raises(StillImpossible) as refusal:
        replay(world, letter)
    assert refusal.value.message == f"Dead letter {letter} cannot be applied: {why}"
    assert (len(world.log), letters(world)) == (before, ["waiting"])


@pytest.mark.parametrize("stage", ["released", "refunded"])
def test_a_chargeback_that_came_too_late_is_not_taken_twice(stage):
    world = at_stage(stage)
    letter = world.hook("chargeback", 10_000, "back-1")
    before = world.trial()
    with pytest.raises(StillImpossible):
        replay(world, letter)
    assert world.trial() == before
    world.do(SkipDeadLetter(letter, "the seller was asked"))
