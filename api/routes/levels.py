"""The levels of the programme. Read next: `points.py`."""

from typing import Any, Final

import msgspec
from litestar import Request, Response, get

from api import examples
from api.call import call_of
from api.documented import Documented, opened_to
from api.envelope import success
from api.queries import Freshness, read_query
from api.reads import wait_for_log
from api.security import SIGNED_IN
from ledger.domain.programme import Level
from ledger.errors import ReadModelBehind
from projections.programme import read_programme


class LevelAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """A level; `max_points` is the last lifetime total that is still on it, None at the top."""

    name: str
    tier: int
    min_points: int
    max_points: int | None
    perks: tuple[str, ...]
    icon: str
    color: str
    is_active: bool


class LevelsAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """All levels, from the lowest."""

    levels: list[LevelAnswer]


def shown_levels(levels: tuple[Level, ...]) -> LevelsAnswer:
    """Levels by tier, each ending where the next active one begins."""
    ordered = sorted(levels, key=lambda level: level.tier)
    shown = []
    for level in ordered:
        above = [other.min_points for other in ordered if other.is_active and other.min_points > level.min_points]
        end = min(above) - 1 if above else None
        shown.append(
            LevelAnswer(
                level.name,
                level.tier,
                level.min_points,
                end,
                level.perks,
                level.icon,
                level.color,
                level.is_active,
            )
        )
    return LevelsAnswer(shown)


@get(
    "/api/points/levels",
    opt=opened_to(
        SIGNED_IN,
        Documented(
            summary="The levels of the programme",
            tag="points",
            query=Freshness,
            answer=LevelsAnswer,
            answers={200: "The levels, from the lowest."},
            refusals=(ReadModelBehind,),
            answer_example=examples.LEVELS,
        ),
    ),
)
async def get_levels(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Those of the programme in force."""
    call = call_of(request)
    query = read_query(call, Freshness)
    await wait_for_log(call, query.min_position)
    now = await read_programme(call.resources.pool)
    return success(call, "The levels.", shown_levels(now.programme.levels)).as_response()


ROUTES: Final = (get_levels,)
