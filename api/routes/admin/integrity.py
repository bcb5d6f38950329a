"""Whether the books agree with each other. Read next: `../../../projections/invariants.py`."""

from typing import Any, Final

import msgspec
from litestar import Request, Response, get

from api.call import call_of
from api.documented import Documented, opened_to
from api.envelope import success
from api.queries import Nothing, read_query
from api.security import ADMIN_OR_FINANCE
from projections.invariants import Checked, list_invariants


class IntegrityAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """`broken` is how many invariants are, by what was found the last time each was asked."""

    broken: int
    invariants: list[Checked]


@get(
    "/api/admin/integrity",
    opt=opened_to(
        ADMIN_OR_FINANCE,
        Documented(
            summary="The invariants, and when each was last checked",
            description="The worker asks them every five minutes, in one snapshot of all read models.",
            tag="admin",
            answer=IntegrityAnswer,
            answers={200: "What must hold, and what was found."},
            answer_example={
                "broken": 0,
                "invariants": [
                    {
                        "name": "journal_sums_to_zero",
                        "meaning": "All accounts of the journal together are zero in each currency.",
                        "checkedAt": "2026-01-31T12:00:00.004211Z",
                        "position": 17,
                        "broken": 0,
                        "examples": [],
                    }
                ],
            },
        ),
    ),
)
async def integrity(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Nothing is checked here: that takes as long as it takes, and is the worker's."""
    call = call_of(request)
    read_query(call, Nothing)
    checked = await list_invariants(call.resources.pool)
    answer = IntegrityAnswer(sum(one.broken > 0 for one in checked), checked)
    return success(call, "The books agree." if not answer.broken else "The books do not agree.", answer).as_response()


ROUTES: Final = (integrity,)
