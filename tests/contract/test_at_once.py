"""Purchases, redemptions and referrals when everybody asks at once: through the committer, on both stores."""

import asyncio
from collections import Counter
from typing import Any

import msgspec
import pytest

from ledger.decision import Answer, ClaimOnce, Decide, Decision, View
from ledger.domain import points
from ledger.domain.purchases import ChangePurchaseStatus, RegisterPurchase
from ledger.domain.redemptions import RedeemPoints
from ledger.domain.referrals import GenerateReferralCode
from ledger.errors import (
    Conflict,
    IdempotencyKeyReused,
    InsufficientPoints,
    InvalidTransition,
    RedemptionAlreadyClaimed,
    ReferralCycle,
    ReferrerAlreadyBound,
)
from ledger.handler import Handler, RegisterMember
from ledger.ids import account_stream
from ledger.money import Money, format_minor
from ledger.new_codes import fresh_codes
from ledger.store.codec import decode
from ledger.store.committer import Work
from ledger.store.port import Store
from tests.contract.conftest import StartCommitter
from tests.contract.members import asked, balances, earn, opens, register, work

as_number = msgspec.json.Encoder(decimal_format="number").encode
"""As the API writes answers: a Decimal is the number it is."""
STEPS = ("pending_payment", "active", "delivery", "delivered")
A, B = "AAAAAAAA", "BBBBBBBB"


async def buy(handler: Handler, purchase: str, buyer: str, *steps: str, minor: int = 1000) -> None:
    await handler.handle(RegisterPurchase(purchase, buyer, "sue", Money(minor, "USD")), asked())
    for step in steps:
        await handler.handle(ChangePurchaseStatus(purchase, step), asked())


async def outcomes_of(handler: Handler, commands: list[Any]) -> Counter[type]:
    """What became of all of them, sent at once."""
    found = await asyncio.gather(*(handler.handle(command, asked()) for command in commands), return_exceptions=True)
    return Counter(type(outcome) for outcome in found)


async def events_of(store: Store, user: str) -> list[Any]:
    return [decode(e.type, e.data) for e in await store.read(0, 10_000) if e.stream == f"account-{user}"]


async def test_a_hundred_redemptions_of_one_purchase_are_one(store: Store, handler: Handler) -> None:
    await register(handler, "bob", "sue")
    await handler.handle(earn("bob", 1000, "r"), asked())
    await buy(handler, "p-1", "bob")
    outcomes = await outcomes_of(handler, [RedeemPoints("bob", 10, "p-1")] * 100)
    assert outcomes == {Answer: 1, RedemptionAlreadyClaimed: 99}
    assert (await events_of(store, "bob"))[-1].balance == 990


async def test_a_hundred_redemptions_of_one_balance_never_pass_it(store: Store, handler: Handler) -> None:
    await register(handler, "bob", "sue")
    await handler.handle(earn("bob", 55, "r"), asked())
    for number in range(100):
        await buy(handler, f"p-{number}", "bob")
    outcomes = await outcomes_of(handler, [RedeemPoints("bob", 10, f"p-{number}") for number in range(100)])
    assert outcomes == {Answer: 5, InsufficientPoints: 95}
    assert (await events_of(store, "bob"))[-1].balance == 5


async def test_a_purchase_completes_once(store: Store, handler: Handler) -> None:
    await register(handler, "bob", "sue")
    await buy(handler, "p-1", "bob", *STEPS)
    outcomes = await outcomes_of(handler, [ChangePurchaseStatus("p-1", "completed")] * 20)
    assert outcomes == {Answer: 1, InvalidTransition: 19}
    assert [type(event) for event in await events_of(store, "bob")] == [points.AccountOpened, points.PointsEarned]


async def test_an_earn_made_by_hand_meanwhile_is_skipped(store: Store, start_committer: StartCommitter) -> None:
    """Before it, in the same append, and by another process that nobody has heard of."""
    handler, other = Handler(await start_committer()), Handler(await start_committer())
    await register(handler, "bob", "sue")
    by_hand = points.EarnPoints("bob", 3, "purchase", "p-1", expires_at=None)
    for purchase in ("p-1", "p-2", "p-3"):
        await buy(handler, purchase, "bob", *STEPS)
    await handler.handle(by_hand, asked())
    first = await handler.handle(ChangePurchaseStatus("p-1", "completed"), asked())
    _, second = await asyncio.gather(
        handler.handle(points.EarnPoints("bob", 3, "purchase", "p-2", expires_at=None), asked()),
        handler.handle(ChangePurchaseStatus("p-2", "completed"), asked()),
    )
    await other.handle(points.EarnPoints("bob", 3, "purchase", "p-3", expires_at=None), asked())
    third = await handler.handle(ChangePurchaseStatus("p-3", "completed"), asked())
    assert [answer.data.points_earned for answer in (first, second, third)] == [0, 0, 0]
    assert [event.amount for event in (await events_of(store, "bob"))[1:]] == [3, 3, 3]


