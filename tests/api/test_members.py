"""Members join, change their name, and are forgotten."""

from typing import Any

import asyncpg


async def test_a_new_member_is_201_and_a_known_one_is_updated_with_200(api: Any) -> None:
    user = api.name("user")
    first = await api.post("/api/members", {"userId": user, "name": "Ada", "avatar": "https://cdn.example/a.png"})
    again = await api.post("/api/members", {"userId": user, "name": "Ada King"})
    assert (first.status_code, first.json()["data"]) == (
        201,
        {"userId": user, "name": "Ada", "avatar": "https://cdn.example/a.png", "opened": True},
    )
    assert (again.status_code, again.json()["data"]) == (
        200,
        {"userId": user, "name": "Ada King", "avatar": None, "opened": False},
    )


async def test_a_replay_shows_the_name_of_the_request_and_keeps_none(api: Any, api_database: str) -> None:
    body = {"userId": api.name("user"), "name": "Grace Hopper"}
    first = await api.post("/api/members", body, key="join-once")
    again = await api.post("/api/members", body, key="join-once")
    assert again.json()["data"] == first.json()["data"]
    assert again.headers["Idempotent-Replayed"] == "true"
    connection = await asyncpg.connect(api_database)
    kept = await connection.fetch("SELECT convert_from(answer, 'UTF8') AS answer FROM ledger.commands")
    said = await connection.fetch("SELECT convert_from(data, 'UTF8') AS data FROM ledger.events")
    await connection.close()
    assert not [row for row in (*kept, *said) if "Hopper" in row[0]]


async def test_an_unknown_referral_code_is_refused(api: Any) -> None:
    body = {"userId": api.name("user"), "name": "Ada", "referralCode": "ABCDEFGH"}
    answer = await api.post("/api/members", body)
    assert (answer.status_code, answer.json()["error"]) == (400, "UNKNOWN_REFERRAL_CODE")


async def test_a_forgotten_member_has_no_name_and_still_all_points(api: Any, api_database: str) -> None:
    user = await api.member()
    earned = await api.earn(user, 5)
    path = f"/api/members/{user}"
    first = await api.http.delete(path, headers=api.bearer())
    again = await api.http.delete(path, headers=api.bearer())
    assert (first.status_code, first.json()["data"]) == (200, {"userId": user, "forgotten": True})
    assert (again.status_code, again.json()["data"]) == (200, {"userId": user, "forgotten": False})
    assert (await api.points(user, earned))["balance"] == 5
    connection = await asyncpg.connect(api_database)
    assert await connection.fetchval("SELECT count(*) FROM ledger.directory WHERE user_id = $1", user) == 0
    await connection.close()


async def test_nobody_at_all_cannot_be_forgotten(api: Any) -> None:
    answer = await api.http.delete("/api/members/nobody-at-all", headers=api.bearer())
    assert (answer.status_code, answer.json()["error"]) == (404, "USER_NOT_FOUND")
