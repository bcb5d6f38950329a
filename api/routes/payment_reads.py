"""Payments for their parties, and all of them for those who look after them. A read never changes anything.

Read next: `payments.py` for the commands, `payment_export.py`, `../../projections/payments.py`.
"""

from typing import Annotated, Any, Final

from litestar import Request, Response, get
from litestar.params import FromPath
from msgspec import Meta

from api import payment_examples as examples
from api.as_of import History, as_of
from api.call import Call, call_of, utc_now
from api.documented import Documented, opened_to
from api.envelope import Pagination
from api.fields import Instant, checked_payment_id
from api.fields import optional_instant as optional
from api.queries import Cursor, Freshness, read_query
from api.reads import list_response, read_response, wait_for_log
from api.security import SIGNED_IN, party_of
from ledger.domain.payment_events import EscrowState, PaymentStatus
from ledger.errors import InvalidCommand, ReadModelBehind
from ledger.payment_errors import NotYourPayment, PaymentNotFound
from ledger.payment_views import PaymentView
from projections.payment_ledger import PaymentLedger, get_payment_as_of, get_payment_ledger
from projections.payment_scope import PaymentScope
from projections.payment_stats import PaymentStats, get_payment_stats
from projections.payments import get_payment, list_payments

OF_WHOM: Final = "The caller's own, as buyer or seller; service, admin, finance and resolver see all."

Offset = Annotated[int, Meta(ge=0, le=1_000_000_000, description="a whole number from 0: so many rows are passed over")]


class StatsQuery(
    Freshness,
    frozen=True,
    forbid_unknown_fields=True,
    rename={"min_position": "minPosition", "from_": "from", "escrow_state": "escrowState"},
):
    """Which payments; `from` and `to` go by the time the opening was recorded, half-open."""

    status: PaymentStatus | None = None
    escrow_state: EscrowState | None = None
    from_: Instant | None = None
    to: Instant | None = None


class PaymentsQuery(
    Cursor,
    frozen=True,
    forbid_unknown_fields=True,
    rename={"from_": "from", "escrow_state": "escrowState"},
):
    """As `StatsQuery`, in pages."""

    status: PaymentStatus | None = None
    escrow_state: EscrowState | None = None
    from_: Instant | None = None
    to: Instant | None = None
    offset: Offset | None = None


def scope_of(call: Call, query: StatsQuery | PaymentsQuery) -> PaymentScope:
    """What the caller may see of what is asked for: the same for list, statistics and export."""
    return PaymentScope(
        party_of(call),
        query.status,
        query.escrow_state,
        optional("from", query.from_),
        optional("to", query.to),
    )


@get(
    "/api/payment",
    opt=opened_to(
        SIGNED_IN,
        Documented(
            summary="Payments",
            description=OF_WHOM,
            tag="payments",
            query=PaymentsQuery,
            answer=list[PaymentView],
            answers={200: "A page of payments; `meta.nextCursor` leads on while writes go on."},
            refusals=(InvalidCommand, ReadModelBehind),
            answer_example=[examples.PAYMENT_VIEW],
        ),
    ),
)
async def payments(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Newest first unless asked otherwise."""
    call = call_of(request)
    query = read_query(call, PaymentsQuery)
    if query.offset is not None and (query.page != 1 or query.after is not None):
        raise InvalidCommand.field("offset", "takes the place of page and after: give one of them.")
    answer = await list_payments(
        call.resources.models,
        scope_of(call, query),
        page=query.page,
        limit=query.limit,
        offset=query.offset,
        sort_order=query.sort_order,
        after=query.after,
        min_position=query.min_position,
    )
    return list_response(call, "Payments.", answer, _rows)


@get(
    "/api/payment/stats",
    opt=opened_to(
        SIGNED_IN,
        Documented(
            summary="Payments counted",
            description=OF_WHOM + " Each is in exactly one status and one escrow state; sums are those of the list.",
            tag="payments",
            query=StatsQuery,
            answer=PaymentStats,
            answers={200: "Count and amount in every status, escrow state and bucket, by currency."},
            refusals=(InvalidCommand, ReadModelBehind),
            answer_example=examples.STATS,
        ),
    ),
)
async def payment_stats(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Counted when asked, of one moment."""
    call = call_of(request)
    query = read_query(call, StatsQuery)
    scope = scope_of(call, query)
    answer = await get_payment_stats(call.resources.models, scope, min_position=query.min_position)
    return read_response(call, "Payments counted.", answer)


@get(
    "/api/payment/{payment_id:str}",
    opt=opened_to(
        SIGNED_IN,
        Documented(
            summary="A payment",
            description="With its instructions, for its parties, service, admin, finance and resolver; `asOf`: as it was "
            "then.",
            tag="payments",
            query=History,
            answer=PaymentView,
            answers={200: "The payment."},
            refusals=(InvalidCommand, NotYourPayment, PaymentNotFound, ReadModelBehind),
            answer_headers=("ETag",),
            answer_example=examples.PAYMENT_IN_FULL,
        ),
    ),
)
async def payment(request: Request[Any, Any, Any], payment_id: FromPath[str]) -> Response[bytes]:
    """Its ETag is what `If-Match` of its commands takes."""
    call = call_of(request)
    query = read_query(call, History)
    checked, models = checked_payment_id(payment_id), call.resources.models
    if query.as_of is None:
        answer = await get_payment(models, checked, party_of(call), min_position=query.min_position)
    else:
        await wait_for_log(call, query.min_position)
        then = as_of(query.as_of)
        answer = await get_payment_as_of(call.resources.pool, checked, then, utc_now(), party_of(call))
    return read_response(call, "The payment.", answer)


@get(
    "/api/payment/{payment_id:str}/ledger",
    opt=opened_to(
        SIGNED_IN,
        Documented(
            summary="A payment's ledger",
            description="Its buckets and every entry behind them, from the log itself; `asOf`: as it was then. For whom: "
            "as the payment.",
            tag="payments",
            query=History,
            answer=PaymentLedger,
            answers={200: "Buckets, and entries from the first."},
            refusals=(InvalidCommand, NotYourPayment, PaymentNotFound, ReadModelBehind),
            answer_headers=("ETag",),
            answer_example=examples.LEDGER,
        ),
    ),
)
async def payment_ledger(request: Request[Any, Any, Any], payment_id: FromPath[str]) -> Response[bytes]:
    """Each entry balances."""
    call = call_of(request)
    query = read_query(call, History)
    checked = checked_payment_id(payment_id)
    await wait_for_log(call, query.min_position)
    then = as_of(query.as_of)
    answer = await get_payment_ledger(call.resources.pool, checked, then, utc_now(), party_of(call))
    return read_response(call, "The payment's ledger.", answer)


def _rows(rows: list[PaymentView], _page: Pagination) -> list[PaymentView]:
    return rows


ROUTES: Final = (payments, payment_stats, payment, payment_ledger)
