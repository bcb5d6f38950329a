"""What a member loses when: their lots by deadline. Read next: `points.py`, `../../projections/expiring.py`."""

from datetime import timedelta
from typing import Annotated, Any, Final

from litestar import Request, Response, get
from msgspec import Meta

from api import examples
from api.call import call_of, utc_now
from api.documented import Documented, opened_to
from api.envelope import Pagination
from api.queries import Freshness, read_query
from api.reads import list_response
from api.security import SIGNED_IN
from ledger.errors import ReadModelBehind
from projections.expiring import ExpiringLot, list_expiring

Within = Annotated[
    str,
    Meta(
        pattern="^[1-9][0-9]{0,3}[dh]$",
        description="1 to 9999 days or hours, such as 30d or 12h",
        examples=["30d"],
    ),
]


class ExpiringQuery(Freshness, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """How far to look ahead, and the page. The next deadline comes first, always."""

    within: Within = "30d"
    page: Annotated[int, Meta(ge=1, le=1_000_000_000, description="a whole number from 1")] = 1
    limit: Annotated[int, Meta(ge=1, le=100, description="a whole number from 1 to 100")] = 20


@get(
    "/api/points/expiring",
    opt=opened_to(
        SIGNED_IN,
        Documented(
            summary="The caller's lots by deadline",
            description="`meta` sums up all pages: `expiring` within, `later` and `neverExpiring` make the `balance`.",
            tag="points",
            query=ExpiringQuery,
            answer=list[ExpiringLot],
            answers={200: "A page of lots, the next to expire first."},
            refusals=(ReadModelBehind,),
            answer_example=examples.EXPIRING,
        ),
    ),
)
async def expiring(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Deadlines after now; a lot past its own is gone, whether or not that is recorded."""
    call = call_of(request)
    query = read_query(call, ExpiringQuery)
    answer = await list_expiring(
        call.resources.models,
        call.signed_in.id,
        utc_now(),
        _span(query.within),
        page=query.page,
        limit=query.limit,
        min_position=query.min_position,
    )
    return list_response(call, "Your points by deadline.", answer, _rows)


def _span(text: str) -> timedelta:
    number = int(text[:-1])
    return timedelta(days=number) if text.endswith("d") else timedelta(hours=number)


def _rows(rows: list[ExpiringLot], _page: Pagination) -> list[ExpiringLot]:
    return rows


ROUTES: Final = (expiring,)
