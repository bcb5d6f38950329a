"""The `eventsourcing` library's own conformance cases against our log, and a projection as its documentation shows."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from threading import Thread
from time import monotonic, sleep
from typing import Any
from uuid import UUID, uuid4

import pytest
from eventsourcing import cryptography
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.persistence import (
    IntegrityError,
    NotSupportedError,
    ProgrammingError,
    StoredEvent,
    Tracking,
    TrackingRecorder,
)
from eventsourcing.popo import POPOTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from eventsourcing.utils import resolve_topic

from ledger.domain import points
from ledger.handler import Handler
from ledger.store.append import PostgresStore
from ledger.store.committer import Committer
from ledger.store.persistence import OF_STREAM, Ledger, StructMapper, StructTranscoder, event_of_stream
from ledger.store.recorder import LedgerRecorder
from tests.contract.batches import a_batch, a_command, an_event
from tests.contract.members import asked, balances, earn, register, spend

# The library's cases import its cipher, which needs a package we have no use for; its other one will do.
sys.modules.setdefault("eventsourcing.cipher", cryptography)
from eventsourcing.tests.persistence import (  # noqa: E402  # after the line above
    ApplicationRecorderTestCase,
    NonInterleavingNotificationIDsBaseCase,
)

pytestmark = pytest.mark.services


@pytest.fixture
def open_recorder(database_url: str) -> Iterator[Callable[..., LedgerRecorder]]:
    """Ask for recorders on one fresh log; without being told otherwise they may write."""
    opened: list[LedgerRecorder] = []

    def one_more(*, writable: bool = True) -> LedgerRecorder:
        role = "ledger_api" if writable else "ledger_read"
        opened.append(LedgerRecorder(database_url, writable=writable, role=role))
        return opened[-1]

    yield one_more
    for recorder in opened:
        recorder.close()


# ── the library's own cases ──


@pytest.fixture
def for_the_case(request: pytest.FixtureRequest, open_recorder: Callable[..., LedgerRecorder]) -> None:
    request.instance.create_recorder = open_recorder


@pytest.mark.usefixtures("for_the_case")
class TestApplicationRecorder(ApplicationRecorderTestCase[LedgerRecorder]):
    def new_originator_id(self) -> str:
        return f"conformance-{uuid4()}"

    def create_recorder(self) -> LedgerRecorder:
        raise NotImplementedError  # the fixture gives one

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()

    @pytest.mark.skip(reason="it measures, and asserts nothing")
    def test_performance(self) -> None: ...

    @pytest.mark.skip(reason="it measures, and asserts nothing")
    def test_concurrent_throughput(self) -> None: ...


@pytest.mark.usefixtures("for_the_case")
class TestNonInterleaving(NonInterleavingNotificationIDsBaseCase):
    def new_originator_id(self) -> str:
        return f"conformance-{uuid4()}"

    def create_recorder(self) -> LedgerRecorder:
        raise NotImplementedError  # the fixture gives one


del ApplicationRecorderTestCase, NonInterleavingNotificationIDsBaseCase


# ── what they do not ask ──


def stored(stream: str | UUID, version: int) -> StoredEvent:
    return StoredEvent(stream, version, "tested.v1", b"{}")


def test_versions_follow_each_other_without_gap(open_recorder: Callable[..., LedgerRecorder]) -> None:
    recorder = open_recorder()
    recorder.insert_events([stored("any", 1)])
    for version in (0, 1, 3):
        with pytest.raises(IntegrityError):
            recorder.insert_events([stored("any", version)])
    with pytest.raises(IntegrityError):
        recorder.insert_events([stored("account-x", 0)])
    assert recorder.max_notification_id() == 1


def test_an_id_may_be_a_uuid_and_is_kept_as_text(open_recorder: Callable[..., LedgerRecorder]) -> None:
    recorder, name = open_recorder(), uuid4()
    recorder.insert_events([stored(name, 1)])
    assert recorder.select_events(name) == [stored(name, 1)]
    assert recorder.select_notifications(1, 10)[0].originator_id == str(name)


def test_a_recorder_does_not_write_unless_it_is_asked_to(open_recorder: Callable[..., LedgerRecorder]) -> None:
    with pytest.raises(NotSupportedError, match="only reads"):
        open_recorder(writable=False).insert_events([stored("any", 1)])
    with pytest.raises(NotSupportedError, match="tracking"):
        open_recorder().insert_events([stored("any", 1)], tracking=Tracking("app", 1))


def test_writers_in_several_threads_and_recorders_never_fork_a_stream(
    open_recorder: Callable[..., LedgerRecorder],
) -> None:
    recorders = [open_recorder(), open_recorder()]
    won: list[int] = []

    def write(recorder: LedgerRecorder) -> None:
        for version in range(1, 31):
            try:
                won.extend(recorder.insert_events([stored("contended", version)]) or [])
            except IntegrityError:
                continue

    threads = [Thread(target=write, args=(recorder,)) for recorder in recorders for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == list(range(1, len(won) + 1))
    events = recorders[0].select_events("contended")
    assert [event.originator_version for event in events] == list(range(1, len(won) + 1))


async def test_what_a_recorder_appends_is_chained_as_everything_else(
    database_url: str, open_recorder: Callable[..., LedgerRecorder]
) -> None:
    store = await PostgresStore(database_url).open()
    committer = await Committer(store).start()
    handler = Handler(committer)
    await register(handler, "a")
    event = event_of_stream(points.AccountLockedByAdmin("a", "by a program"), "account-a", 2)
    recorder = open_recorder()
    await asyncio.to_thread(recorder.insert_events, [StructMapper(StructTranscoder()).to_stored_event(event)])
    unlocked = await handler.handle(points.UnlockAccount("a", "all is well"), asked())
    assert unlocked.position == 3, "the lock was seen, or nothing would have happened"
    assert await balances(store) == {"a": 0}
    await committer.stop()
    await store.close()


def test_an_append_whose_answer_is_lost_is_there_once(open_recorder: Callable[..., LedgerRecorder]) -> None:
    recorder = open_recorder()
    appending = recorder._store.append

    async def lose_the_answer(batch: Any) -> Any:
        recorder._store.append = appending  # type: ignore[method-assign]  # once
        outcome = await appending(batch)
        recorder._store._write.connection.terminate()
        assert outcome.head == 2
        return await appending(batch)

    recorder._store.append = lose_the_answer  # type: ignore[method-assign]  # as above
    assert list(recorder.insert_events([stored("any", 1), stored("any", 2)]) or []) == [1, 2]
    assert recorder.max_notification_id() == 2


def test_a_subscription_survives_the_loss_of_every_connection(open_recorder: Callable[..., LedgerRecorder]) -> None:
    recorder, writer = open_recorder(writable=False), open_recorder()
    with recorder.subscribe() as subscription:
        writer.insert_events([stored("any", 1)])
        assert next(subscription).id == 1
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        recorder._run(_as_superuser(recorder._dsn, cut))
        writer.insert_events([stored("any", 2)])
        assert next(subscription).id == 2


async def _as_superuser(dsn: str, statement: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(dsn)
    await connection.execute(statement)
    await connection.close()


# ── events as the library sees them ──


def test_an_event_comes_back_from_the_mapper_as_it_went_in() -> None:
    mapper = StructMapper(StructTranscoder())
    locked = points.AccountLockedByAdmin("a", "stolen phone")
    event = event_of_stream(locked, "account-a", 7)
    assert isinstance(event, points.AccountLockedByAdmin)
    stored_event = mapper.to_stored_event(event)
    assert (stored_event.originator_id, stored_event.originator_version) == ("account-a", 7)
    assert stored_event.topic == "points.account-locked.v1"
    assert stored_event.state == b'{"userId":"a","reason":"stolen phone"}', "as in the log: no stream, no version"
    assert mapper.to_domain_event(stored_event) == event


def test_every_tag_is_a_topic_of_the_library() -> None:
    for tag, event in points.TAGS.items():
        assert resolve_topic(tag) is OF_STREAM[event]


def test_events_of_others_are_not_taken() -> None:
    class SomethingElse:
        originator_id, originator_version = "x", 1

    with pytest.raises(ProgrammingError, match="SomethingElse"):
        StructMapper(StructTranscoder()).to_stored_event(SomethingElse())  # type: ignore[arg-type]  # on purpose


# ── a projection as the library's documentation shows it ──


class PointsView(POPOTrackingRecorder):
    """Events counted, and balances, with the position they are at."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}
        self.balances: dict[str, int] = {}

    def record(self, kind: str, user: str, change: int, tracking: Tracking) -> None:
        with self._database_lock:
            self._assert_tracking_uniqueness(tracking)
            self._insert_tracking(tracking)
            self.counts[kind] = self.counts.get(kind, 0) + 1
            self.balances[user] = self.balances.get(user, 0) + change


