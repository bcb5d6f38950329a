"""Up to a thousand commands at once, together or each on its own."""

import asyncio
import gc
import json
from contextlib import AsyncExitStack
from typing import Any

import pytest
from dirty_equals import IsPartialDict

from api.call import Call
from ledger import handler
from ledger.domain.points import SpendPoints
from tests.api.raw_client import connected, head_and_body


def earn(key: str, user: str, amount: Any = 1, **more: Any) -> dict[str, Any]:
    return {"key": key, "type": "earn", "userId": user, "amount": amount, "source": "bonus", "reference": key} | more


def spend(key: str, user: str, amount: int) -> dict[str, Any]:
    return {"key": key, "type": "spend", "userId": user, "amount": amount, "reference": key}


async def send(api: Any, items: list[Any], *, atomic: bool = False, **more: Any) -> Any:
    return await api.post("/api/points/batch", {"atomic": atomic, "items": items} | more, key=None)


async def test_items_are_done_in_order_each_on_its_own(api: Any) -> None:
    user = await api.member()
    names = [api.name("item") for _ in range(6)]
    answer = await send(
        api,
        [
            earn(names[0], user, 10),
            spend(names[1], user, 4),
            spend(names[2], user, 7),
            {"key": names[3], "type": "grant", "userId": user, "amount": 5, "reason": "Goodwill"},
            {"key": names[4], "type": "deduct", "userId": user, "amount": 1, "reason": "Typo"},
            earn(names[5], "nobody-at-all"),
        ],
    )
    results = answer.json()["data"]["results"]
    assert answer.status_code == 200
    assert [(r["index"], r["key"], r["ok"]) for r in results] == [
        (i, name, i not in {2, 5}) for i, name in enumerate(names)
    ]
    assert [r["data"]["newBalance"] for r in results if r["ok"]] == [10, 6, 11, 10]
    assert results[2]["error"] == {
        "error": "INSUFFICIENT_POINTS",
        "message": "6 points available, 7 asked for.",
        "statusCode": 400,
    }
    assert results[5]["error"] == IsPartialDict(error="USER_NOT_FOUND", statusCode=404)
    assert (await api.points(user, answer))["balance"] == 10


async def test_a_malformed_item_is_that_items_error(api: Any) -> None:
    user = await api.member()
    items: list[Any] = [
        earn(api.name("item"), user),
        earn(api.name("item"), user, 1.5),
        {"type": "gift"},
        None,
        earn(api.name("item"), user, colour="red"),
        earn(api.name("item"), user, description="a\x00b"),
        earn(api.name("item"), user, occurredAt="2999-01-01"),
    ]
    results = (await send(api, items)).json()["data"]["results"]
    assert [r["ok"] for r in results] == [True] + [False] * 6
    assert [r.get("key") for r in results] == [item and item.get("key") for item in items]
    fields = [r["error"]["data"][0]["field"] for r in results[1:]]
    assert fields == ["amount", "type", "body", "colour", "description", "occurredAt"]


async def test_a_fault_of_ours_in_one_item_is_that_items_error(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: Any) -> None:
        raise RuntimeError("the secret is in /etc/secret")

    monkeypatch.setitem(handler.USE_CASES, SpendPoints, explode)
    user = await api.member()
    names = [api.name("item") for _ in range(3)]
    answer = await send(api, [earn(names[0], user, 5), spend(names[1], user, 1), earn(names[2], user, 2)])
    assert answer.status_code == 200
    results = answer.json()["data"]["results"]
    assert [r["ok"] for r in results] == [True, False, True]
    assert results[1] == IsPartialDict(key=names[1], error=IsPartialDict(error="INTERNAL_ERROR", statusCode=500))
    assert "secret" not in answer.text
    assert (await api.points(user, answer))["balance"] == 7


