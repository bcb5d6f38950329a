"""Every route against every kind of caller. A route without a row here fails the build."""

import time
from typing import Any

import jwt
import pytest
from litestar.routes import HTTPRoute

from api.routes import LEAN_ROUTES, ROUTES

ROLES = ("buyer", "seller", "admin", "resolver", "service", "finance")
ANYONE = "anyone"
SIGNED_IN = set(ROLES)
SIGNATURE = "whoever has signed it"
"""Open to anybody without a token, and closed to everybody without a signature, whatever token they have."""
NOT_FINANCE = SIGNED_IN - {"finance"}
BACK_OFFICE = {"service", "admin", "finance"}

MATRIX: dict[tuple[str, str], Any] = {
    ("GET", "/health"): ANYONE,
    ("GET", "/api/health"): ANYONE,
    ("GET", "/api"): ANYONE,
    ("GET", "/api/docs"): ANYONE,
    ("GET", "/api/docs/openapi.json"): ANYONE,
    ("GET", "/metrics"): BACK_OFFICE,
    ("GET", "/api/points/my-points"): SIGNED_IN,
    ("GET", "/api/points/transactions"): SIGNED_IN,
    ("GET", "/api/points/expiring"): SIGNED_IN,
    ("GET", "/api/points/referrals"): SIGNED_IN,
    ("GET", "/api/points/leaderboard"): SIGNED_IN,
    ("GET", "/api/points/levels"): SIGNED_IN,
    ("GET", "/api/points/accounts/{user_id}"): BACK_OFFICE,
    ("POST", "/api/points/earn"): {"service", "admin"},
    ("POST", "/api/points/batch"): {"service", "admin"},
    ("POST", "/api/points/admin/add"): {"admin"},
    ("POST", "/api/points/redeem"): SIGNED_IN,
    ("POST", "/api/points/generate-referral-code"): SIGNED_IN,
    ("GET", "/r/{code}"): ANYONE,
    ("POST", "/api/purchases"): {"service"},
    ("GET", "/api/purchases"): SIGNED_IN,
    ("GET", "/api/purchases/{purchase_request_id}"): SIGNED_IN,
    ("POST", "/api/purchases/{purchase_request_id}/status"): {"service", "admin"},
    ("POST", "/api/payment"): NOT_FINANCE,
    ("GET", "/api/payment"): SIGNED_IN,
    ("GET", "/api/payment/stats"): SIGNED_IN,
    ("GET", "/api/payment/export"): SIGNED_IN,
    ("GET", "/api/payment/{payment_id}"): SIGNED_IN,
    ("GET", "/api/payment/{payment_id}/ledger"): SIGNED_IN,
    ("POST", "/api/payment/{payment_id}/cancel"): NOT_FINANCE,
    ("POST", "/api/payment/{payment_id}/release"): NOT_FINANCE,
    ("POST", "/api/payment/{payment_id}/release/confirm"): {"service", "admin"},
    ("POST", "/api/payment/{payment_id}/release/cancel"): {"service", "admin", "resolver"},
    ("POST", "/api/payment/{payment_id}/refund"): NOT_FINANCE,
    ("POST", "/api/payment/{payment_id}/refund/confirm"): {"service", "admin"},
    ("POST", "/api/payment/{payment_id}/refund/cancel"): {"service", "admin", "resolver"},
    ("POST", "/api/payment/webhooks/{provider}"): SIGNATURE,
    ("POST", "/api/disputes"): NOT_FINANCE,
    ("GET", "/api/disputes"): SIGNED_IN,
    ("GET", "/api/disputes/{dispute_id}"): SIGNED_IN,
    ("POST", "/api/disputes/{dispute_id}/assign"): {"admin", "resolver"},
    ("POST", "/api/disputes/{dispute_id}/evidence"): NOT_FINANCE,
    ("POST", "/api/disputes/{dispute_id}/resolve"): {"admin", "resolver"},
    ("GET", "/api/admin/suspense"): {"admin", "finance"},
    ("GET", "/api/admin/dead-letters"): {"admin", "finance"},
    ("POST", "/api/admin/suspense/{suspense_id}/settle"): {"admin"},
    ("POST", "/api/admin/dead-letters/{letter_id}/replay"): {"admin"},
    ("POST", "/api/admin/dead-letters/{letter_id}/skip"): {"admin"},
    ("POST", "/api/members"): {"service", "admin"},
    ("DELETE", "/api/members/{user_id}"): {"service", "admin"},
    ("GET", "/api/admin/accounts/{user_id}"): {"admin", "finance"},
    ("GET", "/api/admin/accounts/{user_id}/explain"): {"admin", "finance"},
    ("POST", "/api/admin/accounts/{user_id}/lock"): {"admin"},
    ("POST", "/api/admin/accounts/{user_id}/unlock"): {"admin"},
    ("GET", "/api/admin/programme"): {"admin", "finance"},
    ("PUT", "/api/admin/programme"): {"admin"},
    ("GET", "/api/admin/events"): BACK_OFFICE,
    ("GET", "/api/admin/events/{position}"): BACK_OFFICE,
    ("GET", "/api/admin/integrity"): {"admin", "finance"},
    ("GET", "/api/admin/read-models"): {"admin", "finance"},
    ("GET", "/api/ledger/export"): {"admin", "finance"},
    ("GET", "/api/ledger/balances"): {"admin", "finance"},
    ("GET", "/api/ledger/statement"): {"admin", "finance"},
}


