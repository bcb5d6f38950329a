"""The lean routes and their ordinary twins answer alike: the same requests, header by header, byte by byte."""

import re
from typing import Any

import pytest

from api.routes import LEAN_ROUTES

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


async def send(api: Any, path: str, headers: dict[str, str], body: str) -> Any:
    sent = api.bearer() | {"Content-Type": "application/json"} | headers
    if headers.get("Authorization") == "buyer":
        sent |= api.bearer("anybody", "buyer")
    return await api.http.post(path, content=body.encode(), headers={k: v for k, v in sent.items() if v})


def told(answer: Any, names: tuple[str, str]) -> Any:
    """Everything of an answer but clocks, positions and names that must differ."""
    text = re.sub(r'"(timestamp|createdAt|occurredAt|expiresAt|id)":"[^"]*"', r'"\1":"…"', answer.text)
    text = re.sub(r'"position":\d+', '"position":0', text)
    for name in names:
        text = text.replace(name, "…")
    headers = {k: v for k, v in answer.headers.items() if k not in VARYING and k != "content-length"}
    present = {name: name in answer.headers for name in VARYING}
    return answer.status_code, headers, present, text


@pytest.mark.parametrize(("path", "headers", "body"), [row[1:] for row in REQUESTS], ids=[row[0] for row in REQUESTS])
async def test_lean_and_ordinary_answer_alike(
    api: Any, ordinary_api: Any, path: str, headers: dict[str, str], body: str
) -> None:
    answers = []
    for service in (api, ordinary_api):
        user, key = await api.member(), api.name("twin")
        filled = body.replace("%(user)s", user).replace("%(key)s", key)
        first = await send(service, path, {"Idempotency-Key": key} | headers, filled)
        again = await send(service, path, {"Idempotency-Key": key} | headers, filled)
        answers.append((told(first, (user, key)), told(again, (user, key))))
    assert answers[0] == answers[1]


def test_the_lean_routes_are_earn_and_batch() -> None:
    assert [route.path for route in LEAN_ROUTES] == [EARN, MANY]


async def test_a_key_used_the_lean_way_is_replayed_the_ordinary_way(api: Any, ordinary_api: Any) -> None:
    user, key = await api.member(), api.name("twin")
    body = GOOD % {"user": user, "key": key}
    first = await send(api, EARN, {"Idempotency-Key": key}, body)
    again = await send(ordinary_api, EARN, {"Idempotency-Key": key}, body)
    assert (again.headers["Idempotent-Replayed"], again.json()["data"]) == ("true", first.json()["data"])