async def test_an_atomic_batch_is_all_or_none_and_names_the_first_refusal(api: Any) -> None:
    user = await api.member(points=5)
    items = [earn(api.name("item"), user, 10), spend(api.name("item"), user, 16), spend(api.name("item"), user, 99)]
    refused = await send(api, items, atomic=True)
    assert (refused.status_code, refused.json()["error"]) == (400, "INSUFFICIENT_POINTS")
    assert refused.json()["data"] == {"index": 1, "key": items[1]["key"]}
    assert refused.json()["message"] == "Item 1: 15 points available, 16 asked for."
    items[1]["amount"], items[2]["amount"] = 14, 1
    done = await send(api, items, atomic=True)
    assert done.status_code == 200
    assert [r["data"]["newBalance"] for r in done.json()["data"]["results"]] == [15, 1, 0]
    assert (await api.points(user, done))["balance"] == 0


async def test_an_atomic_batch_answers_with_the_status_of_the_refusal(api: Any) -> None:
    user = await api.member()
    await api.earn(user, 1, reference="taken")
    cases = [
        (earn(api.name("item"), "nobody-at-all"), 404, "USER_NOT_FOUND"),
        (earn(api.name("item"), user, reference="taken"), 409, "ALREADY_EARNED"),
        (earn(api.name("item"), user, 0), 400, "VALIDATION_FAILED"),
    ]
    for item, status, code in cases:
        answer = await send(api, [earn(api.name("item"), user), item], atomic=True)
        assert (answer.status_code, answer.json()["error"], answer.json()["data"]["index"]) == (status, code, 1)


async def test_a_batch_sent_again_is_replayed_in_any_order_and_split(api: Any) -> None:
    user = await api.member()
    items = [earn(api.name("item"), user, amount) for amount in (1, 2, 3)]
    first = await send(api, items, atomic=True)
    again = await send(api, items[::-1])
    part = await send(api, items[:1], atomic=True)
    by_key = {r["key"]: r["data"] for r in first.json()["data"]["results"]}
    assert {r["key"]: r["data"] for r in again.json()["data"]["results"]} == by_key
    assert part.json()["data"]["results"][0]["data"] == by_key[items[0]["key"]]
    assert [a.headers.get("Idempotent-Replayed") for a in (first, again, part)] == [None, "true", "true"]
    assert (await api.points(user, first))["balance"] == 6


async def test_an_item_is_the_same_whatever_its_blanks_and_order_and_defaults(api: Any) -> None:
    user, key = await api.member(), api.name("item")
    await send(api, [earn(key, user, 1, metadata={"a": 1, "b": 2})])
    text = (
        f'{{"items":[{{ "reference":"{key}","type":"earn","description":"","metadata":{{"b":2, "a":1}},'
        f'"source":"bonus","amount":1,"userId":"{user}","key":"{key}"}}],"atomic":true}}'
    )
    again = await api.post("/api/points/batch", text.encode(), key=None)
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (200, "true")


async def test_an_item_key_with_another_item_is_422(api: Any) -> None:
    user, key = await api.member(), api.name("item")
    await send(api, [earn(key, user, 1)])
    (result,) = (await send(api, [earn(key, user, 2)])).json()["data"]["results"]
    assert result["error"] == IsPartialDict(error="IDEMPOTENCY_KEY_REUSED", statusCode=422)


async def test_header_and_item_keys_share_one_space(api: Any) -> None:
    user, key = await api.member(), api.name("item")
    body = {"userId": user, "amount": 1, "source": "bonus", "reference": key}
    await api.post("/api/points/earn", body, key=key)
    (result,) = (await send(api, [earn(key, user, 1)])).json()["data"]["results"]
    assert result["error"]["error"] == "IDEMPOTENCY_KEY_REUSED"


async def test_a_malformed_item_and_a_good_one_do_not_share_a_key(api: Any) -> None:
    user, key = await api.member(), api.name("item")
    answer = await send(api, [earn(key, user, 1.5), earn(key, user, 1)])
    assert (answer.status_code, answer.json()["error"]) == (400, "DUPLICATE_BATCH_KEY")
    (result,) = (await send(api, [earn("k" * 300, user, 1)])).json()["data"]["results"]
    assert "key" not in result, "what is no key is not repeated as one"


