"""Points as money: a member pays a part of their own purchase with them.

Read next: `purchases.py`, `../../ledger/domain/redemptions.py` for the rules.
"""

from typing import Final

import msgspec

from api import examples
from api.call import Call
from api.commands import CommandRoute, PathParams
from api.documented import Documented
from api.fields import Points, PurchaseId
from api.security import SIGNED_IN
from ledger.domain.redemptions import RedeemPoints
from ledger.errors import (
    AccountLocked,
    InsufficientPoints,
    InvalidCommand,
    NotYourPurchase,
    PurchaseNotFound,
    PurchaseNotInProgress,
    RedemptionAlreadyClaimed,
    RedemptionWorthNothing,
    UserNotFound,
)
from ledger.handler import RedeemAnswer


class RedeemBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """At most so many points, on that purchase."""

    points_to_use: Points
    purchase_request_id: PurchaseId


def redeem_command(body: RedeemBody, _params: PathParams, call: Call) -> RedeemPoints:
    """Whoever signed in redeems; a body cannot name anybody else."""
    return RedeemPoints(call.signed_in.id, body.points_to_use, body.purchase_request_id)


REDEEM: Final = CommandRoute(
    path="/api/points/redeem",
    access=SIGNED_IN,
    key="optional",
    decoder=msgspec.json.Decoder(RedeemBody),
    build=redeem_command,
    messages={200: "Points redeemed."},
    documented=Documented(
        summary="Redeem points on one's own purchase",
        description="The discount is capped at the price and rounded down to the minor unit; only the fewest points that "
        "buy it are taken. Once a purchase, before it is paid.",
        tag="points",
        body=RedeemBody,
        answer=RedeemAnswer,
        answers={200: "The spend, what it bought, and the points that are left."},
        refusals=(
            InvalidCommand,
            InsufficientPoints,
            RedemptionWorthNothing,
            NotYourPurchase,
            PurchaseNotFound,
            UserNotFound,
            PurchaseNotInProgress,
            RedemptionAlreadyClaimed,
            AccountLocked,
        ),
        body_example=examples.REDEEM,
        answer_example=examples.REDEEM_ANSWER,
    ),
)

ROUTES: Final = (REDEEM.handler,)
