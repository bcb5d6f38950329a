"""Use cases of purchases: registering, going on, and paying a part of one with points.

Whatever a step means for accounts is appended with it, all or nothing: `completed` earns the buyer's points and the
referrer's reward, `cancelled` returns what was redeemed. Read next: `../domain/purchases.py` for the rules.
"""

from datetime import datetime
from decimal import Decimal

import msgspec
from msgspec import UNSET, UnsetType

from ledger import ids
from ledger.decision import ClaimOnce, Decision, View
from ledger.domain import points, purchases, redemptions, referrals
from ledger.domain.account import PointsAccount, check_exists, expiries
from ledger.domain.instructions import reserve
from ledger.domain.lots import described
from ledger.domain.payments import decide_delivered, give_up
from ledger.domain.programme import Programme
from ledger.domain.purchases import Purchase
from ledger.domain.reversals import refunded_of_held
from ledger.errors import PurchaseNotInProgress, RedemptionAlreadyClaimed
from ledger.money import MoneyText, format_minor, money_text
from ledger.payment_errors import AmountOnHold
from ledger.transactions import Transaction, transaction_answer
from ledger.use_cases.draft import Draft
from ledger.use_cases.payments import give_way, last_payment
from ledger.use_cases.points import earn_claim


class PurchaseAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """The purchase after the command. The times are those of the decisions; reads show when it was recorded."""

    purchase_request_id: str
    buyer_id: str
    seller_id: str
    status: str
    price: MoneyText
    discount: MoneyText
    amount_due: MoneyText
    points_earned: int
    points_spent: int
    payment_status: str
    escrow_state: str
    hold: bool
    version: int
    created_at: datetime
    updated_at: datetime
    payment_id: str | UnsetType = UNSET


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
    draft = Draft(view)
    stream = ids.purchase_stream(command.purchase_request_id)
    events = purchases.decide_register(command, draft.read(stream), now)
    for user_id in (command.buyer_id, command.seller_id):
        check_exists(draft.read(ids.account_stream(user_id)), user_id)
    draft.add(stream, events)
    return Decision(201, _answer(draft, command.purchase_request_id, now), draft.writes)


def change_purchase_status(view: View, command: purchases.ChangePurchaseStatus, now: datetime) -> Decision:
    """One step, with everything it means for points and for the payment."""
    draft = Draft(view)
    purchase: Purchase = draft.read(ids.purchase_stream(command.purchase_request_id))
    purchases.check_transition(command, purchase)
    claims: list[ClaimOnce] = []
    if command.status == "completed":
        claims = _complete(view, draft, command, purchase, now)
    elif command.status == "cancelled":
        _cancel(draft, command, purchase, now)
    else:
        draft.add(ids.purchase_stream(command.purchase_request_id), purchases.decide_status(command, purchase, now))
    if command.status in ("delivered", "completed"):
        payment = last_payment(draft, purchase)
        arrived = decide_delivered(purchase.payment_id, payment, command.status, now)
        draft.add(ids.payment_stream(purchase.payment_id), arrived)
    return Decision(200, _answer(draft, command.purchase_request_id, now), draft.writes, claims)


def redeem_points(view: View, command: redemptions.RedeemPoints, now: datetime) -> Decision:
    """Once a purchase, for ever. The lots that paid are written into the purchase: a cancellation returns to them."""
    purchase_id = command.purchase_request_id
    purchase_stream, stream = ids.purchase_stream(purchase_id), ids.account_stream(command.user_id)
    draft = Draft(view)
    purchase: Purchase = draft.read(purchase_stream)
    purchases.check_redeemable(purchase_id, command.user_id, purchase)
    payment = last_payment(draft, purchase)
    if payment.is_live:
        raise PurchaseNotInProgress(
            f"Purchase {purchase_id} has a payment that is {payment.standing.status}: points are redeemed before it is paid."
        )
    account: PointsAccount = draft.read(stream)
    events, discount = redemptions.decide_redeem(command, account, purchase, draft.read(ids.PROGRAMME_STREAM), now)
    draft.add(stream, events)  # first: the answer counts its position from the first event of the append
    give_way(draft, purchase, now)
    spent = events[-1]
    assert isinstance(spent, points.PointsSpent), "a redemption ends with the spend"
    lots = described(account.chunks, spent.allocation)
    redeemed = purchases.decide_redeemed(purchase_id, purchase, discount.points, discount.minor, lots, now)
    answer = transaction_answer(events)
    draft.add(purchase_stream, redeemed)

    def refusal() -> RedemptionAlreadyClaimed:
        return RedemptionAlreadyClaimed(f"Points were redeemed on purchase {purchase_id} already.")

    return Decision(
        200,
        RedeemAnswer(
            answer.transaction,
            DiscountAnswer(Decimal(format_minor(discount.minor, purchase.currency)), discount.minor, purchase.currency),
            answer.new_balance,
        ),
        draft.writes,
        [ClaimOnce("redemption", purchase_id, refusal)],
    )


