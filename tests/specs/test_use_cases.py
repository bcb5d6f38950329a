"""The list of use cases as pure functions: which streams each reads, what it appends, claims and answers."""

from collections.abc import Sequence
from itertools import count

import msgspec
import pytest
from msgspec import structs

from ledger import ids
from ledger.domain import points
from ledger.domain.dead_letters import ReplayDeadLetter, SkipDeadLetter
from ledger.domain.deliveries import Delivery
from ledger.domain.disputes import AddEvidence, AssignDispute, OpenDispute, ResolveDispute
from ledger.domain.exports import RecordExport
from ledger.domain.instructions import CancelInstruction, ConfirmInstruction, Instruct
from ledger.domain.payments import CancelPayment, OpenPayment
from ledger.domain.points import MAX_POINTS
from ledger.domain.programme import DEFAULT_PROGRAMME, Level, ReplaceProgramme
from ledger.domain.purchase_events import PurchaseRegistered, PurchaseStatusChanged
from ledger.domain.purchases import ChangePurchaseStatus, RegisterPurchase
from ledger.domain.redemptions import RedeemPoints
from ledger.domain.referrals import GenerateReferralCode
from ledger.domain.suspense import SettleSuspense
from ledger.errors import (
    AccountLocked,
    BalanceTooLarge,
    InsufficientPoints,
    InvalidCommand,
    UnknownReferralCode,
    UserNotFound,
    WouldGoBelowZero,
)
from ledger.handler import USE_CASES, RegisterMember, subject_stream
from ledger.money import Money
from ledger.store.codec import category_of
from ledger.store.port import DirectoryRow
from ledger.use_cases.points import relevel_key
from tests.specs.account import (
    NOW,
    USER,
    alloc,
    crossed,
    day,
    deduct,
    deducted,
    earn,
    earned,
    expire,
    expired,
    grant,
    granted,
    lock,
    locked,
    opened,
    redecide,
    spend,
    spent,
    unlock,
    unlocked,
)
from tests.specs.escrow import Escrow, at_stage

ACCOUNT = "account-u-1"
PROGRAMME = ids.PROGRAMME_STREAM


class DictView:
    """Streams in a dict. It keeps what was read, and hands out states nobody may change."""

    def __init__(self, streams: dict[str, Sequence[msgspec.Struct]], programme=DEFAULT_PROGRAMME) -> None:
        self.reads: set[str] = set()
        self._events = streams
        self._programme = programme
        self.taken: set[tuple[str, str]] = set()

    def read(self, stream: str):
        self.reads.add(stream)
        if stream == PROGRAMME:
            return self._programme
        category = category_of(stream)
        state = category.initial()
        for event in self._events.get(stream, ()):
            state = category.evolve(state, event)
        return state

    def is_taken(self, scope: str, value: str) -> bool:
        return (scope, value) in self.taken

    def version(self, stream: str) -> int:
        self.reads.add(stream)
        return len(self._events.get(stream, ()))


def _run(command, *history, now=NOW, programme=DEFAULT_PROGRAMME):
    view = DictView({ACCOUNT: history}, programme)
    return USE_CASES[type(command)](view, command, now), view


def _plain(data):
    return msgspec.to_builtins(data)


EASIER = (Level("bronze", 1, 0), Level("silver", 2, 50), Level("gold", 3, 100))
MEMBER = RegisterMember(USER, "Ada", "https://pictures.example/ada.png")
RICH = (opened(), granted(100, balance=100, lifetime=100))
OVERDUE = (opened(), earned(30, balance=30, lifetime=30, expires=day(2, 1)))

DONE = {
    "registering a new member opens the account": (
        MEMBER, (), 201, [opened()], {"userId": USER, "opened": True}),
    "registering a known member appends nothing": (
        MEMBER, (opened(),), 200, [], {"userId": USER, "opened": False}),
    "locking says so": (
        lock("fraud"), (opened(),), 200, [locked("fraud")], {"userId": USER, "locked": True, "reason": "fraud"}),
    "locking a locked account appends nothing and answers the reason that is recorded": (
        lock("second thoughts"), (opened(), locked("fraud")), 200, [], {"userId": USER, "locked": True, "reason": "fraud"}),
    "unlocking says so": (
        unlock("ok"), (opened(), locked()), 200, [unlocked("ok")], {"userId": USER, "locked": False, "reason": "ok"}),
    "expiring counts the lots": (
        expire(), OVERDUE, 200, [expired(2, 30, balance=0, at=day(2, 1))], {"userId": USER, "expiredLots": 1}),
    "expiring nothing counts none": (
        expire(), RICH, 200, [], {"userId": USER, "expiredLots": 0}),
}  # fmt: skip


