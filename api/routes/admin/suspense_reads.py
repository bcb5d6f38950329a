"""Money that belongs nowhere yet, and everything that waits for somebody: listed.

Read next: `suspense.py` for what is done about them, `../../../projections/dead_letter_list.py`.
"""

from typing import Any, Final

from litestar import Request, Response, get

from api import payment_examples as examples
from api.call import call_of
from api.documented import Documented, opened_to
from api.envelope import Pagination
from api.queries import Cursor, Paging, read_query
from api.reads import list_response
from api.security import ADMIN_OR_FINANCE
from ledger.errors import InvalidCommand, ReadModelBehind
from projections.dead_letter_list import DeadLetterView, LetterKind, LetterStatus, list_letters
from projections.suspense import SuspenseStatus, SuspenseView, list_suspense


class SuspenseQuery(Cursor, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """`open`: something of it still waits."""

    status: SuspenseStatus | None = None


class DeadLettersQuery(Paging, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Of which kind, and what became of them."""

    kind: LetterKind | None = None
    status: LetterStatus | None = None


@get(
    "/api/admin/suspense",
    opt=opened_to(
        ADMIN_OR_FINANCE,
        Documented(
            summary="Money that belongs nowhere yet",
            description="It came beyond an amount due, or with a delivery that could not be true.",
            tag="admin",
            query=SuspenseQuery,
            answer=list[SuspenseView],
            answers={200: "A page of items; `meta.nextCursor` leads on while writes go on."},
            refusals=(InvalidCommand, ReadModelBehind),
            answer_example=[examples.SUSPENSE_VIEW],
        ),
    ),
)
async def suspense(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Newest first unless asked otherwise."""
    call = call_of(request)
    query = read_query(call, SuspenseQuery)
    answer = await list_suspense(
        call.resources.models,
        status=query.status,
        page=query.page,
        limit=query.limit,
        sort_order=query.sort_order,
        after=query.after,
        min_position=query.min_position,
    )
    return list_response(call, "Suspense.", answer, _items)


@get(
    "/api/admin/dead-letters",
    opt=opened_to(
        ADMIN_OR_FINANCE,
        Documented(
            summary="Dead letters",
            description="Deliveries of webhooks that could not be true (`webhook`), and events that a read model could "
            "not apply (`projection`).",
            tag="admin",
            query=DeadLettersQuery,
            answer=list[DeadLetterView],
            answers={200: "A page of dead letters."},
            refusals=(InvalidCommand, ReadModelBehind),
            answer_example=[examples.DEAD_LETTER],
        ),
    ),
)
async def dead_letters(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Newest first unless asked otherwise."""
    call = call_of(request)
    query = read_query(call, DeadLettersQuery)
    answer = await list_letters(
        call.resources.models,
        kind=query.kind,
        status=query.status,
        page=query.page,
        limit=query.limit,
        sort_order=query.sort_order,
        min_position=query.min_position,
    )
    return list_response(call, "Dead letters.", answer, _letters)


def _items(rows: list[SuspenseView], _page: Pagination) -> list[SuspenseView]:
    return rows


def _letters(rows: list[DeadLetterView], _page: Pagination) -> list[DeadLetterView]:
    return rows


ROUTES: Final = (suspense, dead_letters)
