"""What comes in an order, a size or a language that the service does not expect: each request gets its own answer."""

import asyncio
import json
from typing import Any

import pytest

from tests.api.raw_client import connected, head_and_body
from tests.api.test_whole_requests import Shop, nothing_appended, shop

__all__ = ["shop"]  # a fixture

GARBAGE = b"\x00garbage\r\n\r\n"
OFFER = {
    "Connection": "Upgrade, HTTP2-Settings",
    "Upgrade": "h2c",
    "HTTP2-Settings": "AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
}
LONG_HEAD = b"GET /x HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 70_000


def batch(api: Any, user: str, items: int) -> bytes:
    said = [
        {"type": "earn", "key": api.name("item"), "userId": user, "amount": 1, "source": "bonus"}
        | {"reference": api.name("reference"), "description": "x" * 100}
        for _ in range(items)
    ]
    headers = api.bearer() | {"Content-Type": "application/json"}
    return b"".join(head_and_body("/api/points/batch", headers, json.dumps({"atomic": False, "items": said})))


async def test_a_head_that_begins_behind_a_large_body_is_not_as_large(api: Any, shop: Shop) -> None:
    user = await api.member()
    following = shop.whole(user, api.name("key"))
    async with connected(api) as client:
        first = batch(api, user, 400)
        assert len(first) > 65_536
        await client.send(first + following[:20], following[20:])
        assert [(await client.answer()).status for _ in range(2)] == [200, 201]


@pytest.mark.parametrize(("behind", "status"), [(GARBAGE, b"400"), (LONG_HEAD, b"431")], ids=["garbage", "a long head"])
@pytest.mark.parametrize("headers", [{}, {"Expect": "100-continue"}], ids=["at once", "by uvicorn"])
@pytest.mark.parametrize("requests", [1, 2])
async def test_what_cannot_be_read_is_answered_behind_what_could(
    api: Any, shop: Shop, api_database: str, behind: bytes, status: bytes, headers: dict[str, str], requests: int
) -> None:
    """Else a command that is committed would be told as refused."""
    user = await api.member()
    async with connected(api) as client:
        async with nothing_appended(api_database):
            await client.send(*(shop.whole(user, api.name("key"), **headers) for _ in range(requests)), behind)
        said = (await client.rest()).replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
    answers = said.split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"201"] * requests + [status]


async def test_a_body_that_cannot_be_read_is_answered_at_once(api: Any, shop: Shop, api_database: str) -> None:
    head, _ = shop.earn(await api.member(), api.name("key"), **{"Content-Length": "", "Transfer-Encoding": "chunked"})
    async with connected(api) as client:
        await client.send(head, b"zz\r\n")
        assert (await client.rest()).startswith(b"HTTP/1.1 400")
    user = await api.member()
    async with connected(api) as client:
        async with nothing_appended(api_database):
            await client.send(shop.whole(user, api.name("key")), head + b"zz\r\n")
        said = await client.rest()
    assert said.startswith(b"HTTP/1.1 201")
    assert said.count(b"HTTP/1.1 400") == 1


@pytest.mark.parametrize("in_pieces", [False, True], ids=["whole", "in pieces"])
@pytest.mark.parametrize("connection", ["Upgrade, HTTP2-Settings", "keep-alive, upgrade"])
async def test_an_offer_of_http_2_is_ignored(api: Any, shop: Shop, connection: str, *, in_pieces: bool) -> None:
    """As clients in Java make it with each first request. The body behind it is this request's, and no other request."""
    user = await api.member()
    offer = OFFER | {"Connection": connection}
    async with connected(api) as client:
        for offered in (offer, offer, {}):
            head, body = shop.earn(user, api.name("key"), **offered)
            answer = await (client.asked(head, body) if in_pieces else client.asked(head + body))
            assert answer.status == 201, answer.text
    assert json.loads(answer.text)["data"]["newBalance"] == 9