@pytest.mark.parametrize(("command", "history", "status", "events", "data"), DONE.values(), ids=DONE.keys())
def test_what_is_appended_and_answered(command, history, status, events, data):
    decision, _ = _run(command, *history)
    assert (decision.status, _plain(decision.data)) == (status, data)
    assert [(stream, list(appended)) for stream, appended in decision.writes] == [(ACCOUNT, events)]


MOVED = {
    # command, history, status, events, which of them the transaction is, new balance
    "an earn": (
        earn(5, expires=None), RICH, 201, [earned(5, balance=105, lifetime=105, at=NOW, expires=None)], 0, 105),
    "a grant": (
        grant(5), RICH, 200, [granted(5, balance=105, lifetime=105, at=NOW)], 0, 105),
    "a deduction": (
        deduct(5), RICH, 200, [deducted(5, balance=95, of=alloc(lot2=5))], 0, 95),
    "a spend": (
        spend(5), RICH, 200, [spent(5, balance=95, of=alloc(lot2=5))], 0, 95),
    "a spend after an overdue lot": (
        spend(5), (*OVERDUE, granted(10, balance=40, lifetime=40)), 200,
        [expired(2, 30, balance=10, at=day(2, 1)), spent(5, balance=5, of=alloc(lot3=5))], 1, 5),
    "a grant after an overdue lot": (
        grant(5), OVERDUE, 200,
        [expired(2, 30, balance=0, at=day(2, 1)), granted(5, balance=5, lifetime=35, at=NOW)], 1, 5),
    "a grant that crosses a level": (
        grant(900), RICH, 200,
        [granted(900, balance=1000, lifetime=1000, at=NOW), crossed("silver", 2, 1000, lifetime=1000)], 0, 1000),
    "an earn that is past already": (
        earn(5, at=day(1, 1), expires=day(2, 1)), RICH, 201,
        [earned(5, balance=105, lifetime=105, expires=day(2, 1)), expired(3, 5, balance=100, at=day(2, 1))], 0, 100),
}  # fmt: skip


@pytest.mark.parametrize(
    ("command", "history", "status", "events", "about", "balance"), MOVED.values(), ids=MOVED.keys()
)
def test_points_move_by(command, history, status, events, about, balance):
    decision, _ = _run(command, *history)
    assert decision.status == status
    assert [(stream, list(appended)) for stream, appended in decision.writes] == [(ACCOUNT, events)]
    data = _plain(decision.data)
    assert set(data) == {"transaction", "newBalance"}
    assert data["newBalance"] == balance
    line = data["transaction"]
    assert (line["amount"], line["balance"], line["position"]) == (events[about].amount, events[about].balance, about)
    assert (line["id"], line["createdAt"]) == (None, None), "the store stamps both"


SOLD = PurchaseRegistered("p-2", USER, "u-2", 1000, "USD", NOW)
OTHERS = {
    "account-u-2": (points.AccountOpened("u-2"),),
    "purchase-p-2": (SOLD,),
    "purchase-p-3": (SOLD, PurchaseStatusChanged("p-3", USER, "u-2", "pending", "delivered", NOW)),
}
READS = {
    "register": (MEMBER, {ACCOUNT}),
    "earn": (earn(5), {ACCOUNT, PROGRAMME}),
    "grant": (grant(5), {ACCOUNT, PROGRAMME}),
    "deduct": (deduct(5), {ACCOUNT}),
    "spend": (spend(5), {ACCOUNT}),
    "expire": (expire(), {ACCOUNT}),
    "lock": (lock(), {ACCOUNT}),
    "unlock": (unlock(), {ACCOUNT}),
    "redecide": (redecide(), {ACCOUNT, PROGRAMME}),
    "replace the programme": (ReplaceProgramme(DEFAULT_PROGRAMME), {PROGRAMME}),
    "a new code": (GenerateReferralCode(USER, ("AAAAAAAA", "BBBBBBBB")), {ACCOUNT, "code-AAAAAAAA"}),
    "register a purchase": (
        RegisterPurchase("p-1", USER, "u-2", Money(1, "USD")),
        {"purchase-p-1", ACCOUNT, "account-u-2"},
    ),
    "cancel": (ChangePurchaseStatus("p-2", "cancelled"), {"purchase-p-2"}),
    "complete": (ChangePurchaseStatus("p-3", "completed"), {"purchase-p-3", ACCOUNT, PROGRAMME}),
    "redeem": (RedeemPoints(USER, 5, "p-2"), {"purchase-p-2", ACCOUNT, PROGRAMME}),
    "hand out the journal": (RecordExport("x-1", "csv", 7), {"export-x-1"}),
}

