"""Disputes: every status and every command, what they hold, how they are split, and who may."""

import pytest

from ledger import ids
from ledger.domain import disputes
from ledger.domain.dispute_events import (
    ACTIONS,
    CATEGORIES,
    PRIORITIES,
    STATUSES,
    DisputeAssigned,
    DisputeClosed,
    DisputeOpened,
    DisputeResolved,
    EvidenceAdded,
)
from ledger.domain.disputes import AddEvidence, AssignDispute, ResolveDispute
from ledger.errors import InvalidCommand, InvalidTransition, NotYourPurchase, PurchaseNotFound
from ledger.money import Money
from ledger.payment_errors import (
    AmountNotAvailable,
    AmountOnHold,
    DisputeExists,
    DisputeNotFound,
    NotYourDispute,
)
from tests.specs.account import NOW
from tests.specs.decider import Decider, sentences
from tests.specs.escrow import Escrow, at_stage

# ── every status and every command ──

SAYS = {
    "dispute_id": "d-1", "purchase_request_id": "p-1", "payment_id": "pay-1", "buyer_id": "bob", "seller_id": "sue",
    "occurred_at": NOW,
}  # fmt: skip
OPENED = DisputeOpened(
    **SAYS, opened_by="bob", category="other", priority="low", reason="Why.", amount_minor=100, currency="USD"
)
ASSIGNED = DisputeAssigned(**SAYS, resolver_id="judge")
PAID_OUT = DisputeResolved(
    **SAYS, action="refund", note="", by="judge", currency="USD", to_buyer_minor=100, instructions=("i-1",)
)
CLOSED = DisputeClosed(**SAYS)
SPLIT = disputes.Split(100, 0, 0)


def _decide(command, state, now=NOW):
    match command:
        case AssignDispute():
            return disputes.decide_assign(command, state, now)
        case AddEvidence():
            return disputes.decide_evidence(command, state, now)
        case ResolveDispute():
            disputes.check_resolvable(command, state)
            return disputes.decide_resolve(command, state, SPLIT, ("i-1",), now)