class PointsProjection(Projection[TrackingRecorder]):
    name = "pointsprojection"
    view: PointsView

    @singledispatchmethod
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        self.view.insert_tracking(tracking)

    @process_event.register
    def _(self, domain_event: points.PointsEarned, tracking: Tracking) -> None:
        self.view.record("earned", domain_event.user_id, domain_event.amount, tracking)

    @process_event.register
    def _(self, domain_event: points.PointsSpent, tracking: Tracking) -> None:
        assert domain_event.originator_id == f"account-{domain_event.user_id}"  # type: ignore[attr-defined]  # OfStream
        self.view.record("spent", domain_event.user_id, -domain_event.amount, tracking)


class SpendingProjection(PointsProjection):
    name = "spendingprojection"
    topics = ("points.spent.v1",)


async def _some_history(url: str) -> int:
    store = await PostgresStore(url).open()
    committer = await Committer(store).start()
    handler = Handler(committer)
    await register(handler, "a", "b")
    await asyncio.gather(*(handler.handle(earn("ab"[n % 2], 10, f"r{n}"), asked()) for n in range(200)))
    last = await handler.handle(spend("a", 250), asked())
    await committer.stop()
    await store.close()
    return last.position


@pytest.mark.parametrize("early", [True, False], ids=["events come while it runs", "events were there before"])
async def test_a_projection_of_the_library_reads_our_log(database_url: str, *, early: bool) -> None:
    position = 0 if early else await _some_history(database_url)
    env = {"DATABASE_URL": database_url}

    def run() -> PointsView:
        with ProjectionRunner(
            application_class=Ledger, projection_class=PointsProjection, view_class=PointsView, env=env
        ) as runner:
            at = asyncio.run(_some_history(database_url)) if early else position
            runner.wait(at, timeout=20)
            assert runner.app.recorder.max_notification_id() == at
            assert [e.originator_version for e in runner.app.events.get("account-b", lte=3)] == [1, 2, 3]
            return runner.view

    view = await asyncio.to_thread(run)
    assert view.counts == {"earned": 200, "spent": 1}
    assert view.balances == {"a": 750, "b": 1000}