MONEY_READS = {
    # state of payment pay-1 of purchase p-1, what is done, the streams it reads
    "open a payment": (
        "failed", OpenPayment("pay-2", "p-1", "stripe", "bob", "buyer"),
        {"purchase-p-1", "payment-pay-1", "payment-pay-2"}),
    "give it up": ("pending", CancelPayment("pay-1", "bob", "buyer"), {"payment-pay-1"}),
    "instruct": ("confirmed", Instruct("i-1", "pay-1", "refund", None, "ada", "admin"), {"payment-pay-1"}),
    "confirm": (
        "refunding", ConfirmInstruction("refund-3", "pay-1", "refund", "out"),
        {"payment-pay-1", "purchase-p-1", PROGRAMME}),
    "call off": (
        "refunding", CancelInstruction("refund-3", "pay-1", "refund"), {"payment-pay-1", "purchase-p-1"}),
    "a delivery": (
        "pending", Delivery("l-1", "stripe", "m-1", "payment.confirmed", "pay-1", 10_000, "USD", "t-1"),
        {"payment-pay-1", "purchase-p-1", PROGRAMME}),
    "a delivery that cannot be": (
        "pending", Delivery("l-1", "stripe", "m-1", "payment.confirmed", "pay-9", 10_000, "USD", "t-1"),
        {"payment-pay-9", "letter-l-1", "suspense-l-1"}),
    "open a dispute": (
        "confirmed", OpenDispute("d-1", "p-1", "bob", "other", "low", "Why."),
        {"purchase-p-1", "payment-pay-1", "dispute-d-1"}),
    "assign": ("disputed", AssignDispute("dispute-3", "judge"), {"dispute-dispute-3", "payment-pay-1"}),
    "evidence": (
        "disputed", AddEvidence("e-1", "dispute-3", "bob", "buyer", "x"), {"dispute-dispute-3", "payment-pay-1"}),
    "resolve": (
        "disputed", ResolveDispute("dispute-3", "judge", "refund", "", "i-1", "i-2"),
        {"dispute-dispute-3", "payment-pay-1", "purchase-p-1"}),
    "settle": (
        "too much", SettleSuspense("letter-4", "apply", "x", "pay-2"),
        {"suspense-letter-4", "payment-pay-1", "payment-pay-2", "purchase-p-2", PROGRAMME}),
    "replay": (
        "too early", ReplayDeadLetter("letter-1", "l-2"),
        {"letter-letter-1", "suspense-letter-1", "payment-pay-1", "purchase-p-1", PROGRAMME}),
    "skip": ("too early", SkipDeadLetter("letter-1", "x"), {"letter-letter-1"}),
}  # fmt: skip


def _too_much() -> Escrow:
    world = at_stage("confirmed")
    world.sold(purchase="p-2", payment="pay-2")
    world.numbers = count(4)
    world.hook("partial", 1, "t-2")
    return world


def _too_early() -> Escrow:
    world = Escrow()
    world.hook("confirmed", 10_000, "t-1")
    world.sold()
    return world


@pytest.mark.parametrize(("stage", "command", "streams"), MONEY_READS.values(), ids=MONEY_READS.keys())
def test_the_streams_read_for_money_are_those_the_rule_needs(stage, command, streams):
    world = {"too much": _too_much, "too early": _too_early}.get(stage, lambda: at_stage(stage))()
    world.numbers = count(100)
    decision = world.decide(command)
    assert world.reads == streams
    assert {stream for stream, _ in decision.writes} <= streams, "what is written was read, and is checked again"


@pytest.mark.parametrize(("command", "streams"), READS.values(), ids=READS.keys())
def test_the_streams_read_are_those_the_rule_needs(command, streams):
    view = DictView({ACCOUNT: RICH, **OTHERS})
    USE_CASES[type(command)](view, command, NOW)
    assert view.reads == streams


def test_every_use_case_has_been_asked():
    asked = [command for command, _ in READS.values()] + [command for _, command, _ in MONEY_READS.values()]
    assert {type(command) for command in asked} == set(USE_CASES)


