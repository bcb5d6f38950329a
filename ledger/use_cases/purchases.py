"""Use cases of purchases: registering, going on, and paying a part of one with points.

Whatever a step means for accounts is appended with it, all or nothing: `completed` earns the buyer's points and the
referrer's reward, `cancelled` returns what was redeemed. Read next: `../domain/purchases.py` for the rules.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

import msgspec

from ledger import ids
from ledger.decision import ClaimOnce, Decision, View
from ledger.domain import points, purchases, redemptions, referrals
from ledger.domain.account import PointsAccount, check_exists, expiries
from ledger.domain.lots import described
from ledger.domain.programme import Programme
from ledger.domain.purchases import Purchase
from ledger.errors import RedemptionAlreadyClaimed
from ledger.money import MoneyText, format_minor, money_text
from ledger.transactions import Transaction
from ledger.use_cases.points import earn_claim, transaction_answer

Writes = list[tuple[str, Sequence[msgspec.Struct]]]


class PurchaseAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """The purchase after the command."""

    purchase_request_id: str
    buyer_id: str
    seller_id: str
    status: str
    price: MoneyText
    discount: MoneyText
    amount_due: MoneyText
    points_earned: int
    points_spent: int


class DiscountAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """What the points bought: the number with the currency's decimals, and the same in minor units."""

    credit_amount: Decimal
    credit_minor: int
    currency: str


class RedeemAnswer(msgspec.Struct, rename="camel"):
    """The spend, what it bought, and the points that are left."""

    transaction: Transaction
    discount: DiscountAnswer
    remaining_points: int


def register_purchase(view: View, command: purchases.RegisterPurchase, now: datetime) -> Decision:
    """Both sides must be members."""
    stream = ids.purchase_stream(command.purchase_request_id)
    purchase = view.read(stream)
    events = purchases.decide_register(command, purchase, now)
    for user_id in (command.buyer_id, command.seller_id):
        check_exists(view.read(ids.account_stream(user_id)), user_id)
    return Decision(201, _answer(command.purchase_request_id, purchase, events), [(stream, events)])


def change_purchase_status(view: View, command: purchases.ChangePurchaseStatus, now: datetime) -> Decision:
    """One step, with everything it means for points."""
    stream = ids.purchase_stream(command.purchase_request_id)
    purchase: Purchase = view.read(stream)
    purchases.check_transition(command, purchase)
    if command.status == "completed":
        return _complete(view, command, purchase, now)
    if command.status == "cancelled" and purchase.points_spent:
        return _cancel(view, command, purchase, now)
    events = purchases.decide_status(command, purchase, now)
    return Decision(200, _answer(command.purchase_request_id, purchase, events), [(stream, events)])


def redeem_points(view: View, command: redemptions.RedeemPoints, now: datetime) -> Decision:
    """Once a purchase, for ever. The lots that paid are written into the purchase: a cancellation returns to them."""
    purchase_id = command.purchase_request_id
    purchase_stream, stream = ids.purchase_stream(purchase_id), ids.account_stream(command.user_id)
    purchase: Purchase = view.read(purchase_stream)
    purchases.check_redeemable(purchase_id, command.user_id, purchase)
    account: PointsAccount = view.read(stream)
    events, discount = redemptions.decide_redeem(command, account, purchase, view.read(ids.PROGRAMME_STREAM), now)
    spent = events[-1]
    assert isinstance(spent, points.PointsSpent), "a redemption ends with the spend"
    lots = described(account.chunks, spent.allocation)
    redeemed = purchases.decide_redeemed(purchase_id, purchase, discount.points, discount.minor, lots, now)
    answer = transaction_answer(events, points.PointsSpent)

    def refusal() -> RedemptionAlreadyClaimed:
        return RedemptionAlreadyClaimed(f"Points were redeemed on purchase {purchase_id} already.")

    return Decision(
        200,
        RedeemAnswer(
            answer.transaction,
            DiscountAnswer(Decimal(format_minor(discount.minor, purchase.currency)), discount.minor, purchase.currency),
            answer.new_balance,
        ),
        [(stream, events), (purchase_stream, redeemed)],
        [ClaimOnce("redemption", purchase_id, refusal)],
    )


