"""Pages and cursors: each row once, in the order of the log, while writes go on."""

from typing import Any

import pytest

HISTORY = "/api/points/transactions"


async def history(api: Any, user: str, **params: Any) -> Any:
    answer = await api.get(HISTORY, user, "buyer", **params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def amounts(page: Any) -> list[int]:
    return [row["amount"] for row in page["data"]["transactions"]]


async def seven(api: Any) -> tuple[str, str]:
    """A member with seven earns of 1 to 7 points, and the position of the last."""
    user = await api.member()
    for amount in range(1, 8):
        last = await api.earn(user, amount, occurredAt=f"2026-01-0{amount}")
    return user, last.headers["Ledger-Position"]


async def test_pages_are_newest_first_and_say_where_they_are(api: Any) -> None:
    user, position = await seven(api)
    page = await history(api, user, limit=3, minPosition=position)
    assert amounts(page) == [7, 6, 5]
    assert page["pagination"] == {"page": 1, "limit": 3, "total": 7, "totalPages": 3, "hasMore": True}
    assert page["data"]["pagination"] == page["pagination"]
    last = await history(api, user, limit=3, page=3)
    assert amounts(last) == [1]
    assert (last["pagination"]["hasMore"], last["meta"]["nextCursor"]) == (False, None)
    assert amounts(await history(api, user, limit=3, page=4)) == []


async def test_order_and_limits_change_the_answer(api: Any) -> None:
    user, position = await seven(api)
    assert amounts(await history(api, user, sortOrder="asc", minPosition=position)) == [1, 2, 3, 4, 5, 6, 7]
    assert amounts(await history(api, user, sortOrder="asc", sortBy="createdAt", limit=100)) == [1, 2, 3, 4, 5, 6, 7]
    assert (await history(api, user))["pagination"]["limit"] == 20


async def test_a_cursor_shows_each_row_once_while_writes_go_on(api: Any) -> None:
    user, position = await seven(api)
    seen: list[int] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await history(api, user, limit=2, minPosition=position, **({"after": cursor} if cursor else {}))
        seen += amounts(page)
        cursor = page["meta"]["nextCursor"]
        position = (await api.earn(user, 100)).headers["Ledger-Position"]
    assert seen == [7, 6, 5, 4, 3, 2, 1]


async def test_a_cursor_upwards_comes_to_what_is_written_meanwhile(api: Any) -> None:
    user, position = await seven(api)
    first = await history(api, user, limit=5, sortOrder="asc", minPosition=position)
    position = (await api.earn(user, 8)).headers["Ledger-Position"]
    cursor = first["meta"]["nextCursor"]
    rest = await history(api, user, limit=5, sortOrder="asc", after=cursor, minPosition=position)
    assert amounts(first) + amounts(rest) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert rest["meta"]["nextCursor"] is None


async def test_a_page_beside_a_cursor_is_refused(api: Any) -> None:
    user, position = await seven(api)
    cursor = (await history(api, user, limit=2, minPosition=position))["meta"]["nextCursor"]
    answer = await api.get(HISTORY, user, "buyer", limit=2, after=cursor, page=2)
    assert (answer.status_code, answer.json()["data"][0]["field"]) == (400, "page")
    assert amounts(await history(api, user, limit=2, after=cursor, page=1)) == [5, 4]


async def test_a_cursor_of_the_other_order_is_refused(api: Any) -> None:
    user, position = await seven(api)
    cursor = (await history(api, user, limit=2, minPosition=position))["meta"]["nextCursor"]
    answer = await api.get(HISTORY, user, "buyer", after=cursor, sortOrder="asc")
    assert (answer.status_code, answer.json()["data"][0]["field"]) == (400, "after")


FILTERS = [
    ({"from": "2026-01-03"}, [7, 6, 5, 4, 3]),
    ({"to": "2026-01-03"}, [2, 1]),
    ({"from": "2026-01-03", "to": "2026-01-05"}, [4, 3]),
    ({"from": "2026-01-03T00:00:00.000001Z", "to": "2026-01-05T00:00:00+00:00"}, [4]),
    ({"from": "2026-01-03T01:00:00+01:00", "to": "2026-01-04T01:00:00+01:00"}, [3]),
    ({"type": "earn", "limit": 2}, [7, 6]),
    ({"type": "spend"}, []),
]


@pytest.mark.parametrize(("params", "wanted"), FILTERS, ids=[str(row[0]) for row in FILTERS])
async def test_points_lists_filter_by_when_it_occurred_half_open(
    api: Any, params: dict[str, Any], wanted: list[int]
) -> None:
    user, position = await seven(api)
    page = await history(api, user, minPosition=position, **params)
    assert amounts(page) == wanted
    if "limit" not in params:
        assert page["pagination"]["total"] == len(wanted)


async def test_the_log_is_filtered_by_each_of_its_parameters(api: Any) -> None:
    user, position = await seven(api)
    log = "/api/admin/events"

    async def events(**params: Any) -> list[Any]:
        answer = await api.get(log, "auditor", "finance", minPosition=position, limit=100, **params)
        assert answer.status_code == 200, answer.text
        found: list[Any] = answer.json()["data"]["events"]
        return found

    mine = await events(stream=f"account-{user}")
    assert [event["version"] for event in mine] == [8, 7, 6, 5, 4, 3, 2, 1]
    opened = mine[-1]
    assert [e["version"] for e in await events(stream=f"account-{user}", type="points.account-opened.v1")] == [1]
    assert await events(stream=f"account-{user}", actor="nobody") == []
    assert [e["position"] for e in await events(correlationId=opened["correlationId"])] == [opened["position"]]
    assert [e["version"] for e in await events(stream=f"account-{user}", to=mine[4]["recordedAt"])] == [3, 2, 1]
    assert [e["version"] for e in await events(stream=f"account-{user}", **{"from": mine[1]["recordedAt"]})] == [8, 7]


async def test_one_event_is_shown_with_the_state_before_and_after_it(api: Any) -> None:
    user = await api.member(points=5)
    position = int((await api.earn(user, 3)).headers["Ledger-Position"])
    answer = await api.get(f"/api/admin/events/{position}", "auditor", "finance")
    data = answer.json()["data"]
    assert set(data["event"]) == {
        *("position", "stream", "version", "type", "recordedAt", "occurredAt", "actor", "requestId"),
        *("commandId", "correlationId", "causationId", "data", "hash"),
    }
    assert (data["stateBefore"]["balance"], data["stateAfter"]["balance"], data["chainValid"]) == (5, 8, True)
    assert data["event"]["hash"] == data["hash"] != data["previousHash"]
    missing = await api.get(f"/api/admin/events/{10**9}", "auditor", "finance")
    assert (missing.status_code, missing.json()["error"]) == (404, "EVENT_NOT_FOUND")


async def test_read_models_say_how_far_they_are(api: Any) -> None:
    user = await api.member()
    await api.points(user, await api.earn(user, 1))
    models = (await api.get("/api/admin/read-models", "root", "admin")).json()["data"]["readModels"]
    assert {"points", "transactions", "audit_trail"} <= {model["name"] for model in models}
    for model in models:
        assert {"name", "version", "position", "lagEvents", "lagSeconds", "state"} <= set(model)
        assert model["state"] == "live"
