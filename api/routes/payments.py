"""Payments: an intent for what is due on a purchase, and giving it up before anything is paid.

Read next: `webhooks.py` for how money comes in, `instructions.py` for how it goes out, `payment_reads.py`.
"""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from api import payment_examples as examples
from api.call import Call
from api.commands import CommandRoute, PathParams
from api.documented import Documented
from api.fields import NoBody, PurchaseId, checked_payment_id
from api.security import NOT_FINANCE
from ledger.domain.payments import CancelPayment, OpenPayment
from ledger.errors import InvalidCommand, InvalidTransition, NotYourPurchase, PurchaseNotFound, PurchaseNotInProgress
from ledger.new_ids import fresh_id
from ledger.payment_errors import NothingDue, NotYourPayment, PaymentAlreadyPaid, PaymentExists, PaymentNotFound
from ledger.payment_views import PaymentView


class PaymentBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What is paid for, and through whom."""

    purchase_request_id: PurchaseId
    provider: Annotated[str, Meta(min_length=1, max_length=64, description="a provider the service has a secret of")]


def open_command(body: PaymentBody, _params: PathParams, call: Call) -> OpenPayment:
    """For the buyer who signed in, or for the platform's back end."""
    known = call.resources.signatures.providers
    if body.provider not in known:
        raise InvalidCommand.field("provider", f"must be one of {', '.join(known) or '(none is set up)'}.")
    caller = call.signed_in
    return OpenPayment(fresh_id("pay"), body.purchase_request_id, body.provider, caller.id, caller.role)


def cancel_command(_body: NoBody, params: PathParams, call: Call) -> CancelPayment:
    """For the buyer who signed in, or for the platform's back end."""
    return CancelPayment(checked_payment_id(params["payment_id"]), call.signed_in.id, call.signed_in.role)


OPEN_PAYMENT: Final = CommandRoute(
    path="/api/payment",
    access=NOT_FINANCE,
    decoder=msgspec.json.Decoder(PaymentBody),
    build=open_command,
    messages={201: "Payment opened."},
    documented=Documented(
        summary="Open a payment",
        description="For the amount due, by the buyer of the purchase or a service. One live payment a purchase; one that "
        "has failed is cancelled with the opening of the next.",
        tag="payments",
        body=PaymentBody,
        answer=PaymentView,
        answers={201: "The payment, pending."},
        refusals=(
            InvalidCommand,
            NotYourPurchase,
            PurchaseNotFound,
            PaymentExists,
            NothingDue,
            PurchaseNotInProgress,
        ),
        body_example=examples.PAYMENT,
        answer_example=examples.PAYMENT_VIEW,
    ),
)
CANCEL: Final = CommandRoute(
    path="/api/payment/{payment_id:str}/cancel",
    access=NOT_FINANCE,
    decoder=msgspec.json.Decoder(NoBody),
    build=cancel_command,
    messages={200: "Payment cancelled."},
    documented=Documented(
        summary="Cancel a payment",
        description="By the buyer or a service, only while nothing is paid: what is paid is refunded.",
        tag="payments",
        body=NoBody,
        body_required=False,
        answer=PaymentView,
        answers={200: "The payment, cancelled."},
        refusals=(InvalidCommand, NotYourPayment, PaymentNotFound, PaymentAlreadyPaid, InvalidTransition),
        body_example={},
        answer_example=examples.PAYMENT_VIEW | {"status": "cancelled", "escrowState": "cancelled"},
    ),
)

ROUTES: Final = (OPEN_PAYMENT.handler, CANCEL.handler)