def _complete(view: View, command: purchases.ChangePurchaseStatus, purchase: Purchase, now: datetime) -> Decision:
    """The buyer's points, unless somebody has earned them on this purchase already, and the referrer's reward."""
    purchase_id, buyer_id = command.purchase_request_id, purchase.buyer_id
    programme: Programme = view.read(ids.PROGRAMME_STREAM)
    buyer: PointsAccount = view.read(ids.account_stream(buyer_id))
    earned = purchases.points_on_completion(purchase, programme)
    claim = earn_claim(buyer_id, "purchase", purchase_id)
    events: list[points.Event] = []
    claims = []
    if earned and not view.is_taken(claim.scope, claim.value):
        earn = points.EarnPoints(buyer_id, earned, "purchase", purchase_id, now, description=f"Purchase {purchase_id}")
        events = points.decide_earn(earn, buyer, programme, now)
        claims.append(claim)
    else:
        earned = 0
    of_purchase = purchases.decide_status(command, purchase, now, points_earned=earned)
    writes: Writes = [(ids.purchase_stream(purchase_id), of_purchase)]
    rewards: Writes = []
    if referrals.has_pending_referral(buyer):
        reward, rewards, reward_claims = _reward(view, buyer_id, buyer.referrer, programme, now)
        claims += reward_claims
        events = events or [*expiries(buyer, buyer_id, now)]
        events += referrals.decide_completed(buyer_id, purchase_id, reward, buyer, now)
    writes += [(ids.account_stream(buyer_id), events), *rewards]
    return Decision(200, _answer(purchase_id, purchase, of_purchase), writes, claims)


def _reward(
    view: View, referred_user: str, referrer_id: str, programme: Programme, now: datetime
) -> tuple[int, Writes, list[ClaimOnce]]:
    """The reward's points, what is written for it, and the claim that there is one alone."""
    claim = earn_claim(referrer_id, "referral", referred_user)
    if view.is_taken(claim.scope, claim.value):
        return 0, [], []
    stream = ids.account_stream(referrer_id)
    events = referrals.decide_reward(referred_user, referrer_id, view.read(stream), programme, now)
    reward = sum(event.amount for event in events if isinstance(event, points.PointsEarned))
    return reward, [(stream, events)], [claim] if reward else []


def _cancel(view: View, command: purchases.ChangePurchaseStatus, purchase: Purchase, now: datetime) -> Decision:
    """What was redeemed goes back to the lots it came from."""
    purchase_id, buyer_id = command.purchase_request_id, purchase.buyer_id
    stream = ids.account_stream(buyer_id)
    restore = redemptions.RestorePoints(buyer_id, purchase_id, purchase.lots)
    events = redemptions.decide_restore(restore, view.read(stream), now)
    of_purchase = purchases.decide_status(command, purchase, now, points_returned=purchase.points_spent)
    writes: Writes = [(ids.purchase_stream(purchase_id), of_purchase), (stream, events)]
    return Decision(200, _answer(purchase_id, purchase, of_purchase), writes)


def _answer(purchase_id: str, purchase: Purchase, events: Sequence[purchases.Event]) -> PurchaseAnswer:
    for event in events:
        purchase = purchases.evolve(purchase, event)
    return PurchaseAnswer(
        purchase_id,
        purchase.buyer_id,
        purchase.seller_id,
        purchase.status,
        money_text(purchase.price_minor, purchase.currency),
        money_text(purchase.discount_minor, purchase.currency),
        money_text(purchase.due_minor, purchase.currency),
        purchase.points_earned,
        purchase.points_spent,
    )
