"""The envelope of every JSON answer, whatever happened."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
ALWAYS = {"success", "message", "statusCode", "timestamp", "path", "method"}


def check_envelope(answer: Any, *, path: str | None = None) -> dict[str, Any]:
    assert answer.headers["Content-Type"] == "application/json"
    body: dict[str, Any] = answer.json()
    assert set(body) >= ALWAYS
    assert body["statusCode"] == answer.status_code
    assert TIMESTAMP.fullmatch(body["timestamp"])
    assert body["method"] == answer.request.method
    assert body["path"] == (path or answer.request.url.path)
    assert body["message"].strip()
    assert body["success"] is (answer.status_code < 400)
    if body["success"]:
        assert set(body) <= ALWAYS | {"data", "meta", "pagination"}
        assert "data" in body
    else:
        assert set(body) <= ALWAYS | {"error", "data"}
        assert re.fullmatch(r"[A-Z][A-Z_]+", body["error"])
    return body


READS = [
    "/api/health",
    "/api",
    "/api/points/my-points",
    "/api/points/transactions",
    "/api/points/levels",
    "/api/points/accounts/{user}",
    "/api/admin/events",
    "/api/admin/events/1",
    "/api/admin/read-models",
]


@pytest.mark.parametrize("path", READS)
async def test_every_read_answers_in_the_envelope(api: Any, path: str) -> None:
    user = await api.member()
    await api.points(user, await api.earn(user, 1))
    answer = await api.get(path.format(user=user), user, "admin")
    assert answer.status_code == 200
    check_envelope(answer)


WRITES = [
    ("/api/points/earn", {"userId": "{user}", "amount": 1, "source": "bonus", "reference": "r"}, 201),
    ("/api/points/batch", {"atomic": False, "items": [{"type": "earn"}]}, 200),
    ("/api/points/admin/add", {"userId": "{user}", "amount": 1, "reason": "Goodwill"}, 200),
    ("/api/members", {"userId": "{user}", "name": "Ada"}, 200),
    ("/api/admin/accounts/{user}/lock", {"reason": "Stolen"}, 200),
    ("/api/admin/accounts/{user}/unlock", {"reason": "Found"}, 200),
]


@pytest.mark.parametrize(("path", "body", "status"), WRITES, ids=[row[0] for row in WRITES])
async def test_every_write_answers_in_the_envelope_done_or_refused(
    api: Any, path: str, body: dict[str, Any], status: int
) -> None:
    user = await api.member()
    filled = {name: user if value == "{user}" else value for name, value in body.items()}
    done = await api.post(path.format(user=user), filled, "root", "admin")
    assert done.status_code == status, done.text
    check_envelope(done)
    for bad in (b"{", b"", b"[]", b"null", b'{"unknown": 1}'):
        refused = await api.post(path.format(user=user), bad, "root", "admin")
        assert refused.status_code == 400
        check_envelope(refused)


async def test_health_is_bare_and_touches_nothing(api: Any) -> None:
    answer = await api.http.get("/health")
    assert set(answer.json()) == {"success", "message", "timestamp", "environment", "version"}
    assert TIMESTAMP.fullmatch(answer.json()["timestamp"])


@pytest.mark.parametrize(
    "path", ["/", "/nope", "/api/nope", "/api/points/earn/more", "/api/%00", "/%F0%9F%98%80", "/api/v1"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_a_route_that_is_not_there_is_404(api: Any, method: str, path: str) -> None:
    answer = await api.http.request(method, path)
    assert answer.status_code == 404
    assert check_envelope(answer)["error"] == "ROUTE_NOT_FOUND"


METHODS = [
    ("PUT", "/api/points/earn", {"POST", "OPTIONS"}),
    ("GET", "/api/points/batch", {"POST", "OPTIONS"}),
    ("PATCH", "/api/points/my-points", {"GET", "HEAD", "OPTIONS"}),
    ("GET", "/api/members/user-1", {"DELETE", "OPTIONS"}),
    ("POST", "/api/admin/events", {"GET", "HEAD", "OPTIONS"}),
    ("PUT", "/api/purchases", {"GET", "HEAD", "POST", "OPTIONS"}),
]


@pytest.mark.parametrize(("method", "path", "allowed"), METHODS)
async def test_another_method_is_405_and_says_which_are_allowed(
    api: Any, method: str, path: str, allowed: set[str]
) -> None:
    answer = await api.http.request(method, path, headers=api.bearer())
    assert answer.status_code == 405
    assert check_envelope(answer)["error"] == "METHOD_NOT_ALLOWED"
    assert set(answer.headers["Allow"].split(", ")) == allowed


@pytest.mark.parametrize("path", ["/api/points/earn", "/api/points/batch", "/api/members"])
async def test_a_body_over_one_mebibyte_is_413_declared_or_chunked(api: Any, path: str) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 100_000

    declared = await api.post(path, b" " * (1_048_576 + 1))
    chunked = await api.http.post(
        path, content=parts(), headers=api.bearer() | {"Content-Type": "application/json", "Idempotency-Key": "big"}
    )
    for answer in (declared, chunked):
        assert answer.status_code == 413
        assert check_envelope(answer)["error"] == "BODY_TOO_LARGE"


async def test_a_body_of_one_mebibyte_is_read(api: Any) -> None:
    body = b'{"userId": "' + b"x" * (1_048_576 - 14) + b'"}'
    assert len(body) == 1_048_576
    assert (await api.post("/api/members", body)).status_code == 400


CONTENT = [
    ({"Content-Type": "text/plain"}, 415),
    ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
    ({"Content-Type": "application/json; charset=latin-1"}, 415),
    ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, 415),
    ({"Content-Type": "application/json; charset=UTF-8"}, 201),
    ({"Content-Type": "application/merge-patch+json"}, 201),
    ({"Content-Type": "APPLICATION/JSON"}, 201),
]


@pytest.mark.parametrize(("headers", "status"), CONTENT, ids=[str(row[0]) for row in CONTENT])
async def test_only_json_in_utf8_is_read(api: Any, headers: dict[str, str], status: int) -> None:
    body = f'{{"userId": "{api.name("user")}", "name": "Ada"}}'.encode()
    answer = await api.post("/api/members", body, headers=headers)
    assert answer.status_code == status
    check_envelope(answer)


async def test_a_fault_of_ours_is_500_without_a_word_of_it(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: Any) -> None:
        raise RuntimeError("the secret is in /etc/secret")

    monkeypatch.setattr(api.app.gate.resources.handler, "handle", explode)
    monkeypatch.setattr(api.app.gate.resources.handler, "handle_for", explode)
    monkeypatch.setattr(api.app.gate.resources, "models", None)
    body = {"userId": "u", "amount": 1, "source": "bonus", "reference": "r"}
    lean = await api.post("/api/points/earn", body)
    ordinary = await api.post("/api/points/admin/add", {"userId": "u", "amount": 1, "reason": "r"}, "root", "admin")
    read = await api.get("/api/points/my-points", "u", "buyer")
    for answer in (lean, ordinary, read):
        assert answer.status_code == 500
        assert check_envelope(answer)["error"] == "INTERNAL_ERROR"
        assert "secret" not in answer.text
        assert "NoneType" not in answer.text


async def test_a_database_that_does_not_answer_is_503(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: Any) -> None:
        raise ConnectionRefusedError("10.0.0.5:5432")

    monkeypatch.setattr(api.app.gate.resources.pool.__class__, "fetch", refuse)
    answer = await api.get("/api/points/my-points", "u", "buyer")
    assert answer.status_code == 503
    assert check_envelope(answer)["error"] == "DATABASE_UNAVAILABLE"
    assert "10.0.0.5" not in answer.text
    assert answer.headers["Retry-After"] == "1"


async def test_a_path_with_a_slash_too_many_is_the_same_path(api: Any) -> None:
    user = api.name("user")
    body = {"userId": user, "name": "Ada"}
    first = await api.post("/api//members/", body, key="slashes")
    again = await api.post("/api/members", body, key="slashes")
    assert (first.status_code, again.headers["Idempotent-Replayed"]) == (201, "true")
    check_envelope(first, path="/api/members")


IDS = [("abc-123", True), ("x" * 128, True), ("x" * 129, False), ("a b", False), ("", False)]


@pytest.mark.parametrize(("given", "kept"), IDS)
async def test_a_request_id_is_taken_over_if_it_is_visible_and_short(api: Any, given: str, kept: bool) -> None:
    answer = await api.http.get("/api", headers={"X-Request-Id": given})
    assert (answer.headers["X-Request-Id"] == given) is kept
    assert answer.headers["X-Request-Id"]


async def test_the_log_knows_request_and_correlation(api: Any) -> None:
    user = await api.member()
    ids = {"X-Request-Id": api.name("request"), "X-Correlation-Id": api.name("checkout")}
    body = {"userId": user, "amount": 1, "source": "bonus", "reference": "r"}
    done = await api.post("/api/points/earn", body, headers=ids)
    found = await api.get(
        "/api/admin/events",
        correlationId=ids["X-Correlation-Id"],
        minPosition=done.headers["Ledger-Position"],
    )
    (event,) = found.json()["data"]["events"]
    assert (event["requestId"], event["correlationId"]) == (ids["X-Request-Id"], ids["X-Correlation-Id"])


async def test_no_answer_is_kept_by_caches_or_names_the_server(api: Any) -> None:
    for path in ("/health", "/api/points/my-points", "/nope"):
        answer = await api.http.get(path)
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "Server" not in answer.headers
