"""A stream folded from the log up to an instant or a position: what was true then, as it was recorded then.

Imports `ledger` only. Read next: `payment_ledger.py`.
"""

from datetime import datetime
from typing import Any, Final

import msgspec

from ledger.store import codec
from projections.log import head_of, read_stream
from projections.projection import LogEvent, Pool, Undecodable

AsOf = datetime | int | None
"""The end of an instant (of recording), or of a position; None is now."""

_PAGE: Final = 1000


class Folded(msgspec.Struct, frozen=True):
    """A stream as it was. `version` 0: there was nothing yet. `first` is its first event, whenever that came.

    `position` is how much of the log was looked at. `events` are those that made the state.
    """

    state: Any
    version: int
    position: int
    events: list[LogEvent]
    first: Any

    @property
    def created_at(self) -> datetime:
        """When the first event was recorded."""
        return self.events[0].recorded_at

    @property
    def updated_at(self) -> datetime:
        """When the last event was recorded."""
        return self.events[-1].recorded_at


async def fold_stream(pool: Pool, stream: str, as_of: AsOf = None, *, metadata: bool = False) -> Folded:
    """Fold it. Raises what an event that cannot be read raises: half a history is none."""
    category = codec.category_of(stream)
    state = category.copy(category.initial())
    made: list[LogEvent] = []
    first, version = None, 0
    async with pool.acquire() as connection:
        head = await head_of(connection)
        up_to = min(as_of, head) if isinstance(as_of, int) else head
        while True:
            page = await read_stream(connection, stream, version, 0, head, _PAGE, metadata=metadata)
            for logged in page.events:
                if isinstance(logged.event, Undecodable):
                    raise logged.event.error
                first = first or logged.event
                if logged.position > up_to or (isinstance(as_of, datetime) and logged.recorded_at > as_of):
                    return Folded(state, len(made), up_to, made, first)
                state = category.evolve(state, logged.event)
                made.append(logged)
            if len(page.events) < _PAGE:
                return Folded(state, len(made), up_to, made, first)
            version = page.events[-1].version
