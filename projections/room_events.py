"""Which events were told to a purchase, a buyer or a seller: one row an event, so that they can be told again.

Many streams feed such a room: purchases, payments, disputes. What the read model does not hold yet is read from the
end of the log. Imports `ledger` only. Read next: `live_events.py`, `../api/realtime.py`, which asks.
"""

from collections.abc import Mapping
from typing import ClassVar, Final

from ledger.errors import ReadModelBehind
from projections.live_checkpoint import EVENTS_AT_ONCE
from projections.live_events import messages_of
from projections.live_purchases import DISPUTE_EVENTS, PAYMENT_EVENTS, PURCHASE_EVENTS
from projections.log import read_page, read_positions
from projections.projection import Connection, LogEvent, Page, Table, Undecodable, copy_rows, table_names
from projections.read_models import ReadModels

TAIL_AT_MOST: Final = 20_000
"""So many events are searched one by one, where the read model is behind."""
COLUMN_OF_ROOM: Final[Mapping[str, str]] = {"request": "purchase_id", "buyer": "buyer_id", "seller": "seller_id"}
"""Kind of room → the column that names it."""

_TABLE: Final = Table(
    part="",
    columns=(
        ("position", "bigint NOT NULL"),
        ("stream", 'text COLLATE "C" NOT NULL'),
        ("purchase_id", 'text COLLATE "C" NOT NULL'),
        ("buyer_id", 'text COLLATE "C" NOT NULL'),
        ("seller_id", 'text COLLATE "C" NOT NULL'),
    ),
    key=("position",),
    upserted=False,
    indexes=("(purchase_id, position)", "(buyer_id, position)", "(seller_id, position)"),
    subject=("", "stream"),
)
_COLUMNS: Final = tuple(name for name, _ in _TABLE.columns)


class RoomEvents:
    """One row an event that names a purchase and its parties, and is told."""

    name: ClassVar[str] = "room_events"
    code_version: ClassVar[int] = 1
    tables: ClassVar[tuple[Table, ...]] = (_TABLE,)
    reads_data: ClassVar[bool] = True
    reads_metadata: ClassVar[bool] = False

    def page(self, build: int) -> Page:
        """An empty page for that build's table."""
        return _RoomEventsPage(table_names(self, build)["main"])


_ROOM_EVENTS: Final = RoomEvents()
_TOLD: Final = frozenset((*PURCHASE_EVENTS, *PAYMENT_EVENTS, *DISPUTE_EVENTS))


class _RoomEventsPage:
    """Rows to be, in the order of the table's columns."""

    __slots__ = ("_rows", "_table")

    def __init__(self, table: str) -> None:
        self._table = table
        self._rows: list[tuple[int, str, str, str, str]] = []

    def apply(self, event: LogEvent) -> None:
        if event.type in _TOLD:
            fact = event.event
            self._rows.append((event.position, event.stream, fact.purchase_request_id, fact.buyer_id, fact.seller_id))

    async def flush(self, connection: Connection) -> None:
        if self._rows:
            await copy_rows(connection, self._table, _COLUMNS, self._rows)


async def events_of_room(
    models: ReadModels, kind: str, id_: str, after: int, up_to: int, at_most: int
) -> list[LogEvent] | None:
    """The events told to the room `<kind>-<id_>` in (after, up_to], in order; None if they are more than `at_most`.

    `ReadModelBehind` where the read model is further behind than the end of the log is searched.
    """
    query = (
        f"SELECT t.position FROM {{main}} AS t WHERE t.{COLUMN_OF_ROOM[kind]} = $1 "
        "AND t.position > $2 AND t.position <= $3 ORDER BY t.position DESC LIMIT $4"
    )
    found = await models.read(_ROOM_EVENTS, query, id_, after, up_to, at_most + 1)
    if len(found.rows) > at_most:
        return None
    read_to = max(after, found.position)
    if up_to - read_to > TAIL_AT_MOST:
        raise ReadModelBehind(
            f"The read model {_ROOM_EVENTS.name} is at position {found.position}, not yet at {up_to}."
        )
    async with models.pool.acquire() as connection:
        events = (await read_positions(connection, sorted(row["position"] for row in found.rows))).events
        room = f"{kind}-{id_}"
        while read_to < up_to and len(events) <= at_most:
            page = await read_page(connection, read_to, min(read_to + EVENTS_AT_ONCE, up_to), metadata=False)
            events += [event for event in page.events if _is_told_to(event, room)]
            read_to = page.up_to if page.events else up_to
    return events if len(events) <= at_most else None


def _is_told_to(event: LogEvent, room: str) -> bool:
    if event.type not in _TOLD or type(event.event) is Undecodable:
        return False
    return any(room in message.rooms for message in messages_of(event))
