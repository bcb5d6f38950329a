"""Whom a member has brought, and what came of it. Read next: `referrals.py`, `../../projections/referrals.py`."""

from typing import Any, Final

import msgspec
from litestar import Request, Response, get

from api import examples
from api.call import call_of
from api.documented import Documented, opened_to
from api.envelope import Pagination
from api.queries import Cursor, read_query
from api.reads import list_response
from api.security import SIGNED_IN
from ledger.errors import InvalidCommand, ReadModelBehind
from projections.referrals import Referral, list_referrals


class ReferralsPage(msgspec.Struct, frozen=True):
    """A page of members who were brought."""

    referrals: list[Referral]
    pagination: Pagination


@get(
    "/api/points/referrals",
    opt=opened_to(
        SIGNED_IN,
        Documented(
            summary="Members who signed up with a code of the caller's",
            description="Rewarded when the first purchase they make after that completes; pending until then.",
            tag="points",
            query=Cursor,
            answer=ReferralsPage,
            answers={200: "A page of members; `meta.nextCursor` leads on while others sign up."},
            refusals=(InvalidCommand, ReadModelBehind),
            answer_example=examples.REFERRALS,
        ),
    ),
)
async def referrals(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The newest first unless asked otherwise."""
    call = call_of(request)
    query = read_query(call, Cursor)
    answer = await list_referrals(
        call.resources.models,
        call.signed_in.id,
        page=query.page,
        limit=query.limit,
        sort_order=query.sort_order,
        after=query.after,
        min_position=query.min_position,
    )
    return list_response(call, "Your referrals.", answer, ReferralsPage)


ROUTES: Final = (referrals,)
