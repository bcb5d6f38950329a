"""Money on its way out: every state of an instruction and every command, amounts, who may, and the fees that go back."""

import pytest

from ledger.domain.instructions import CancelInstruction, ConfirmInstruction, Instruct, decide_instruct
from ledger.domain.payment_events import (
    INSTRUCTION_STATUSES,
    InstructionCancelled,
    InstructionReserved,
    PaymentRefunded,
    PaymentReleased,
    Standing,
)
from ledger.domain.payments import Payment
from ledger.errors import InvalidCommand, InvalidTransition
from ledger.money import EXPONENTS, Money
from ledger.payment_errors import (
    AmountNotAvailable,
    AmountOnHold,
    InstructionNotFound,
    NotYourPayment,
    PaymentNotFound,
    TxHashUsed,
)
from tests.specs.account import NOW
from tests.specs.escrow import STAGES, Escrow, at_stage

SAYS = {
    "payment_id": "pay-1", "purchase_request_id": "p-1", "buyer_id": "bob", "seller_id": "sue", "currency": "USD",
    "occurred_at": NOW,
}  # fmt: skip


def stood(status: str, escrow_state: str, gross: int = 10_000, **buckets: int) -> Standing:
    return Standing(status, escrow_state, gross, **buckets)


# ── every state and every command ──

INSTRUCTIONS = {
    "none": lambda w: w.paid(),
    "reserved release": lambda w: (w.paid(), _named(w, "release")),
    "reserved refund": lambda w: (w.paid(), _named(w, "refund")),
    "confirmed release": lambda w: (w.paid(), _named(w, "release"), w.confirm("i-1", "out")),
    "confirmed refund": lambda w: (w.paid(), _named(w, "refund"), w.confirm("i-1", "out")),
    "cancelled release": lambda w: (w.paid(), _named(w, "release"), w.call_off("i-1")),
    "cancelled refund": lambda w: (w.paid(), _named(w, "refund"), w.call_off("i-1")),
}
"""What has become of instruction `i-1` over all 100.00 of `pay-1`."""


def _named(world: Escrow, kind: str, name: str = "i-1") -> None:
    world.do(Instruct(name, "pay-1", kind, None, "ada", "admin"))


COMMANDS = {
    "release": lambda: Instruct("i-2", "pay-1", "release", None, "ada", "admin"),
    "refund": lambda: Instruct("i-2", "pay-1", "refund", None, "ada", "admin"),
    "confirm release": lambda: ConfirmInstruction("i-1", "pay-1", "release", "out"),
    "confirm refund": lambda: ConfirmInstruction("i-1", "pay-1", "refund", "out"),
    "cancel release": lambda: CancelInstruction("i-1", "pay-1", "release"),
    "cancel refund": lambda: CancelInstruction("i-1", "pay-1", "refund"),
}
NOTHING_HELD = (AmountNotAvailable, "0.00 USD held, nothing can be taken.")
NO_RELEASE = (InstructionNotFound, "Payment pay-1 has no release i-1.")
NO_REFUND = (InstructionNotFound, "Payment pay-1 has no refund i-1.")


def reserved(kind: str, **after: int) -> InstructionReserved:
    state = {"release": "releasing", "refund": "refunding"}[kind]
    return InstructionReserved(
        **SAYS, after=stood("confirmed", state, **after), instruction_id="i-2", kind=kind, amount_minor=10_000
    )


def called_off(kind: str) -> InstructionCancelled:
    return InstructionCancelled(
        **SAYS, after=stood("confirmed", "funded", held=10_000), instruction_id="i-1", kind=kind, amount_minor=10_000
    )


RELEASED = PaymentReleased(
    **SAYS, after=stood("confirmed", "released", released=10_000), instruction_id="i-1", amount_minor=10_000,
    tx_hash="out",
)  # fmt: skip
REFUNDED = PaymentRefunded(
    **SAYS, after=stood("refunded", "refunded", refunded=10_000), instruction_id="i-1", amount_minor=10_000,
    tx_hash="out",
)  # fmt: skip
CAN_RESERVE = (reserved("release", releasing=10_000), reserved("refund", refunding=10_000))


