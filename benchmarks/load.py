"""What every load is made of: accounts, commands, the times they took. Shared by the engine cells and the HTTP client.

Standard library, msgspec and `ledger` only.
"""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import msgspec

from ledger.decision import Origin, fingerprint
from ledger.domain.points import EarnPoints, SpendPoints
from ledger.store.codec import Actor

ACCOUNTS: Final = 100_000
AMOUNT: Final = 25
DESCRIPTION: Final = "order 4711 at till 12, store 0815"
ACTOR: Final = Actor("bench-service", "service")

_random = random.random
_bits = random.getrandbits


class Measured(msgspec.Struct, kw_only=True):
    """What one cell came to. Times are of single commands (of single requests where a request holds many)."""

    per_second: float
    p50_ms: float
    p99_ms: float
    commands: int
    seconds: float
    client_cpu: float = 0.0
    """Cores the load client kept busy; 0 where the client is inside what it measures."""
    errors: int = 0
    note: str = ""


def member(number: int) -> str:
    """The user id of an account; ten characters, so that `account-<id>` is as long as the floor's keys."""
    return f"m{number:09d}"


def hot_member() -> str:
    """The one account everybody writes to in the hot cells."""
    return "hot0000000"


def random_key() -> str:
    """A fresh idempotency key of 36 characters, random as a UUID is, made as cheaply as pgbench makes its own."""
    return f"key-{_bits(128):032x}"


def uniform() -> str:
    """Any account, each as likely."""
    return f"m{int(_random() * ACCOUNTS):09d}"


def origin(key: str) -> Origin:
    """As the route makes it: actor, clock, fingerprint over the request, ids."""
    return Origin(ACTOR, datetime.now(UTC), fingerprint("POST", "/api/points/earn", key.encode()), key, key, key)


def earn(user_id: str, key: str) -> EarnPoints:
    """One earn; its reference is new, so that the claim is new."""
    return EarnPoints(user_id, AMOUNT, "bonus", key, description=DESCRIPTION)


def spend(user_id: str, key: str) -> SpendPoints:
    """One spend of as much as an earn gives."""
    return SpendPoints(user_id, AMOUNT, key, description=DESCRIPTION)


def picked(hot: bool) -> Callable[[], str]:
    """Which account the next command is for."""
    return hot_member if hot else uniform


def percentile(ordered: list[float], share: float) -> float:
    """The value below which that share of the ordered values lies; 0 of nothing."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def measured(seconds_each: list[float], seconds: float, *, errors: int = 0, commands_each: int = 1) -> Measured:
    """A cell's figures from the times of its answered requests."""
    seconds_each.sort()
    commands = len(seconds_each) * commands_each
    return Measured(
        per_second=commands / seconds,
        p50_ms=percentile(seconds_each, 0.50) * 1e3,
        p99_ms=percentile(seconds_each, 0.99) * 1e3,
        commands=commands,
        seconds=seconds,
        errors=errors,
    )
