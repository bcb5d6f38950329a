"""What a refund does to points: nothing under `keep`; under `reverse` earned ones go and spent ones come back, in proportion."""

import pytest

from ledger import ids
from ledger.domain.account_events import PointsClawedBack, PointsExpired, PointsRestored
from ledger.domain.instructions import ConfirmInstruction
from ledger.domain.points import DeductPoints, EarnPoints, GrantPoints, LockAccount
from ledger.domain.purchases import PurchasePointsReversed
from tests.specs.account import NOW
from tests.specs.escrow import Escrow


def bought(*, policy: str = "reverse", redeemed: int = 0, completed: bool = True, bps: int = 0) -> Escrow:
    """bob had 1000 points, redeemed some on 100.00 USD, paid the rest and, if it is completed, earned a point a dollar."""
    world = Escrow()
    world.programme(refund_policy=policy, platform_fee_bps=bps, expiry_days=30)
    world.do(GrantPoints("bob", 1_000, "gift"))
    world.purchase("p-1", "bob", "sue", 10_000)
    if redeemed:
        world.redeem("bob", redeemed, "p-1")
    world.open("p-1", "pay-1")
    world.hook("confirmed", 10_000 - redeemed, "t-1")
    if completed:
        world.status("p-1", "delivery", "delivered", "completed")
    return world


def moves(world: Escrow) -> list:
    return [event for event in world.of("bob") if isinstance(event, PointsClawedBack | PointsRestored | PointsExpired)]


def test_nothing_moves_under_keep():
    world = bought(policy="keep", redeemed=1_000)
    balance, count = world.balance("bob"), len(world.of("bob"))
    world.gone("refund")
    assert (world.balance("bob"), len(world.of("bob"))) == (balance, count)
    assert world.purchase_state("p-1").status == "refunded"


def test_all_of_it_is_undone_by_a_whole_refund():
    world = bought(redeemed=1_000)
    assert world.balance("bob") == 90
    world.gone("refund")
    assert world.balance("bob") == 1_000
    restored, clawed = moves(world)
    assert (restored.amount, clawed.amount, clawed.asked, clawed.balance) == (1_000, 90, 90, 1_000)
    reversed_ = world.events["purchase-p-1"][-2]
    assert isinstance(reversed_, PurchasePointsReversed)
    assert (reversed_.points_to_claw, reversed_.points_clawed, reversed_.points_returned) == (90, 90, 1_000)
    state = world.purchase_state("p-1")
    assert (state.points_earned, state.points_spent, state.lots, state.status) == (0, 0, (), "refunded")
    world.check()


def test_nothing_moves_until_it_is_confirmed():
    world = bought(redeemed=1_000)
    name = world.instruct("refund")
    assert moves(world) == []
    world.call_off(name)
    assert moves(world) == []


