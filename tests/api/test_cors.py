"""One origin may call from a browser, with credentials; no other is told anything."""

from typing import Any

import pytest

ORIGIN = "https://shop.example"
EXPOSED = {"Ledger-Position", "ETag", "Idempotent-Replayed", "Retry-After", "RateLimit", "RateLimit-Policy"}
ALLOWED = {"Content-Type", "Authorization", "X-Requested-With", "Idempotency-Key", "If-Match"}


def listed(text: str) -> set[str]:
    return {part.strip() for part in text.split(",")}


@pytest.mark.parametrize("path", ["/api/points/earn", "/api/points/my-points", "/api/nope"])
async def test_a_preflight_of_the_frontend_is_answered(api: Any, path: str) -> None:
    headers = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    answer = await api.http.options(path, headers=headers)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert listed(answer.headers["Access-Control-Allow-Methods"]) == {
        "GET",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
        "OPTIONS",
    }
    assert listed(answer.headers["Access-Control-Allow-Headers"]) == ALLOWED
    assert answer.headers["Vary"] == "Origin"


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "https://shop.example.evil.example", "http://shop.example", "null"]
)
async def test_another_origin_is_told_nothing(api: Any, origin: str) -> None:
    preflight = await api.http.options(
        "/api/points/earn", headers={"Origin": origin, "Access-Control-Request-Method": "POST"}
    )
    read = await api.http.get("/api", headers={"Origin": origin})
    for answer in (preflight, read):
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert answer.headers["Vary"] == "Origin"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/api"), ("GET", "/api/points/my-points"), ("POST", "/api/points/earn"), ("GET", "/nope")],
)
async def test_every_answer_to_the_frontend_may_be_read_by_it_refusals_too(api: Any, method: str, path: str) -> None:
    answer = await api.http.request(method, path, headers={"Origin": ORIGIN})
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert listed(answer.headers["Access-Control-Expose-Headers"]) == EXPOSED


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/api/points/earn", {"POST", "OPTIONS"}),
        ("/api/purchases", {"GET", "HEAD", "POST", "OPTIONS"}),
        ("/api/admin/programme", {"GET", "HEAD", "PUT", "OPTIONS"}),
        ("/r/ABCDEFGH", {"GET", "HEAD", "OPTIONS"}),
    ],
)
async def test_options_without_a_preflight_lists_the_methods(api: Any, path: str, methods: set[str]) -> None:
    answer = await api.http.options(path)
    assert (answer.status_code, listed(answer.headers["Allow"])) == (204, methods)
