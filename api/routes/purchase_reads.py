"""Purchases for their parties, and all of them for those who look after them.

Read next: `purchases.py` for the commands, `../../projections/purchases.py`.
"""

from typing import Any, Final

from litestar import Request, Response, get
from litestar.params import FromPath

from api import examples
from api.as_of import History, as_of
from api.call import call_of, utc_now
from api.documented import Documented, opened_to
from api.envelope import Pagination
from api.fields import checked_purchase_id
from api.queries import Cursor, read_query
from api.reads import list_response, read_response, wait_for_log
from api.security import SIGNED_IN, party_of
from ledger.errors import InvalidCommand, NotYourPurchase, PurchaseNotFound, ReadModelBehind
from projections.purchases import PurchaseView, Status, get_purchase, get_purchase_as_of, list_purchases


class PurchasesQuery(Cursor, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Filters of the list."""

    status: Status | None = None


@get(
    "/api/purchases",
    opt=opened_to(
        SIGNED_IN,
        Documented(
            summary="Purchases",
            description="The caller's own, as buyer or seller; service, admin, finance and resolver see all.",
            tag="purchases",
            query=PurchasesQuery,
            answer=list[PurchaseView],
            answers={200: "A page of purchases; `meta.nextCursor` leads on while writes go on."},
            refusals=(InvalidCommand, ReadModelBehind),
            answer_example=[examples.PURCHASE_VIEW],
        ),
    ),
)
async def purchases(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Newest first unless asked otherwise."""
    call = call_of(request)
    query = read_query(call, PurchasesQuery)
    answer = await list_purchases(
        call.resources.models,
        party_of(call),
        status=query.status,
        page=query.page,
        limit=query.limit,
        sort_order=query.sort_order,
        after=query.after,
        min_position=query.min_position,
    )
    return list_response(call, "Purchases.", answer, _rows)


@get(
    "/api/purchases/{purchase_request_id:str}",
    opt=opened_to(
        SIGNED_IN,
        Documented(
            summary="A purchase",
            description="For its buyer, its seller, service, admin, finance and resolver; `asOf`: as it was then.",
            tag="purchases",
            query=History,
            answer=PurchaseView,
            answers={200: "The purchase."},
            refusals=(InvalidCommand, NotYourPurchase, PurchaseNotFound, ReadModelBehind),
            answer_headers=("ETag",),
            answer_example=examples.PURCHASE_VIEW,
        ),
    ),
)
async def purchase(request: Request[Any, Any, Any], purchase_request_id: FromPath[str]) -> Response[bytes]:
    """Its ETag is what `If-Match` of its commands takes."""
    call = call_of(request)
    query = read_query(call, History)
    purchase_id, models = checked_purchase_id(purchase_request_id), call.resources.models
    if query.as_of is None:
        answer = await get_purchase(models, purchase_id, party_of(call), min_position=query.min_position)
    else:
        await wait_for_log(call, query.min_position)
        answer = await get_purchase_as_of(models, purchase_id, as_of(query.as_of), utc_now(), party_of(call))
    return read_response(call, "The purchase.", answer)


def _rows(rows: list[PurchaseView], _page: Pagination) -> list[PurchaseView]:
    return rows


ROUTES: Final = (purchases, purchase)
