"""What cannot be right is 400 and names the field. A table: one row a way to be wrong."""

from typing import Any

import pytest

EARN = {"userId": "user-1", "amount": 1, "source": "bonus", "reference": "r"}
ADD = {"userId": "user-1", "amount": 1, "reason": "r"}
MEMBER = {"userId": "user-1", "name": "Ada"}
REDEEM = {"pointsToUse": 1, "purchaseRequestId": "purchase-1"}
PURCHASE = {
    "purchaseRequestId": "purchase-1",
    "buyerId": "user-1",
    "sellerId": "user-2",
    "price": {"amount": "1.00", "currency": "USD"},
}

BODIES: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("/api/points/earn", EARN, {"amount": value}, "amount")
    for value in (0, -1, 1.0, 1.5, 1e3, True, "1", None, [], 2**53, 2**63, 10**30)
    if value is not None
]
BODIES += [
    ("/api/points/earn", EARN, {"userId": value}, "userId") for value in ("", "a b", "x" * 65, "é", 5, None, "a/b")
]
BODIES += [("/api/points/earn", EARN, {"source": value}, "source") for value in ("gift", "", "admin", 1, "EARN")]
BODIES += [("/api/points/earn", EARN, {"reference": value}, "reference") for value in ("", "a b", "x" * 256, "é", 7)]
BODIES += [
    ("/api/points/earn", EARN, {"occurredAt": value}, "occurredAt")
    for value in (
        "yesterday",
        "2026-01-01T00:00:00",
        "2026-13-01",
        "2999-01-01",
        "20260101",
        0,
        "0001-01-01T00:00+14:00",
    )
]
BODIES += [
    ("/api/points/earn", EARN, {"occurredAt": "2026-01-02", "expiresAt": value}, "expiresAt")
    for value in ("2026-01-02", "2026-01-01T23:59:59Z", "never", 5)
]
BODIES += [
    ("/api/points/earn", EARN, {"metadata": value}, "metadata") for value in ([], "a", None, {"k": "x" * 20_000})
]
BODIES += [
    ("/api/points/earn", EARN, {"description": value}, "description") for value in ("x" * 1001, 1, "a\x00", "a\nb")
]
BODIES += [
    ("/api/points/earn", EARN, {"metadata": {"a": {"b": ["\x00"]}}}, "metadata.a.b[0]"),
    ("/api/points/earn", EARN, {"metadata": {"a\x07": 1}}, "metadata"),
    ("/api/points/earn", EARN, {"metadata": {"a": "\x7f"}}, "metadata.a"),
    ("/api/points/earn", EARN, {"metadata": {"a": "\x85"}}, "metadata.a"),
    ("/api/points/earn", EARN, {"userid": "user-1"}, "userid"),
    ("/api/points/earn", EARN, {"balance": 5}, "balance"),
]
BODIES += [("/api/points/admin/add", ADD, {"amount": value}, "amount") for value in (0, -(2**53), 2**53, 0.5, "-1")]
BODIES += [
    ("/api/points/admin/add", ADD, {"reason": value}, "reason") for value in ("", "   ", "x" * 1001, None, "a\tb")
]
BODIES += [("/api/points/admin/add", ADD, {"source": "bonus"}, "source")]
BODIES += [("/api/members", MEMBER, {"name": value}, "name") for value in ("", "  ", "x" * 201, 5, "A\x00da", None)]
BODIES += [
    ("/api/members", MEMBER, {"avatar": value}, "avatar")
    for value in ("javascript:alert(1)", "x", 5, "http://a b", 'https://a"><b>', "https://a/\\b")
]
BODIES += [
    ("/api/members", MEMBER, {"referralCode": value}, "referralCode") for value in ("short", "abcdefgh", "ABCDEFG0")
]
BODIES += [("/api/members", MEMBER, {"role": "admin"}, "role")]
BODIES += [
    ("/api/points/redeem", REDEEM, {"pointsToUse": value}, "pointsToUse") for value in (0, -1, 1.5, "1", 2**53, 10**30)
]
BODIES += [
    ("/api/points/redeem", REDEEM, {"purchaseRequestId": value}, "purchaseRequestId") for value in ("", "a b", 5, None)
]
BODIES += [
    ("/api/purchases", PURCHASE, {field: value}, field)
    for field in ("purchaseRequestId", "buyerId", "sellerId")
    for value in ("", "a b", "a/b", "é", "x" * 65, "a\x00", "a\n", 5, None, ["a"])
]
BODIES += [("/api/purchases", PURCHASE, {"price": v}, "price") for v in (12.34, "12.34", None, [])]
BODIES += [("/api/purchases", PURCHASE, {"status": "completed"}, "status")]
BODIES += [
    ("/api/points/redeem", REDEEM, {"userId": "user-1"}, "userId"),
    ("/api/points/generate-referral-code", {}, {"force": 1}, "force"),
    ("/api/points/generate-referral-code", {}, {"userId": "user-1"}, "userId"),
    *(("/api/purchases/p/status", {"status": "active"}, {"status": v}, "status") for v in ("paid", "", 1, "ACTIVE")),
    *(
        ("/api/purchases/p/status", {"status": "active"}, {"reason": v}, "reason")
        for v in ("", " ", "a\x00", "x" * 1001)
    ),
    ("/api/purchases/p/status", {"status": "active"}, {"force": True}, "force"),
]