given = Decider(initial=disputes.Dispute, evolve=disputes.evolve, decide=_decide).given
HISTORY = {
    "pending": (OPENED,),
    "in_progress": (OPENED, ASSIGNED),
    "resolved": (OPENED, PAID_OUT),
    "closed": (OPENED, PAID_OUT, CLOSED),
}
COMMANDS = {
    "assign": AssignDispute("d-1", "other judge"),
    "evidence": AddEvidence("e-1", "d-1", "sue", "seller", "It is blue.", "https://x.example"),
    "resolve": ResolveDispute("d-1", "judge", "refund", "", "i-1", "i-2"),
}
FOLLOWS = {
    "assign": DisputeAssigned(**SAYS, resolver_id="other judge"),
    "evidence": EvidenceAdded(
        **SAYS, evidence_id="e-1", by="sue", role="seller", text="It is blue.", url="https://x.example"
    ),
    "resolve": PAID_OUT,
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("status", STATUSES)
def test_every_status_and_every_command(status, command):
    """The rule of the specification, said apart from the table: everything until it is decided, then nothing."""
    row = given(*HISTORY[status]).when(COMMANDS[command])
    if status in {"pending", "in_progress"}:
        row.then(FOLLOWS[command]).check()
    else:
        row.refused(InvalidTransition, f"Dispute d-1 is {status}: {command} is not possible.").check()


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_done_in_a_dispute_nobody_opened(command):
    given().when(COMMANDS[command]).refused(DisputeNotFound, "No dispute d-1.").check()


def test_the_table_leads_where_the_events_lead():
    assert set(disputes.COMMANDS) == set(STATUSES)
    assert disputes.COMMANDS["closed"] == {}, "there is no way out"
    for status, row in disputes.COMMANDS.items():
        for command, after in row.items():
            event = CLOSED if command == "settle" else FOLLOWS[command]
            state = disputes.Dispute()
            for one in (*HISTORY[status], event):
                state = disputes.evolve(state, one)
            assert state.status == after


@sentences({
    "the same resolver again is nothing": given(OPENED, ASSIGNED).when(AssignDispute("d-1", "judge")).nothing(),
    "the buyer is no resolver": given(OPENED).when(AssignDispute("d-1", "bob")).refused(
        InvalidCommand, "resolverId: must be neither the buyer nor the seller."),
    "the seller is no resolver": given(OPENED).when(AssignDispute("d-1", "sue")).refused(
        InvalidCommand, "resolverId: must be neither the buyer nor the seller."),
    "a stranger has no evidence": given(OPENED).when(AddEvidence("e", "d-1", "eve", "buyer", "x")).refused(
        NotYourDispute, "Dispute d-1 is not yours."),
    "a resolver has": given(OPENED).when(AddEvidence("e", "d-1", "judge", "resolver", "x")).then(
        EvidenceAdded(**SAYS, evidence_id="e", by="judge", role="resolver", text="x")),
    "nobody reads more than two hundred pieces": given(
        OPENED, *[FOLLOWS["evidence"]] * 200).when(COMMANDS["evidence"]).refused(
        InvalidCommand, "Dispute d-1 has 200 pieces of evidence, and no room for more."),
    "the buyer is no judge, even as an admin": given(OPENED).when(
        ResolveDispute("d-1", "bob", "refund", "", "i-1", "i-2")).refused(
        NotYourDispute, "Dispute d-1 is yours: somebody else decides it."),
    "the seller is no judge": given(OPENED).when(
        ResolveDispute("d-1", "sue", "refund", "", "i-1", "i-2")).refused(
        NotYourDispute, "Dispute d-1 is yours: somebody else decides it."),
})  # fmt: skip
def test_a_dispute(row):
    row.check()


def test_the_words_are_those_of_the_specification():
    assert CATEGORIES == (
        "product_quality", "delivery_delay", "wrong_item", "payment_issue", "seller_behavior", "other")  # fmt: skip
    assert PRIORITIES == ("low", "medium", "high", "urgent")
    assert ACTIONS == ("refund", "replacement", "compensation", "warning_seller", "ban_seller", "no_action")


# ── opening holds money ──


@pytest.mark.parametrize("user", ["bob", "sue"])
def test_opening_one_holds_all_that_is_held(user):
    world = at_stage("confirmed")
    dispute = world.dispute(user=user)
    assert world.buckets() == {"gross": 10_000, "disputed": 10_000}
    assert (world.dispute_state(dispute).amount_minor, world.dispute_state(dispute).status) == (10_000, "pending")
    assert world.purchase_state("p-1").dispute_id == dispute
    world.check()


def test_opening_one_over_a_part_leaves_the_rest_to_be_released():
    world = at_stage("confirmed")
    world.dispute(6_000)
    world.gone("release", 4_000)
    with pytest.raises(AmountOnHold):
        world.instruct("release", 1)
    assert world.buckets() == {"gross": 10_000, "disputed": 6_000, "released": 4_000}


def test_a_part_of_what_is_due_can_be_disputed():
    world = at_stage("partial")
    world.dispute()
    world.hook("confirmed", 6_000, "t-2")
    assert world.buckets() == {"gross": 10_000, "held": 6_000, "disputed": 4_000}


NOT_OPENED = {
    "about a purchase that is not there": (
        "pending", "p-9", "bob", None, PurchaseNotFound, "No purchase p-9."),
    "by a stranger": ("confirmed", "p-1", "eve", None, NotYourPurchase, "Purchase p-1 is not yours."),
    "about nothing": ("pending", "p-1", "bob", None, AmountNotAvailable, "0.00 USD held, nothing can be taken."),
    "about nothing, though an amount is named": (
        "pending", "p-1", "bob", 1, AmountNotAvailable, "0.00 USD held, 0.01 USD asked for."),
    "about what is gone": ("released", "p-1", "bob", None, AmountNotAvailable, "0.00 USD held, nothing can be taken."),
    "about more than is held": (
        "confirmed", "p-1", "bob", 10_001, AmountNotAvailable, "100.00 USD held, 100.01 USD asked for."),
    "about zero": ("confirmed", "p-1", "bob", 0, InvalidCommand, "amount.amount: must be more than zero."),
}  # fmt: skip


@pytest.mark.parametrize(
    ("stage", "purchase", "user", "minor", "error", "message"), NOT_OPENED.values(), ids=NOT_OPENED
)
def test_none_is_opened(stage, purchase, user, minor, error, message):
    world = at_stage(stage)
    before = len(world.log)
    with pytest.raises(error) as refusal:
        world.do(
            disputes.OpenDispute(
                "d", purchase, user, "other", "low", "x", None if minor is None else Money(minor, "USD")
            )
        )
    assert (type(refusal.value), refusal.value.message) == (error, message)
    assert len(world.log) == before


@pytest.mark.parametrize("minor", [None, 5])
def test_none_is_opened_about_a_purchase_on_which_nobody_has_begun_to_pay(minor):
    world = Escrow()
    world.purchase("p-1", "bob", "sue", 100)
    with pytest.raises(AmountNotAvailable) as refusal:
        world.dispute(minor)
    assert refusal.value.message == "Nothing is held for purchase p-1: it has no payment."


def test_a_purchase_has_one_open_dispute_and_another_when_it_is_decided():
    world = at_stage("partly disputed")
    (first,) = world.subjects(ids.DISPUTE)
    with pytest.raises(DisputeExists) as refusal:
        world.dispute(1)
    assert refusal.value.message == f"Purchase p-1 has dispute {first}, which is open."
    world.resolve(first, "refund")
    second = world.dispute(1)
    assert world.dispute_state(first).status == "resolved", "its refund is not confirmed yet"
    world.resolve(second, "no_action")
    assert world.buckets() == {"gross": 10_000, "held": 4_000, "refunding": 6_000}
    world.check()


def test_what_was_reserved_before_is_listed_and_can_be_called_off():
    world = at_stage("confirmed")
    before = world.instruct("release", 3_000)
    dispute = world.dispute()
    assert world.dispute_state(dispute).reserved == (before,)
    world.call_off(before)
    assert world.buckets() == {"gross": 10_000, "held": 3_000, "disputed": 7_000}
    answer = world.resolve(dispute, "no_action")
    assert [(one.instruction_id, one.status) for one in answer.instructions] == [(before, "cancelled")]


# ── deciding it ──

SPLITS = {
    # action, to the buyer, to the seller → buckets of 60.00 disputed and 40.00 held, status
    "refund sends all to the buyer": ("refund", None, None, {"held": 4_000, "refunding": 6_000}, "resolved"),
    "any other action returns it": ("no_action", None, None, {"held": 10_000}, "closed"),
    "any other action, that of replacement": ("replacement", None, None, {"held": 10_000}, "closed"),
    "a split": (
        "compensation", 1_000, 5_000, {"held": 4_000, "refunding": 1_000, "releasing": 5_000}, "resolved"),
    "all to the seller": ("refund", None, 6_000, {"held": 4_000, "releasing": 6_000}, "resolved"),
    "all to the buyer, whatever the action": (
        "warning_seller", 6_000, 0, {"held": 4_000, "refunding": 6_000}, "resolved"),
}  # fmt: skip


@pytest.mark.parametrize(("action", "buyer", "seller", "buckets", "status"), SPLITS.values(), ids=SPLITS)
def test_the_decision_is(action, buyer, seller, buckets, status):
    world = at_stage("partly disputed")
    (dispute,) = world.subjects(ids.DISPUTE)
    world.resolve(dispute, action, buyer, seller)
    assert world.buckets() == {"gross": 10_000, **buckets}
    state = world.dispute_state(dispute)
    assert (state.status, state.action) == (status, action)
    assert world.purchase_state("p-1").dispute_id == ""
    made = [world.payment().instructions[one] for one in state.instructions]
    assert sum(one.amount_minor for one in made) == buckets.get("refunding", 0) + buckets.get("releasing", 0)
    assert {one.dispute_id for one in made} <= {dispute}
    world.check()


@pytest.mark.parametrize(("buyer", "seller"), [(6_000, 1), (5_999, None), (None, 5_999), (0, 0), (10_000, 0)])
def test_the_parts_are_all_of_it_and_no_more(buyer, seller):
    world = at_stage("partly disputed")
    (dispute,) = world.subjects(ids.DISPUTE)
    before = len(world.log)
    with pytest.raises(InvalidCommand) as refusal:
        world.resolve(dispute, "compensation", buyer, seller)
    together = (buyer or 0) + (seller or 0)
    assert refusal.value.message == (
        f"toBuyer: and toSeller are {together // 100}.{together % 100:02} together, 60.00 USD are disputed."
    )
    assert len(world.log) == before


def test_parts_in_another_currency_are_refused():
    world = at_stage("partly disputed")
    (dispute,) = world.subjects(ids.DISPUTE)
    command = ResolveDispute(dispute, "judge", "refund", "", "i-1", "i-2", None, Money(6_000, "EUR"))
    with pytest.raises(InvalidCommand) as refusal:
        world.do(command)
    assert refusal.value.message == "toSeller.currency: must be USD, the currency of the payment."


@pytest.mark.parametrize("ends", [("confirm", "confirm"), ("confirm", "call_off"), ("call_off", "call_off")])
def test_it_is_closed_when_the_last_of_its_instructions_ends(ends):
    world = at_stage("partly disputed")
    (dispute,) = world.subjects(ids.DISPUTE)
    world.resolve(dispute, "compensation", 1_000, 5_000)
    first, second = world.dispute_state(dispute).instructions
    getattr(world, ends[0])(first)
    assert world.dispute_state(dispute).status == "resolved"
    getattr(world, ends[1])(second)
    assert world.dispute_state(dispute).status == "closed"
    world.check()


def test_a_chargeback_in_the_middle_leaves_less_to_decide_about():
    world = at_stage("partly disputed")
    (dispute,) = world.subjects(ids.DISPUTE)
    world.hook("chargeback", 7_000, "back-1")
    with pytest.raises(InvalidCommand):
        world.resolve(dispute, "compensation", 1_000, 5_000)
    world.resolve(dispute, "refund")
    assert world.buckets() == {"gross": 10_000, "refunded": 7_000, "refunding": 3_000}
    world.check()


def test_a_chargeback_of_all_leaves_nothing_and_the_dispute_can_be_ended():
    world = at_stage("disputed")
    (dispute,) = world.subjects(ids.DISPUTE)
    world.hook("chargeback", 10_000, "back-1")
    assert world.purchase_state("p-1").status == "refunded"
    world.resolve(dispute, "refund")
    assert world.dispute_state(dispute).status == "closed"
    assert world.purchase_state("p-1").dispute_id == ""


def test_a_chargeback_that_cancels_what_was_decided_closes_it():
    world = at_stage("disputed")
    (dispute,) = world.subjects(ids.DISPUTE)
    world.resolve(dispute, "compensation", 1_000, 9_000)
    world.hook("chargeback", 9_500, "back-1")
    assert world.dispute_state(dispute).status == "closed"
    assert world.buckets() == {"gross": 10_000, "held": 500, "refunded": 9_500}
    world.check()
