"""Events that could not be applied: listing them, applying them again, leaving them out for ever.

A dead letter parks its stream in one build; both ways out apply the stream's later events too, in one transaction with
the build's row locked, so that the build is again what it would have been. Imports `ledger` and asyncpg only.
Read next: `advance.py`, which makes dead letters.
"""

from datetime import datetime
from typing import Any, Final

import msgspec

from ledger.errors import Conflict, NotFound
from projections.advance import apply_while_possible, said_by
from projections.builds import Build, load_build, page_transaction
from projections.catalogue import projection_named
from projections.cursor import Slice
from projections.log import read_stream
from projections.projection import Connection, LogEvent, Pool

_PAGE: Final = 2000
_COLUMNS: Final = "id, name, build, stream, position, event_type, tries, at, state"


class DeadLetter(msgspec.Struct, frozen=True, rename="camel"):
    """An event that waits, and its stream with it. `read_model` and `build` say where."""

    id: int
    read_model: str
    build: int
    stream: str
    position: int
    event_type: str
    tries: int
    at: datetime
    state: str


async def list_dead_letters(
    pool: Pool, *, state: str | None = "parked", page: int = 1, limit: int = 20
) -> Slice[DeadLetter]:
    """Dead letters of all read models, newest first; `state` parked, replayed, skipped or None for all."""
    where = "WHERE ($1::text IS NULL OR state = $1)"
    rows = await pool.fetch(
        f"SELECT n.total, d.* FROM (SELECT count(*) AS total FROM read_models.dead_letters {where}) AS n "
        f"LEFT JOIN LATERAL (SELECT {_COLUMNS} FROM read_models.dead_letters {where} "
        "ORDER BY id DESC LIMIT $2 OFFSET $3) AS d ON true ORDER BY d.id DESC",
        state,
        limit,
        (page - 1) * limit,
    )
    letters = [_letter(row) for row in rows if row["id"] is not None]
    return Slice(letters, rows[0]["total"], page, limit, None)


async def replay_dead_letter(pool: Pool, dead_letter_id: int) -> None:
    """Apply the event and all later ones of its stream. `Conflict` if it still cannot be applied.

    A later event that cannot be applied is a dead letter of its own then.
    """
    await _unpark(pool, dead_letter_id, "replayed")


async def skip_dead_letter(pool: Pool, dead_letter_id: int) -> None:
    """Leave this event out of the read model for ever, in later builds too, and apply the later ones of its stream."""
    await _unpark(pool, dead_letter_id, "skipped")


async def _unpark(pool: Pool, dead_letter_id: int, outcome: str) -> None:
    async with pool.acquire() as connection, page_transaction(connection):
        found = await connection.fetchrow(
            "SELECT name, build FROM read_models.dead_letters WHERE id = $1", dead_letter_id
        )
        if found is None:
            raise NotFound(f"No dead letter {dead_letter_id}.")
        # The build first, then the letter: the order in which parking takes them.
        build = await load_build(connection, projection_named(found["name"]), found["build"], lock=True)
        row = await connection.fetchrow(
            f"SELECT {_COLUMNS} FROM read_models.dead_letters WHERE id = $1 FOR UPDATE", dead_letter_id
        )
        if build is None or row is None:
            raise NotFound(f"No dead letter {dead_letter_id}.")
        letter = _letter(row)
        if letter.state != "parked":
            raise Conflict(f"Dead letter {letter.id} was already {letter.state}.")
        await connection.execute(
            "UPDATE read_models.dead_letters SET state = $2 WHERE id = $1", dead_letter_id, outcome
        )
        start = letter.position if outcome == "replayed" else letter.position + 1
        poison = await _apply_stream(connection, build, letter.stream, start)
        if poison is None:
            return
        event, error = poison
        if outcome == "replayed" and event.position == letter.position:
            raise Conflict(f"The event at position {event.position} still cannot be applied.") from error
        await connection.execute(
            "INSERT INTO read_models.dead_letters (name, build, stream, position, event_type, error, tries) "
            "VALUES ($1, $2, $3, $4, $5, $6, 1)",
            *build.key,
            event.stream,
            event.position,
            event.type,
            said_by(error),
        )


async def _apply_stream(
    connection: Connection, build: Build, stream: str, start: int
) -> tuple[LogEvent, Exception] | None:
    """Apply the stream's events from `start` up to the checkpoint; the one that stops it, if one does."""
    version = 0
    while True:
        page = await read_stream(
            connection, stream, version, start, build.position, _PAGE, metadata=build.projection.reads_metadata
        )
        events = [event for event in page.events if event.position not in build.skipped]
        done, error = await apply_while_possible(connection, build, events)
        if error is not None:
            return events[done], error
        if len(page.events) < _PAGE:
            return None
        version = page.events[-1].version


def _letter(row: Any) -> DeadLetter:
    return DeadLetter(
        row["id"],
        row["name"],
        row["build"],
        row["stream"],
        row["position"],
        row["event_type"],
        row["tries"],
        row["at"],
        row["state"],
    )