async def test_a_chunked_body_behind_an_offer_is_this_requests(api: Any, shop: Shop) -> None:
    user = await api.member()
    chunked = {"Content-Length": "", "Transfer-Encoding": "chunked"} | OFFER
    for in_pieces in (False, True):
        head, body = shop.earn(user, api.name("key"), **chunked)
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        async with connected(api) as client:
            answers = [await (client.asked(head, body) if in_pieces else client.asked(head + body))]
            answers.append(await client.asked(shop.whole(user, api.name("key"))))
            assert [answer.status for answer in answers] == [201, 201]


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Authorization": ""}, None, 401),
        ({"Authorization": "Bearer x.y.z"}, None, 401),
        ({"Idempotency-Key": ""}, None, 400),
        ({"Content-Type": "text/plain"}, None, 415),
        ({}, b"x" * 2_000_000, 413),
    ],
    ids=["no token", "forged", "no key", "no JSON", "too large"],
)
async def test_an_offer_opens_no_door(
    api: Any, shop: Shop, headers: dict[str, str], body: bytes | None, status: int
) -> None:
    head, good = shop.earn(await api.member(), api.name("key"), **OFFER | headers)
    if body is not None:
        head = head.replace(b"Content-Length: %d" % len(good), b"Content-Length: %d" % len(body))
    async with connected(api) as client:
        assert (await client.asked(head, body or good)).status == status


async def test_with_and_without_an_offer_a_key_is_the_same(api: Any, shop: Shop, api_database: str) -> None:
    user, key = await api.member(), api.name("key")
    async with connected(api) as one, connected(api) as other:
        async with nothing_appended(api_database):
            await one.send(shop.whole(user, key, **OFFER))
            await other.send(shop.whole(user, key))
        answers = await one.answer(), await other.answer()
    assert [answer.status for answer in answers] == [201, 201]
    assert [answer.header("idempotent-replayed") for answer in answers] == [None, "true"]


async def test_a_client_that_hangs_up_before_its_last_words_loses_nothing(
    api: Any, shop: Shop, api_database: str
) -> None:
    user, key = await api.member(), api.name("key")
    async with connected(api) as client, nothing_appended(api_database):
        await client.send(shop.whole(user, key), GARBAGE)
        client.hang_up()
    async with connected(api) as client:
        again = await client.asked(shop.whole(user, key))
    assert (again.status, again.header("idempotent-replayed")) == (201, "true")


async def test_an_offer_of_http_2_in_two_connection_headers_is_ignored_too(api: Any, shop: Shop) -> None:
    """The parser adds them up, uvicorn looks at the last: what lies between must not become a request of its own."""
    user = await api.member()
    head, _ = shop.earn(user, api.name("key"), Connection="upgrade", Upgrade="h2c")
    inner = shop.whole(user, api.name("key"))
    outer = head.replace(b"Connection: upgrade\r\n", b"Connection: upgrade\r\nConnection: keep-alive\r\n")
    lines = [line for line in outer.split(b"\r\n") if not line.startswith(b"Content-Length")]
    outer = b"\r\n".join([lines[0], b"Content-Length: %d" % len(inner), *lines[1:]])
    for pieces in ([outer, inner], [outer + inner]):
        async with connected(api) as client:
            answer = await client.asked(*pieces)
            assert (answer.status, json.loads(answer.text)["error"]) == (400, "INVALID_JSON")
            assert (await client.asked(shop.whole(user, api.name("key")))).status == 201


async def test_hundreds_of_offers_in_one_read_are_each_answered(api: Any) -> None:
    offer = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"
    async with connected(api) as client:
        await client.send(offer * 400)
        assert {(await client.answer()).status for _ in range(400)} == {200}


async def test_an_offer_in_old_http_stays_old_http(api: Any) -> None:
    async with connected(api) as client:
        await client.send(b"GET /health HTTP/1.0\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n")
        assert (await client.rest()).startswith(b"HTTP/1.1 200")


async def test_an_offer_of_http_2_that_asks_to_close_is_answered_and_closed(api: Any, shop: Shop) -> None:
    head, body = shop.earn(await api.member(), api.name("key"), Connection="upgrade, close", Upgrade="h2c")
    async with connected(api) as client:
        said = await asyncio.gather(client.rest(), client.send(head + body))
    assert said[0].startswith(b"HTTP/1.1 201")


async def test_trailers_have_an_end(api: Any, shop: Shop) -> None:
    head, body = shop.earn(
        await api.member(), api.name("key"), **{"Content-Length": "", "Transfer-Encoding": "chunked"}
    )
    async with connected(api) as client:
        await client.send(head + b"%x\r\n%b\r\n0\r\n" % (len(body), body))
        sent = 0
        with pytest.raises(OSError):  # noqa: PT012  # the service hangs up, with whichever word for it
            while sent < 5_000_000:
                await client.send(b"x-trailer: " + b"a" * 10_000 + b"\r\n")
                sent += 10_000
        assert sent < 500_000
