"""The log, for those who audit it: searched, and one event in full. Read next: `../../../projections/audit_trail.py`."""

import re
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath
from msgspec import Meta

from api import examples
from api.call import call_of
from api.documented import Documented, opened_to
from api.envelope import Pagination
from api.fields import Instant
from api.fields import optional_instant as optional
from api.queries import Cursor, Freshness, read_query
from api.reads import list_response, read_response, wait_for_log
from api.security import BACK_OFFICE
from ledger.errors import EventNotFound, InvalidCommand, ReadModelBehind
from projections.audit_event import EventDetail, get_event
from projections.audit_trail import EventView, list_events

LAST_POSITION: Final = 2**63 - 1
_POSITION: Final = re.compile(r"[1-9][0-9]{0,18}")

Filter = Annotated[str, Meta(min_length=1, max_length=255, description="1-255 characters, compared as a whole")]


class EventsQuery(
    Cursor,
    frozen=True,
    forbid_unknown_fields=True,
    rename={"from_": "from", "correlation_id": "correlationId"},
):
    """Filters of the log; `from` and `to` go by the time of recording, half-open."""

    stream: Filter | None = None
    type: Filter | None = None
    actor: Filter | None = None
    correlation_id: Filter | None = None
    from_: Instant | None = None
    to: Instant | None = None


class EventsPage(msgspec.Struct, frozen=True):
    """A page of the log."""

    events: list[EventView]
    pagination: Pagination


@get(
    "/api/admin/events",
    opt=opened_to(
        BACK_OFFICE,
        Documented(
            summary="The log of events",
            tag="admin",
            query=EventsQuery,
            answer=EventsPage,
            answers={200: "A page of events; `meta.nextCursor` leads on while writes go on."},
            refusals=(InvalidCommand, ReadModelBehind),
            answer_example=examples.EVENTS,
        ),
    ),
)
async def log_events(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Newest first unless asked otherwise."""
    call = call_of(request)
    query = read_query(call, EventsQuery)
    answer = await list_events(
        call.resources.models,
        stream=query.stream,
        type_=query.type,
        actor=query.actor,
        correlation_id=query.correlation_id,
        from_=optional("from", query.from_),
        to=optional("to", query.to),
        page=query.page,
        limit=query.limit,
        sort_order=query.sort_order,
        after=query.after,
        min_position=query.min_position,
    )
    return list_response(call, "Events of the log.", answer, EventsPage)


@get(
    "/api/admin/events/{position:str}",
    opt=opened_to(
        BACK_OFFICE,
        Documented(
            summary="One event in full",
            description="Its metadata, the state of its stream before and after, and whether the chain of hashes holds.",
            tag="admin",
            query=Freshness,
            answer=EventDetail,
            answers={200: "The event."},
            refusals=(InvalidCommand, EventNotFound, ReadModelBehind),
            answer_example=examples.EVENT_DETAIL,
        ),
    ),
)
async def log_event(request: Request[Any, Any, Any], position: FromPath[str]) -> Response[bytes]:
    """Read from the log itself, not from a read model."""
    call = call_of(request)
    query = read_query(call, Freshness)
    if _POSITION.fullmatch(position) is None or int(position) > LAST_POSITION:
        raise InvalidCommand.field("position", "must be a whole number from 1.")
    await wait_for_log(call, query.min_position)
    return read_response(call, "The event.", await get_event(call.resources.models, int(position)))


ROUTES: Final = (log_events, log_event)
