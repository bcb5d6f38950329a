"""Stores to test: one log in memory or in PostgreSQL, opened as often as the test has processes."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from ledger.handler import Handler
from ledger.store.append import PostgresStore
from ledger.store.committer import Committer
from ledger.store.memory import MemoryStore
from ledger.store.port import Store

OpenStore = Callable[[], Awaitable[Store]]


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.services)])
def store_url(request: pytest.FixtureRequest) -> str | None:
    """None for a store in memory. Asked for by name, so that the ones in memory start no server."""
    return request.getfixturevalue("database_url") if request.param == "postgres" else None


@pytest.fixture
async def open_store(store_url: str | None) -> AsyncIterator[OpenStore]:
    """Ask for one store per process of the test; all of them see one log, which is empty."""
    shared = MemoryStore()
    opened: list[PostgresStore] = []

    async def one_more() -> Store:
        if store_url is None:
            return shared
        opened.append(await PostgresStore(store_url).open())
        return opened[-1]

    yield one_more
    for store in opened:
        await store.close()


@pytest.fixture
async def store(open_store: OpenStore) -> Store:
    """The store of a test with one process."""
    return await open_store()


StartCommitter = Callable[..., Awaitable[Committer]]


@pytest.fixture
async def start_committer(open_store: OpenStore) -> AsyncIterator[StartCommitter]:
    """Ask for one committer per process of the test, with the options of `Committer`, on a store of its own."""
    started: list[Committer] = []

    async def one_more(store: Store | None = None, **options: int) -> Committer:
        started.append(await Committer(store or await open_store(), **options).start())
        return started[-1]

    yield one_more
    for committer in started:
        await committer.stop()


@pytest.fixture
async def handler(start_committer: StartCommitter) -> Handler:
    """The use cases of a test with one process."""
    return Handler(await start_committer())
