"""Our log for programs written with the `eventsourcing` library: its `ApplicationRecorder`, synchronous, over asyncpg.

Anybody's `Application` or `ProjectionRunner` of that library reads the log with `PERSISTENCE_MODULE=ledger.store.persistence`
(that module has the mapper and the factory). Writing is refused unless it is asked for: what is appended here passes no
rule. Imports asyncpg and the library. Read next: `persistence.py`, then `append.py`, which appends for it.
"""

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence
from concurrent.futures import CancelledError
from datetime import UTC, datetime
from threading import Lock, Thread
from typing import Any, Final, TypeVar
from uuid import UUID

import asyncpg
import structlog
import uuid_utils
from eventsourcing.persistence import (
    ApplicationRecorder,
    DataError,
    IntegrityError,
    InterfaceError,
    ListenNotifySubscription,
    Notification,
    NotSupportedError,
    OperationalError,
    StoredEvent,
)
from eventsourcing.utils import retry

from ledger import ids
from ledger.audit.chain import GENESIS, event_hash
from ledger.store.append import PostgresStore
from ledger.store.codec import CATEGORIES, UPCASTERS, Actor, Metadata, encode
from ledger.store.port import AmbiguousAppendError, AppendBatch, Appended, Command, NewEvent, Read, RejectedAppendError
from ledger.store.work import digest_of, stored_answer

SELECT_EVENTS: Final = """
SELECT version, type, data FROM ledger.events
WHERE stream = $1 AND version > coalesce($2, -1) AND version <= coalesce($3, 2147483647) ORDER BY version {} LIMIT $4
"""
SELECT_NOTIFICATIONS: Final = """
SELECT position, stream, version, type, data FROM ledger.events
WHERE position >= $1 AND position <= coalesce($2, 9223372036854775807) AND (cardinality($3::text[]) = 0 OR type = ANY ($3))
ORDER BY position LIMIT $4
"""
# In one statement, so that the head is that of the versions beside it.
LAST_VERSIONS: Final = """
SELECT h.position, s.stream, e.version, e.hash
FROM ledger.head h CROSS JOIN unnest($1::text[]) AS s(stream)
LEFT JOIN LATERAL (SELECT version, hash FROM ledger.events v WHERE v.stream = s.stream
                   ORDER BY version DESC LIMIT 1) AS e ON true
WHERE h.shard = 0
"""
HEAD: Final = "SELECT nullif(position, 0) FROM ledger.head WHERE shard = 0"

CALLER: Final = "eventsourcing"
POLL_SECONDS: Final = 5.0
"""A notification is a hint; so often readers look whether one was missed."""
PATIENCE_SECONDS: Final = 30.0

T = TypeVar("T")
log = structlog.get_logger(__name__)
READ_TRIES: Final = 10
READ_PAUSE_SECONDS: Final = 0.2
CUT: Final = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
_again: Final = retry((InterfaceError, OperationalError), max_attempts=READ_TRIES, wait=READ_PAUSE_SECONDS)