def _complete(
    view: View, draft: Draft, command: purchases.ChangePurchaseStatus, purchase: Purchase, now: datetime
) -> list[ClaimOnce]:
    """The buyer's points, unless somebody has earned them on this purchase already, and the referrer's reward."""
    purchase_id, buyer_id = command.purchase_request_id, purchase.buyer_id
    stream = ids.account_stream(buyer_id)
    programme: Programme = draft.read(ids.PROGRAMME_STREAM)
    buyer: PointsAccount = draft.read(stream)
    payment = last_payment(draft, purchase)
    given_back = payment.standing.refunded + payment.receivable_minor
    earned = purchases.points_on_completion(purchase, programme, given_back)
    claim = earn_claim(buyer_id, "purchase", purchase_id)
    claims: list[ClaimOnce] = []
    lot = 0
    if earned and not view.is_taken(claim.scope, claim.value):
        earn = points.EarnPoints(buyer_id, earned, "purchase", purchase_id, now, description=f"Purchase {purchase_id}")
        events = points.decide_earn(earn, buyer, programme, now)
        at = next(offset for offset, event in enumerate(events, 1) if isinstance(event, points.PointsEarned))
        lot = draft.version(stream) + at
        claims.append(claim)
    else:
        earned, events = 0, []
    of_purchase = purchases.decide_status(
        command,
        purchase,
        now,
        points_earned=earned,
        earned_lot=lot,
        refunded_before_minor=refunded_of_held(payment) if earned else 0,
    )
    draft.add(ids.purchase_stream(purchase_id), of_purchase)
    draft.add(stream, events)
    if referrals.has_pending_referral(buyer):
        claims += _reward(view, draft, purchase_id, buyer_id, buyer.referrer, now)
    return claims


def _reward(
    view: View, draft: Draft, purchase_id: str, referred_user: str, referrer_id: str, now: datetime
) -> list[ClaimOnce]:
    """What the referrer earns by it, and the claim that there is one alone."""
    claim = earn_claim(referrer_id, "referral", referred_user)
    referrer_stream, stream = ids.account_stream(referrer_id), ids.account_stream(referred_user)
    events: list[points.Event] = []
    if not view.is_taken(claim.scope, claim.value):
        programme: Programme = draft.read(ids.PROGRAMME_STREAM)
        referrer: PointsAccount = draft.read(referrer_stream)
        events = referrals.decide_reward(referred_user, referrer_id, referrer, programme, now)
    reward = sum(event.amount for event in events if isinstance(event, points.PointsEarned))
    buyer: PointsAccount = draft.read(stream)
    draft.add(stream, expiries(buyer, referred_user, now))
    draft.add(stream, referrals.decide_completed(referred_user, purchase_id, reward, buyer, now))
    draft.add(referrer_stream, events)
    return [claim] if reward else []


def _cancel(draft: Draft, command: purchases.ChangePurchaseStatus, purchase: Purchase, now: datetime) -> None:
    """What was redeemed goes back to its lots; nothing more is paid; what is held is set aside for the buyer."""
    purchase_id, buyer_id = command.purchase_request_id, purchase.buyer_id
    if purchase.dispute_id:
        raise AmountOnHold(f"Purchase {purchase_id} is not cancelled while dispute {purchase.dispute_id} is open.")
    returned = purchase.points_spent
    of_purchase = purchases.decide_status(command, purchase, now, points_returned=returned)
    draft.add(ids.purchase_stream(purchase_id), of_purchase)
    if returned:
        stream = ids.account_stream(buyer_id)
        restore = redemptions.RestorePoints(buyer_id, purchase_id, purchase.lots)
        draft.add(stream, redemptions.decide_restore(restore, draft.read(stream), now))
    payment = last_payment(draft, purchase)
    payment_id = purchase.payment_id
    if payment.exists and not payment.cancelled and not payment.standing.gross:
        draft.add(ids.payment_stream(payment_id), give_up(payment_id, payment, "its purchase was cancelled", now))
    elif payment.standing.held:
        held = payment.standing.held
        reserved = reserve(payment_id, payment, command.refund_id, "refund", held, now)
        draft.add(ids.payment_stream(payment_id), [reserved])


def _answer(draft: Draft, purchase_id: str, now: datetime) -> PurchaseAnswer:
    stream = ids.purchase_stream(purchase_id)
    purchase: Purchase = draft.read(stream)
    standing = last_payment(draft, purchase).standing
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
        standing.status if purchase.payment_id else "none",
        standing.escrow_state,
        bool(purchase.dispute_id),
        draft.version(stream),
        purchase.registered_at or now,
        now,
        purchase.payment_id or UNSET,
    )
