"""Requests that come whole are served without uvicorn's cycle; nobody can tell, whatever clients and connections do."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from api.observability import REQUEST_SECONDS, REQUESTS
from api.whole_requests import WholeRequestsProtocol
from ledger.settings import Settings
from tests.api.conftest import running
from tests.api.raw_client import connected, head_and_body

EARN = "/api/points/earn"


class Shop:
    """A caller whose token is known and whose limit has a slice at hand, and the requests it makes."""

    def __init__(self, api: Any, caller: str = "shop") -> None:
        self._api = api
        self._bearer = api.bearer(caller)

    async def known(self) -> "Shop":
        await self._api.http.get("/api/points/levels", headers=self._bearer)
        return self

    def earn(self, user: str, key: str, **headers: str) -> tuple[bytes, bytes]:
        body = json.dumps({"userId": user, "amount": 3, "source": "bonus", "reference": key})
        sent = self._bearer | {"Content-Type": "application/json", "Idempotency-Key": key} | headers
        return head_and_body(EARN, sent, body)

    def whole(self, user: str, key: str, **headers: str) -> bytes:
        return b"".join(self.earn(user, key, **headers))


@pytest.fixture
async def shop(api: Any) -> Shop:
    return await Shop(api).known()


@pytest.fixture
def by_uvicorn(api: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands that went uvicorn's way."""
    seen: list[str] = []
    gate = api.app.gate

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "POST":
            seen.append(scope["path"])
        await gate(scope, receive, send)

    monkeypatch.setattr(api.app, "gate", watched)
    return seen


@asynccontextmanager
async def nothing_appended(database: str) -> AsyncIterator[None]:
    """The head is held: whatever is sent meanwhile is under way until the end of the block."""
    connection = await asyncpg.connect(database)
    try:
        async with connection.transaction():
            await connection.execute("SELECT FROM ledger.head FOR UPDATE")
            yield
    finally:
        await connection.close()


def protocol_of(api: Any) -> Any:
    """That of the connection with a request under way, or served last."""
    return next(c for c in api.server.server_state.connections if type(c.cycle).__name__ == "Exchange")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # what it waits for has no event
            await asyncio.sleep(0.01)


async def test_whole_requests_go_past_uvicorn_and_requests_in_pieces_do_not(
    api: Any, shop: Shop, by_uvicorn: list[str]
) -> None:
    user = await api.member()
    del by_uvicorn[:]
    async with connected(api) as client:
        assert (await client.asked(shop.whole(user, api.name("key")))).status == 201
        assert by_uvicorn == []
        assert (await client.asked(*shop.earn(user, api.name("key")))).status == 201
        assert by_uvicorn == [EARN]


