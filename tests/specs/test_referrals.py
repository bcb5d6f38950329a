"""Who brought whom: codes that lead to one member for ever, binding once and without circles, one reward."""

from itertools import pairwise

import pytest

from ledger import ids
from ledger.domain import points
from ledger.domain.referrals import ALPHABET, CODE_LENGTH, MOST_REFERRERS, CodeCreated, GenerateReferralCode, is_code
from ledger.errors import (
    InvalidCommand,
    ReferralCodesTaken,
    ReferralCycle,
    ReferrerAlreadyBound,
    SelfReferral,
    UnknownReferralCode,
    UserNotFound,
)
from ledger.handler import RegisterMember
from ledger.new_codes import fresh_codes
from tests.specs.account import NOW
from tests.specs.world import World

A, B, C = "AAAAAAAA", "BBBBBBBB", "CCCCCCCC"


@pytest.fixture
def world():
    made = World()
    made.member("ann", "bob", "cay")
    return made


# ── codes ──


def test_a_code_is_given_once_and_the_same_again(world):
    first = world.do(GenerateReferralCode("ann", (A,), link_prefix="http://l/r/"))
    assert (first.referral_code, first.link) == (A, f"http://l/r/{A}")
    assert world.of("ann")[1:] == [points.ReferralCodeAssigned("ann", A, NOW)]
    assert world.events[ids.code_stream(A)] == [CodeCreated(A, "ann", NOW)]
    before = len(world.log)
    again = world.do(GenerateReferralCode("ann", (B,), link_prefix="http://l/r/"))
    assert (again.referral_code, len(world.log)) == (A, before)


def test_another_code_is_given_by_force_and_the_old_one_keeps_leading_to_its_owner(world):
    world.code_of("ann", A)
    world.code_of("ann", B)
    assert world.account("ann").referral_code == B
    world.do(RegisterMember("new-1", "N", None, A))
    world.do(RegisterMember("new-2", "N", None, B))
    assert [world.account(user).referrer for user in ("new-1", "new-2")] == ["ann", "ann"]


def test_a_code_somebody_has_is_given_to_nobody_else(world):
    world.code_of("ann", A)
    assert world.do(GenerateReferralCode("bob", (A, B))).referral_code == B
    with pytest.raises(ReferralCodesTaken) as refusal:
        world.do(GenerateReferralCode("cay", (A, B)))
    assert refusal.value.message == "None of 2 referral codes was free."


def test_an_old_code_is_not_given_again_either(world):
    world.code_of("ann", A)
    world.code_of("ann", B)
    for user in ("ann", "bob"):
        with pytest.raises(ReferralCodesTaken):
            world.do(GenerateReferralCode(user, (A,), force=True))


def test_a_code_is_claimed(world):
    (claim,) = world.decide(GenerateReferralCode("ann", (A,))).claims
    assert (claim.scope, claim.value, type(claim.refusal())) == ("referral_code", A, ReferralCodesTaken)


def test_a_candidate_that_is_no_code_is_passed_over(world):
    assert world.do(GenerateReferralCode("ann", ("short", "OOOOIIII", "aaaaaaaa", C))).referral_code == C


def test_who_has_no_account_gets_no_code(world):
    with pytest.raises(UserNotFound):
        world.do(GenerateReferralCode("nobody", (A,)))


def test_codes_are_written_in_letters_nobody_takes_for_another():
    assert (CODE_LENGTH, ALPHABET) == (8, "ABCDEFGHJKLMNPQRSTUVWXYZ23456789")
    codes = fresh_codes(100)
    assert len(set(codes)) == 100
    assert all(is_code(code) for code in codes)


# ── binding ──


def test_registering_with_a_code_binds_both_sides(world):
    world.code_of("ann", A)
    answer = world.do(RegisterMember("new", "N", None, A))
    assert answer.opened
    assert world.of("new") == [points.AccountOpened("new"), points.ReferrerBound("new", "ann", A, NOW)]
    assert world.of("ann")[-1] == points.ReferralSignedUp("ann", "new", A, NOW)
    assert (world.account("new").referrer, world.account("ann").referrals) == ("ann", 1)


