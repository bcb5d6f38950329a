"""The `eventsourcing` library's own conformance cases against our log, and what they do not ask."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any
from uuid import UUID, uuid4

import pytest
from eventsourcing import cryptography
from eventsourcing.persistence import (
    IntegrityError,
    NotSupportedError,
    StoredEvent,
    Tracking,
)

from ledger.domain import points
from ledger.handler import Handler
from ledger.store.append import PostgresStore
from ledger.store.committer import Committer
from ledger.store.persistence import StructMapper, StructTranscoder, event_of_stream
from ledger.store.recorder import LedgerRecorder
from tests.contract.members import asked, balances, register

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
        recorder._store._line.terminate()
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
