"""Purchases and their payments: what money does to a purchase, and what a purchase's status does to money."""

import pytest

from ledger.domain.points import GrantPoints
from ledger.domain.purchases import STATUSES, ChangePurchaseStatus
from ledger.errors import InvalidTransition, PurchaseNotInProgress
from ledger.payment_errors import AmountOnHold
from tests.specs.escrow import STAGES, Escrow, at_stage
from tests.specs.world import STEPS

PATH = ("pending", *STEPS)


def on_the_way(status: str) -> Escrow:
    """A purchase in that status, with a payment that is pending."""
    world = Escrow()
    world.sold()
    for step in PATH[1 : PATH.index(status) + 1]:
        world.status("p-1", step)
    return world


# ── funding ──


@pytest.mark.parametrize("status", PATH)
def test_funding_moves_what_waits_for_its_payment_in_the_same_append(status):
    world = on_the_way(status)
    before = len(world.log)
    world.hook("confirmed", 10_000, "t-1")
    streams = [stream for stream, _ in world.log[before:]]
    if status in {"pending", "pending_payment"}:
        assert world.purchase_state("p-1").status == "active"
        assert streams == ["payment-pay-1", "payment-pay-1", "purchase-p-1"]
    else:
        assert world.purchase_state("p-1").status == status
        assert "purchase-p-1" not in streams


def test_a_part_of_the_money_moves_nothing():
    world = at_stage("partial")
    assert world.purchase_state("p-1").status == "pending"
    world.hook("partial", 6_000, "t-2")
    assert world.purchase_state("p-1").status == "active"


def test_status_commands_are_not_gated_by_payment():
    world = at_stage("pending")
    world.complete("p-1")
    assert world.purchase_state("p-1").status == "completed"
    assert world.balance("bob") == 100


# ── cancelling ──

CANCELLED = {
    # state → the payment after its purchase was cancelled, and its buckets
    "pending": (("cancelled", "cancelled"), {}),
    "processing": (("cancelled", "cancelled"), {}),
    "failed": (("cancelled", "cancelled"), {}),
    "cancelled": (("cancelled", "cancelled"), {}),
    "partial": (("partial", "refunding"), {"gross": 4_000, "refunding": 4_000}),
    "confirmed": (("confirmed", "refunding"), {"gross": 10_000, "refunding": 10_000}),
    "completed": (("completed", "refunding"), {"gross": 10_000, "refunding": 10_000}),
    "releasing": (("confirmed", "releasing"), {"gross": 10_000, "releasing": 10_000}),
    "refunding": (("confirmed", "refunding"), {"gross": 10_000, "refunding": 10_000}),
    "released": (("confirmed", "released"), {"gross": 10_000, "released": 10_000}),
    "partly released": (("confirmed", "refunding"), {"gross": 10_000, "refunding": 4_000, "released": 6_000}),
}
ON_HOLD = ("disputed", "partly disputed")
OVER = ("refunded", "charged back")


@pytest.mark.parametrize("stage", STAGES)
def test_cancelling_in_every_state_of_the_payment(stage):
    world = at_stage(stage)
    before = len(world.log)
    if stage in ON_HOLD:
        with pytest.raises(AmountOnHold) as refusal:
            world.cancel()
        dispute = world.purchase_state("p-1").dispute_id
        assert refusal.value.message == f"Purchase p-1 is not cancelled while dispute {dispute} is open."
        assert len(world.log) == before
    elif stage in OVER:
        with pytest.raises(InvalidTransition) as refusal:
            world.cancel()
        assert refusal.value.message == "Purchase p-1 is refunded and does not become cancelled."
    else:
        world.cancel()
        assert (world.state(), world.buckets()) == CANCELLED[stage]
        assert world.purchase_state("p-1").status == "cancelled"
    world.check()


def test_the_table_has_every_state():
    assert {*CANCELLED, *ON_HOLD, *OVER} == set(STAGES)


@pytest.mark.parametrize("status", ["pending", "pending_payment", "active", "delivery"])
def test_it_is_on_hold_in_every_status(status):
    world = on_the_way(status)
    world.hook("partial", 4_000, "t-1")
    world.dispute()
    with pytest.raises(AmountOnHold):
        world.cancel()


def test_when_the_dispute_is_decided_it_can_be_cancelled():
    world = at_stage("partly disputed")
    world.resolve(world.purchase_state("p-1").dispute_id, "no_action")
    world.cancel()
    assert world.buckets() == {"gross": 10_000, "refunding": 10_000}


def test_a_cancelled_purchase_is_refunded_when_its_money_has_gone_back():
    world = at_stage("confirmed")
    world.cancel()
    (name,) = world.payment().instructions
    assert world.purchase_state("p-1").status == "cancelled"
    world.confirm(name)
    assert world.purchase_state("p-1").status == "refunded"


# ── refunded ──


