"""The lean routes and their ordinary twins answer alike: the same requests, header by header, byte by byte.

A request to a lean route that comes whole is served without uvicorn's cycle, one that comes in pieces through the gate,
and an ordinary one through Litestar: three ways.
"""

import json
import re
from typing import Any

import pytest

from api.routes import LEAN_ROUTES
from api.security import ROLES
from tests.api.raw_client import RawAnswer, connected, head_and_body

VARYING = {"date", "x-request-id", "ratelimit", "ledger-position"}
GOOD = '{"userId": "%(user)s", "amount": 3, "source": "bonus", "reference": "%(key)s"}'
BATCH = (
    '{"atomic": %(atomic)s, "items": [{"key": "%(key)s", "type": "earn", "userId": "%(user)s", "amount": 3, '
    '"source": "bonus", "reference": "%(key)s"}, {"key": "%(key)s-2", "type": "spend", "userId": "%(user)s", '
    '"amount": 9, "reference": "r"}]}'
)
EARN, MANY = "/api/points/earn", "/api/points/batch"

REQUESTS: list[tuple[str, str, dict[str, str], str]] = [
    ("done", EARN, {}, GOOD),
    ("trailing slash", EARN + "/", {}, GOOD),
    ("doubled slash", "/api//points/earn", {}, GOOD),
    ("no token", EARN, {"Authorization": ""}, GOOD),
    ("bad token", EARN, {"Authorization": "Bearer x.y.z"}, GOOD),
    ("wrong role", EARN, {"Authorization": "buyer"}, GOOD),
    ("wrong role with a limit of its own", EARN, {"Authorization": "finance"}, GOOD),
    ("any version", EARN, {"If-Match": "*"}, GOOD),
    ("closing", EARN, {"Connection": "close"}, GOOD),
    ("asking first", EARN, {"Expect": "never"}, GOOD),
    ("no key", EARN, {"Idempotency-Key": ""}, GOOD),
    ("bad key", EARN, {"Idempotency-Key": "a b"}, GOOD),
    ("stale", EARN, {"If-Match": '"77"'}, GOOD),
    ("weak", EARN, {"If-Match": 'W/"1"'}, GOOD),
    ("text", EARN, {"Content-Type": "text/plain"}, GOOD),
    ("gzip", EARN, {"Content-Encoding": "gzip"}, GOOD),
    ("no json", EARN, {}, "{"),
    ("empty", EARN, {}, ""),
    ("unknown field", EARN, {}, '{"x": 1}'),
    ("zero", EARN, {}, GOOD.replace("3", "0")),
    ("control character", EARN, {}, GOOD.replace("bonus", "bo\\u0000nus")),
    ("too large", EARN, {}, " " * 1_048_577),
    ("query", EARN + "?x=1", {}, GOOD),
    ("unknown user", EARN, {}, GOOD.replace("%(user)s", "nobody-at-all")),
    ("from the frontend", EARN, {"Origin": "https://shop.example"}, GOOD),
    ("from elsewhere", EARN, {"Origin": "https://evil.example"}, GOOD),
    ("with ids", EARN, {"X-Request-Id": "r-1", "X-Correlation-Id": "c-1"}, GOOD),
    ("batch", MANY, {}, BATCH.replace("%(atomic)s", "false")),
    ("atomic batch", MANY, {}, BATCH.replace("%(atomic)s", "true")),
    ("batch of nothing", MANY, {}, '{"atomic": true, "items": []}'),
    ("batch without token", MANY, {"Authorization": ""}, "{}"),
    ("batch by a buyer", MANY, {"Authorization": "buyer"}, "{}"),
]


async def send(api: Any, path: str, headers: dict[str, str], body: str, *, whole: bool = True) -> RawAnswer:
    role = headers.get("Authorization")
    known = api.bearer("anybody", role) if role in ROLES else api.bearer()
    sent = {"Content-Type": "application/json"} | known | headers | (known if role in ROLES else {})
    await api.http.get("/api/points/levels", headers=known)  # from here on the token is known and a lease at hand
    head, content = head_and_body(path, sent, body)
    async with connected(api) as client:
        return await (client.asked(head + content) if whole else client.asked(head, content))


def told(answer: RawAnswer, names: tuple[str, str]) -> Any:
    """Everything of an answer but clocks, positions and names that must differ."""
    text = re.sub(r'"(timestamp|createdAt|occurredAt|expiresAt|id)":"[^"]*"', r'"\1":"…"', answer.text)
    text = re.sub(r'"position":\d+', '"position":0', text)
    for name in names:
        text = text.replace(name, "…")
    headers = [(name, "…" if name in VARYING or name == "content-length" else value) for name, value in answer.headers]
    return answer.status, headers, text


@pytest.mark.parametrize(("path", "headers", "body"), [row[1:] for row in REQUESTS], ids=[row[0] for row in REQUESTS])
async def test_whole_lean_and_ordinary_answer_alike(
    api: Any, ordinary_api: Any, path: str, headers: dict[str, str], body: str
) -> None:
    answers = []
    for service, whole in ((api, True), (api, False), (ordinary_api, True)):
        user, key = await api.member(), api.name("twin")
        filled = body.replace("%(user)s", user).replace("%(key)s", key)
        first = await send(service, path, {"Idempotency-Key": key} | headers, filled, whole=whole)
        again = await send(service, path, {"Idempotency-Key": key} | headers, filled, whole=whole)
        answers.append((told(first, (user, key)), told(again, (user, key))))
    assert answers[0] == answers[1], "whole and in pieces"
    assert in_any_order(answers[1]) == in_any_order(answers[2]), "lean and ordinary"


def in_any_order(answers: Any) -> Any:
    """Litestar has an order of its own for headers."""
    return [(status, sorted(headers), text) for status, headers, text in answers]


def test_the_lean_routes_are_earn_and_batch() -> None:
    assert [route.path for route in LEAN_ROUTES] == [EARN, MANY]


async def test_a_key_used_the_lean_way_is_replayed_the_ordinary_way(api: Any, ordinary_api: Any) -> None:
    user, key = await api.member(), api.name("twin")
    body = GOOD % {"user": user, "key": key}
    first = await send(api, EARN, {"Idempotency-Key": key}, body)
    again = await send(ordinary_api, EARN, {"Idempotency-Key": key}, body)
    assert again.header("idempotent-replayed") == "true"
    assert json.loads(again.text)["data"] == json.loads(first.text)["data"]