def test_a_known_member_is_bound_later_and_what_is_overdue_is_recorded_first(world):
    world.code_of("ann", A)
    for user in ("ann", "bob"):
        world.do(points.EarnPoints(user, 10, "bonus", "r"))
    world.wait(400)
    world.do(RegisterMember("bob", "B", None, A))
    for user, last in (("bob", points.ReferrerBound), ("ann", points.ReferralSignedUp)):
        assert [type(event) for event in world.of(user)[-2:]] == [points.PointsExpired, last]


def test_the_same_referrer_a_second_time_changes_nothing(world):
    world.code_of("ann", A)
    world.code_of("ann", B)
    world.member("bob", code=A)
    before = len(world.log)
    world.member("bob", code=A)
    world.member("bob", code=B)
    assert (len(world.log), world.account("ann").referrals) == (before, 1)


def test_there_is_no_second_referrer(world):
    world.code_of("ann", A)
    world.code_of("bob", B)
    world.member("cay", code=A)
    with pytest.raises(ReferrerAlreadyBound) as refusal:
        world.member("cay", code=B)
    assert refusal.value.message == "cay was referred by another member already."
    assert world.account("bob").referrals == 0


def test_nobody_refers_themselves(world):
    world.code_of("ann", A)
    with pytest.raises(SelfReferral):
        world.member("ann", code=A)
    assert issubclass(SelfReferral, InvalidCommand)


@pytest.mark.parametrize("code", ["DDDDDDDD", "", "AAAAAAA", "aaaaaaaa", "../AAAAA", "AAAAAAAA\n"])
def test_a_code_nobody_has_refuses_the_whole_registration(world, code):
    world.code_of("ann", A)
    with pytest.raises(UnknownReferralCode):
        world.do(RegisterMember("new", "N", None, code))
    assert not world.account("new").exists


def test_two_do_not_refer_each_other(world):
    world.code_of("ann", A)
    world.code_of("bob", B)
    world.member("bob", code=A)
    with pytest.raises(ReferralCycle) as refusal:
        world.member("ann", code=B)
    assert refusal.value.message == "ann has brought bob, directly or through others."


@pytest.mark.parametrize("length", [3, 10, MOST_REFERRERS])
def test_no_circle_closes_however_long_it_is(world, length):
    chain = [f"m{n}" for n in range(length)]
    codes = dict(zip(chain, fresh_codes(length), strict=True))
    world.member(chain[0])
    for above, below in pairwise(chain):
        world.code_of(above, codes[above])
        world.member(below, code=codes[above])
    world.code_of(chain[-1], codes[chain[-1]])
    with pytest.raises(ReferralCycle):
        world.member(chain[0], code=codes[chain[-1]])


def test_who_stands_above_more_referrers_than_are_asked_is_not_bound(world):
    world.code_of("ann", A)
    world.member("bob", code=A)
    above = [f"m{n}" for n in range(MOST_REFERRERS + 1)]
    codes = dict(zip(above, fresh_codes(len(above)), strict=True))
    world.member(above[0])
    for high, low in pairwise(above):
        world.code_of(high, codes[high])
        world.member(low, code=codes[high])
    world.code_of(above[-1], codes[above[-1]])
    with pytest.raises(ReferralCycle, match="too many to rule out a circle"):
        world.member("ann", code=codes[above[-1]])


def test_who_has_brought_others_may_still_be_brought(world):
    world.code_of("ann", A)
    world.code_of("cay", C)
    world.member("bob", code=A)
    world.member("ann", code=C)
    assert world.account("ann").referrer == "cay"


def test_only_who_has_brought_somebody_is_looked_for_above(world):
    world.code_of("ann", A)
    world.decide(RegisterMember("new", "N", None, A))
    assert world.reads == {"account-new", "code-AAAAAAAA", "account-ann"}


# ── the reward ──


@pytest.fixture
def referred(world):
    """`bob` was brought by `ann`; `cay` sells."""
    world.code_of("ann", A)
    world.member("bob", code=A)
    return world


def _rewards(world):
    return [e for e in world.of("ann") if isinstance(e, points.PointsEarned) and e.source == "referral"]


