"""The log as an auditor searches it: by stream, type, actor, correlation and time of recording.

The table holds what is searched for; the events themselves are joined from the log by position. One event with the
state before and after it is in `audit_event.py`. Imports `ledger` only. Read next: `audit_event.py`.
"""

from datetime import datetime
from typing import Any, ClassVar, Final

import msgspec

from ledger.store.codec import Actor, decode_metadata
from projections.as_text import copy_as_text
from projections.cursor import Slice, SortOrder
from projections.list_pages import page_of_list, start_of
from projections.projection import Connection, LogEvent, Page, Table, table_names
from projections.read_models import Answer, ReadModels

COUNTED_AT_MOST: Final = 1_000_000
"""`total` stops counting here: nobody pages that far, and counting a hundred million would take the answer's time."""

_TABLE: Final = Table(
    part="",
    columns=(
        ("position", "bigint NOT NULL"),
        ("stream", 'text COLLATE "C" NOT NULL'),
        ("type", 'text COLLATE "C" NOT NULL'),
        ("actor", 'text COLLATE "C" NOT NULL'),
        ("correlation_id", 'text COLLATE "C" NOT NULL'),
        ("recorded_at", "timestamptz NOT NULL"),
    ),
    key=("position",),
    upserted=False,
    indexes=(
        "(stream, position)",
        "(type, position)",
        "(actor, position)",
        "(correlation_id, position)",
        "(recorded_at, position)",
    ),
    subject=("", "stream"),
)
_COLUMNS: Final = tuple(name for name, _ in _TABLE.columns)


# Recording times grow with positions: an instant is a position, and the index that filters also orders.
_SINCE: Final = "t.position >= (SELECT s.position FROM {{main}} AS s WHERE s.recorded_at >= {} ORDER BY s.recorded_at, s.position LIMIT 1)"
_UNTIL: Final = (
    "t.position < coalesce((SELECT u.position FROM {{main}} AS u WHERE u.recorded_at >= {} "
    "ORDER BY u.recorded_at, u.position LIMIT 1), 9223372036854775807)"
)


class AuditTrail:
    """One row an event."""

    name: ClassVar[str] = "audit_trail"
    code_version: ClassVar[int] = 1
    tables: ClassVar[tuple[Table, ...]] = (_TABLE,)
    reads_data: ClassVar[bool] = False
    reads_metadata: ClassVar[bool] = True

    def page(self, build: int) -> Page:
        """An empty page for that build's table."""
        return _AuditTrailPage(table_names(self, build)["main"])


_AUDIT_TRAIL: Final = AuditTrail()


class _Origin(msgspec.Struct, frozen=True, rename="camel"):
    """The part of an event's metadata that is searched for."""

    actor: Actor
    correlation_id: str


_decode_origin: Final = msgspec.json.Decoder(_Origin).decode


class _AuditTrailPage:
    """Rows to be, in the order of the table's columns."""

    __slots__ = ("_rows", "_table")

    def __init__(self, table: str) -> None:
        self._table = table
        self._rows: list[tuple[int, str, str, str, str, datetime]] = []

    def apply(self, event: LogEvent) -> None:
        origin = _decode_origin(event.metadata)
        self._rows.append(
            (event.position, event.stream, event.type, origin.actor.id, origin.correlation_id, event.recorded_at)
        )

    async def flush(self, connection: Connection) -> None:
        if self._rows:
            await copy_as_text(connection, self._table, _COLUMNS, self._rows)


class EventView(msgspec.Struct, frozen=True, rename="camel"):
    """An event with what surrounds it. `data` is the stored JSON as it is, `hash` hexadecimal."""

    position: int
    stream: str
    version: int
    type: str
    recorded_at: datetime
    occurred_at: datetime
    actor: Actor
    request_id: str
    command_id: str
    correlation_id: str
    causation_id: str | None
    data: msgspec.Raw
    hash: str


class _Occurred(msgspec.Struct, frozen=True, rename="camel"):
    occurred_at: datetime | None = None


_decode_occurred: Final = msgspec.json.Decoder(_Occurred).decode


def event_view(row: Any) -> EventView:
    """A row of the log as its view. An event that carries no business time occurred when it was decided."""
    metadata = decode_metadata(row["metadata"])
    return EventView(
        row["position"],
        row["stream"],
        row["version"],
        row["type"],
        row["recorded_at"],
        _decode_occurred(row["data"]).occurred_at or metadata.at,
        metadata.actor,
        metadata.request_id,
        metadata.command_id,
        metadata.correlation_id,
        metadata.causation_id,
        msgspec.Raw(row["data"]),
        row["hash"].hex(),
    )


async def list_events(
    models: ReadModels,
    *,
    stream: str | None = None,
    type_: str | None = None,
    actor: str | None = None,
    correlation_id: str | None = None,
    from_: datetime | None = None,
    to: datetime | None = None,
    page: int = 1,
    limit: int = 20,
    sort_order: SortOrder = "desc",
    after: str | None = None,
    min_position: int = 0,
) -> Answer[Slice[EventView]]:
    """Events by position, newest first, filtered; `from_` and `to` are times of recording, half-open.

    `after` is the cursor of the page before and takes the place of `page`. `total` is exact up to `COUNTED_AT_MOST`.
    """
    given = [
        (test, value)
        for test, value in (
            ("t.stream = {}", stream),
            ("t.type = {}", type_),
            ("t.actor = {}", actor),
            ("t.correlation_id = {}", correlation_id),
            (_SINCE, from_),
            (_UNTIL, to),
        )
        if value is not None
    ]
    start = start_of(after, sort_order)
    found = await models.read(
        _AUDIT_TRAIL,
        _list_query(tuple(test for test, _ in given), sort_order),
        start,
        limit + 1,  # one more tells whether there is a next page
        0 if after is not None else (page - 1) * limit,
        *(value for _, value in given),
        min_position=min_position,
        stream=stream or "",
    )
    return page_of_list(found, event_view, ordered_by="position", page=page, limit=limit, order=sort_order)


def _list_query(tests: tuple[str, ...], order: SortOrder) -> str:
    """The filters that are given, and no others, so that each finds its index. Built from literals of this file."""
    where = " AND ".join(["true", *(test.format(f"${number}") for number, test in enumerate(tests, 4))])
    beyond = ">" if order == "asc" else "<"
    return f"""
SELECT n.total, e.position, e.stream, e.version, e.type, e.recorded_at, e.metadata, e.data, e.hash
FROM (SELECT count(*) AS total FROM (SELECT 1 FROM {{main}} AS t WHERE {where} LIMIT {COUNTED_AT_MOST}) AS c) AS n
LEFT JOIN LATERAL (
  SELECT t.position FROM {{main}} AS t WHERE {where} AND t.position {beyond} $1
  ORDER BY t.position {order} LIMIT $2 OFFSET $3
) AS p ON true
LEFT JOIN ledger.events AS e ON e.position = p.position
ORDER BY e.position {order}
"""