def stays(status: str, wanted: str) -> tuple[type, str]:
    return InvalidTransition, f"Instruction i-1 is {status} and does not become {wanted}."


CONFIRMED_BY = "confirmed by transaction out"
COMES_TO = {
    "none": (*CAN_RESERVE, NO_RELEASE, NO_REFUND, NO_RELEASE, NO_REFUND),
    "reserved release": (NOTHING_HELD, NOTHING_HELD, RELEASED, NO_REFUND, called_off("release"), NO_REFUND),
    "reserved refund": (NOTHING_HELD, NOTHING_HELD, NO_RELEASE, REFUNDED, NO_RELEASE, called_off("refund")),
    "confirmed release": (
        NOTHING_HELD, NOTHING_HELD, None, NO_REFUND, stays("confirmed", "cancelled"), NO_REFUND),
    "confirmed refund": (
        NOTHING_HELD, NOTHING_HELD, NO_RELEASE, None, NO_RELEASE, stays("confirmed", "cancelled")),
    "cancelled release": (*CAN_RESERVE, stays("cancelled", "confirmed"), NO_REFUND, None, NO_REFUND),
    "cancelled refund": (*CAN_RESERVE, NO_RELEASE, stays("cancelled", "confirmed"), NO_RELEASE, None),
}  # fmt: skip
"""State → what comes of each of `COMMANDS`: its event, nothing, or the refusal."""


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("state", INSTRUCTIONS)
def test_every_state_and_every_command(state, command):
    world = Escrow()
    INSTRUCTIONS[state](world)
    before = len(world.names())
    wanted = COMES_TO[state][[*COMMANDS].index(command)]
    if isinstance(wanted, tuple):
        error, message = wanted
        with pytest.raises(error) as refusal:
            world.do(COMMANDS[command]())
        assert (type(refusal.value), refusal.value.message) == (error, message)
        assert len(world.names()) == before
    else:
        world.do(COMMANDS[command]())
        assert world.events["payment-pay-1"][before:] == ([] if wanted is None else [wanted])
    world.check()


def test_the_table_has_every_state():
    assert {state.split()[0] for state in COMES_TO} == {"none", *INSTRUCTION_STATUSES}
    assert all(len(row) == len(COMMANDS) for row in COMES_TO.values())


def test_what_is_confirmed_or_cancelled_has_no_way_out():
    for state, row in COMES_TO.items():
        if state.startswith(("confirmed", "cancelled")):
            assert all(one is None or isinstance(one, tuple) for one in row[2:])


# ── amounts ──

TAKEN = {
    # state of 100.00, how much is asked for, the refusal
    "all of what is not there": ("pending", None, AmountNotAvailable, "0.00 USD held, nothing can be taken."),
    "more than there is": ("confirmed", 10_001, AmountNotAvailable, "100.00 USD held, 100.01 USD asked for."),
    "as much as is held with what is disputed": (
        "partly disputed", 10_000, AmountOnHold,
        "40.00 USD held and 60.00 USD on hold by a dispute, 100.00 USD asked for."),
    "one cent more than is held": (
        "partly disputed", 4_001, AmountOnHold,
        "40.00 USD held and 60.00 USD on hold by a dispute, 40.01 USD asked for."),
    "more than is held and disputed": (
        "partly disputed", 10_001, AmountNotAvailable, "40.00 USD held, 100.01 USD asked for."),
    "all, when all is disputed": (
        "disputed", None, AmountOnHold,
        "0.00 USD held and 100.00 USD on hold by a dispute, nothing can be taken."),
    "what is reserved for somebody": ("releasing", 1, AmountNotAvailable, "0.00 USD held, 0.01 USD asked for."),
    "what is gone": ("released", 1, AmountNotAvailable, "0.00 USD held, 0.01 USD asked for."),
    "nothing": ("confirmed", 0, InvalidCommand, "amount.amount: must be more than zero."),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["release", "refund"])