async def test_a_connection_that_ends_is_freed_without_the_collector(api: Any, shop: Shop, api_database: str) -> None:
    user = await api.member()

    def left() -> int:
        return sum(type(thing) is WholeRequestsProtocol for thing in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = left()
        for served in (shop.whole, lambda *names: b"".join(shop.earn(*names, Connection="close"))):
            async with connected(api) as client:
                assert (await client.asked(served(user, api.name("key")))).status == 201
        async with nothing_appended(api_database), connected(api) as client:
            await client.send(shop.whole(user, api.name("key")))
            assert left() > before, "one is there now, with a request under way"
        await until(lambda: left() <= before)
    finally:
        gc.enable()


@pytest.mark.parametrize("headers", [{"Expect": "100-continue"}, {"Connection": "close"}])
async def test_what_is_out_of_the_ordinary_goes_uvicorns_way(
    api: Any, shop: Shop, by_uvicorn: list[str], headers: dict[str, str]
) -> None:
    user, key = await api.member(), api.name("key")
    del by_uvicorn[:]
    async with connected(api) as client:
        head, body = shop.earn(user, key, **headers)
        await client.send(head + body)
        assert by_uvicorn == [EARN]
        if headers.get("Connection") == "close":
            assert (await client.answer()).status == 201


async def test_a_chunked_body_and_old_http_go_uvicorns_way(api: Any, shop: Shop, by_uvicorn: list[str]) -> None:
    user, key = await api.member(), api.name("key")
    del by_uvicorn[:]
    head, body = shop.earn(user, key, **{"Content-Length": "", "Transfer-Encoding": "chunked"})
    async with connected(api) as client:
        chunked = b"%x\r\n%b\r\n0\r\nX-Request-Id: trailer\r\n\r\n" % (len(body), body)
        answer = await client.asked(head + chunked)
        assert (answer.status, answer.header("x-request-id") == "trailer") == (201, False)
    async with connected(api) as client:
        old = shop.whole(user, key, Connection="keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0")
        answer = await client.asked(old)
        assert (answer.status, answer.header("idempotent-replayed")) == (201, "true")
        assert await client.rest() == b""
    assert by_uvicorn == [EARN, EARN]


async def test_one_connection_serves_all_kinds_in_turn(api: Any, shop: Shop) -> None:
    user = await api.member()
    expecting = {"Expect": "100-continue"}
    async with connected(api) as client:
        for _ in range(2):
            assert (await client.asked(shop.whole(user, api.name("key")))).status == 201
            head, body = shop.earn(user, api.name("key"), **expecting)
            await client.send(head)
            assert await client.interim() == b"HTTP/1.1 100 Continue"
            assert (await client.asked(body)).status == 201
            assert (await client.asked(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")).status == 200
            assert (await client.asked(*shop.earn(user, api.name("key")))).status == 201
            assert (await client.asked(shop.whole(user, "a b"))).status == 400
            assert (await client.asked(shop.whole(user, "k").replace(b"POST", b"PUT"))).status == 405
    position = api.app.gate.resources.committer.known
    found = await api.get("/api/points/transactions", user, "buyer", minPosition=position)
    assert found.json()["pagination"]["total"] == 6


async def test_pipelined_requests_are_answered_in_their_order(api: Any, shop: Shop) -> None:
    user = await api.member()
    ids = ["p-1", "p-2", "p-3", "p-4", "p-5"]
    requests = [shop.whole(user, api.name("key"), **{"X-Request-Id": each}) for each in ids]
    requests[1] = shop.whole(user, "a b", **{"X-Request-Id": "p-2"})
    requests[3] = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    async with connected(api) as client:
        await client.send(b"".join(requests))
        answers = [await client.answer() for _ in requests]
    assert [answer.status for answer in answers] == [201, 400, 201, 200, 201]
    assert [answer.header("x-request-id") for answer in answers if "timestamp" in answer.text][:3] == ids[:3]


async def test_a_request_is_cut_anywhere(api: Any, shop: Shop) -> None:
    user = await api.member()
    async with connected(api) as client:
        length = len(shop.whole(user, "cut-000"))
        for cut in range(1, length, 23):
            request = shop.whole(user, f"cut-{cut:03}")
            assert (await client.asked(request[:cut], request[cut:])).status == 201


async def test_a_client_that_hangs_up_changes_nothing_for_the_others(api: Any, shop: Shop, api_database: str) -> None:
    user, gone, stays = await api.member(), api.name("key"), api.name("key")
    before = counted(201)
    async with connected(api) as client, connected(api) as leaving:
        async with nothing_appended(api_database):
            await client.send(shop.whole(user, api.name("key")))
            await leaving.send(shop.whole(user, gone))
            leaving.hang_up()
            await api.http.get("/health")
        assert (await client.answer()).status == 201
        assert (await client.asked(shop.whole(user, stays))).status == 201
        again = await client.asked(shop.whole(user, gone))
        assert (again.status, again.header("idempotent-replayed")) == (201, "true")
    assert counted(201) == before + 4


def counted(status: int) -> float:
    value: float = REQUESTS.labels("POST", EARN, str(status))._value.get()
    return value


async def test_every_request_is_counted_under_its_status(api: Any, shop: Shop) -> None:
    user, seconds = await api.member(), REQUEST_SECONDS.labels(EARN)._sum
    before, took = {status: counted(status) for status in (201, 400, 404)}, seconds.get()
    async with connected(api) as client:
        await client.asked(shop.whole(user, api.name("key")))
        await client.asked(shop.whole(user, "a b"))
        await client.asked(shop.whole("nobody-here", api.name("key")))
    assert {status: counted(status) - before[status] for status in before} == {201: 1, 400: 1, 404: 1}
    assert seconds.get() > took


async def test_equal_requests_under_way_share_one_outcome(api: Any, shop: Shop, api_database: str) -> None:
    user, key = await api.member(), api.name("key")
    async with connected(api) as one, connected(api) as other:
        async with nothing_appended(api_database):
            await one.send(shop.whole(user, key))
            await other.send(shop.whole(user, key))
        first, second = await one.answer(), await other.answer()
    assert (first.status, first.header("idempotent-replayed")) == (201, None)
    assert (second.status, second.header("idempotent-replayed")) == (201, "true")
    assert json.loads(first.text)["data"] == json.loads(second.text)["data"]


async def test_the_limit_is_counted_down_and_then_refuses(start: Any) -> None:
    service = await start(RATE_LIMIT_SERVICE="1000/hour")
    caller = service.name("limited")
    shop = await Shop(service, caller).known()
    seen = []
    async with connected(service) as client:
        for _ in range(9):
            answer = await client.asked(shop.whole("nobody-here", service.name("key")))
            seen.append(int((answer.header("ratelimit") or "").partition("r=")[2].partition(";")[0]))
        assert seen == list(range(998, 989, -1))
        lease = next(lease for (_, user), lease in service.app.gate._limits._leases.items() if user == caller)
        lease.left, lease.used_up = 0, True
        refused = await client.asked(shop.whole("nobody-here", service.name("key")))
        assert (refused.status, refused.header("retry-after") is None) == (429, False)


async def test_a_full_queue_refuses(api: Any, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    user = await api.member()
    monkeypatch.setattr(api.app.gate.resources.committer, "_queue_limit", 0)
    async with connected(api) as client:
        answer = await client.asked(shop.whole(user, api.name("key")))
        assert (answer.status, answer.header("retry-after") is None) == (503, False)


async def test_who_does_not_read_answers_gets_no_more_of_them(api: Any, shop: Shop, by_uvicorn: list[str]) -> None:
    user = await api.member()
    del by_uvicorn[:]
    async with connected(api) as client:
        await client.asked(shop.whole(user, api.name("key")))
        protocol = protocol_of(api)
        protocol.pause_writing()  # as the transport does when its buffer is full
        await client.send(shop.whole(user, api.name("key")))
        assert by_uvicorn == [EARN]
        await client.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert protocol.flow.read_paused, "and nothing more is read from them"
        protocol.resume_writing()
        assert [(await client.answer()).status for _ in range(2)] == [201, 200]


async def test_an_answer_that_cannot_be_made_is_the_end_of_nothing_else(
    api: Any, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await api.member()
    async with connected(api) as client:
        with monkeypatch.context() as broken:
            broken.setattr("api.commands.answer_headers", lambda *_, **__: 1 / 0)
            answer = await client.asked(shop.whole(user, api.name("key")))
            assert (answer.status, json.loads(answer.text)["error"]) == (500, "INTERNAL_ERROR")
        with monkeypatch.context() as broken:
            broken.setattr("api.whole_requests.head_of", lambda *_: 1 / 0)
            await client.send(shop.whole(user, api.name("key")))
            assert await client.rest() == b""
    async with connected(api) as client:
        assert (await client.asked(shop.whole(user, api.name("key")))).status == 201


async def test_an_idle_connection_is_closed_when_its_time_is_up_and_not_before(api: Any, shop: Shop) -> None:
    user = await api.member()
    async with connected(api) as client:
        await client.asked(shop.whole(user, api.name("key")))
        protocol = protocol_of(api)
        timer = protocol.timeout_keep_alive_task
        await client.asked(shop.whole(user, api.name("key")))
        assert protocol.timeout_keep_alive_task is timer, "one timer for all requests"
        timer.cancel()
        protocol.timeout_keep_alive_handler()  # the first request's time is up, not the second's
        assert protocol.timeout_keep_alive_task is not timer
        protocol._idle_until = protocol.loop.time() - 1
        await client.send(b"GET /hea")
        protocol.timeout_keep_alive_handler()  # something has come since
        assert (await client.asked(b"lth HTTP/1.1\r\nHost: x\r\n\r\n")).status == 200
        protocol._idle_until = protocol.loop.time() - 1
        protocol.timeout_keep_alive_handler()
        assert await client.rest() == b""


async def test_what_is_under_way_at_the_end_is_answered(environ: dict[str, str], api: Any, api_database: str) -> None:
    user, key = await api.member(), api.name("key")
    context = running(Settings.from_env(environ))
    service = await context.__aenter__()
    shop = await Shop(service).known()
    async with connected(service) as client, connected(service) as idle:
        async with nothing_appended(api_database):
            assert (await idle.asked(shop.whole(user, "a b"))).status == 400
            await client.send(shop.whole(user, key))
            ending = asyncio.create_task(context.__aexit__(None, None, None))
            assert await idle.rest() == b""
        answer = await client.answer()
        assert (answer.status, answer.header("connection")) == (201, "close")
        assert await client.rest() == b""
        await ending
