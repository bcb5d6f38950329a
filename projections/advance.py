"""Folding a page of events and writing it: checkpoint and rows in one transaction, a savepoint for each build.

Also what happens to an event that cannot be applied: it is found by halving, tried three times, and then parks its
stream in that build, or stops the build if it is not the one that answers. Imports `ledger` and asyncpg only.
Read next: `runner.py` and `rebuild.py`, which call this.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import asyncpg
import structlog

from ledger.away import is_away
from projections.builds import Build, load_build, move_checkpoint, page_transaction, set_state
from projections.log import LogPage
from projections.projection import Connection, LogEvent, Page, Undecodable

TRIES: Final = 3
_SLICE: Final = 500
"""So many events are folded between two looks at the event loop."""
_log: Final = structlog.get_logger("projections")


def is_transient(error: BaseException) -> bool:
    """Whether the database or the connection is to blame, and not what we wrote."""
    # Class 25: what a transaction says whose connection, or an earlier statement, has failed.
    return is_away(error) or (isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "").startswith("25"))


class Lost(Exception):
    """Somebody else moved, paused or dropped the build."""


def events_for(build: Build, page: LogPage) -> Sequence[LogEvent]:
    """The events of the page this build has not seen and may see."""
    events: Sequence[LogEvent] = page.events
    if build.position > page.after:
        events = events[build.position - page.after :]
    if build.parked or build.skipped:
        events = [e for e in events if e.stream not in build.parked and e.position not in build.skipped]
    return events


def fold(build: Build, events: Sequence[LogEvent]) -> Page:
    """Events in memory, as rows to be written."""
    page = build.projection.page(build.number)
    _apply(build, page, events)
    return page


async def fold_politely(build: Build, page: LogPage) -> Page:
    """As `fold`, for a whole page of the log, letting other tasks run in between: the page before is being written."""
    folded = build.projection.page(build.number)
    events = events_for(build, page)
    for start in range(0, len(events), _SLICE):
        _apply(build, folded, events[start : start + _SLICE], undecodable=page.undecodable)
        await asyncio.sleep(0)
    return folded


def _apply(build: Build, page: Page, events: Sequence[LogEvent], *, undecodable: bool = True) -> None:
    apply = page.apply
    if undecodable and build.projection.reads_data:
        for event in events:
            if type(event.event) is Undecodable:
                raise event.event.error
            apply(event)
    else:
        for event in events:
            apply(event)


async def write(connection: Connection, build: Build, page: Page, position: int, rate: float | None = None) -> None:
    """One build's rows and checkpoint, in a savepoint of the open transaction. Raises `Lost` before writing a row."""
    async with connection.transaction():
        if not await move_checkpoint(connection, build, position, rate):
            raise Lost
        await page.flush(connection)


async def apply_while_possible(
    connection: Connection, build: Build, events: Sequence[LogEvent]
) -> tuple[int, Exception | None]:
    """Write the events, halving around the one that cannot be: how many were applied, and what the next one raised.

    Inside a transaction in which the build's row is locked; the checkpoint is the caller's business.
    """
    done = 0
    size = len(events)
    while done < len(events):
        chunk = events[done : done + size]
        try:
            async with connection.transaction():
                await fold(build, chunk).flush(connection)
        except Exception as error:
            if is_transient(error):
                raise
            if len(chunk) == 1:
                return done, error
            size = (len(chunk) + 1) // 2
        else:
            done += len(chunk)
            size *= 2
    return done, None


async def isolate(connection: Connection, build: Build, page: LogPage) -> tuple[LogEvent, Exception] | None:
    """Advance one build by the page as far as it goes; the event that stops it, if one does, and why."""
    events = events_for(build, page)
    async with page_transaction(connection):
        now = await load_build(connection, build.projection, build.number, lock=True)
        if now is None or (now.position, now.state) != (build.position, build.state):
            raise Lost
        done, error = await apply_while_possible(connection, build, events)
        position = page.up_to if error is None else events[done].position - 1
        await move_checkpoint(connection, build, position)
    build.position = position
    return None if error is None else (events[done], error)


async def isolate_and_park(connection: Connection, build: Build, page: LogPage) -> str:
    """Get one build over the page, alone. Answers 'advanced', 'parked' (a stream waits from now on) or 'stuck'."""
    tries = 0
    poison = None
    while True:
        found = await isolate(connection, build, page)
        if found is None:
            return "advanced"
        event, error = found
        tries = tries + 1 if poison == event.position else 1
        poison = event.position
        if tries < TRIES:
            continue
        log = _log.bind(
            read_model=build.projection.name, build=build.number, position=event.position, stream=event.stream
        )
        if not build.active:
            # Nobody reads this build: better stopped and repaired than finished with a hole in it.
            await set_state(connection, build, "stuck")
            log.error("read_model_stuck", error=repr(error))
            return "stuck"
        await park(connection, build, event, error)
        log.error("event_parked", error=repr(error))
        return "parked"


async def park(connection: Connection, build: Build, event: LogEvent, error: Exception) -> None:
    """A dead letter: from this event on its stream waits in this build. The checkpoint moves over it."""
    async with page_transaction(connection):
        if not await move_checkpoint(connection, build, event.position):
            raise Lost
        await connection.execute(
            "INSERT INTO read_models.dead_letters (name, build, stream, position, event_type, error, tries) "
            "VALUES ($1, $2, $3, $4, $5, $6, $7)",
            build.projection.name,
            build.number,
            event.stream,
            event.position,
            event.type,
            said_by(error),
            TRIES,
        )


def said_by(error: Exception) -> str:
    """What a dead letter keeps of it, as PostgreSQL takes it: errors quote what they stumbled over."""
    text = f"{type(error).__name__}: {error}".replace("\0", "\\0")
    return text.encode("utf-8", "backslashreplace").decode()[:2000]
