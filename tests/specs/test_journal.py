"""The journal: every event's postings, the chart of accounts, and that buckets and postings are a pair."""

from collections import Counter

import msgspec
import pytest

from ledger import journal
from ledger.domain import payment_events as events
from ledger.domain import points
from ledger.domain.account_events import PointsClawedBack
from ledger.domain.suspense import SuspenseParked, SuspenseSettled
from ledger.errors import CorruptionError
from ledger.journal import ACCOUNTS, POINTS, check_agrees, postings_of
from ledger.store.codec import TAGS
from ledger.use_cases.draft import Draft
from tests.specs.account import NOW, alloc, deducted, earned, expired, granted, restored, spent
from tests.specs.escrow import Escrow, at_stage

SAYS = {
    "payment_id": "pay-1", "purchase_request_id": "p-1", "buyer_id": "bob", "seller_id": "sue", "currency": "USD",
    "occurred_at": NOW, "after": events.Standing(),
}  # fmt: skip
FUNDED = events.PaymentFunded(
    **SAYS,
    tx_hash="t",
    amount_minor=150,
    counted_minor=100,
    excess_minor=50,
    provider_fee_minor=3,
    platform_fee_minor=10,
)
SUSPENDED = {"suspense_id": "s", "amount_minor": 50, "currency": "USD", "occurred_at": NOW}

POSTED = {
    # event → account: debit if positive
    "an earn": (earned(50, balance=50, lifetime=50, expires=None), {"issuance": 50, "member:u-1": -50}),
    "a grant": (granted(50, balance=50, lifetime=50), {"adjustments": 50, "member:u-1": -50}),
    "a deduction": (deducted(50, balance=0, of=alloc(lot2=50)), {"member:u-1": 50, "adjustments": -50}),
    "a spend": (spent(50, balance=0, of=alloc(lot2=50)), {"member:u-1": 50, "redeemed": -50}),
    "a return": (restored(50, balance=50, to=()), {"redeemed": 50, "member:u-1": -50}),
    "a clawback takes what there was": (
        PointsClawedBack("u-1", 30, 50, "p-1", NOW, alloc(lot2=30), 0, "p-1"), {"member:u-1": 30, "issuance": -30}),
    "a clawback of nothing": (PointsClawedBack("u-1", 0, 50, "p-1", NOW, (), 0, "p-1"), {}),
    "an expiry": (expired(2, 50, balance=0, at=NOW), {"member:u-1": 50, "breakage": -50}),
    "money that comes in": (
        FUNDED,
        {"provider_clearing": 150, "escrow:p-1": -87, "fees:provider": -3, "fees:platform": -10, "suspense": -50}),
    "money that comes out of suspense": (
        msgspec.structs.replace(FUNDED, from_suspense="s"),
        {"suspense": 100, "escrow:p-1": -87, "fees:provider": -3, "fees:platform": -10}),
    "a release that is reserved": (
        events.InstructionReserved(**SAYS, instruction_id="i", kind="release", amount_minor=60),
        {"escrow:p-1": 60, "reserved:p-1": -60}),
    "a refund of what was disputed": (
        events.InstructionReserved(**SAYS, instruction_id="i", kind="refund", amount_minor=60, source="disputed"),
        {"disputed:p-1": 60, "reserved:p-1": -60}),
    "one that is called off": (
        events.InstructionCancelled(**SAYS, instruction_id="i", kind="release", amount_minor=60),
        {"reserved:p-1": 60, "escrow:p-1": -60}),
    "a release": (
        events.PaymentReleased(**SAYS, instruction_id="i", amount_minor=60, tx_hash="t"),
        {"reserved:p-1": 60, "payable:sue": -60}),
    "a refund": (
        events.PaymentRefunded(**SAYS, instruction_id="i", amount_minor=60, tx_hash="t", fee_returned_minor=6),
        {"reserved:p-1": 60, "fees:platform": 6, "refundable:bob": -66}),
    "a dispute": (
        events.PaymentDisputed(**SAYS, dispute_id="d", amount_minor=60), {"escrow:p-1": 60, "disputed:p-1": -60}),
    "the end of one": (
        events.PaymentHoldLifted(**SAYS, dispute_id="d", amount_minor=60), {"disputed:p-1": 60, "escrow:p-1": -60}),
    "a chargeback": (
        events.PaymentChargedBack(
            **SAYS, tx_hash="t", amount_minor=100, from_held_minor=40, from_disputed_minor=20,
            from_platform_fees_minor=10, receivable_minor=25, pending_minor=5),
        {"escrow:p-1": 40, "disputed:p-1": 20, "fees:platform": 10, "refundable:bob": -70, "receivable:sue": 25,
         "provider_clearing": -25}),
    "a fee that is taken later": (
        events.PaymentFeeTaken(
            **SAYS, provider_fee_minor=9, from_held_minor=4, from_platform_fees_minor=3, from_refunded_minor=2),
        {"escrow:p-1": 4, "fees:platform": 3, "refundable:bob": 2, "fees:provider": -9}),
    "money that belongs nowhere": (
        SuspenseParked(**SUSPENDED, reason="UNKNOWN_PAYMENT", provider="stripe"),
        {"provider_clearing": 50, "suspense": -50}),
    "an excess, which its payment has posted": (SuspenseParked(**SUSPENDED, reason="EXCESS", provider="stripe"), {}),
    "money that goes back": (
        SuspenseSettled(**SUSPENDED, action="return", rest_minor=0, reason="x"),
        {"suspense": 50, "provider_clearing": -50}),
    "money that is applied, which its payment posts": (
        SuspenseSettled(**SUSPENDED, action="apply", rest_minor=0, reason="x"), {}),
}  # fmt: skip
MOVES_NOTHING = {
    tag for tag in TAGS if tag.partition(".")[0] in {"programme", "referral", "purchase", "dispute", "letter", "ledger"}
} | {
    "points.account-opened.v1", "points.account-locked.v1", "points.account-unlocked.v1", "points.level-crossed.v1",
    "points.level-left.v1", "points.referral-code-assigned.v1", "points.referral-completed.v1",
    "points.referral-signed-up.v1", "points.referrer-bound.v1",
    "payment.opened.v1", "payment.delivery-received.v1", "payment.cancelled.v1", "payment.delivered.v1",
    "payment.excess-settled.v1",
}  # fmt: skip
"""Said apart from the journal: events by which nothing of value changes hands."""


