"""What payment providers tell: signed, stored once an id, answered when it is durable.

Read next: `../webhooks.py` for the signature, `../../ledger/use_cases/deliveries.py` for what comes of it.
"""

from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, post
from litestar.params import FromPath
from msgspec import Meta

from api import payment_examples as examples
from api.bodies import decode_body, read_body
from api.call import Call, call_of, utc_now
from api.documented import Documented, opened_to
from api.envelope import success
from api.errors import InvalidSignature
from api.fields import Amount, Currency, PaymentId, TxHash
from api.idempotency import answer_headers
from api.queries import Nothing, read_query
from api.security import OPEN
from ledger.decision import Origin, fingerprint
from ledger.domain.deliveries import Delivery, DeliveryType
from ledger.domain.payment_events import COUNTING
from ledger.errors import InvalidCommand, Overloaded, StoreUnavailable
from ledger.handler import DeliveryAnswer
from ledger.ids import is_visible
from ledger.money import decimals_of, parse_minor
from ledger.new_ids import fresh_id
from ledger.store.codec import Actor


class FeesBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What others keep of the amount."""

    provider: Amount | None = None


class DeliveryBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """`amount` is what the transaction `tx_hash` brought in (or took back); decimal strings in `currency`."""

    type: DeliveryType
    payment_id: PaymentId
    amount: Amount
    currency: Currency
    fees: FeesBody | None = None
    tx_hash: TxHash | None = None


DECODER: Final = msgspec.json.Decoder(DeliveryBody)
Provider = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="1-64 characters of A-Z a-z 0-9 _ . -")]


def delivery_of(body: DeliveryBody, provider: str, webhook_id: str) -> Delivery:
    """The command. Refused: money that counts nothing, a fee above the amount."""
    decimals_of(body.currency)
    amount = parse_minor(body.amount, body.currency)
    fee = 0
    if body.fees is not None and body.fees.provider is not None:
        fee = parse_minor(body.fees.provider, body.currency, "fees.provider")
    if not amount and body.type in (*COUNTING, "payment.chargeback"):
        raise InvalidCommand.field("amount", "must be more than zero.")
    if fee > amount:
        raise InvalidCommand.field("fees.provider", "must not be more than the amount.")
    return Delivery(
        fresh_id("dl"), provider, webhook_id, body.type, body.payment_id, amount, body.currency, body.tx_hash or "", fee
    )


@post(
    "/api/payment/webhooks/{provider:str}",
    status_code=202,
    opt=opened_to(
        OPEN,
        Documented(
            summary="A payment provider's delivery",
            description="Signed by Standard Webhooks: `webhook-id`, `webhook-timestamp`, `webhook-signature`, with a secret "
            "of the provider, at most five minutes ago. A repeated `webhook-id` gives the same 202 and changes nothing. What "
            "is understood but cannot be true becomes a dead letter, its money waits in suspense. Deliveries may come in any "
            "order and any number of times.",
            tag="payments",
            body=DeliveryBody,
            answer=DeliveryAnswer,
            answers={202: "Stored."},
            refusals=(InvalidCommand, InvalidSignature, Overloaded, StoreUnavailable),
            body_example=examples.DELIVERY,
            answer_example=examples.DELIVERY_ANSWER,
            answer_headers=("Ledger-Position", "Idempotent-Replayed"),
        ),
    ),
)
async def webhook(request: Request[Any, Any, Any], provider: FromPath[str]) -> Response[bytes]:
    """The signature comes first: what is not signed is not even parsed."""
    call = call_of(request)
    body = await read_body(call, request.receive)
    webhook_id = call.resources.signatures.check(provider, call, body)
    if call.query:
        read_query(call, Nothing)
    if not is_visible(webhook_id):
        raise InvalidCommand.field("webhook-id", "must be 1-255 visible ASCII characters.")
    delivery = delivery_of(decode_body(DECODER, body), provider, webhook_id)
    answer = await call.resources.handler.handle(delivery, _origin(call, provider, webhook_id))
    headers = answer_headers(answer.position, replayed=answer.replayed)
    return success(call, "Stored.", answer.data, status=202, headers=headers).as_response()


def _origin(call: Call, provider: str, webhook_id: str) -> Origin:
    """The provider is the actor, under a name no user can have. The id alone makes two deliveries the same."""
    actor = Actor(f"provider/{provider}", "provider")
    same = fingerprint("POST", f"webhooks/{provider}", webhook_id.encode())
    return Origin(actor, utc_now(), same, call.request_id, call.correlation_id, webhook_id)


ROUTES: Final = (webhook,)
