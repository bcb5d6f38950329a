"""Rate limits, counted in Redis and shared by all processes; each process leases a slice at a time and counts it down.

A small limit (100 in 15 minutes) is leased one by one and hence exact; a large one in slices of half a percent, so that
a busy client costs a round trip to Redis in some hundred requests. If Redis is away, requests go on and are counted.
`limits` for the notation, and redis. Read next: `client_address.py`, `gate.py`.
"""

import asyncio
from math import ceil
from time import monotonic
from typing import Final

import limits
import structlog
from redis.asyncio import ConnectionPool, Redis

from api import observability
from api.call import Call, Header
from api.client_address import ClientAddress
from api.errors import TooManyRequests
from api.security import LIMITED_BY_USER
from ledger.redis_away import is_redis_away
from ledger.settings import Settings

SLICES: Final = 200
LEASES_AT_MOST: Final = 50_000
REDIS_PAUSE_SECONDS: Final = 1.0
"""After Redis has failed it is left alone for so long: a request must not wait for a time-out each."""

LEASE: Final = """
local count = redis.call('INCRBY', KEYS[1], ARGV[1])
local left = redis.call('PTTL', KEYS[1])
if left < 0 then
    left = tonumber(ARGV[2])
    redis.call('PEXPIRE', KEYS[1], left)
end
return {count, left}
"""
"""One step, so that the count and the end are those of one window; in milliseconds, because windows may be short.

A key without an end is new, or it would be counted in for ever: both begin a window.
"""

log = structlog.get_logger(__name__)