async def test_a_projection_may_ask_for_some_tags_only(database_url: str) -> None:
    position = await _some_history(database_url)

    def run() -> PointsView:
        with ProjectionRunner(
            application_class=Ledger,
            projection_class=SpendingProjection,
            view_class=PointsView,
            env={"DATABASE_URL": database_url},
        ) as runner:
            runner.wait(position, timeout=20)
            return runner.view

    assert (await asyncio.to_thread(run)).counts == {"spent": 1}


def test_the_ledger_keeps_nobodys_views(database_url: str) -> None:
    env = {"DATABASE_URL": database_url, "PERSISTENCE_MODULE": "ledger.store.persistence"}
    with pytest.raises(NotSupportedError, match="POINTSPROJECTION_PERSISTENCE_MODULE"):
        ProjectionRunner(application_class=Ledger, projection_class=PointsProjection, view_class=PointsView, env=env)


async def test_an_unreadable_event_stops_a_projection_and_is_named(
    make_database: Callable[[], Awaitable[str]],
) -> None:
    url = await make_database()
    store = await PostgresStore(url).open()
    await store.append(a_batch(a_command("k", an_event("account-a", 1)), known=0))
    await store.close()

    def run() -> None:
        with ProjectionRunner(
            application_class=Ledger,
            projection_class=PointsProjection,
            view_class=PointsView,
            env={"DATABASE_URL": url},
        ) as runner:
            deadline = monotonic() + 10
            while not runner.is_interrupted.is_set() and monotonic() < deadline:
                sleep(0.01)

    with pytest.raises(Exception, match=r"tested\.v1 cannot be read"):
        await asyncio.to_thread(run)