@pytest.mark.parametrize(
    ("path", "good", "change", "field"), BODIES, ids=[f"{p} {str(c)[:40]!a}" for p, _, c, _ in BODIES]
)
async def test_a_wrong_value_is_refused_and_named(
    api: Any, path: str, good: dict[str, Any], change: dict[str, Any], field: str
) -> None:
    if field == "expiresAt":  # what is wrong with it shows when it is decided
        await api.post("/api/members", MEMBER)
    role = "service" if path == "/api/purchases" else "admin"
    answer = await api.post(path, good | change, "root", role)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"] == "VALIDATION_FAILED"
    assert [problem["field"] for problem in answer.json()["data"]] == [field]


@pytest.mark.parametrize("missing", ["userId", "source", "reference"])
async def test_a_missing_field_is_named(api: Any, missing: str) -> None:
    answer = await api.post("/api/points/earn", {k: v for k, v in EARN.items() if k != missing})
    assert answer.json()["data"] == [{"field": missing, "message": "is required."}]


async def test_an_enum_is_listed(api: Any) -> None:
    answer = await api.post("/api/points/earn", EARN | {"source": "gift"})
    for value in ("purchase", "referral", "review", "bonus"):
        assert value in answer.json()["data"][0]["message"]


NO_JSON = [b"{", b"", b"\xff", b'{"userId": "\xff"}', b'{"metadata": {"a": NaN}}',
           b'{"userId": "\\ud800"}', b'{"userId": "\x01"}', b'{"userId": "u",}', b"{'userId': 1}",
           b'{"metadata": {"k": ' + b"[" * 200_000 + b"]" * 200_000 + b"}}", b"\xef\xbb\xbf{}"]  # fmt: skip


@pytest.mark.parametrize("body", NO_JSON, ids=[repr(body[:20]) for body in NO_JSON])
async def test_a_body_that_is_no_json_is_refused(api: Any, body: bytes) -> None:
    answer = await api.post("/api/points/earn", body)
    assert (answer.status_code, answer.json()["error"]) == (400, "INVALID_JSON"), answer.text


@pytest.mark.parametrize("text", [r"C:\\new", "naïve ☃ 😀", "a\\\\nb", "\u2028"])
async def test_text_without_control_characters_comes_back_as_it_was(api: Any, text: str) -> None:
    user = await api.member()
    earned = await api.earn(user, 1, description=text, metadata={text: [text]})
    transaction = earned.json()["data"]["transaction"]
    assert (transaction["description"], transaction["metadata"]) == (text, {text: [text]})
    listed = await api.get("/api/points/transactions", user, "buyer", minPosition=earned.headers["Ledger-Position"])
    assert listed.json()["data"]["transactions"] == [transaction]


QUERIES = [
    ("/api/points/my-points", "foo=1", "foo"),
    ("/api/points/my-points", "minPosition=-1", "minPosition"),
    ("/api/points/my-points", "minPosition=x", "minPosition"),
    ("/api/points/my-points", f"minPosition={2**63}", "minPosition"),
    ("/api/points/my-points", "minPosition=1&minPosition=1", "minPosition"),
    *(("/api/points/transactions", f"limit={v}", "limit") for v in ("0", "-1", "101", "many", "", "1e1", "٣")),
    *(("/api/points/transactions", f"page={v}", "page") for v in ("0", "-1", "x", "99999999999999999999")),
    ("/api/points/transactions", "sortBy=amount", "sortBy"),
    ("/api/points/transactions", "sortOrder=up", "sortOrder"),
    ("/api/points/transactions", "type=refund", "type"),
    ("/api/points/transactions", "from=yesterday", "from"),
    ("/api/points/transactions", "to=2026-01-01T00:00:00", "to"),
    ("/api/points/transactions", "after=bogus", "after"),
    ("/api/points/transactions", "after=", "after"),
    ("/api/points/transactions", "type=earn%00", "type"),
    ("/api/points/transactions", "fo%00o=1", "foo"),
    ("/api/points/levels", "tier=1", "tier"),
    ("/api/admin/programme", "version=1", "version"),
    ("/api/admin/events", "user=1", "user"),
    ("/api/admin/events", "stream=", "stream"),
    ("/api/admin/events", "from=0", "from"),
    ("/api/admin/events/1", "x=1", "x"),
    ("/api/admin/read-models", "x=1", "x"),
    ("/api/points/accounts/a%20b", "", "userId"),
    ("/api/points/accounts/" + "x" * 65, "", "userId"),
    ("/api/admin/events/0x1", "", "position"),
    ("/api/admin/events/-1", "", "position"),
    (f"/api/admin/events/{2**63}", "", "position"),
    ("/api", "x=1", "x"),
    ("/health", "x=1", "x"),
]


@pytest.mark.parametrize(("path", "query", "field"), QUERIES, ids=[f"{p[-30:]}?{q!a}" for p, q, _ in QUERIES])
async def test_a_wrong_parameter_is_refused_and_named(api: Any, path: str, query: str, field: str) -> None:
    answer = await api.http.get(f"{path}?{query}", headers=api.bearer("root", "admin"))
    assert (answer.status_code, answer.json()["error"]) == (400, "VALIDATION_FAILED"), answer.text
    assert [problem["field"] for problem in answer.json()["data"]] == [field]


async def test_a_query_that_is_no_text_is_refused(api: Any) -> None:
    for query in ("limit=%ff", "&".join(f"a{n}=1" for n in range(60))):
        answer = await api.http.get(f"/api/points/transactions?{query}", headers=api.bearer())
        assert (answer.status_code, answer.json()["error"]) == (400, "VALIDATION_FAILED")


async def test_a_command_takes_no_parameters(api: Any) -> None:
    for path in ("/api/points/earn?dryRun=1", "/api/points/batch?x=1", "/api/members?x=1"):
        answer = await api.post(path, EARN if "earn" in path else {"atomic": True, "items": [1]})
        assert answer.status_code == 400
        assert "not a known parameter" in answer.json()["message"]
