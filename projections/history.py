"""A stream folded from the log up to a position: what was true then, as it was recorded then.

Imports `ledger` only. Read next: `cuts.py` for the position, `payment_ledger.py`.
"""

from datetime import datetime
from typing import Any, Final

import msgspec

from ledger.store import codec
from projections.cuts import find_cut
from projections.log import read_stream
from projections.projection import LogEvent, Pool, Undecodable

AsOf = datetime | int | None
"""A position, or an instant of recording, both included; None is now."""

LAST: Final = 2**63 - 1
_PAGE: Final = 1000


class Folded(msgspec.Struct, frozen=True):
    """A stream as it was. `version` 0: there was nothing yet. `first` is its first event, whenever that came.

    `events` are those that made the state.
    """

    state: Any
    version: int
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


async def position_as_of(pool: Pool, as_of: AsOf, now: datetime) -> int:
    """Where the log ends for an answer as of then. Refused: what has not happened yet."""
    async with pool.acquire() as connection:
        return (await find_cut(connection, as_of, now)).position


async def fold_stream(pool: Pool, stream: str, up_to: int, *, metadata: bool = False) -> Folded:
    """Fold it up to that position. Raises what an event that cannot be read raises: half a history is none."""
    category = codec.category_of(stream)
    state = category.copy(category.initial())
    made: list[LogEvent] = []
    version = 0
    async with pool.acquire() as connection:
        while True:
            page = await read_stream(connection, stream, version, 0, up_to, _PAGE, metadata=metadata)
            for logged in page.events:
                state = category.evolve(state, _readable(logged))
                made.append(logged)
            if len(page.events) < _PAGE:
                break
            version = page.events[-1].version
        if made:
            first = made[0].event
        else:
            begun = (await read_stream(connection, stream, 0, 0, LAST, 1, metadata=False)).events
            first = _readable(begun[0]) if begun else None
    return Folded(state, len(made), made, first)


def _readable(logged: LogEvent) -> Any:
    if isinstance(logged.event, Undecodable):
        raise logged.event.error
    return logged.event