REFUSED = {
    "a referral code nobody has": (
        RegisterMember(USER, "Ada", None, "NOSUCH22"), (), UnknownReferralCode,
        "No member has the referral code NOSUCH22."),
    "an earn of nobody": (earn(5), (), UserNotFound, "No account for user u-1."),
    "a grant too large": (
        grant(MAX_POINTS), RICH, BalanceTooLarge,
        "100 lifetime points and 9007199254740991 more would pass 9007199254740991."),
    "a deduction too large": (deduct(101), RICH, WouldGoBelowZero, "100 points available, 101 to be deducted."),
    "a spend too large": (spend(101), RICH, InsufficientPoints, "100 points available, 101 asked for."),
    "a spend of a locked account": (spend(1), (*RICH, locked()), AccountLocked, "The account of u-1 is locked."),
    "an earn from nowhere": (
        earn(5, source="x"), RICH, InvalidCommand, "source: must be one of purchase, referral, review, bonus."),
}  # fmt: skip


@pytest.mark.parametrize(("command", "history", "error", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_is(command, history, error, message):
    with pytest.raises(error) as refusal:
        _run(command, *history)
    assert (type(refusal.value), refusal.value.message) == (error, message)


def test_one_earn_per_user_source_and_reference():
    decision, _ = _run(earn(5, source="purchase", reference="p-1"), *RICH)
    (claim,) = decision.claims
    assert (claim.scope, claim.value) == ("earn", "u-1/purchase/p-1")
    refusal = claim.refusal()
    assert (refusal.code, refusal.message) == (
        "ALREADY_EARNED",
        "purchase p-1 was already earned by u-1.",
    )


EARNS = [
    earn(5, source=source, reference=reference) for source in ("purchase", "bonus") for reference in ("p-1", "p-2")
]


def test_another_source_or_reference_is_another_earn():
    values = {_run(command, *RICH)[0].claims[0].value for command in EARNS}
    assert len(values) == len(EARNS)


@pytest.mark.parametrize(
    "command", [grant(5), deduct(5), spend(5), expire(), lock(), MEMBER], ids=lambda c: type(c).__name__
)
def test_nothing_else_claims_anything(command):
    assert not _run(command, *RICH)[0].claims


@pytest.mark.parametrize("history", [(), (opened(),)], ids=["new", "known"])
def test_name_and_avatar_go_to_the_directory_and_nowhere_else(history):
    decision, _ = _run(MEMBER, *history)
    assert decision.directory == DirectoryRow(USER, "Ada", "https://pictures.example/ada.png")
    kept = msgspec.json.encode([decision.data, decision.writes])
    assert b"Ada" not in kept
    assert b"ada.png" not in kept


def test_the_programme_that_is_read_is_the_one_that_decides():
    programme = structs.replace(DEFAULT_PROGRAMME, review_reward=42, expiry_days=None)
    decision, _ = _run(earn(None, source="review"), *RICH, programme=programme)
    ((_, events),) = decision.writes
    assert events == [
        points.PointsEarned(USER, 42, "review", "ref", NOW, None, 142, 142),
    ]


@pytest.mark.parametrize(
    ("command", "stream"),
    [
        (ReplaceProgramme(DEFAULT_PROGRAMME), "programme"),
        (ChangePurchaseStatus("p-1", "active"), "purchase-p-1"),
        (RedeemPoints(USER, 1, "p-1"), ACCOUNT),
        (earn(5), ACCOUNT),
        (OpenPayment("pay-1", "p-1", "stripe", "bob", "buyer"), "purchase-p-1"),
        (Instruct("i-1", "pay-1", "refund", None, "ada", "admin"), "payment-pay-1"),
        (OpenDispute("d-1", "p-1", "bob", "other", "low", "Why."), "purchase-p-1"),
        (AssignDispute("d-1", "judge"), "dispute-d-1"),
        (SettleSuspense("s-1", "return", "x"), "suspense-s-1"),
        (SkipDeadLetter("l-1", "x"), "letter-l-1"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_if_match_names_the_version_of_what_the_command_is_about(command, stream):
    assert subject_stream(command) == stream


def test_a_level_job_asks_once_a_version_of_the_programme():
    keys = {relevel_key(version, user) for version in (1, 2) for user in ("u-1", "u-2")}
    assert keys == {"relevel-1-u-1", "relevel-1-u-2", "relevel-2-u-1", "relevel-2-u-2"}
    assert ids.is_visible(relevel_key(2**31, "u" * 64))


def test_deciding_levels_again_says_how_far_it_went():
    easier = structs.replace(DEFAULT_PROGRAMME, levels=EASIER)
    decision, _ = _run(redecide(), *RICH, programme=easier)
    assert (decision.status, _plain(decision.data)) == (200, {"userId": USER, "tier": 3, "moved": 2})
    decision, _ = _run(redecide(), *RICH)
    assert _plain(decision.data) == {"userId": USER, "tier": 1, "moved": 0}
