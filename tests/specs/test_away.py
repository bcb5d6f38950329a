"""Who is to blame: the database or Redis, which are waited for, or what they were asked."""

import asyncpg
import pytest
from asyncpg import exceptions
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from ledger.away import is_away
from ledger.redis_away import is_redis_away

CUT = exceptions.ConnectionDoesNotExistError("connection was closed in the middle of operation")
POOL = exceptions.InternalClientError("cannot switch to state 11; another operation (2) is in progress")
UVLOOP = RuntimeError(
    "unable to perform operation on <TCPTransport closed=True reading=False 0x1>; the handler is closed"
)


@pytest.mark.parametrize(
    "error",
    [
        CUT,
        POOL,
        exceptions.InterfaceError("connection is closed"),
        exceptions.AdminShutdownError("terminating connection"),
        exceptions.TooManyConnectionsError("sorry"),
        exceptions.DeadlockDetectedError("deadlock"),
        exceptions.SerializationError("again"),
        exceptions.LockNotAvailableError("lock"),
        exceptions.ReadOnlySQLTransactionError("a standby"),
        exceptions.IdleInTransactionSessionTimeoutError("too long"),
        exceptions.DiskFullError("full"),
        exceptions.PostgresIOError("disk"),
        ConnectionResetError(),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_database_that_is_away(error: Exception) -> None:
    assert is_away(error)


@pytest.mark.parametrize(
    "error",
    [
        exceptions.UniqueViolationError("twice"),
        exceptions.UndefinedTableError("none"),
        exceptions.ActiveSQLTransactionError("needs READ COMMITTED"),
        asyncpg.PostgresError("of no class"),
        exceptions.ProtocolError("no decoder for OID 705"),
        exceptions.UndefinedFileError("a file is missing"),
        ValueError("a bug"),
        RuntimeError("a bug"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_question_that_is_wrong(error: Exception) -> None:
    assert not is_away(error)
    assert not is_redis_away(error)


@pytest.mark.parametrize(
    "error", [RedisConnectionError("away"), ResponseError("LOADING"), ConnectionResetError(), TimeoutError(), UVLOOP]
)
def test_a_redis_that_is_away(error: Exception) -> None:
    assert is_redis_away(error)