@pytest.mark.parametrize("status", [*PATH[2:], "cancelled"])
def test_it_is_refunded_by_the_ledger_from_every_status(status):
    world = at_stage("confirmed")
    if status == "cancelled":
        world.cancel()
        world.call_off(next(iter(world.payment().instructions)))
    else:
        world.status("p-1", *PATH[3 : PATH.index(status) + 1])
    world.gone("refund", 9_999)
    assert world.purchase_state("p-1").status == status, "one cent is left"
    world.gone("refund")
    assert world.purchase_state("p-1").status == "refunded"
    event = world.events["purchase-p-1"][-1]
    assert (event.previous, event.status) == (status, "refunded")


@pytest.mark.parametrize("status", ["pending", "pending_payment"])
def test_one_that_was_paid_in_part_too(status):
    world = on_the_way(status)
    world.hook("partial", 4_000, "t-1")
    world.gone("refund")
    assert world.purchase_state("p-1").status == "refunded"


def test_fees_that_take_all_that_a_refund_has_left_end_it_too():
    """Or a second payment could be opened beside one that has brought all that was due."""
    world = Escrow()
    world.programme(platform_fee_bps=9_999)
    world.sold()
    world.hook("partial", 4_000, "t-1")
    world.gone("refund", 3_999)
    world.hook("partial", 6_000, "t-2")
    assert world.buckets() == {"gross": 10_000, "platform_fees": 6_001, "refunded": 3_999}
    assert (world.state()[0], world.purchase_state("p-1").status) == ("refunded", "refunded")


@pytest.mark.parametrize("status", STATUSES)
def test_nobody_sets_refunded_and_nothing_follows_it(status):
    world = on_the_way(status) if status in PATH else at_stage("confirmed")
    if status == "cancelled":
        world.cancel()
    elif status == "refunded":
        world.gone("refund")
    with pytest.raises(InvalidTransition) as refusal:
        world.status("p-1", "refunded")
    assert refusal.value.message == f"Purchase p-1 is {status} and does not become refunded."
    if status == "refunded":
        for wanted in STATUSES:
            with pytest.raises(InvalidTransition):
                world.do(ChangePurchaseStatus("p-1", wanted))


def test_what_was_released_in_part_is_not_refunded():
    world = at_stage("partly released")
    world.gone("refund")
    assert world.state() == ("confirmed", "released")
    assert world.purchase_state("p-1").status == "active"


# ── completing ──


@pytest.mark.parametrize(
    ("refunded", "bps", "earned"), [(0, 0, 100), (1, 0, 99), (4_000, 0, 60), (4_500, 1_000, 50), (9_999, 0, 0)]
)
def test_points_are_earned_on_what_was_due_less_what_went_back(refunded, bps, earned):
    """With the fee that went back: 45.00 of what was held are 50.00 to the buyer, when the platform takes a tenth."""
    world = Escrow()
    world.programme(platform_fee_bps=bps)
    world.paid()
    if refunded:
        world.gone("refund", refunded)
    answer = world.status("p-1", "delivery", "delivered", "completed")
    assert (answer.points_earned, world.balance("bob")) == (earned, earned)


def test_a_refund_that_is_only_reserved_takes_no_points():
    world = at_stage("refunding")
    assert world.status("p-1", "delivery", "delivered", "completed").points_earned == 100


def test_what_was_charged_back_after_the_release_earns_nothing():
    world = at_stage("released")
    world.hook("chargeback", 10_000, "back-1")
    assert world.status("p-1", "delivery", "delivered", "completed").points_earned == 0


@pytest.mark.parametrize("status", ["delivered", "completed"])
def test_what_has_arrived_may_be_released(status):
    world = at_stage("confirmed")
    world.status("p-1", *PATH[3 : PATH.index(status) + 1])
    assert world.state() == ("confirmed", "releasable")
    assert world.names().count("PaymentDelivered") == 1


# ── redeeming ──

REDEEMABLE = ("failed", "cancelled")


@pytest.mark.parametrize("stage", STAGES)
def test_points_are_redeemed_only_without_a_live_payment(stage):
    world = at_stage(stage)
    world.do(GrantPoints("bob", 500, "gift"))
    if stage in REDEEMABLE:
        world.redeem("bob", 500, "p-1")
        assert world.purchase_state("p-1").due_minor == 9_500
        assert world.state() == ("cancelled", "cancelled")
        return
    before = len(world.log)
    with pytest.raises(PurchaseNotInProgress) as refusal:
        world.redeem("bob", 500, "p-1")
    status = world.purchase_state("p-1").status
    assert refusal.value.message == (
        f"Purchase p-1 has a payment that is {world.state()[0]}: points are redeemed before it is paid."
        if status == "pending"
        else f"Purchase p-1 is {status}: points are redeemed before it is paid."
    )
    assert len(world.log) == before


def test_the_answer_of_a_purchase_tells_of_its_payment():
    world = at_stage("disputed")
    with pytest.raises(InvalidTransition):
        world.status("p-1", "active")
    answer = world.status("p-1", "delivery")
    assert (answer.payment_id, answer.payment_status, answer.escrow_state, answer.hold) == (
        "pay-1", "confirmed", "funded", True)  # fmt: skip
    world.purchase("p-2", "bob", "sue", 100)
    answer = world.status("p-2", "pending_payment")
    assert (answer.payment_status, answer.escrow_state, answer.hold) == ("none", "none", False)
