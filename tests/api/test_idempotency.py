"""A key means one command for ever: the first answer again, whatever has happened since."""

import asyncio
from typing import Any

import pytest


async def test_a_replay_is_the_first_answer_however_much_has_happened_since(api: Any) -> None:
    user = await api.member()
    body = {"userId": user, "amount": 10, "source": "bonus", "reference": "first"}
    first = await api.post("/api/points/earn", body, key=f"{user}-first")
    for _ in range(5):
        await api.earn(user, 100)
    await api.post(f"/api/admin/accounts/{user}/lock", {"reason": "Stolen"}, "root", "admin")
    again = await api.post("/api/points/earn", body, key=f"{user}-first")
    assert again.status_code == first.status_code == 201
    assert again.json()["data"] == first.json()["data"]
    assert again.json()["message"] == first.json()["message"]
    assert again.headers["Ledger-Position"] == first.headers["Ledger-Position"]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers


REPLAYED = [
    ("/api/points/admin/add", {"userId": "{user}", "amount": 5, "reason": "r"}),
    ("/api/points/admin/add", {"userId": "{user}", "amount": -5, "reason": "r"}),
    ("/api/members", {"userId": "{user}", "name": "Ada"}),
    ("/api/admin/accounts/{user}/lock", {"reason": "r"}),
    ("/api/admin/accounts/{user}/unlock", {"reason": "r"}),
]


@pytest.mark.parametrize(("path", "body"), REPLAYED, ids=[f"{row[0]} {row[1].get('amount', '')}" for row in REPLAYED])
async def test_every_command_replays(api: Any, path: str, body: dict[str, Any]) -> None:
    user = await api.member(points=50)
    filled = {name: user if value == "{user}" else value for name, value in body.items()}
    key = api.name("replay")
    first = await api.post(path.format(user=user), filled, "root", "admin", key=key)
    again = await api.post(path.format(user=user), filled, "root", "admin", key=key)
    assert (again.status_code, again.json()["data"]) == (first.status_code, first.json()["data"])
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["Ledger-Position"] == first.headers["Ledger-Position"]


async def test_equal_requests_in_flight_share_one_outcome(api: Any) -> None:
    user = await api.member()
    body = {"userId": user, "amount": 7, "source": "bonus", "reference": "together"}
    answers = await asyncio.gather(*(api.post("/api/points/earn", body, key=f"{user}-together") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["data"]["transaction"]["id"] for answer in answers}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
    assert (await api.points(user, answers[0]))["balance"] == 7


async def test_a_refusal_shared_in_flight_is_a_refusal_for_all_and_leaves_the_key_free(api: Any) -> None:
    user = api.name("not-yet")
    body = {"userId": user, "amount": 7, "source": "bonus", "reference": "early"}
    answers = await asyncio.gather(*(api.post("/api/points/earn", body, key=f"{user}-early") for _ in range(5)))
    assert {answer.status_code for answer in answers} == {404}
    await api.post("/api/members", {"userId": user, "name": "Ada"})
    late = await api.post("/api/points/earn", body, key=f"{user}-early")
    assert (late.status_code, "Idempotent-Replayed" in late.headers) == (201, False)


OTHERS = [
    ("another body", "/api/points/earn", {"amount": 11}),
    ("another reference", "/api/points/earn", {"reference": "other"}),
    ("another path", "/api/members", None),
]


@pytest.mark.parametrize(("what", "path", "change"), OTHERS, ids=[row[0] for row in OTHERS])
async def test_a_key_used_with_another_request_is_422(api: Any, what: str, path: str, change: Any) -> None:
    user = await api.member()
    key = f"{user}-key"
    body = {"userId": user, "amount": 10, "source": "bonus", "reference": "one"}
    await api.post("/api/points/earn", body, key=key)
    other = {"userId": user, "name": "Ada"} if change is None else body | change
    answer = await api.post(path, other, key=key)
    assert (answer.status_code, answer.json()["error"]) == (422, "IDEMPOTENCY_KEY_REUSED")


async def test_two_requests_in_flight_under_one_key_with_other_bodies_do_one_thing(api: Any) -> None:
    user = await api.member()
    answers = await asyncio.gather(
        *(
            api.post(
                "/api/points/earn",
                {"userId": user, "amount": amount, "source": "bonus", "reference": f"r{amount}"},
                key=f"{user}-contested",
            )
            for amount in (1, 2, 3)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [201, 422, 422]


async def test_a_key_belongs_to_the_user_of_the_token(api: Any) -> None:
    user = await api.member()
    body = {"userId": user, "amount": 1, "reason": "r"}
    for admin in ("ann", "ben"):
        answer = await api.post("/api/points/admin/add", body, admin, "admin", key=f"{user}-shared")
        assert "Idempotent-Replayed" not in answer.headers
        assert answer.status_code == 200


REQUIRED = ["/api/points/earn", "/api/members", "/api/admin/accounts/u/lock", "/api/admin/accounts/u/unlock"]


@pytest.mark.parametrize("path", REQUIRED)
async def test_a_command_without_a_key_is_refused_where_one_is_required(api: Any, path: str) -> None:
    answer = await api.post(path, {}, "root", "admin", key=None)
    assert (answer.status_code, answer.json()["error"]) == (400, "IDEMPOTENCY_KEY_REQUIRED")


async def test_a_quoted_key_is_the_same_key_as_a_bare_one(api: Any) -> None:
    user = await api.member()
    body = {"userId": user, "amount": 1, "source": "bonus", "reference": "q"}
    await api.post("/api/points/earn", body, key=f"{user}-q")
    again = await api.post("/api/points/earn", body, key=f'"{user}-q"')
    assert again.headers["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize(
    "key", ['""', "a b", "x" * 256, "\xe9"], ids=["empty", "blank inside", "too long", "not ASCII"]
)
async def test_a_malformed_key_is_400(api: Any, key: str) -> None:
    headers = [(b"Authorization", api.bearer()["Authorization"].encode()), (b"Idempotency-Key", key.encode("latin-1"))]
    answer = await api.http.post("/api/members", json={"userId": "u", "name": "A"}, headers=headers)
    assert (answer.status_code, answer.json()["data"][0]["field"]) == (400, "Idempotency-Key")


async def test_two_keys_are_not_one(api: Any) -> None:
    headers = [*api.bearer().items(), ("Idempotency-Key", "one"), ("Idempotency-Key", "two")]
    answer = await api.http.post("/api/members", json={"userId": "u", "name": "A"}, headers=headers)
    assert (answer.status_code, answer.json()["data"][0]["field"]) == (400, "Idempotency-Key")


async def test_a_key_of_255_characters_is_taken(api: Any) -> None:
    user = api.name("user")
    key = (user * 255)[:255]
    assert (await api.post("/api/members", {"userId": user, "name": "Ada"}, key=key)).status_code == 201
