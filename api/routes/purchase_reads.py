"""Purchases for their parties, and all of them for those who look after them.

Read next: `purchases.py` for the commands, `../../projections/purchases.py`.
"""

from typing import Any, Final

from litestar import Request, Response, get
from litestar.params import FromPath

from api import examples
from api.call import Call, call_of
from api.documented import Documented, opened_to
from api.envelope import Pagination
from api.fields import checked_purchase_id
from api.queries import Cursor, Freshness, read_query
from api.reads import list_response, read_response
from api.security import SIGNED_IN
from ledger.errors import InvalidCommand, NotYourPurchase, PurchaseNotFound, ReadModelBehind
from projections.purchases import PurchaseView, Status, get_purchase, list_purchases

SEE_ALL: Final = frozenset({"service", "admin", "finance", "resolver"})
"""These roles see every purchase; all others those they buy or sell in."""


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
        _party(call),
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
            description="For its buyer, its seller, service, admin, finance and resolver.",
            tag="purchases",
            query=Freshness,
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
    query = read_query(call, Freshness)
    purchase_id = checked_purchase_id(purchase_request_id)
    answer = await get_purchase(call.resources.models, purchase_id, _party(call), min_position=query.min_position)
    return read_response(call, "The purchase.", answer)


def _party(call: Call) -> str | None:
    """Whose purchases the caller may see; None: everybody's."""
    caller = call.signed_in
    return None if caller.role in SEE_ALL else caller.id


def _rows(rows: list[PurchaseView], _page: Pagination) -> list[PurchaseView]:
    return rows


ROUTES: Final = (purchases, purchase)
