"""Rate limits: who is counted with whom, what is told, and what happens without Redis."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from time import monotonic
from typing import Any

import pytest
from redis.asyncio import Redis

from api import observability
from api.call import Call
from api.client_address import ClientAddress
from api.errors import TooManyRequests
from api.limits import Limits
from api.resources import redis_pool
from ledger.settings import Settings

ADDRESSES = (f"198.51.100.{n}" for n in itertools.count(1))
PROXY = {"TRUSTED_PROXIES": "127.0.0.1"}


async def get(api: Any, address: str, path: str = "/api", token: str | None = None) -> Any:
    headers = {"X-Forwarded-For": address} | ({"Authorization": f"Bearer {token}"} if token else {})
    return await api.http.get(path, headers=headers)


async def test_an_address_has_so_many_requests_in_a_window_and_is_told_so(start: Any) -> None:
    api, address = await start(RATE_LIMIT_GLOBAL="3/15minutes", **PROXY), next(ADDRESSES)
    answers = [await get(api, address) for _ in range(5)]
    assert [a.status_code for a in answers] == [200, 200, 200, 429, 429]
    assert [a.headers["RateLimit"].split(";")[1] for a in answers] == ["r=2", "r=1", "r=0", "r=0", "r=0"]
    assert {a.headers["RateLimit-Policy"] for a in answers} == {'"global";q=3;w=900'}
    refused = answers[-1]
    assert refused.json()["error"] == "TOO_MANY_REQUESTS"
    assert refused.json()["path"] == "/api"
    assert 890 <= int(refused.headers["Retry-After"]) <= 901
    assert (await get(api, next(ADDRESSES))).status_code == 200


async def test_processes_share_one_count(start: Any) -> None:
    limit = {"RATE_LIMIT_GLOBAL": "4/14minutes", **PROXY}
    address = next(ADDRESSES)
    one, other = await start(**limit), await start(**limit)
    statuses = [(await get(api, address)).status_code for api in (one, other, one, other, one, other)]
    assert statuses == [200, 200, 200, 200, 429, 429]


async def test_many_at_once_are_not_let_through_together(start: Any) -> None:
    api, address = await start(RATE_LIMIT_GLOBAL="5/13minutes", **PROXY), next(ADDRESSES)
    statuses = [a.status_code for a in await asyncio.gather(*(get(api, address) for _ in range(20)))]
    assert (statuses.count(200), statuses.count(429)) == (5, 15)


async def test_a_payment_request_counts_in_both_tiers(start: Any) -> None:
    api = await start(RATE_LIMIT_GLOBAL="4/12minutes", RATE_LIMIT_PAYMENT="2/12minutes", **PROXY)
    address = next(ADDRESSES)
    answers = [await get(api, address, "/api/payment/p1") for _ in range(3)]
    assert [a.status_code for a in answers] == [401, 401, 429]
    assert answers[0].headers["RateLimit-Policy"] == '"global";q=4;w=720, "payment";q=2;w=720'
    assert [(await get(api, address)).status_code for _ in range(2)] == [200, 429]


@pytest.mark.parametrize("path", ["/health", "/api/health", "/api/payment/webhooks/stripe", "/metrics", "/r/ABCDEFGH"])
async def test_health_and_webhooks_are_in_no_tier(start: Any, path: str) -> None:
    api, address = await start(RATE_LIMIT_GLOBAL="1/11minutes", **PROXY), next(ADDRESSES)
    answers = [await get(api, address, path) for _ in range(3)]
    assert 429 not in {a.status_code for a in answers}
    assert "RateLimit" not in answers[0].headers


async def test_the_back_office_is_limited_by_user_whatever_its_address(start: Any) -> None:
    api = await start(RATE_LIMIT_GLOBAL="1/10minutes", RATE_LIMIT_SERVICE="3/10minutes", **PROXY)
    for role in ("service", "admin", "finance", "resolver"):
        token = api.token(api.name(role), role)
        answers = [await get(api, next(ADDRESSES), token=token) for _ in range(4)]
        assert [a.status_code for a in answers] == [200, 200, 200, 429]
        assert answers[0].headers["RateLimit-Policy"] == '"user";q=3;w=600'


async def test_members_and_those_with_a_bad_token_share_their_address(start: Any) -> None:
    api, address = await start(RATE_LIMIT_GLOBAL="3/9minutes", **PROXY), next(ADDRESSES)
    tokens = [api.token("a", "buyer"), api.token("b", "seller"), "forged", None]
    path = "/api/points/levels"
    assert [(await get(api, address, path, token)).status_code for token in tokens] == [200, 200, 401, 429]


async def test_a_slice_of_a_large_limit_is_leased_and_nothing_is_lost(start: Any) -> None:
    api = await start(RATE_LIMIT_SERVICE="2000/8minutes")
    token = api.token(api.name("leaser"), "service")
    left = [int((await get(api, "", token=token)).headers["RateLimit"].split("r=")[1].split(";")[0]) for _ in range(25)]
    assert left == list(range(1999, 1974, -1))


async def test_without_redis_requests_go_on_and_are_counted(start: Any) -> None:
    api = await start(REDIS_URL="redis://127.0.0.1:1", RATE_LIMIT_GLOBAL="1/7minutes")
    answers = [await api.http.get("/api") for _ in range(5)]
    assert {a.status_code for a in answers} == {200}
    assert "RateLimit" not in answers[0].headers
    metrics = (await api.get("/metrics", "root", "admin")).text
    counted = next(line for line in metrics.splitlines() if line.startswith("ledger_rate_limit_unavailable_total"))
    assert float(counted.split()[1]) >= 5
    health = await api.http.get("/api/health")
    assert (health.status_code, health.json()["data"]["status"], health.json()["data"]["redis"]) == (
        200,
        "degraded",
        "down",
    )


TRIES = 5
"""A machine that stops for a while in a window of one second shows nothing of it: it is tried again."""


@pytest.fixture
async def limiters(redis_url: str) -> AsyncIterator[Callable[..., tuple[Limits, ...]]]:
    """Limiters on one Redis, as several processes have them."""
    pools = []

    def make(notation: str, count: int = 2) -> tuple[Limits, ...]:
        settings = Settings.from_env({"RATE_LIMIT_GLOBAL": notation})
        made = [redis_pool(redis_url) for _ in range(count)]
        pools.extend(made)
        return tuple(Limits(settings, pool) for pool in made)

    yield make
    for pool in pools:
        await pool.disconnect()


async def admitted(limiter: Limits, address: str) -> bool:
    call = Call({"method": "GET", "query_string": b"", "headers": []}, "/api", None)
    try:
        await limiter.admit(call, address)
    except TooManyRequests:
        return False
    assert any(name == b"ratelimit" for name, _ in call.response_headers), "not counted"
    return True


async def remaining(limiter: Limits, address: str) -> int:
    call = Call({"method": "GET", "query_string": b"", "headers": []}, "/api", None)
    await limiter.admit(call, address)
    return int(dict(call.response_headers)[b"ratelimit"].split(b"r=")[1].split(b";")[0])


async def crossing_windows(limiters: tuple[Limits, ...], address: str) -> tuple[list[float], int, float]:
    """When requests were admitted in three seconds of them, by either limiter, how many were refused, longest pause."""
    at, refused, longest = [], 0, 0.0
    began = last = monotonic()
    for limiter in itertools.cycle(limiters):
        now = monotonic()
        longest, last = max(longest, now - last), now
        if now > began + 3:
            return at, refused, longest
        if await admitted(limiter, address):
            at.append(now)
        else:
            refused += 1
        await asyncio.sleep(0.001)
    raise AssertionError


async def test_each_of_many_short_windows_lets_through_exactly_its_limit(limiters: Any) -> None:
    for _ in range(TRIES):
        at, refused, longest = await crossing_windows(limiters("2/second"), next(ADDRESSES))
        if longest < 0.1:
            break
    windows: list[list[float]] = []
    for moment in at:
        if not windows or moment > windows[-1][0] + 0.9:
            windows.append([])
        windows[-1].append(moment)
    assert len(windows) in {3, 4}, at
    assert {len(window) for window in windows[:3]} == {2}, at
    assert refused > 100


async def test_a_lease_late_in_a_window_costs_one_slice_and_one_question(limiters: Any) -> None:
    for _ in range(TRIES):
        one, other = limiters("1000000/second")
        address = next(ADDRESSES)
        opened = monotonic()
        first = await remaining(one, address)
        await asyncio.sleep(0.7)
        asked = monotonic()
        late = await remaining(other, address)
        answered = monotonic()
        if answered < opened + 0.95:
            break
    assert (first, late) == (999_999, 1_000_000 - 2 * 5000 + 4999)
    assert answered - asked < 0.2, "asked until the window ended"
    await asyncio.sleep(max(0.0, opened + 1.05 - monotonic()))
    assert await remaining(one, address) == 999_999


async def test_what_is_known_of_one_window_is_not_taken_for_the_next(limiters: Any) -> None:
    opener, *others = limiters("999999999/second", 9)
    address = next(ADDRESSES)
    for _ in range(2):
        opened = monotonic()
        assert await admitted(opener, address)
        await asyncio.sleep(0.8)
        assert await asyncio.gather(*(admitted(other, address) for other in others)) == [True] * 8
        await asyncio.sleep(max(0.0, opened + 1.05 - monotonic()))
        assert await asyncio.gather(*(admitted(other, address) for other in others)) == [True] * 8
        await asyncio.sleep(1.05)


@pytest.mark.parametrize("limit", ["20/second", "1000000/second", "999999999/second"])
async def test_a_limit_nobody_reaches_refuses_nobody_when_windows_end(limiters: Any, limit: str) -> None:
    address = next(ADDRESSES)

    async def at_a_walk(limiter: Limits, pause_seconds: float) -> list[bool]:
        answers = []
        for _ in range(round(3 / pause_seconds)):
            answers.append(await admitted(limiter, address))
            await asyncio.sleep(pause_seconds)
        return answers

    # Out of step with the windows and with each other: every part of a window is somebody's first moment in it.
    one, other = limiters(limit)
    answers = await asyncio.gather(at_a_walk(one, 0.13), at_a_walk(other, 0.17))
    assert [each.count(False) for each in answers] == [0, 0]


async def test_those_who_wait_for_one_answer_lease_no_more_than_they_take(limiters: Any) -> None:
    one, other = limiters("7/6minutes")
    address = next(ADDRESSES)
    assert await asyncio.gather(*(admitted(one, address) for _ in range(4))) == [True] * 4
    assert [await admitted(other, address) for _ in range(4)] == [True, True, True, False]


async def test_a_count_that_was_left_without_an_end_gets_one(limiters: Any, redis_url: str) -> None:
    one, _ = limiters("3/second")
    address = next(ADDRESSES)
    pool = redis_pool(redis_url)
    redis = Redis(connection_pool=pool)
    await admitted(one, address)
    key = next(key for key in await redis.keys("*") if address.encode() in key)
    await redis.set(key, 1000)
    assert await redis.pttl(key) == -1
    await asyncio.sleep(1.05)
    assert not await admitted(one, address)
    await asyncio.sleep(1.05)
    assert await admitted(one, address)
    await pool.disconnect()


async def test_many_addresses_at_once_are_still_counted(limiters: Any) -> None:
    one, _ = limiters("3/5minutes")
    before = observability.UNLIMITED._value.get()
    assert all(await asyncio.gather(*(admitted(one, next(ADDRESSES)) for _ in range(300))))
    assert observability.UNLIMITED._value.get() == before


HOPS = [
    ("", "10.0.0.1", "10.0.0.1"),
    ("", "203.0.113.9", "203.0.113.9"),
    ("10.0.0.0/8", "203.0.113.9", "203.0.113.9"),
    ("10.0.0.0/8", "10.0.0.1", "198.51.100.7"),
    ("10.0.0.0/8,198.51.100.0/24", "10.0.0.1", "192.0.2.1"),
]


@pytest.mark.parametrize(("trusted", "peer", "address"), HOPS)
def test_forwarded_for_is_believed_only_through_trusted_proxies(trusted: str, peer: str, address: str) -> None:
    class Forwarded:
        raw_headers = ((b"x-forwarded-for", b"6.6.6.6, 192.0.2.1"), (b"x-forwarded-for", b"198.51.100.7"))

    found = ClientAddress(Settings.from_env({"TRUSTED_PROXIES": trusted}).trusted_proxies)
    assert found.of(Forwarded(), peer) == address  # type: ignore[arg-type]  # as much of a call as is looked at


def test_addresses_of_ipv6_count_by_network() -> None:
    class Plain:
        raw_headers = ()

    found = ClientAddress(())
    assert found.of(Plain(), "2001:db8::1") == found.of(Plain(), "2001:db8::ffff:2")  # type: ignore[arg-type]  # as above
    assert found.of(Plain(), "2001:db8:0:1::1") != found.of(Plain(), "2001:db8::1")  # type: ignore[arg-type]  # as above
    assert found.of(Plain(), "::ffff:192.0.2.1") == "192.0.2.1"  # type: ignore[arg-type]  # as above
