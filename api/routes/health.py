"""Whether it lives (`/health`, touches nothing), whether it works (`/api/health`), and what there is (`/api`).

Read next: `../resources.py`.
"""

import asyncio
from importlib.metadata import PackageNotFoundError, version
from time import monotonic
from typing import Any, Final, Literal, cast

import asyncpg
import msgspec
from litestar import Request, Response, get
from msgspec import UNSET, UnsetType

from api.call import call_of, utc_now
from api.documented import Documented, opened_to
from api.envelope import encode, failure, success, timestamp
from api.queries import Nothing, read_query
from api.resources import Resources
from api.security import OPEN
from ledger.redis_away import is_redis_away
from ledger.store.migrate import PARTITIONS_AHEAD
from projections.live_checkpoint import SenderLag, get_sender_lag
from projections.log import partitions_ahead
from projections.read_model_list import head_position, list_read_models

DATABASE_PATIENCE_SECONDS: Final = 2.0
REMEMBERED_SECONDS: Final = 1.0
"""Health is open to anyone and has no rate limit; it asks the database no more often than this."""
LAG_SECONDS_AT_MOST: Final = 10.0
"""A read model whose next event waits longer is stuck for whoever reads it, whatever its state says. So is the sender of
live events for whoever listens."""

PREFIXES: Final = {
    "points": "/api/points",
    "members": "/api/members",
    "purchases": "/api/purchases",
    "payments": "/api/payment",
    "disputes": "/api/disputes",
    "ledger": "/api/ledger",
    "admin": "/api/admin",
    "health": "/api/health",
    "docs": "/api/docs",
}


def _version() -> str:
    try:
        return version("ledger-service")
    except PackageNotFoundError:
        return "0.0.0"


VERSION: Final = _version()


class Lag(msgspec.Struct, frozen=True, rename="camel"):
    """How far a read model is behind the log."""

    position: int
    lag_events: int
    lag_seconds: float
    state: str


class HealthAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """`status`: ok; degraded (it works, but something is wrong); down.

    Degraded: Redis is away, nothing can be written, a read model is stuck, live events are not sent, or fewer partitions
    of the log are ready than should be (the worker makes them; at the end of the last one nothing can be written).
    """

    version: str
    status: Literal["ok", "degraded", "down"]
    database: Literal["up", "down"]
    redis: Literal["up", "down"]
    writes: Literal["up", "down"]
    log_head: int | UnsetType = UNSET
    read_models: dict[str, Lag] | UnsetType = UNSET
    live_events: SenderLag | UnsetType = UNSET
    partitions_ahead: int | UnsetType = UNSET


class Found(msgspec.Struct, frozen=True):
    """What the database says."""

    head: int
    lags: dict[str, Lag]
    sender: SenderLag
    partitions: int

    @property
    def is_well(self) -> bool:
        """Everything that follows the log does, and there is room for more of it."""
        stuck = any(lag.state == "stuck" or lag.lag_seconds > LAG_SECONDS_AT_MOST for lag in self.lags.values())
        unsent = self.sender.lag_seconds > LAG_SECONDS_AT_MOST
        return not stuck and not unsent and self.partitions >= PARTITIONS_AHEAD


@get(
    "/health",
    opt=opened_to(
        OPEN,
        Documented(
            summary="Whether the process lives",
            tag="operations",
            answer=dict[str, Any],
            answers={200: "It does."},
            enveloped=False,
            answer_example={
                "success": True,
                "message": "The ledger is running.",
                "timestamp": "2026-01-31T12:00:00.000Z",
                "environment": "production",
                "version": "1.0.0",
            },
        ),
    ),
)
async def alive(request: Request[Any, Any, Any]) -> Response[bytes]:
    """No envelope, no database, no Redis."""
    call = call_of(request)
    read_query(call, Nothing)
    bare = {
        "success": True,
        "message": "The ledger is running.",
        "timestamp": timestamp(utc_now()),
        "environment": call.resources.settings.environment,
        "version": VERSION,
    }
    return Response(encode(bare), media_type="application/json")


@get(
    "/api/health",
    opt=opened_to(
        OPEN,
        Documented(
            summary="Whether the service works",
            tag="operations",
            answer=HealthAnswer,
            answers={200: "ok or degraded.", 503: "DATABASE_UNAVAILABLE"},
            answer_example={"version": "1.0.0", "status": "ok", "database": "up", "redis": "up", "writes": "up"},
        ),
    ),
)
async def health(request: Request[Any, Any, Any]) -> Response[bytes]:
    """503 only when the database is away: nothing can be done then, and another process may be better off."""
    call = call_of(request)
    read_query(call, Nothing)
    answer = await _remembered(call.resources)
    if answer.status == "down":
        retry = [(b"retry-after", b"1")]
        return failure(call, 503, "DATABASE_UNAVAILABLE", "The database does not answer.", answer, retry).as_response()
    return success(call, f"The service is {answer.status}.", answer).as_response()


@get(
    "/api",
    opt=opened_to(
        OPEN,
        Documented(
            summary="The map of the service",
            tag="operations",
            answer=dict[str, Any],
            answers={200: "The prefixes."},
            answer_example={"services": PREFIXES},
        ),
    ),
)
async def service_map(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Where to go on reading."""
    call = call_of(request)
    read_query(call, Nothing)
    return success(call, "The services of the ledger.", {"services": PREFIXES}).as_response()


async def _remembered(resources: Resources) -> HealthAnswer:
    checked_at, answer = resources.last_health
    if answer is None or monotonic() - checked_at > REMEMBERED_SECONDS:
        answer = await check(resources)
        resources.last_health = (monotonic(), answer)
    return cast("HealthAnswer", answer)


async def check(resources: Resources) -> HealthAnswer:
    """Ask the database and Redis, each with little patience."""
    redis_up, found = await asyncio.gather(_redis(resources), _database(resources))
    writes: Literal["up", "down"] = "down" if resources.committer.broken is not None else "up"
    redis: Literal["up", "down"] = "up" if redis_up else "down"
    if found is None:
        return HealthAnswer(VERSION, "down", "down", redis, writes)
    well = found.is_well and redis == "up" and writes == "up"
    status: Literal["ok", "degraded"] = "ok" if well else "degraded"
    return HealthAnswer(VERSION, status, "up", redis, writes, found.head, found.lags, found.sender, found.partitions)


async def _redis(resources: Resources) -> bool:
    try:
        await resources.redis.ping()
    except Exception as error:
        if not is_redis_away(error):
            raise
        return False
    return True


async def _database(resources: Resources) -> Found | None:
    try:
        async with asyncio.timeout(DATABASE_PATIENCE_SECONDS):
            head = await head_position(resources.pool)
            models = await list_read_models(resources.pool)
            sender = await get_sender_lag(resources.pool)
            partitions = await partitions_ahead(resources.pool)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
        return None
    lags = {m.name: Lag(m.position, m.lag_events, m.lag_seconds, m.state) for m in models}
    return Found(head, lags, sender, partitions)


ROUTES: Final = (alive, health, service_map)