def served(api: Any) -> dict[tuple[str, str], Any]:
    """Method and path of every route, and its handler's `opt`, but for the OPTIONS that Litestar adds."""
    return {
        (method, route.path_format): handler.opt
        for route in api.app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        for method in handler.http_methods
        if method != "OPTIONS"
    }


def bad_tokens(api: Any) -> dict[str, str]:
    """Everything that looks like a token and proves nothing."""
    claims = {"id": "root", "role": "admin", "exp": int(time.time()) + 600}
    good = api.token("root", "admin")
    head, body, signature = good.split(".")
    return {
        "expired": api.token("root", "admin", exp=int(time.time()) - 1),
        "forged": jwt.encode(claims, "another secret, also of more than 32 bytes", "HS256"),
        "tampered": ".".join((head, body, signature[:-4] + "AAAA")),
        "wrong algorithm": jwt.encode(claims, "a secret for tests, of more than 32 bytes" * 2, "HS512"),
        "algorithm none": jwt.encode(claims, None, "none"),
        "without exp": jwt.encode(
            {"id": "root", "role": "admin"}, "a secret for tests, of more than 32 bytes", "HS256"
        ),
        "unknown role": api.token("root", "superuser"),
        "no user": api.token("", "admin"),
        "not a token": "abc",
    }


def test_every_route_has_a_row_and_every_row_a_route(api: Any) -> None:
    assert set(served(api)) == set(MATRIX)


def test_every_route_declares_who_may_use_it_as_the_matrix_says(api: Any) -> None:
    for key, opt in served(api).items():
        declared = opt["access"]
        assert MATRIX[key] in ((ANYONE, SIGNATURE) if declared is None else (set(declared),)), key


def test_a_lean_route_declares_the_same_as_its_ordinary_twin(api: Any) -> None:
    routes = served(api)
    assert {route.path: route.access for route in LEAN_ROUTES} == {
        route.path: routes["POST", route.path]["access"] for route in LEAN_ROUTES
    }
    assert len(ROUTES) == len(MATRIX)