@pytest.mark.parametrize("atomic", [True, False])
async def test_a_key_twice_in_one_batch_is_refused_as_a_whole(api: Any, atomic: bool) -> None:
    user, key = await api.member(), api.name("item")
    answer = await send(api, [earn(key, user), earn(api.name("item"), user), earn(key, user)], atomic=atomic)
    assert (answer.status_code, answer.json()["error"]) == (400, "DUPLICATE_BATCH_KEY")
    assert answer.json()["data"][0]["field"] == "items[2].key"


async def test_equal_batches_in_flight_are_done_once(api: Any) -> None:
    user = await api.member()
    items = [earn(api.name("item"), user, 1) for _ in range(10)]
    answers = await asyncio.gather(*(send(api, items, atomic=n % 2 == 0) for n in range(6)))
    assert all(r["ok"] for answer in answers for r in answer.json()["data"]["results"])
    assert (await api.points(user, answers[0]))["balance"] == 10


WHOLE = [
    (b'{"atomic": false, "items": []}', "items"),
    (b'{"atomic": false, "items": {}}', "items"),
    (b'{"items": [1]}', "atomic"),
    (b'{"atomic": "yes", "items": [1]}', "atomic"),
    (b'{"atomic": false, "items": [1], "dryRun": true}', "dryRun"),
    (b'{"atomic": false, "items": [' + b"1," * 1000 + b"1]}", "items"),
]


@pytest.mark.parametrize(("body", "field"), WHOLE, ids=["empty", "no list", "no atomic", "text", "unknown", "1001"])
async def test_a_malformed_batch_is_refused_as_a_whole(api: Any, body: bytes, field: str) -> None:
    answer = await api.post("/api/points/batch", body, key=None)
    assert (answer.status_code, answer.json()["data"][0]["field"]) == (400, field)


async def test_a_thousand_items_fit(api: Any) -> None:
    user = await api.member()
    name = api.name("bulk")
    answer = await send(api, [earn(f"{name}-{n}", user) for n in range(1000)])
    assert all(r["ok"] for r in answer.json()["data"]["results"])
    assert (await api.points(user, answer))["balance"] == 1000


async def test_clients_that_hang_up_on_their_batches_cost_nobody_else_a_turn(api: Any) -> None:
    """Twenty-four batches of which two fit in at once; every second client leaves with its answer unread."""
    user = await api.member()
    name = api.name("gone")
    bodies = [
        json.dumps(
            {
                "atomic": False,
                "items": [earn(f"{name}-{batch}-{n}", user, description="x" * 200) for n in range(250)],
            }
        )
        for batch in range(24)
    ]
    headers = {"Authorization": f"Bearer {api.token()}", "Content-Type": "application/json"}
    async with AsyncExitStack() as open_ones:
        clients = [await open_ones.enter_async_context(connected(api)) for _ in bodies]
        sending = [
            client.send(b"".join(head_and_body("/api/points/batch", headers, body)))
            for client, body in zip(clients, bodies, strict=True)
        ]
        await asyncio.gather(*sending)
        for client in clients[1::2]:
            client.hang_up()
        answers = await asyncio.gather(*(client.answer() for client in clients[::2]))
    assert [answer.status for answer in answers] == [200] * 12
    # Whoever asks again gets each item once: done before, or done now.
    again = [await api.post("/api/points/batch", body.encode(), key=None) for body in bodies]
    assert all(result["ok"] for answer in again for result in answer.json()["data"]["results"])
    assert (await api.points(user, again[-1]))["balance"] == 24 * 250


async def test_batches_with_refused_items_leave_nothing_behind(api: Any) -> None:
    """A refusal holds the frames it came through; they must not hold the request for ever."""
    items = [{"type": "earn", "key": "k", "userId": "nobody", "amount": 1, "source": "bonus", "reference": "r",
              "occurredAt": "never"}]  # fmt: skip
    body = {"atomic": False, "items": items}
    for _ in range(3):
        assert (await api.post("/api/points/batch", body, "shop", "service", key=None)).status_code == 200
    gc.collect()
    before = sum(type(thing) is Call for thing in gc.get_objects())
    for _ in range(20):
        await api.post("/api/points/batch", body, "shop", "service", key=None)
    gc.collect()
    assert sum(type(thing) is Call for thing in gc.get_objects()) <= before + 2
