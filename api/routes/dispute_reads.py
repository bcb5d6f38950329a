"""Disputes for their parties, and all of them for those who look after them.

Read next: `disputes.py` for the commands, `../../projections/disputes.py`.
"""

from typing import Any, Final

from litestar import Request, Response, get
from litestar.params import FromPath

from api import payment_examples as examples
from api.call import call_of
from api.documented import Documented, opened_to
from api.envelope import Pagination
from api.fields import checked_dispute_id
from api.queries import Cursor, Freshness, read_query
from api.reads import list_response, read_response
from api.security import SIGNED_IN, party_of
from ledger.domain.dispute_events import Status
from ledger.errors import InvalidCommand, ReadModelBehind
from ledger.payment_errors import DisputeNotFound, NotYourDispute
from ledger.payment_views import DisputeView
from projections.disputes import get_dispute, list_disputes


class DisputesQuery(Cursor, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Filters of the list."""

    status: Status | None = None


@get(
    "/api/disputes",
    opt=opened_to(
        SIGNED_IN,
        Documented(
            summary="Disputes",
            description="Those about the caller's own purchases, as buyer or seller; service, admin, finance and resolver "
            "see all.",
            tag="disputes",
            query=DisputesQuery,
            answer=list[DisputeView],
            answers={200: "A page of disputes; `meta.nextCursor` leads on while writes go on."},
            refusals=(InvalidCommand, ReadModelBehind),
            answer_example=[examples.DISPUTE_VIEW],
        ),
    ),
)
async def disputes(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Newest first unless asked otherwise."""
    call = call_of(request)
    query = read_query(call, DisputesQuery)
    answer = await list_disputes(
        call.resources.models,
        party_of(call),
        status=query.status,
        page=query.page,
        limit=query.limit,
        sort_order=query.sort_order,
        after=query.after,
        min_position=query.min_position,
    )
    return list_response(call, "Disputes.", answer, _rows)


@get(
    "/api/disputes/{dispute_id:str}",
    opt=opened_to(
        SIGNED_IN,
        Documented(
            summary="A dispute",
            description="With its evidence, the instructions that were reserved before it, and those of its decision. For "
            "the parties of its purchase, service, admin, finance and resolver.",
            tag="disputes",
            query=Freshness,
            answer=DisputeView,
            answers={200: "The dispute."},
            refusals=(InvalidCommand, NotYourDispute, DisputeNotFound, ReadModelBehind),
            answer_headers=("ETag",),
            answer_example=examples.DISPUTE_VIEW,
        ),
    ),
)
async def dispute(request: Request[Any, Any, Any], dispute_id: FromPath[str]) -> Response[bytes]:
    """Its ETag is what `If-Match` of its commands takes."""
    call = call_of(request)
    query = read_query(call, Freshness)
    checked = checked_dispute_id(dispute_id)
    answer = await get_dispute(call.resources.models, checked, party_of(call), min_position=query.min_position)
    return read_response(call, "The dispute.", answer)


def _rows(rows: list[DisputeView], _page: Pagination) -> list[DisputeView]:
    return rows


ROUTES: Final = (disputes, dispute)