@pytest.mark.parametrize(("stage", "minor", "error", "message"), TAKEN.values(), ids=TAKEN)
def test_refused_is(stage, minor, error, message, kind):
    world = at_stage(stage)
    before = len(world.log)
    with pytest.raises(error) as refusal:
        world.instruct(kind, minor)
    assert (type(refusal.value), refusal.value.message) == (error, message)
    assert len(world.log) == before


def test_another_currency_is_refused():
    world = at_stage("confirmed")
    with pytest.raises(InvalidCommand) as refusal:
        world.do(Instruct("i-1", "pay-1", "release", Money(1, "EUR"), "ada", "admin"))
    assert refusal.value.message == "amount.currency: must be USD, the currency of the payment."


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("kind", ["release", "refund"])
def test_whatever_is_held_can_be_reserved_and_no_more(stage, kind):
    world = at_stage(stage)
    held = world.standing().held
    if not held:
        with pytest.raises((AmountNotAvailable, AmountOnHold)):
            world.instruct(kind)
        return
    world.instruct(kind, 1)
    world.instruct(kind, None)
    assert world.standing().held == 0
    world.check()


def test_partial_payments_may_be_released_in_part_before_the_rest_comes():
    world = at_stage("partial")
    world.gone("release", 1_000)
    world.hook("confirmed", 6_000, "t-2")
    assert world.buckets() == {"gross": 10_000, "held": 9_000, "released": 1_000}
    assert world.state() == ("confirmed", "funded")


# ── who may ──


@pytest.mark.parametrize(
    ("kind", "user", "role", "may"),
    [
        ("release", "bob", "buyer", True),
        ("release", "bob", "seller", True),
        ("release", "sue", "seller", False),
        ("release", "ada", "admin", True),
        ("release", "shop", "service", False),
        ("release", "judge", "resolver", False),
        ("refund", "sue", "seller", True),
        ("refund", "sue", "buyer", True),
        ("refund", "bob", "buyer", False),
        ("refund", "ada", "admin", True),
        ("refund", "shop", "service", False),
        ("refund", "judge", "resolver", False),
    ],
)
def test_a_release_is_the_buyers_and_a_refund_the_sellers(kind, user, role, may):
    world = at_stage("confirmed")
    if may:
        world.instruct(kind, 1, user=user, role=role)
        return
    with pytest.raises(NotYourPayment) as refusal:
        world.instruct(kind, 1, user=user, role=role)
    assert refusal.value.message == "Payment pay-1 is not yours to do this with."


def test_there_is_nothing_to_release_of_a_payment_nobody_opened():
    with pytest.raises(PaymentNotFound):
        decide_instruct(Instruct("i", "pay-9", "release", None, "ada", "admin"), Payment(), NOW)


# ── transactions ──


def test_an_instruction_is_confirmed_by_one_transaction():
    world = at_stage("releasing")
    (name,) = world.payment().instructions
    first = world.confirm(name, "out-1")
    before = len(world.log)
    assert world.confirm(name, "out-1") == first
    assert len(world.log) == before
    with pytest.raises(InvalidTransition) as refusal:
        world.confirm(name, "out-2")
    assert refusal.value.message == (
        f"Instruction {name} is confirmed by transaction out-1 and does not become confirmed."
    )


@pytest.mark.parametrize("tx", ["in-pay-1", "out-1"])
def test_a_transaction_that_is_known_confirms_nothing_else(tx):
    world = at_stage("confirmed")
    first, second = world.instruct("release", 1_000), world.instruct("refund", 1_000)
    world.confirm(first, "out-1")
    with pytest.raises(TxHashUsed) as refusal:
        world.confirm(second, tx)
    assert refusal.value.message == f"Transaction {tx} belongs to another payment or instruction."
    assert world.payment().instructions[second].status == "reserved"


# ── the platform's fee ──