class Tier:
    """One limit: so many requests in a window, leased in slices."""

    __slots__ = ("amount", "item", "label", "name", "policy", "slice", "window_seconds")

    def __init__(self, name: str, notation: str) -> None:
        """`notation` is that of the package `limits`: 100/15minutes."""
        self.name = name
        self.item = limits.parse(notation)
        self.amount = self.item.amount
        self.window_seconds = self.item.get_expiry()
        self.slice = max(1, self.amount // SLICES)
        self.label = name.encode()
        self.policy = b'"%b";q=%d;w=%d' % (self.label, self.amount, self.window_seconds)


class _Lease:
    """What this process may still let through of one window, and what Redis said was left for everybody."""

    __slots__ = ("asking", "left", "resets_at", "shared", "used_up", "wanting")

    def __init__(self) -> None:
        self.left = 0
        self.shared = 0
        self.resets_at = 0.0
        """On the monotonic clock, and never later than the window's end in Redis."""
        self.used_up = False
        self.wanting = 0
        self.asking: asyncio.Future[None] | None = None


class Limits:
    """Admits calls or refuses them. One per process."""

    def __init__(self, settings: Settings, redis: ConnectionPool) -> None:
        """`redis` is a pool with short time-outs; it is closed by whoever made it."""
        self._global = Tier("global", settings.rate_limit_global)
        self._payment = Tier("payment", settings.rate_limit_payment)
        self._by_user = Tier("user", settings.rate_limit_service)
        self._address = ClientAddress(settings.trusted_proxies)
        self._lease = Redis(connection_pool=redis).register_script(LEASE)
        self._leases: dict[tuple[str, str], _Lease] = {}
        self._away_until = float("-inf")

    async def admit(self, call: Call, client: str | None) -> None:
        """Count the call in its tiers and write the headers; raises `TooManyRequests`."""
        path = call.path
        if not path.startswith("/api") or (len(path) > 4 and path[4] != "/"):
            return
        if path == "/api/health" or path.startswith("/api/payment/webhooks/"):
            return
        caller = call.caller
        if caller is not None and caller.role in LIMITED_BY_USER:
            await self._count(call, self._by_user, caller.id)
            return
        address = self._address.of(call, client)
        await self._count(call, self._global, address)
        if path.startswith("/api/payment") and (len(path) == 12 or path[12] == "/"):
            await self._count(call, self._payment, address)

    def admit_at_once(self, call: Call) -> bool:
        """As `admit` for a route under `/api`, if it takes no question to Redis; else False, and nothing is counted."""
        caller = call.caller
        if caller is None or caller.role not in LIMITED_BY_USER:
            return False
        lease = self._leases.get((self._by_user.name, caller.id))
        if lease is None or lease.left <= 0:
            return False
        wait = lease.resets_at - monotonic()
        if wait <= 0:
            return False
        lease.left -= 1
        _tell(call, self._by_user, lease, max(1, ceil(wait)))
        return True

    async def _count(self, call: Call, tier: Tier, identity: str) -> None:
        taken = await self._take(tier, identity)
        if taken is None:
            return
        lease, admitted = taken
        wait_seconds = max(1, ceil(lease.resets_at - monotonic()))
        _tell(call, tier, lease, wait_seconds)
        if not admitted:
            observability.RATE_LIMITED.labels(tier.name).inc()
            raise TooManyRequests(
                f"{tier.amount} requests in {tier.window_seconds} seconds are allowed; try again in {wait_seconds}.",
                wait_seconds,
            )

    async def _take(self, tier: Tier, identity: str) -> tuple[_Lease, bool] | None:
        """The lease, and whether this call could be taken from it. None: Redis is away."""
        key = (tier.name, identity)
        lease = self._leases.get(key)
        if lease is None:
            if len(self._leases) >= LEASES_AT_MOST:
                self._leases = {}  # what was leased and not used is lost to its owner until the window ends
            lease = self._leases[key] = _Lease()
        if lease.resets_at > monotonic():
            if lease.left > 0:
                lease.left -= 1
                return lease, True
            if lease.used_up:
                return lease, False
        lease.wanting += 1
        try:
            while monotonic() >= self._away_until and await self._renew(tier, identity, lease):
                # The answer counts even if its window has ended on the way here: asking until one is still open could
                # go on and on, and would use up a slice each time.
                if lease.left > 0:
                    lease.left -= 1
                    return lease, True
                if lease.used_up:
                    return lease, False
        finally:
            lease.wanting -= 1
        observability.UNLIMITED.inc()
        return None

    async def _renew(self, tier: Tier, identity: str, lease: _Lease) -> bool:
        """Ask Redis for another slice, one question at a time; False if it does not answer."""
        if lease.asking is not None:
            await asyncio.shield(lease.asking)
            return monotonic() >= self._away_until
        lease.asking = asyncio.get_running_loop().create_future()
        # What is left of an ended window must not be taken by those who wait, should this question be cancelled.
        lease.left, lease.used_up = 0, False
        wanted, asked_at = max(tier.slice, lease.wanting), monotonic()
        try:
            key = tier.item.key_for(tier.name, identity)
            count, window_left_ms = await self._lease(keys=[key], args=[wanted, tier.window_seconds * 1000])
        except Exception as error:
            if not is_redis_away(error):
                raise
            self._away_until = monotonic() + REDIS_PAUSE_SECONDS
            log.warning("rate limits are not counted: Redis is away", error=repr(error))
            return False
        else:
            lease.resets_at = asked_at + window_left_ms / 1000
            lease.left = max(0, wanted - max(0, count - tier.amount))
            lease.shared = max(0, tier.amount - count)
            lease.used_up = lease.shared == 0
            return True
        finally:
            lease.asking.set_result(None)
            lease.asking = None


def _tell(call: Call, tier: Tier, lease: _Lease, wait_seconds: int) -> None:
    """Into the headers: the limit, what is left of it, and until when."""
    _add(call.response_headers, b"ratelimit-policy", tier.policy)
    left = b'"%b";r=%d;t=%d' % (tier.label, lease.shared + lease.left, wait_seconds)
    _add(call.response_headers, b"ratelimit", left)


def _add(headers: list[Header], name: bytes, value: bytes) -> None:
    """Put the value into the header, behind one of another tier."""
    for index, (known, before) in enumerate(headers):
        if known == name:
            headers[index] = (name, before + b", " + value)
            return
    headers.append((name, value))