@pytest.mark.parametrize("key", MATRIX, ids=" ".join)
async def test_only_who_may_is_let_in(api: Any, key: tuple[str, str]) -> None:
    method, template = key
    path = template.format(
        user_id="matrix-user",
        position=1,
        code="ABCDEFGH",
        purchase_request_id="matrix-purchase",
        payment_id="matrix-payment",
        provider="matrix-provider",
        dispute_id="matrix-dispute",
        suspense_id="matrix-suspense",
        letter_id="matrix-letter",
    )
    allowed = MATRIX[key]

    async def outcome(token: str | None) -> int:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        answer = await api.http.request(method, path, headers=headers)
        if allowed == SIGNATURE:
            assert (answer.status_code, answer.json()["error"]) == (401, "INVALID_SIGNATURE")
            return 401
        if answer.status_code == 401:
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
            assert answer.json()["error"] in {"UNAUTHENTICATED", "INVALID_TOKEN"}
        if answer.status_code == 403:
            assert answer.json()["error"] == "FORBIDDEN"
        assert answer.status_code != 500
        return int(answer.status_code)

    outcomes = {"nobody": await outcome(None)}
    for kind, token in bad_tokens(api).items():
        outcomes[kind] = await outcome(token)
    for role in ROLES:
        outcomes[role] = await outcome(api.token("caller", role))
    let_in = {kind for kind, status in outcomes.items() if status not in {401, 403}}
    if allowed == SIGNATURE:
        assert let_in == set()
        return
    assert let_in == (set(outcomes) if allowed is ANYONE else allowed)
    assert {kind for kind, status in outcomes.items() if status == 403} == set(ROLES) - let_in


async def test_a_member_reads_only_what_is_theirs_whatever_they_ask_for(api: Any) -> None:
    rich, poor = await api.member(points=500), api.name("poor")
    for role in ("buyer", "seller"):
        for path in ("/api/points/my-points", "/api/points/transactions"):
            answer = await api.get(path, poor, role, userId=rich)
            assert (answer.status_code, answer.json()["data"][0]["field"]) == (400, "userId")
        assert (await api.get("/api/points/my-points", poor, role)).json()["data"]["balance"] == 0
        assert (await api.get("/api/points/transactions", poor, role)).json()["data"]["transactions"] == []
        assert (await api.get(f"/api/points/accounts/{rich}", poor, role)).status_code == 403
        assert (await api.get(f"/api/points/accounts/{poor}", poor, role)).status_code == 403


@pytest.mark.parametrize(
    ("claims", "user"),
    [
        ({"id": "a", "userId": "b", "_id": "c", "sub": "d"}, "a"),
        ({"id": None, "userId": "b", "_id": "c", "sub": "d"}, "b"),
        ({"id": None, "_id": "c", "sub": "d"}, "c"),
        ({"id": None, "sub": "d"}, "d"),
    ],
)
async def test_the_user_is_id_then_user_id_then_underscore_id_then_sub(api: Any, claims: Any, user: str) -> None:
    token = api.token(role="admin", **claims)
    member = await api.member()
    body = {"userId": member, "amount": 1, "reason": "Who was it?"}
    done = await api.http.post("/api/points/admin/add", json=body, headers={"Authorization": f"Bearer {token}"})
    position = done.headers["Ledger-Position"]
    event = await api.get(f"/api/admin/events/{position}", minPosition=position)
    assert event.json()["data"]["event"]["actor"] == {"id": user, "role": "admin"}


@pytest.mark.parametrize("header", ["Basic abc", "Bearer", "bearer", "Bearer a b", "Token abc", "x" * 9000])
async def test_a_header_that_is_no_bearer_token_is_401(api: Any, header: str) -> None:
    answer = await api.http.get("/api/points/my-points", headers={"Authorization": header})
    assert (answer.status_code, answer.json()["error"]) == (401, "INVALID_TOKEN")


async def test_a_verified_token_stops_to_work_when_it_expires(api: Any) -> None:
    token = api.token("u", "buyer", exp=int(time.time()) + 2)
    headers = {"Authorization": f"Bearer {token}"}
    assert (await api.http.get("/api/points/my-points", headers=headers)).status_code == 200
    deadline = time.monotonic() + 5
    while (await api.http.get("/api/points/my-points", headers=headers)).status_code == 200:
        assert time.monotonic() < deadline
    assert (await api.http.get("/api/points/my-points", headers=headers)).status_code == 401