FEES = {
    # due, bps, provider's fee → provider, platform, held
    "none": (10_000, 0, 0, 0, 0, 10_000),
    "one in ten thousand": (10_000, 1, 0, 0, 1, 9_999),
    "less than a cent is nothing": (9_999, 1, 0, 0, 0, 9_999),
    "rounded down": (9_999, 333, 0, 0, 332, 9_667),
    "both": (10_000, 250, 290, 290, 250, 9_460),
    "all of it": (10_000, 10_000, 0, 0, 10_000, 0),
    "the provider's comes first": (10_000, 10_000, 290, 290, 9_710, 0),
    "the provider keeps no more than there is": (10_000, 250, 20_000, 10_000, 0, 0),
}


@pytest.mark.parametrize(("due", "bps", "fee", "provider", "platform", "held"), FEES.values(), ids=FEES)
def test_fees_are_fixed_when_all_has_come(due, bps, fee, provider, platform, held):
    world = Escrow()
    world.programme(platform_fee_bps=bps)
    world.paid(due, provider_fee_minor=fee)
    standing = world.standing()
    assert (standing.provider_fees, standing.platform_fees, standing.held) == (provider, platform, held)
    world.programme(platform_fee_bps=5_000)
    world.hook("completed", due, "in-pay-1", provider_fee_minor=fee)
    assert world.standing().platform_fees == platform, "what is fixed stays, whatever the rate is today"
    world.check()


def test_the_rate_is_that_of_the_moment_when_the_last_of_it_comes():
    world = Escrow()
    world.programme(platform_fee_bps=100)
    world.sold()
    world.hook("partial", 9_999, "t-1")
    assert world.standing().platform_fees == 0
    world.programme(platform_fee_bps=200)
    world.hook("partial", 1, "t-2")
    assert world.standing().platform_fees == 200


@pytest.mark.parametrize("currency", ["JPY", "USD", "KWD", "USDT"])
@pytest.mark.parametrize("parts", [(1,), (3, 7), (1, 1, 1), (997, 1, 1, 1)])
def test_partial_refunds_return_the_fee_to_the_last_minor_unit(currency, parts):
    world = Escrow()
    world.programme(platform_fee_bps=333)
    due = 10_001 * int("1" + "0" * EXPONENTS[currency])
    world.paid(due, currency=currency, provider_fee_minor=17)
    held, fee = world.standing().held, world.standing().platform_fees
    assert fee == due * 333 // 10_000
    refunded = 0
    for part in parts[:-1]:
        refunded += held * part // sum(parts)
        world.gone("refund", held * part // sum(parts))
        assert fee - world.standing().platform_fees == fee * refunded // held
    world.gone("refund")
    assert world.buckets() == {"gross": due, "provider_fees": 17, "refunded": due - 17}
    assert world.state() == ("refunded", "refunded")
    world.check()


def test_what_was_released_keeps_its_part_of_the_fee():
    world = Escrow()
    world.programme(platform_fee_bps=1_000)
    world.paid()
    world.gone("release", 4_500)
    name = world.gone("refund")
    assert world.payment().instructions[name].fee_returned_minor == 500
    assert world.buckets() == {"gross": 10_000, "platform_fees": 500, "released": 4_500, "refunded": 5_000}


def test_a_refund_that_is_called_off_returns_no_fee():
    world = Escrow()
    world.programme(platform_fee_bps=1_000)
    world.paid()
    world.call_off(world.instruct("refund"))
    assert world.buckets() == {"gross": 10_000, "platform_fees": 1_000, "held": 9_000}
    world.gone("refund")
    assert world.buckets() == {"gross": 10_000, "refunded": 10_000}


def test_fees_of_a_payment_refunded_before_the_rest_of_it_came():
    """40 of 100 refunded before there was a fee; the fee on 100 comes out of the other 60 and goes back with them."""
    world = Escrow()
    world.programme(platform_fee_bps=1_000)
    world.sold()
    world.hook("partial", 4_000, "t-1")
    world.gone("refund", 3_999)
    world.hook("confirmed", 6_000, "t-2")
    assert world.buckets() == {"gross": 10_000, "platform_fees": 1_000, "held": 5_001, "refunded": 3_999}
    world.gone("refund")
    assert world.buckets() == {"gross": 10_000, "refunded": 10_000}
    world.check()
