"""Who has brought the most members. Read next: `referral_reads.py`, `../../projections/leaderboard.py`."""

from typing import Annotated, Any, Final

from litestar import Request, Response, get
from msgspec import Meta

from api import examples
from api.call import call_of, utc_now
from api.documented import Documented, opened_to
from api.fields import Instant, optional_instant
from api.queries import Freshness, read_query
from api.reads import read_response
from api.security import SIGNED_IN
from ledger.errors import InvalidCommand, ReadModelBehind
from projections.leaderboard import LeaderboardPeriod, LeaderboardView, get_leaderboard
from projections.periods import FIRST, LAST


class LeaderboardQuery(Freshness, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Which period, around which instant, and how many places."""

    period: LeaderboardPeriod = "all"
    at: Instant | None = None
    limit: Annotated[int, Meta(ge=1, le=100, description="a whole number from 1 to 100")] = 10


@get(
    "/api/points/leaderboard",
    opt=opened_to(
        SIGNED_IN,
        Documented(
            summary="Members who brought the most others",
            description="Counted are the programme's referral rewards given inside the period: a calendar month, or an "
            "ISO week from Monday, in the programme's time zone. `at` shows the whole period around an instant; of `all` "
            "everything up to it. Order: referrals, points, who got there first.",
            tag="points",
            query=LeaderboardQuery,
            answer=LeaderboardView,
            answers={200: "The places, the first one first."},
            refusals=(InvalidCommand, ReadModelBehind),
            answer_example=examples.LEADERBOARD,
        ),
    ),
)
async def leaderboard(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Of now, unless asked for another instant."""
    call = call_of(request)
    query = read_query(call, LeaderboardQuery)
    at = optional_instant("at", query.at)
    if at is not None and not FIRST <= at < LAST:
        raise InvalidCommand.field("at", f"must lie between {FIRST:%Y} and {LAST:%Y}.")
    programme = await call.resources.programmes.current(query.min_position)
    answer = await get_leaderboard(
        call.resources.models,
        query.period,
        programme.timezone,
        utc_now(),
        at=at,
        limit=query.limit,
        min_position=query.min_position,
    )
    return read_response(call, "The leaderboard.", answer)


ROUTES: Final = (leaderboard,)