def test_the_first_completed_purchase_rewards_the_referrer(referred):
    referred.purchase("p-1", "bob", "cay", 1000)
    referred.status("p-1", "pending_payment", "active", "delivery", "delivered")
    assert _rewards(referred) == []
    referred.status("p-1", "completed")
    (reward,) = _rewards(referred)
    assert (reward.amount, reward.reference, reward.referred_user) == (100, "bob", "bob")
    assert reward.description == "Referral of bob"
    assert referred.of("bob")[-1] == points.ReferralCompleted("bob", "ann", "p-1", 100, NOW)
    assert referred.balance("ann") == 100


def test_it_is_one_event_of_the_same_append(referred):
    referred.purchase("p-1", "bob", "cay", 1000)
    referred.status("p-1", "pending_payment", "active", "delivery", "delivered")
    before = len(referred.log)
    referred.status("p-1", "completed")
    assert [(stream, type(event).__name__) for stream, event in referred.log[before:]] == [
        ("purchase-p-1", "PurchaseStatusChanged"),
        ("account-bob", "PointsEarned"),
        ("account-bob", "ReferralCompleted"),
        ("account-ann", "PointsEarned"),
    ]


def test_no_other_purchase_rewards_again(referred):
    for number in range(3):
        referred.purchase(f"p-{number}", "bob", "cay", 1000)
    for number in range(3):
        referred.complete(f"p-{number}")
    assert len(_rewards(referred)) == 1


def test_a_purchase_too_small_for_points_rewards_too(referred):
    referred.purchase("p-1", "bob", "cay", 1)
    referred.complete("p-1")
    assert len(_rewards(referred)) == 1
    assert [type(event) for event in referred.of("bob")[2:]] == [points.ReferralCompleted]


def test_what_is_overdue_is_recorded_before_a_referral_is_completed(referred):
    referred.do(points.EarnPoints("bob", 10, "bonus", "r"))
    referred.wait(400)
    referred.purchase("p-1", "bob", "cay", 1)
    referred.complete("p-1")
    assert [type(event) for event in referred.of("bob")[-2:]] == [points.PointsExpired, points.ReferralCompleted]


def test_a_cancelled_purchase_rewards_nobody_and_the_next_one_does(referred):
    referred.purchase("p-1", "bob", "cay", 1000)
    referred.status("p-1", "cancelled")
    assert _rewards(referred) == []
    referred.purchase("p-2", "bob", "cay", 1000)
    referred.complete("p-2")
    assert len(_rewards(referred)) == 1


def test_what_the_referred_sells_rewards_nobody(referred):
    referred.purchase("p-1", "cay", "bob", 1000)
    referred.complete("p-1")
    assert _rewards(referred) == []


def test_the_programme_of_the_day_says_what_the_reward_is(referred):
    referred.programme(referral_reward=7, expiry_days=None)
    referred.purchase("p-1", "bob", "cay", 1000)
    referred.complete("p-1")
    (reward,) = _rewards(referred)
    assert (reward.amount, reward.expires_at) == (7, None)


def test_without_a_reward_the_referral_is_over_all_the_same(referred):
    referred.programme(referral_reward=0)
    referred.purchase("p-1", "bob", "cay", 1000)
    referred.complete("p-1")
    referred.programme(referral_reward=100)
    referred.purchase("p-2", "bob", "cay", 1000)
    referred.complete("p-2")
    assert _rewards(referred) == []
    assert referred.of("bob")[-2].reward == 0


def test_the_reward_crosses_the_levels_it_reaches(referred):
    referred.programme(referral_reward=3000)
    referred.purchase("p-1", "bob", "cay", 1000)
    referred.complete("p-1")
    assert [e.level for e in referred.of("ann") if isinstance(e, points.LevelCrossed)] == ["silver", "gold"]


def test_a_reward_somebody_has_earned_by_hand_is_not_earned_again(referred):
    referred.do(points.EarnPoints("ann", 5, "referral", "bob"))
    referred.purchase("p-1", "bob", "cay", 1000)
    referred.complete("p-1")
    assert [reward.amount for reward in _rewards(referred)] == [5]
    assert referred.of("bob")[-1].reward == 0


def test_a_referrer_who_has_nearly_all_points_there_are_gets_what_fits(referred):
    referred.do(points.GrantPoints("ann", points.MAX_POINTS - 30, "Rich"))
    referred.purchase("p-1", "bob", "cay", 1000)
    referred.complete("p-1")
    assert [reward.amount for reward in _rewards(referred)] == [30]
    assert referred.purchase_state("p-1").status == "completed"