class LedgerRecorder(ApplicationRecorder):
    """Reads the log, and appends to it if `writable`. May be called by several threads."""

    def __init__(self, dsn: str, *, writable: bool = False, role: str | None = None) -> None:
        """`dsn` must reach the server directly. `role` is taken on by SET ROLE at connecting."""
        self._dsn = dsn
        self._writable = writable
        self._role = {"role": role} if role else {}
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="ledger-recorder", daemon=True)
        self._thread.start()
        self._pool: Any = None
        self._store = PostgresStore(dsn, role=role)
        self._writing = asyncio.Lock()
        self._listener: asyncio.Task[None] | None = None
        self.subscriptions: set[LedgerSubscription] = set()
        self._gate = Lock()
        self._closed = False
        try:
            self._run(self._open())
        except BaseException:
            self.close()
            raise

    async def _open(self) -> None:
        settings = {"application_name": "ledger-recorder", **self._role}
        self._pool = await asyncpg.create_pool(self._dsn, min_size=1, max_size=4, server_settings=settings)
        if self._writable:
            await self._store.open()

    def close(self) -> None:
        """End subscriptions, let go of connections, end the thread. A second time does nothing."""
        with self._gate:
            if self._closed:
                return
            self._closed = True
        for subscription in [*self.subscriptions]:
            subscription.stop()
        asyncio.run_coroutine_threadsafe(self._let_go(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _let_go(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if self._pool is not None:
            self._pool.terminate()
        if self._writable:
            await self._store.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it on the recorder's own loop; what asyncpg raises becomes what the library's readers know."""
        with self._gate:  # whatever comes through before closing is seen, and ended, by `_let_go`
            if self._closed:
                work.close()
                raise InterfaceError("The recorder is closed.")
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except CancelledError:
            raise InterfaceError("The recorder was closed meanwhile.") from None
        except (asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            # The second is what a pool may say that puts back a connection cut in the middle.
            raise InterfaceError(str(error)) from error
        except (asyncpg.PostgresError, OSError) as error:
            raise OperationalError(str(error)) from error

    # reading

    @_again
    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """Events of the stream of that name."""
        query = SELECT_EVENTS.format("DESC" if desc else "ASC")
        rows = self._run(self._pool.fetch(query, str(originator_id), gt, lte, limit))
        return [StoredEvent(originator_id, *row) for row in rows]

    @_again
    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """Events by position, which is the notification's id. Topics are our tags (`points.spent.v1`)."""
        first = 1 if start is None else start + (not inclusive_of_start)
        rows = self._run(self._pool.fetch(SELECT_NOTIFICATIONS, first, stop, _with_older(topics), limit))
        return [
            Notification(originator_id=stream, originator_version=version, topic=tag, state=data, id=position)
            for position, stream, version, tag, data in rows
        ]

    @_again
    def max_notification_id(self) -> int | None:
        """Position of the last event, None if there is none."""
        rows = self._run(self._pool.fetch(HEAD))
        return rows[0][0]  # type: ignore[no-any-return]  # a record's value

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> "LedgerSubscription":
        """Events after that position, and then new ones as they are appended, by whomever."""
        self._run(self._start_listening())
        return LedgerSubscription(self, gt, topics)

    async def _start_listening(self) -> None:
        self._listener = self._listener or asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        while True:
            with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await self._listen_while_connected()
            log.warning("the connection that listens is lost")
            await asyncio.sleep(0.2)

    async def _listen_while_connected(self) -> None:
        connection = await asyncpg.connect(
            self._dsn, server_settings={"application_name": "ledger-listen", **self._role}
        )
        gone = asyncio.Event()
        connection.add_termination_listener(lambda _: gone.set())
        try:
            await connection.add_listener("ledger_head", lambda *_: self._wake())
            while not gone.is_set():
                self._wake()  # for what came while nobody listened, and for hints that got lost
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(gone.wait(), POLL_SECONDS)
        finally:
            connection.terminate()

    def _wake(self) -> None:
        for subscription in [*self.subscriptions]:
            subscription.wake()

    # writing

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """Append all or none, and return their positions. `IntegrityError`: a version is taken, or does not follow."""
        if kwargs.get("tracking") is not None:
            raise NotSupportedError("The ledger keeps no tracking records; keep them beside your view.")
        if not stored_events:
            return []
        if not self._writable:
            raise NotSupportedError("This recorder only reads. What is appended through it would pass no rule.")
        return self._run(self._insert(stored_events))

    async def _insert(self, stored_events: Sequence[StoredEvent]) -> Sequence[int]:
        async with self._writing:  # one at a time: each stands on the versions it has read
            streams = list({str(event.originator_id) for event in stored_events})
            batch = _batch_of(stored_events, await self._last_versions(streams))
            try:
                outcome = await self._append(batch)
            except TimeoutError as error:
                raise OperationalError("The database is away; whether the events are there is unknown.") from error
            except RejectedAppendError as error:
                broken = isinstance(error.__cause__, asyncpg.IntegrityConstraintViolationError)
                raise (IntegrityError if broken else DataError)(str(error)) from error
        if outcome.kept:
            # A first try whose answer was lost had succeeded.
            return list(range(outcome.kept[0].first_position, outcome.kept[0].last_position + 1))
        if outcome.bad_units:
            raise IntegrityError("Somebody else has appended to one of the streams meanwhile.")
        return list(range(outcome.head_before + 1, outcome.head + 1))

    async def _last_versions(self, streams: Sequence[str]) -> list[Any]:
        """Nothing has been sent yet: a connection that was cut is no reason to give up."""
        for _ in range(READ_TRIES):
            try:
                rows: list[Any] = await self._pool.fetch(LAST_VERSIONS, streams)
            except (*CUT, asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError):
                await asyncio.sleep(READ_PAUSE_SECONDS)
            else:
                return rows
        raise OperationalError("The database is away.")

    async def _append(self, batch: AppendBatch) -> Appended:
        while True:
            try:
                return await self._store.append(batch)
            except AmbiguousAppendError as error:
                log.warning("append without an answer", error=str(error))
                await asyncio.wait_for(self._store.reconnect(), PATIENCE_SECONDS)


class LedgerSubscription(ListenNotifySubscription[LedgerRecorder]):
    """Pulls events in a thread of its own whenever the head has moved."""

    def __init__(self, recorder: LedgerRecorder, gt: int | None = None, topics: Sequence[str] = ()) -> None:
        super().__init__(recorder, gt, topics)
        recorder.subscriptions.add(self)
        self.wake()  # for what came between its first look and now

    def wake(self) -> None:
        """Look again."""
        self._has_been_notified.set()

    def stop(self) -> None:
        """Stop, and be woken no more."""
        self._recorder.subscriptions.discard(self)
        super().stop()


def _with_older(topics: Sequence[str]) -> list[str]:
    """These tags and the retired ones that are read as one of them."""
    wanted = [*topics]
    for tag in wanted:
        wanted += [old for old, (new, _) in UPCASTERS.items() if new == tag and old not in wanted]
    return wanted


def _batch_of(stored_events: Sequence[StoredEvent], last_versions: Sequence[Any]) -> AppendBatch:
    """One command of all events, chained to what their streams end with."""
    known = last_versions[0]["position"]
    version = {row["stream"]: row["version"] for row in last_versions}
    last_hash = {row["stream"]: row["hash"] or GENESIS for row in last_versions}
    # -1 and not 0 where there is no stream yet: the library lets one begin with version 0, and the fence must see that.
    reads = [Read(stream, -1 if last is None else last, 0) for stream, last in version.items()]
    command_id = str(uuid_utils.uuid7())
    actor = Actor(CALLER, "service")
    metadata = encode(Metadata(actor, datetime.now(UTC), command_id, command_id, command_id))
    events = []
    for event in stored_events:
        stream, number, last = str(event.originator_id), event.originator_version, version[str(event.originator_id)]
        begin = (1,) if ids.category(stream) in CATEGORIES else (0, 1)
        if number not in (begin if last is None else (last + 1,)):
            raise IntegrityError(f"Version {number} of {stream} does not follow version {last}.")
        hashed = event_hash(last_hash[stream], stream, number, event.topic, metadata, event.state)
        events.append(NewEvent(stream, number, event.topic, metadata, event.state, hashed))
        version[stream], last_hash[stream] = number, hashed
    digest = digest_of(CALLER, command_id)
    command = Command(0, CALLER, command_id, digest, bytes(32), stored_answer(201, None), events)
    return AppendBatch(known, [command], reads)