@pytest.mark.parametrize("parts", [(1,) * 9, (1, 8_998), (8_998, 1), (3_333, 3_333), (4_500,)])
@pytest.mark.parametrize("bps", [0, 777])
def test_many_partial_refunds_end_where_one_whole_refund_does(parts, bps):
    world = bought(redeemed=1_000, bps=bps)
    held, refunded = world.standing().held, 0
    for part in parts:
        if part < held - refunded:
            world.gone("refund", part)
            refunded += part
            back = sum(event.amount for event in moves(world) if isinstance(event, PointsRestored))
            gone = sum(event.amount for event in moves(world) if isinstance(event, PointsClawedBack))
            assert (back, gone) == (1_000 * refunded // held, 90 * refunded // held)
    world.gone("refund")
    assert world.balance("bob") == 1_000
    world.check()


def test_what_was_released_keeps_its_points():
    world = bought(redeemed=1_000)
    world.gone("release", 6_000)
    world.gone("refund")
    assert [event.amount for event in moves(world)] == [333, 30]
    assert world.purchase_state("p-1").status == "completed"


# ── before and after completed ──


def test_what_was_refunded_before_it_completed_earned_nothing_and_is_not_taken():
    world = bought(completed=False)
    world.gone("refund", 4_000)
    world.status("p-1", "delivery", "delivered", "completed")
    assert world.purchase_state("p-1").points_completed == 60
    assert moves(world) == []
    world.gone("refund", 3_000)
    assert [event.amount for event in moves(world)] == [30], "half of what was left"
    world.gone("refund")
    assert [event.amount for event in moves(world)] == [30, 30]
    assert world.balance("bob") == 1_000


@pytest.mark.parametrize("first", [1, 3_333, 9_999])
def test_completed_between_partial_refunds_ends_with_nothing(first):
    world = bought(redeemed=1_000, completed=False, bps=250)
    world.gone("refund", min(first, world.standing().held - 1))
    world.status("p-1", "delivery", "delivered", "completed")
    world.gone("refund")
    assert world.balance("bob") == 1_000
    assert world.purchase_state("p-1").points_earned == 0


def test_a_refund_before_it_is_completed_returns_what_was_spent():
    world = bought(redeemed=1_000, completed=False)
    world.gone("refund", 4_500)
    assert [(type(event).__name__, event.amount) for event in moves(world)] == [("PointsRestored", 500)]
    world.cancel()
    assert world.balance("bob") == 1_000, "cancelling returns what is left"
    assert world.purchase_state("p-1").points_spent == 0
    world.confirm([*world.payment().instructions][-1])
    assert world.balance("bob") == 1_000, "and the refund of the rest returns nothing twice"


# ── what is not there cannot be taken ──


def test_a_clawback_takes_what_is_there_and_says_what_was_not():
    world = bought()
    world.do(DeductPoints("bob", 1_070, "mistake"))
    world.gone("refund")
    (clawed,) = moves(world)
    assert (clawed.amount, clawed.asked, clawed.balance) == (30, 100, 0)
    reversed_ = next(e for e in world.events["purchase-p-1"] if isinstance(e, PurchasePointsReversed))
    assert (reversed_.points_to_claw, reversed_.points_clawed) == (100, 30)
    assert world.purchase_state("p-1").points_earned == 70
    world.check()


def test_what_could_not_be_taken_is_not_asked_for_again():
    world = bought()
    world.do(DeductPoints("bob", 1_100, "mistake"))
    world.gone("refund", 5_000)
    world.do(GrantPoints("bob", 500, "gift"))
    world.gone("refund")
    assert [(event.amount, event.asked) for event in moves(world)] == [(0, 50), (50, 50)]
    assert world.balance("bob") == 450


def test_points_of_the_purchases_own_lot_go_first():
    world = bought()
    world.do(EarnPoints("bob", 500, "bonus", "soon", expires_at=NOW.replace(month=3, day=2)))
    lot = world.purchase_state("p-1").earned_lot
    world.gone("refund", 5_000)
    (clawed,) = moves(world)
    assert [(part.lot_id, part.amount) for part in clawed.allocation] == [(lot, 50)]


def test_then_others_as_in_any_spend():
    world = bought()
    lot = world.purchase_state("p-1").earned_lot
    world.purchase("p-2", "bob", "sue", 50)
    world.redeem("bob", 50, "p-2")  # from the purchase's own lot, which expires first
    world.gone("refund")
    (clawed,) = moves(world)
    assert [(part.lot_id, part.amount) for part in clawed.allocation] == [(lot, 50), (2, 50)]


def test_a_locked_account_is_no_shelter():
    world = bought(redeemed=100)
    world.do(LockAccount("bob", "fraud"))
    world.gone("refund")
    assert world.account("bob").balance == 1_000


def test_points_that_expired_are_not_taken_twice():
    world = bought()
    world.wait(31)
    world.gone("refund")
    expired, clawed = moves(world)
    assert (expired.amount, clawed.amount, clawed.asked, clawed.balance) == (100, 100, 100, 900)


# ── back to the lots they came from ──


def test_points_go_back_to_their_lots_the_last_that_was_taken_first():
    world = Escrow()
    world.programme(refund_policy="reverse")
    world.do(GrantPoints("bob", 60, "soon", expires_at=NOW.replace(month=6)))
    world.do(GrantPoints("bob", 100, "late"))
    world.purchase("p-1", "bob", "sue", 10_000)
    world.redeem("bob", 100, "p-1")
    world.open("p-1", "pay-1")
    world.hook("confirmed", 9_900, "t-1")
    world.gone("refund", 4_950)
    (first,) = moves(world)
    assert [(lot.lot_id, lot.amount, lot.expires_at) for lot in first.lots] == [
        (2, 10, NOW.replace(month=6)),
        (3, 40, None),
    ]
    world.gone("refund")
    assert [(lot.lot_id, lot.amount) for lot in moves(world)[-1].lots] == [(2, 50)]
    assert [(lot.lot_id, lot.remaining) for lot in world.account("bob").live_lots()] == [(2, 60), (3, 100)]


def test_a_lot_that_is_past_its_deadline_comes_back_and_expires_at_once():
    world = Escrow()
    world.programme(refund_policy="reverse")
    world.do(GrantPoints("bob", 100, "soon", expires_at=NOW.replace(month=4)))
    world.purchase("p-1", "bob", "sue", 10_000)
    world.redeem("bob", 100, "p-1")
    world.open("p-1", "pay-1")
    world.hook("confirmed", 9_900, "t-1")
    world.wait(60)
    world.gone("refund")
    restored, expired = moves(world)
    assert (restored.amount, restored.expired, expired.amount, expired.balance) == (100, 100, 100, 0)
    world.check()


# ── chargebacks, and payments that are not whole ──


def test_a_chargeback_is_a_refund_too():
    world = bought(redeemed=1_000)
    world.hook("chargeback", 4_500, "back-1")
    assert [event.amount for event in moves(world)] == [500, 45]
    world.hook("chargeback", 4_500, "back-2")
    assert world.balance("bob") == 1_000


def test_a_chargeback_of_what_was_released_takes_the_points_all_the_same():
    """The buyer has the money back, whoever owes it now."""
    world = bought(redeemed=1_000)
    world.gone("release")
    world.hook("chargeback", 9_000, "back-1")
    assert world.balance("bob") == 1_000
    assert world.standing().released == 9_000
    world.check()


def test_a_chargeback_before_the_payment_returns_no_points():
    """Or they would come back, and the discount they bought would stay."""
    world = Escrow()
    world.programme(refund_policy="reverse")
    world.do(GrantPoints("bob", 1_000, "gift"))
    world.purchase("p-1", "bob", "sue", 10_000)
    world.redeem("bob", 1_000, "p-1")
    world.open("p-1", "pay-1")
    world.hook("chargeback", 9_000, "back-1")
    assert (world.balance("bob"), moves(world)) == (0, [])


def test_a_refund_of_a_part_that_was_paid_is_a_part_of_all_that_is_due():
    """Half of one dollar paid and refunded is no half of a purchase of ninety."""
    world = Escrow()
    world.programme(refund_policy="reverse")
    world.do(GrantPoints("bob", 1_000, "gift"))
    world.purchase("p-1", "bob", "sue", 10_000)
    world.redeem("bob", 1_000, "p-1")
    world.open("p-1", "pay-1")
    world.hook("partial", 100, "t-1")
    world.gone("refund", 50)
    assert world.balance("bob") == 1_000 * 50 // 9_000
    world.hook("confirmed", 8_900, "t-2")
    world.gone("refund")
    assert world.balance("bob") == 1_000
    world.check()


def test_referral_rewards_stay():
    world = Escrow()
    world.programme(refund_policy="reverse")
    world.member("carl", code=world.code_of("sue", "ABCDEFGH"))
    world.paid(buyer="carl", seller="bob")
    world.status("p-1", "delivery", "delivered", "completed")
    world.gone("refund")
    assert (world.balance("sue"), world.balance("carl")) == (100, 0)


def test_the_policy_is_that_of_the_day_of_the_refund():
    world = bought(policy="keep", redeemed=1_000)
    world.gone("refund", 4_500)
    assert moves(world) == []
    world.programme(refund_policy="reverse")
    world.gone("refund")
    assert world.balance("bob") == 1_000, "what the refunds together ask, less what was done"


def test_what_it_reads_and_writes_is_one_append():
    world = bought(redeemed=1_000)
    name = world.instruct("refund")
    decision = world.decide(ConfirmInstruction(name, "pay-1", "refund", "out-1"))
    assert {stream for stream, _ in decision.writes} == {"payment-pay-1", "purchase-p-1", ids.account_stream("bob")}
