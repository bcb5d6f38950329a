"""Points as money: what they buy on a purchase, and how they go back when it is cancelled.

The discount is rounded down to the minor unit and capped by the price; only the fewest points that buy it are taken,
so that what was taken is what is posted. Pure. Standard library and msgspec only. Read next: `purchases.py`.
"""

from datetime import datetime

import msgspec

from ledger.domain.account import PointsAccount, available, check_exists, expiries
from ledger.domain.account_events import Event, PointsExpired, PointsRestored
from ledger.domain.lots import Lot, RestoredLot, lot_order
from ledger.domain.points import MAX_POINTS, SpendPoints, decide_spend
from ledger.domain.programme import Programme, credit_for, points_that_buy
from ledger.domain.purchases import Purchase
from ledger.errors import AccountLocked, InsufficientPoints, InvalidCommand, RedemptionWorthNothing
from ledger.money import format_minor, unit_of


class RedeemPoints(msgspec.Struct, frozen=True):
    """Pay a part of one's own purchase with points, at most this many."""

    user_id: str
    points_to_use: int
    purchase_request_id: str


class RestorePoints(msgspec.Struct, frozen=True):
    """Put points back into the lots a purchase was paid from."""

    user_id: str
    purchase_request_id: str
    lots: tuple[RestoredLot, ...]


class Discount(msgspec.Struct, frozen=True):
    """So many points buy so many minor units."""

    points: int
    minor: int


def discount_for(points: int, purchase: Purchase, programme: Programme) -> Discount:
    """The most that up to so many points buy on the purchase, and the fewest points that buy it. Refused: nothing."""
    unit = unit_of(purchase.currency)
    minor = min(credit_for(programme, points, unit), purchase.due_minor)
    if minor < 1:
        smallest = f"{format_minor(1, purchase.currency)} {purchase.currency}"
        least = points_that_buy(programme, 1, unit)
        raise RedemptionWorthNothing(f"{points} points buy nothing: {smallest} costs {least} points.")
    return Discount(points_that_buy(programme, minor, unit), minor)


def decide_redeem(
    command: RedeemPoints, state: PointsAccount, purchase: Purchase, programme: Programme, now: datetime
) -> tuple[list[Event], Discount]:
    """Spend what the discount costs. Refused: a locked account, more than is available, points that buy nothing."""
    if not 1 <= command.points_to_use <= MAX_POINTS:
        raise InvalidCommand.field("pointsToUse", f"must be a whole number from 1 to {MAX_POINTS}.")
    check_exists(state, command.user_id)
    if state.locked:
        raise AccountLocked(f"The account of {command.user_id} is locked.")
    balance = available(state, now)
    if command.points_to_use > balance:
        raise InsufficientPoints(f"{balance} points available, {command.points_to_use} asked for.")
    discount = discount_for(command.points_to_use, purchase, programme)
    spend = SpendPoints(
        command.user_id,
        discount.points,
        command.purchase_request_id,
        description=f"Redeemed on purchase {command.purchase_request_id}",
        purchase_request_id=command.purchase_request_id,
    )
    return decide_spend(spend, state, now), discount


def decide_restore(command: RestorePoints, state: PointsAccount, now: datetime) -> list[Event]:
    """Points back into their lots, with the deadlines these had; what is past its deadline expires at once."""
    expired = expiries(state, command.user_id, now)
    balance = (expired[-1].balance if expired else state.balance) + sum(part.amount for part in command.lots)
    # What was overdue and alive has expired just above: a part that is overdue comes back alone, and goes.
    overdue = sorted(
        (
            Lot(part.lot_id, part.points, part.amount, part.expires_at)
            for part in command.lots
            if part.expires_at is not None and part.expires_at <= now
        ),
        key=lot_order,
    )
    restored = PointsRestored(
        command.user_id,
        sum(part.amount for part in command.lots),
        command.purchase_request_id,
        now,
        command.lots,
        balance,
        command.purchase_request_id,
        sum(lot.remaining for lot in overdue),
    )
    events: list[Event] = [*expired, restored]
    for lot in overdue:
        balance -= lot.remaining
        events.append(PointsExpired(command.user_id, lot.lot_id, lot.remaining, lot.expires_at or now, balance))
    return events