async def test_the_first_of_many_purchases_rewards_once(store: Store, start_committer: StartCommitter) -> None:
    handler, other = Handler(await start_committer()), Handler(await start_committer())
    await register(handler, "ann", "sue")
    await handler.handle(GenerateReferralCode("ann", (A,)), asked())
    await handler.handle(RegisterMember("bob", "Bob", None, A), asked())
    for number in range(10):
        await buy(handler, f"p-{number}", "bob", *STEPS)
    done = await asyncio.gather(
        *((handler, other)[n % 2].handle(ChangePurchaseStatus(f"p-{n}", "completed"), asked()) for n in range(10))
    )
    assert all(answer.data.points_earned == 10 for answer in done)
    rewards = [event for event in await events_of(store, "ann") if isinstance(event, points.PointsEarned)]
    assert [(event.amount, event.referred_user) for event in rewards] == [(100, "bob")]


async def test_two_who_would_refer_each_other_do_not(store: Store, start_committer: StartCommitter) -> None:
    handler, other = Handler(await start_committer()), Handler(await start_committer())
    await register(handler, "ann", "bob")
    await handler.handle(GenerateReferralCode("ann", (A,)), asked())
    await handler.handle(GenerateReferralCode("bob", (B,)), asked())
    found = await asyncio.gather(
        handler.handle(RegisterMember("ann", "A", None, B), asked()),
        other.handle(RegisterMember("bob", "B", None, A), asked()),
        return_exceptions=True,
    )
    assert Counter(type(outcome) for outcome in found) == {Answer: 1, ReferralCycle: 1}


async def test_one_of_many_referrers_wins(handler: Handler) -> None:
    names = [f"m{n}" for n in range(10)]
    codes = fresh_codes(10)
    await register(handler, *names)
    for name, code in zip(names, codes, strict=True):
        await handler.handle(GenerateReferralCode(name, (code,)), asked())
    outcomes = await outcomes_of(handler, [RegisterMember("new", "N", None, code) for code in codes])
    assert outcomes == {Answer: 1, ReferrerAlreadyBound: 9}


async def test_a_code_is_given_to_one_of_those_who_are_offered_it(start_committer: StartCommitter) -> None:
    handler, other = Handler(await start_committer()), Handler(await start_committer())
    names = [f"m{n}" for n in range(20)]
    await register(handler, *names)
    own = fresh_codes(20)
    answers = await asyncio.gather(
        *(
            (handler, other)[n % 2].handle(GenerateReferralCode(name, (A, B, own[n])), asked())
            for n, name in enumerate(names)
        )
    )
    codes = [answer.data.referral_code for answer in answers]
    assert len(set(codes)) == 20
    assert {A, B} <= set(codes)


@pytest.mark.parametrize("minor", [320, 2**53 - 1])
async def test_a_redemption_asked_for_again_is_the_first_answer_to_the_last_digit(handler: Handler, minor: int) -> None:
    await register(handler, "bob", "sue")
    await handler.handle(earn("bob", points.MAX_POINTS, "r"), asked())
    await buy(handler, "p-1", "bob", minor=minor)
    command = RedeemPoints("bob", minor, "p-1")
    first = await handler.handle(command, asked("k"))
    again = await handler.handle(command, asked("k"))
    assert (first.replayed, again.replayed) == (False, True)
    assert as_number(again.data) == as_number(first.data)
    credit = format_minor(minor, "USD")
    assert f'"creditAmount":{credit},'.encode() in as_number(again.data)


async def test_who_was_told_that_a_claim_is_taken_is_asked_again_if_it_was_not(
    store: Store, start_committer: StartCommitter
) -> None:
    """The first of the batch claims it, and fails over its key; the second has built on that. The third comes after."""
    committer = await start_committer()

    def opens_unless_taken(user: str) -> Decide:
        def decide(view: View) -> Decision:
            if view.is_taken("code", "SUMMER"):
                return Decision(200, f"{user} does without")
            claim = ClaimOnce("code", "SUMMER", Conflict("never said"))
            return Decision(201, user, [(account_stream(user), [points.AccountOpened(user)])], [claim])

        return decide

    await committer.submit(work(opens("z"), "used"))
    outcomes = await asyncio.gather(
        committer.submit(Work(asked("used", body="another request"), opens_unless_taken("a"))),
        committer.submit(work(opens_unless_taken("b"))),
        committer.submit(work(opens_unless_taken("c"))),
        return_exceptions=True,
    )
    assert isinstance(outcomes[0], IdempotencyKeyReused)
    assert [outcome.data for outcome in outcomes[1:] if isinstance(outcome, Answer)] == ["b", "c does without"]
    assert await balances(store) == {"z": 0, "b": 0}
