"""Whether it works, as load balancers, monitoring and Prometheus ask."""

import asyncio
from typing import Any

import msgspec
import pytest

from api.routes import health as routes
from projections import log
from tests.api.live_client import following


async def health(api: Any) -> Any:
    """Asked anew, not remembered."""
    api.app.gate.resources.last_health = (float("-inf"), None)
    answer = await api.http.get("/api/health")
    api.app.gate.resources.last_health = (float("-inf"), None)
    return answer


async def test_health_names_its_parts(api: Any, api_database: str, redis_url: str) -> None:
    user = await api.member()
    earned = await api.earn(user, 1)
    await api.points(user, earned)
    async with following(api_database, redis_url):
        async with asyncio.timeout(10):
            while (await health(api)).json()["data"]["liveEvents"]["lagEvents"]:
                pass
        answer = await health(api)
    data = answer.json()["data"]
    assert (answer.status_code, data["status"], data["database"], data["redis"], data["writes"]) == (
        200,
        *("ok", "up", "up", "up"),
    )
    assert data["logHead"] > 0
    assert data["version"]
    assert set(data["readModels"]["points"]) == {"position", "lagEvents", "lagSeconds", "state"}
    assert data["liveEvents"] == {"position": data["logHead"], "lagEvents": 0, "lagSeconds": 0.0}
    assert data["partitionsAhead"] >= 3


async def test_live_events_that_are_not_sent_are_degraded(
    api: Any, api_database: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "LAG_SECONDS_AT_MOST", 0.5)
    position = int((await api.earn(await api.member(), 1)).headers["Ledger-Position"])
    async with asyncio.timeout(10):  # nobody sends
        while (await health(api)).json()["data"]["status"] != "degraded":
            pass
    lag = (await health(api)).json()["data"]["liveEvents"]
    assert lag["lagEvents"] >= 1
    assert lag["lagSeconds"] > 0.5
    assert lag["position"] < position
    async with following(api_database, redis_url), asyncio.timeout(10):
        while (await health(api)).json()["data"]["status"] != "ok":
            pass


async def test_a_log_without_room_ahead_is_degraded(
    api: Any, api_database: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with following(api_database, redis_url):
        async with asyncio.timeout(10):
            while (await health(api)).json()["data"]["status"] != "ok":
                pass
        ahead = (await health(api)).json()["data"]["partitionsAhead"]
        # The head as if it lay in the second partition: one less lies ahead of it than should.
        head = "(SELECT p.upper_position AS position, 0 AS shard FROM ledger.partitions p ORDER BY 1 LIMIT 1)"
        monkeypatch.setattr(log, "_PARTITIONS_AHEAD", log._PARTITIONS_AHEAD.replace("ledger.head", head))
        data = (await health(api)).json()["data"]
    assert (data["status"], data["partitionsAhead"], ahead) == ("degraded", 2, 3)


async def test_without_a_database_health_is_503_and_says_so(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: Any) -> None:
        raise ConnectionRefusedError("10.0.0.5:5432")

    resources = api.app.gate.resources
    monkeypatch.setattr(resources, "last_health", (float("-inf"), None))
    monkeypatch.setattr(routes, "head_position", refuse)
    answer = await api.http.get("/api/health")
    assert (answer.status_code, answer.json()["data"]["status"], answer.headers["Retry-After"]) == (503, "down", "1")
    assert answer.json()["success"] is False
    assert "10.0.0.5" not in answer.text
    assert (await api.http.get("/health")).status_code == 200
    resources.last_health = (float("-inf"), None)


async def test_a_stuck_read_model_is_degraded_and_still_200(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = await routes.list_read_models(api.app.gate.resources.pool)
    listed = [msgspec.structs.replace(model, state="stuck") for model in found]

    async def stuck(*_: Any) -> Any:
        return listed

    monkeypatch.setattr(api.app.gate.resources, "last_health", (float("-inf"), None))
    monkeypatch.setattr(routes, "list_read_models", stuck)
    answer = await api.http.get("/api/health")
    assert (answer.status_code, answer.json()["data"]["status"]) == (200, "degraded")
    api.app.gate.resources.last_health = (float("-inf"), None)


async def test_health_asks_the_database_once_a_second_however_many_ask(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    real = routes.head_position

    async def counted(pool: Any) -> int:
        nonlocal asked
        asked += 1
        return await real(pool)

    monkeypatch.setattr(api.app.gate.resources, "last_health", (float("-inf"), None))
    monkeypatch.setattr(routes, "head_position", counted)
    for _ in range(3):
        await asyncio.gather(*(api.http.get("/api/health") for _ in range(10)))
    assert asked <= 10


async def test_the_map_names_only_what_is_served(api: Any) -> None:
    prefixes = (await api.http.get("/api")).json()["data"]["services"].values()
    served = [route.path for route in api.app.routes]
    for prefix in prefixes:
        assert [path for path in served if path.startswith(prefix)]


async def test_metrics_count_by_route_template_and_never_by_path(api: Any) -> None:
    user = await api.member(points=1)
    await api.get(f"/api/points/accounts/{user}", "root", "admin")
    await api.http.get("/no/such/path")
    answer = await api.get("/metrics", "prometheus", "service")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert 'ledger_http_requests_total{method="POST",route="/api/points/earn",status="201"}' in answer.text
    assert 'route="/api/points/accounts/{user_id}"' in answer.text
    assert 'route="(none)",status="404"' in answer.text
    assert user not in answer.text
    assert "/no/such/path" not in answer.text
    for name in ("flushes", "commands", "conflicts", "sent_ahead", "resent", "waiting", "position"):
        assert f"\nledger_committer_{name} " in answer.text
