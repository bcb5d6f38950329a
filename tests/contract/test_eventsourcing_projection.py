"""Our log read by the `eventsourcing` library: its events, and a projection as its documentation shows it."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic, sleep
from typing import Any

import pytest
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.persistence import (
    NotSupportedError,
    ProgrammingError,
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
from tests.contract.batches import a_batch, a_command, an_event
from tests.contract.members import asked, earn, register, spend

pytestmark = pytest.mark.services

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
