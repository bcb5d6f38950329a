"""A database, a ledger that writes to it as `ledger_api`, and read models made by `ledger_project`."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from ledger.decision import Answer, Origin
from ledger.domain import points
from ledger.handler import Handler, RegisterMember
from ledger.store import codec
from ledger.store.append import PostgresStore
from ledger.store.codec import Actor
from ledger.store.committer import Committer
from projections.audit_trail import AuditTrail
from projections.points import Points
from projections.read_models import ReadModels
from projections.runner import Runner
from projections.transactions import Transactions
from tests.projections.payment_histories import EVERYTHING, MODELS, History

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class Ledger:
    """Commands in one line each, each with a key of its own."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._keys = itertools.count(1)

    async def __call__(self, command: Any, now: datetime | None = None, actor: str = "shop") -> Answer:
        number = next(self._keys)
        origin = Origin(
            Actor(actor, "service"),
            now or datetime.now(UTC),
            number.to_bytes(32, "big"),
            f"request-{number}",
            f"correlation-{number}",
            f"key-{number}",
        )
        return await self._handler.handle(command, origin)

    async def open(self, *user_ids: str) -> None:
        for user_id in user_ids:
            await self(RegisterMember(user_id, user_id.title()))

    async def earn(self, user_id: str, amount: int, now: datetime | None = None, **details: Any) -> Answer:
        reference = f"order-{next(self._keys)}"
        return await self(points.EarnPoints(user_id, amount, "purchase", reference, **details), now)

    async def spend(self, user_id: str, amount: int, now: datetime | None = None) -> Answer:
        return await self(points.SpendPoints(user_id, amount, f"purchase-{next(self._keys)}"), now)


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    store = await PostgresStore(database_url).open()
    committer = await Committer(store).start()
    yield Ledger(Handler(committer))
    await committer.stop()
    await store.close()


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    pool = await asyncpg.create_pool(database_url, min_size=0, max_size=12, server_settings={"role": "ledger_project"})
    yield pool
    await pool.close()


@pytest.fixture
async def models(database_url: str) -> AsyncIterator[ReadModels]:
    """As the API reads: without any right to write."""
    pool = await asyncpg.create_pool(database_url, min_size=0, max_size=4, server_settings={"role": "ledger_api"})
    yield ReadModels(pool)
    await pool.close()


@pytest.fixture
async def runner(pool: asyncpg.Pool) -> Runner:
    """Catches up when it is told to."""
    return Runner(pool, [AuditTrail(), Points(), Transactions()])


@pytest.fixture
def append_raw(database_url: str) -> Callable[..., Awaitable[int]]:
    """Put an event straight into the log, also one that no code of ours would write; answers its position."""

    async def append(stream: str, version: int, kind: str, data: bytes) -> int:
        metadata = codec.encode(codec.Metadata(Actor("shop", "service"), EPOCH, "request", "command", "correlation"))
        connection = await asyncpg.connect(database_url)
        try:
            return await connection.fetchval(
                "WITH moved AS (UPDATE ledger.head SET position = position + 1, recorded_at = clock_timestamp() "
                "RETURNING position, recorded_at) "
                "INSERT INTO ledger.events SELECT position, $1, $2, $3, recorded_at, $4, $5, $6 FROM moved "
                "RETURNING position",
                stream,
                version,
                kind,
                metadata,
                data,
                bytes(32),
            )
        finally:
            await connection.close()

    return append


@pytest.fixture
async def history(request: pytest.FixtureRequest, ledger: Ledger, pool: asyncpg.Pool) -> History:
    """Payments, disputes and all that, of a seed; every kind of step has happened, and the read models know."""
    seed = getattr(request, "param", 1)
    history = History(ledger, seed)
    runner = Runner(pool, MODELS)
    await history.begin()
    for rounds in range(40):
        await history.run(60)
        await runner.catch_up()  # pages end anywhere
        if rounds > 6 and history.done == EVERYTHING:
            break
    assert history.done == EVERYTHING, seed
    return history


@pytest.fixture
def append(append_raw: Callable[..., Awaitable[int]]) -> Callable[..., Awaitable[int]]:
    """An event into its stream, as the rules would write it."""
    versions: dict[str, int] = {}

    async def append_event(stream: str, event: Any) -> int:
        versions[stream] = versions.get(stream, 0) + 1
        return await append_raw(stream, versions[stream], codec.tag_of(event), codec.encode(event))

    return append_event
