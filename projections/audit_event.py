"""One event under the microscope: its metadata, the state of its stream before and after, and whether the chain holds.

Read from the log alone: the stream is folded from its first event and every hash recomputed on the way.
Imports `ledger` only. Read next: `../ledger/audit/chain.py`.
"""

import asyncio
from typing import Any, Final

import msgspec

from ledger.audit.chain import GENESIS, event_hash
from ledger.errors import EventNotFound
from ledger.store import codec
from projections.audit_trail import EventView, event_view
from projections.projection import Connection
from projections.read_models import Answer, ReadModels

_COLUMNS: Final = "position, stream, version, type, recorded_at, metadata, data, hash"
_EVENT: Final = f"SELECT {_COLUMNS} FROM ledger.events WHERE position = $1"
_STREAM: Final = f"""
SELECT {_COLUMNS} FROM ledger.events WHERE stream = $1 AND version > $2 AND version <= $3 ORDER BY version LIMIT $4
"""
_PAGE: Final = 2000
_NULL: Final = msgspec.Raw(b"null")


class EventDetail(msgspec.Struct, frozen=True, rename="camel"):
    """An event in full. States are JSON as kept in snapshots, null before a stream's first event.

    `chain_valid`: the hash of every event of the stream up to this one recomputes from the one before it.
    """

    event: EventView
    metadata: msgspec.Raw
    state_before: msgspec.Raw
    state_after: msgspec.Raw
    hash: str
    previous_hash: str
    chain_valid: bool


async def get_event(models: ReadModels, position: int) -> Answer[EventDetail]:
    """The event at that position, or `EventNotFound`."""
    async with models.pool.acquire() as connection:
        row = await connection.fetchrow(_EVENT, position)
        if row is None:
            raise EventNotFound(f"No event at position {position}.")
        before, after, previous, valid = await _fold(connection, row["stream"], row["version"])
    detail = EventDetail(
        event_view(row), msgspec.Raw(row["metadata"]), before, after, row["hash"].hex(), previous.hex(), valid
    )
    return Answer(detail, position, row["version"])


async def _fold(connection: Connection, stream: str, version: int) -> tuple[msgspec.Raw, msgspec.Raw, bytes, bool]:
    """State before and after, the hash before, and whether all hashes recompute."""
    category = codec.category_of(stream)
    state: Any = category.initial()
    before = _NULL
    previous = hash_ = GENESIS
    valid = True
    reached = 0
    while reached < version:
        rows = await connection.fetch(_STREAM, stream, reached, version, _PAGE)
        if not rows:
            valid = False
            break
        for row in rows:
            if row["version"] == version and version > 1:
                before = _json(category, state)
            previous, hash_ = hash_, row["hash"]
            computed = event_hash(previous, stream, row["version"], row["type"], row["metadata"], row["data"])
            valid = valid and row["version"] == reached + 1 and computed == hash_
            state = category.evolve(state, codec.decode(row["type"], row["data"]))
            reached = row["version"]
        await asyncio.sleep(0)  # a long stream must not hold up other requests
    return before, _json(category, state), previous, valid


def _json(category: codec.Category, state: Any) -> msgspec.Raw:
    return msgspec.Raw(category.encode_state(state))
