"""Purchases: registered by the platform's back end, and taken from status to status.

Read next: `redemptions.py` for points as money, `../../ledger/use_cases/purchases.py` for what a status means.
"""

from typing import Final, Literal

import msgspec

from api import examples
from api.call import Call
from api.commands import CommandRoute, PathParams
from api.documented import Documented
from api.fields import MoneyBody, PurchaseId, Reason, UserId, checked_purchase_id
from api.security import SERVICE, SERVICE_OR_ADMIN
from ledger.domain.purchases import ChangePurchaseStatus, RegisterPurchase
from ledger.errors import (
    BalanceTooLarge,
    InvalidCommand,
    InvalidTransition,
    PurchaseExists,
    PurchaseNotFound,
    UserNotFound,
)
from ledger.handler import PurchaseAnswer
from ledger.money import MoneyText, parse_money
from ledger.new_ids import fresh_id

# Nobody may ask for `refunded`, but it is a status: that is a wrong step (409), not a word nobody knows (400).
Status = Literal[
    "pending", "pending_payment", "active", "delivery", "delivered", "completed", "cancelled", "refunded"
]  # fmt: skip


class PurchaseBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Who buys what from whom, and for how much."""

    purchase_request_id: PurchaseId
    buyer_id: UserId
    seller_id: UserId
    price: MoneyBody


class StatusBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The next status, and why."""

    status: Status
    reason: Reason | None = None


def register_command(body: PurchaseBody, _params: PathParams, _call: Call) -> RegisterPurchase:
    price = parse_money(MoneyText(body.price.amount, body.price.currency))
    return RegisterPurchase(body.purchase_request_id, body.buyer_id, body.seller_id, price)


def status_command(body: StatusBody, params: PathParams, _call: Call) -> ChangePurchaseStatus:
    """With the name of the refund that a cancellation may ask for."""
    purchase_id = checked_purchase_id(params["purchase_request_id"])
    return ChangePurchaseStatus(purchase_id, body.status, body.reason or "", fresh_id("ins"))


REGISTER: Final = CommandRoute(
    path="/api/purchases",
    access=SERVICE,
    decoder=msgspec.json.Decoder(PurchaseBody),
    build=register_command,
    messages={201: "Purchase registered."},
    documented=Documented(
        summary="Register a purchase",
        description="Buyer and seller must be members, and differ. The purchase begins as pending.",
        tag="purchases",
        body=PurchaseBody,
        answer=PurchaseAnswer,
        answers={201: "The purchase."},
        refusals=(InvalidCommand, UserNotFound, PurchaseExists),
        body_example=examples.PURCHASE,
        answer_example=examples.PURCHASE_ANSWER,
    ),
)
STATUS: Final = CommandRoute(
    path="/api/purchases/{purchase_request_id:str}/status",
    access=SERVICE_OR_ADMIN,
    decoder=msgspec.json.Decoder(StatusBody),
    build=status_command,
    messages={200: "Status changed."},
    documented=Documented(
        summary="Take a purchase to its next status",
        description="pending, pending_payment, active, delivery, delivered, completed: one step at a time. Cancelled from "
        "any before delivered. Completed earns the buyer's points and the referrer's reward, cancelled returns redeemed "
        "points. Refunded is set by the ledger alone.",
        tag="purchases",
        body=StatusBody,
        answer=PurchaseAnswer,
        answers={200: "The purchase after the step."},
        refusals=(InvalidCommand, BalanceTooLarge, PurchaseNotFound, InvalidTransition),
        body_example=examples.PURCHASE_STATUS,
        answer_example=examples.PURCHASE_STATUS_ANSWER,
    ),
)

ROUTES: Final = (REGISTER.handler, STATUS.handler)