@pytest.mark.parametrize(("event", "accounts"), POSTED.values(), ids=POSTED)
def test_posted_by(event, accounts):
    postings = postings_of(event)
    found: Counter[str] = Counter()
    for posting in postings:
        assert posting.amount, "a posting of nothing is none"
        found[posting.account] += posting.amount
    assert found == accounts
    assert sum(accounts.values()) == 0
    currency = POINTS if type(event) in points.TAGS.values() else "USD"
    assert {posting.currency for posting in postings} <= {currency}


def test_every_kind_of_event_is_posted_or_moves_nothing():
    posted = {tag for tag, kind in TAGS.items() if kind in {type(event) for event, _ in POSTED.values()}}
    assert posted | MOVES_NOTHING == set(TAGS)
    assert posted & MOVES_NOTHING == set()
    assert {TAGS[tag] for tag in posted} == set(journal._RULES)


def test_the_chart_has_every_account_and_no_other():
    used = {posting.account for event, _ in POSTED.values() for posting in postings_of(event)}
    kinds = {account if account.startswith("fees:") else account.partition(":")[0] for account in used}
    chart = {account if account.startswith("fees:") else account.partition(":")[0] for account in ACCOUNTS}
    assert kinds == chart
    for account in used - set(ACCOUNTS):
        assert any(name.startswith(account.partition(":")[0] + ":<") for name in ACCOUNTS), account
    assert all(ACCOUNTS.values()), "each says what it is"


def test_an_event_that_does_not_balance_is_not_posted():
    with pytest.raises(CorruptionError, match="do not sum to zero"):
        postings_of(msgspec.structs.replace(FUNDED, excess_minor=49))


# ── the pair of buckets and postings ──


def _history() -> list[tuple[events.Standing, events.PaymentFact]]:
    """Each event of a payment to which everything happens, with the standing before it."""
    world = Escrow()
    world.programme(platform_fee_bps=1_000)
    world.paid(provider_fee_minor=290)
    world.hook("completed", 10_000, "in-pay-1", provider_fee_minor=300)
    world.gone("release", 1_000)
    world.gone("refund", 1_000)
    world.call_off(world.instruct("release", 500))
    world.resolve(world.dispute(2_000), "no_action")
    world.resolve(world.dispute(2_000), "compensation", 500, 1_500)
    world.hook("chargeback", 9_000, "back-1")
    told = world.events["payment-pay-1"]
    return [(before.after, event) for before, event in zip([told[0], *told[:-1]], told, strict=True)]


DISAGREES = "not what is posted|which no such event may"
HISTORY = _history()
MONEY = [(before, event) for before, event in HISTORY if postings_of(event)]


@pytest.mark.parametrize(("before", "event"), HISTORY, ids=lambda value: type(value).__name__)
def test_what_is_posted_is_what_the_buckets_say(before, event):
    check_agrees(before, event)


@pytest.mark.parametrize("bucket", events.BUCKETS)
@pytest.mark.parametrize(("before", "event"), HISTORY, ids=lambda value: type(value).__name__)
def test_a_bucket_that_says_something_else_is_never_written(before, event, bucket):
    wrong = msgspec.structs.replace(event.after, **{bucket: getattr(event.after, bucket) + 1})
    with pytest.raises(CorruptionError, match=DISAGREES):
        check_agrees(before, msgspec.structs.replace(event, after=wrong))


@pytest.mark.parametrize(("before", "event"), MONEY, ids=lambda value: type(value).__name__)
def test_money_that_moves_twice_is_never_written(before, event):
    with pytest.raises(CorruptionError, match=DISAGREES):
        check_agrees(event.after, event)


def test_the_history_comes_by_every_event_that_moves_money():
    seen = {type(event) for _, event in MONEY}
    assert seen == {kind for kind in journal._RULES if kind in events.TAGS.values()}


def test_the_draft_asks_before_it_writes():
    world = at_stage("confirmed")
    event = events.PaymentDisputed(**{**SAYS, "after": world.standing()}, dispute_id="d", amount_minor=1)
    with pytest.raises(CorruptionError):
        Draft(world).add("payment-pay-1", [event])
