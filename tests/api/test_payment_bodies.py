"""What cannot be right in a command of payments, disputes or suspense is 400, names the field, and changes nothing."""

from typing import Any

import pytest

from tests.api.paying import Deal, error, funded, money, opened

OPEN = {"purchaseRequestId": "p", "provider": "stripe"}
CONFIRM = {"instructionId": "ins_x", "txHash": "t"}
DISPUTE = {"purchaseRequestId": "p", "category": "other", "priority": "low", "reason": "Hm."}
RESOLVE = {"action": "refund", "note": "So."}
SETTLE = {"action": "return", "reason": "So."}

NOT_MONEY: dict[str, Any] = {
    "a number": 1,
    "a float": 1.5,
    "an exponent": {"amount": "1e2", "currency": "USD"},
    "a number in it": {"amount": 100, "currency": "USD"},
    "negative": {"amount": "-1.00", "currency": "USD"},
    "signed": {"amount": "+1.00", "currency": "USD"},
    "blank": {"amount": "", "currency": "USD"},
    "around it": {"amount": " 1.00", "currency": "USD"},
    "behind it": {"amount": "1.00\n", "currency": "USD"},
    "grouped": {"amount": "1,000.00", "currency": "USD"},
    "no whole": {"amount": ".50", "currency": "USD"},
    "no fraction": {"amount": "1.", "currency": "USD"},
    "zeros before": {"amount": "0001.00", "currency": "USD"},
    "hexadecimal": {"amount": "0x10", "currency": "USD"},
    "nan": {"amount": "NaN", "currency": "USD"},
    "other digits": {"amount": "١.٠٠", "currency": "USD"},
    "a third of a cent": {"amount": "1.001", "currency": "USD"},
    "a hundredth of a yen": {"amount": "1.00", "currency": "JPY"},
    "a seventh decimal": {"amount": "1.0000001", "currency": "USDT"},
    "huge": {"amount": "99999999999999999999", "currency": "USD"},
    "beyond 2^53": {"amount": "90071992547409.92", "currency": "USD"},
    "nobody's currency": {"amount": "1.00", "currency": "XXX"},
    "a small one": {"amount": "1.00", "currency": "usd"},
    "no currency": {"amount": "1.00"},
    "no amount": {"currency": "USD"},
    "more": {"amount": "1.00", "currency": "USD", "scale": 2},
    "a list": ["1.00", "USD"],
}
MONEY_FIELDS = [
    ("/api/payment/pay_x/release", {}, "amount"),
    ("/api/payment/pay_x/refund", {}, "amount"),
    ("/api/disputes", DISPUTE, "amount"),
    ("/api/disputes/dsp_x/resolve", RESOLVE, "toBuyer"),
    ("/api/disputes/dsp_x/resolve", RESOLVE, "toSeller"),
]


@pytest.mark.parametrize("wrong", NOT_MONEY)
async def test_what_is_no_money_is_refused_wherever_money_is_asked_for(api: Any, wrong: str) -> None:
    for path, good, field in MONEY_FIELDS:
        answer = await api.post(path, good | {field: NOT_MONEY[wrong]}, "root", "admin")
        assert answer.status_code == 400, (path, answer.text)
        named = [problem["field"] for problem in answer.json()["data"]]
        assert len(named) == 1, (path, answer.text)
        assert named[0].split(".")[0] == field, (path, answer.text)


IDS = ("", "a b", "x" * 65, "é", "a/b", "a\x00", 5, None, [], {})
BODIES: list[tuple[str, dict[str, Any], str, Any]] = [
    *(("/api/payment", OPEN, "purchaseRequestId", value) for value in IDS),
    *(("/api/payment", OPEN, "provider", value) for value in ("", "nobody", "x" * 65, 5, None, "STRIPE", "stripe\x00")),
    *(("/api/payment", OPEN, name, "1.00") for name in ("amount", "paymentId", "buyerId", "status", "gross")),
    *(("/api/payment/pay_x/cancel", {}, name, "x") for name in ("reason", "status", "paymentId")),
    *(("/api/payment/pay_x/release", {}, name, "x") for name in ("txHash", "to", "userId", "currency")),
    *(
        (f"/api/payment/pay_x/{kind}/confirm", CONFIRM, "instructionId", value)
        for kind in ("release", "refund")
        for value in IDS
    ),
    *(
        (f"/api/payment/pay_x/{kind}/confirm", CONFIRM, "txHash", value)
        for kind in ("release", "refund")
        for value in ("", " ", "a b", "x" * 256, "é", "a\x00", "a\n", 5, None, [])
    ),
    *(("/api/payment/pay_x/release/confirm", CONFIRM, name, "1.00") for name in ("amount", "kind", "txhash")),
    *(
        (f"/api/payment/pay_x/{kind}/cancel", {"instructionId": "ins_x"}, "instructionId", value)
        for kind in ("release", "refund")
        for value in IDS
    ),
    ("/api/payment/pay_x/release/cancel", {"instructionId": "ins_x"}, "txHash", "t"),
    *(("/api/disputes", DISPUTE, "purchaseRequestId", value) for value in IDS),
    *(("/api/disputes", DISPUTE, "category", value) for value in ("quality", "", "OTHER", 1, None, ["other"])),
    *(("/api/disputes", DISPUTE, "priority", value) for value in ("critical", "", "Low", 0, None)),
    *(("/api/disputes", DISPUTE, "reason", value) for value in ("", " \t ", "x" * 1001, "a\x00", "a\x1b[2J", 5, None)),
    *(("/api/disputes", DISPUTE, name, "x") for name in ("userId", "paymentId", "status", "resolverId")),
    *(("/api/disputes/dsp_x/assign", {"resolverId": "r"}, "resolverId", value) for value in IDS),
    *(
        ("/api/disputes/dsp_x/evidence", {"text": "t"}, "text", value)
        for value in ("", "  ", "x" * 5001, "a\x00", 5, None)
    ),
    *(
        ("/api/disputes/dsp_x/evidence", {"text": "t"}, "url", value)
        for value in ("javascript:alert(1)", "ftp://a.example", "x", "https://a b", "https://a.example/\x00", 5)
    ),
    *(
        ("/api/disputes/dsp_x/resolve", RESOLVE, "action", value)
        for value in ("split", "", "REFUND", 1, None, ["refund"])
    ),
    *(("/api/disputes/dsp_x/resolve", RESOLVE, "note", value) for value in ("", "  ", "x" * 1001, "a\x00", None)),
    *(("/api/admin/suspense/s/settle", SETTLE, "action", value) for value in ("keep", "", "RETURN", 1, None)),
    *(("/api/admin/suspense/s/settle", SETTLE, "reason", value) for value in ("", "  ", "x" * 1001, "a\x00", None)),
    *(("/api/admin/suspense/s/settle", SETTLE, "txHash", value) for value in ("", "a b", "x" * 256, 5)),
    ("/api/admin/suspense/s/settle", SETTLE, "paymentId", "pay_x"),
    ("/api/admin/suspense/s/settle", SETTLE | {"action": "apply", "paymentId": "pay_x"}, "txHash", "t"),
    ("/api/admin/suspense/s/settle", SETTLE, "amount", "1.00"),
    ("/api/admin/dead-letters/l/replay", {}, "force", True),
    *(("/api/admin/dead-letters/l/skip", {"reason": "r"}, "reason", value) for value in ("", " ", "a\x00", 1, None)),
]
REQUIRED = [
    *(("/api/payment", OPEN, field) for field in OPEN),
    *(("/api/payment/pay_x/release/confirm", CONFIRM, field) for field in CONFIRM),
    *(("/api/payment/pay_x/refund/confirm", CONFIRM, field) for field in CONFIRM),
    ("/api/payment/pay_x/release/cancel", {"instructionId": "i"}, "instructionId"),
    ("/api/payment/pay_x/refund/cancel", {"instructionId": "i"}, "instructionId"),
    *(("/api/disputes", DISPUTE, field) for field in DISPUTE),
    ("/api/disputes/dsp_x/assign", {"resolverId": "r"}, "resolverId"),
    ("/api/disputes/dsp_x/evidence", {"text": "t"}, "text"),
    *(("/api/disputes/dsp_x/resolve", RESOLVE, field) for field in RESOLVE),
    *(("/api/admin/suspense/s/settle", SETTLE, field) for field in SETTLE),
    ("/api/admin/dead-letters/l/skip", {"reason": "r"}, "reason"),
]
COMMANDS = {
    "/api/payment": OPEN,
    "/api/payment/pay_x/cancel": {},
    "/api/payment/pay_x/release": {},
    "/api/payment/pay_x/refund": {},
    "/api/payment/pay_x/release/confirm": CONFIRM,
    "/api/payment/pay_x/refund/confirm": CONFIRM,
    "/api/payment/pay_x/release/cancel": {"instructionId": "ins_x"},
    "/api/payment/pay_x/refund/cancel": {"instructionId": "ins_x"},
    "/api/disputes": DISPUTE,
    "/api/disputes/dsp_x/assign": {"resolverId": "r"},
    "/api/disputes/dsp_x/evidence": {"text": "t"},
    "/api/disputes/dsp_x/resolve": RESOLVE,
    "/api/admin/suspense/s/settle": SETTLE,
    "/api/admin/dead-letters/l/replay": {},
    "/api/admin/dead-letters/l/skip": {"reason": "r"},
}
"""Every command of payments, disputes and suspense, with a body it would take."""


@pytest.mark.parametrize(
    ("path", "good", "field", "value"), BODIES, ids=[f"{row[0]} {row[2]}={row[3]!r:.30}" for row in BODIES]
)
async def test_a_field_that_is_wrong_is_named(api: Any, path: str, good: Any, field: str, value: Any) -> None:
    answer = await api.post(path, good | {field: value}, "root", "admin")
    assert answer.status_code == 400, answer.text
    assert [problem["field"] for problem in answer.json()["data"]] == [field]


@pytest.mark.parametrize(("path", "good", "field"), REQUIRED, ids=[f"{row[0]} {row[2]}" for row in REQUIRED])
async def test_a_field_that_is_missing_is_named(api: Any, path: str, good: Any, field: str) -> None:
    body = {name: value for name, value in good.items() if name != field}
    answer = await api.post(path, body, "root", "admin")
    assert answer.status_code == 400, answer.text
    assert [problem["field"] for problem in answer.json()["data"]] == [field]


@pytest.mark.parametrize("path", COMMANDS)
async def test_what_is_no_object_is_no_body(api: Any, path: str) -> None:
    for raw in (b"[]", b"null", b'""', b"1", b"true", b"{", b"{}{}", b'{"a":1,}', b"\xff", b"[" * 100_000):
        answer = await api.post(path, raw, "root", "admin")
        assert answer.status_code == 400, (raw[:10], answer.text)


@pytest.mark.parametrize("path", COMMANDS)
async def test_every_command_needs_a_key(api: Any, path: str) -> None:
    answer = await api.post(path, COMMANDS[path], "root", "admin", key=None)
    assert error(answer) == (400, "IDEMPOTENCY_KEY_REQUIRED")
    for key in ("a b", "x" * 256, '""'):
        answer = await api.post(path, COMMANDS[path], "root", "admin", key=key)
        assert error(answer) == (400, "VALIDATION_FAILED"), key


@pytest.mark.parametrize("path", COMMANDS)
async def test_no_command_takes_a_parameter(api: Any, path: str) -> None:
    answer = await api.post(path + "?force=true", COMMANDS[path], "root", "admin")
    assert (answer.status_code, answer.json()["data"][0]["field"]) == (400, "force")


@pytest.mark.parametrize("path", COMMANDS)
async def test_finance_changes_nothing(api: Any, path: str) -> None:
    assert error(await api.post(path, COMMANDS[path], "books", "finance")) == (403, "FORBIDDEN")


@pytest.mark.parametrize("path", [path for path in COMMANDS if "_x" in path or "/s/" in path or "/l/" in path])
async def test_what_nobody_knows_is_404_and_what_is_no_id_is_400(api: Any, path: str) -> None:
    answer = await api.post(path, COMMANDS[path], "root", "admin")
    assert answer.status_code == 404, answer.text
    assert answer.json()["error"].endswith("_NOT_FOUND")
    for part in ("pay_x", "dsp_x", "/s/", "/l/"):
        for wrong in ("a%20b", "x" * 65, "%C3%A9", "%00", "..%5C"):
            if part in path:
                other = path.replace(part, f"/{wrong}/" if "/" in part else wrong)
                answer = await api.post(other, COMMANDS[path], "root", "admin")
                assert error(answer) == (400, "VALIDATION_FAILED"), other


@pytest.mark.parametrize("amount", [money("0.00"), money("0"), money("10.00", "EUR"), money("10", "JPY")], ids=str)
async def test_nothing_and_another_currency_are_refused_where_the_payment_is_known(
    api: Any, amount: dict[str, str]
) -> None:
    deal = await funded(api)
    for kind in ("release", "refund"):
        assert error(await api.post(f"{deal.path}/{kind}", {"amount": amount}, "root", "admin")) == (
            400, "VALIDATION_FAILED"
        )  # fmt: skip
    dispute = DISPUTE | {"purchaseRequestId": deal.purchase, "amount": amount}
    assert error(await api.post("/api/disputes", dispute, deal.buyer, "buyer")) == (400, "VALIDATION_FAILED")
    assert await deal.types() == ["opened", "delivery-received", "funded"]


async def test_the_largest_amount_goes_in_and_out_to_the_last_minor_unit(api: Any) -> None:
    largest = "90071992547409.91"
    deal = await funded(api, largest)
    assert error(await deal.instruct("release", "90071992547409.90")) == (201, None)
    assert error(await deal.instruct("release", "0.02")) == (409, "AMOUNT_NOT_AVAILABLE")
    assert (await deal.paid_out("refund", "0.01")).json()["data"]["amount"] == money("0.01")
    standing = await deal.standing()
    assert (standing["gross"], standing["releasing"], standing["refunded"]) == (2**53 - 1, 2**53 - 2, 1)


async def test_a_stable_coin_has_six_decimals(api: Any) -> None:
    deal = Deal(api, api.name("purchase"), await api.member(), await api.member())
    body = {"purchaseRequestId": deal.purchase, "buyerId": deal.buyer, "sellerId": deal.seller}
    answer = await api.post("/api/purchases", body | {"price": money("1.000001", "USDT")})
    assert answer.json()["data"]["amountDue"] == money("1.000001", "USDT")
    answer = await api.post(
        "/api/payment", {"purchaseRequestId": deal.purchase, "provider": "chain"}, deal.buyer, "buyer"
    )
    assert answer.json()["data"]["amount"] == money("1.000001", "USDT")


async def test_a_command_that_is_refused_leaves_its_key_free(api: Any) -> None:
    deal, key = await opened(api), api.name("key")
    early = await api.post(f"{deal.path}/release", {}, deal.buyer, "buyer", key=key)
    assert error(early) == (409, "AMOUNT_NOT_AVAILABLE")
    other = await api.post(f"{deal.path}/cancel", {}, deal.buyer, "buyer", key=key)
    assert (other.status_code, other.json()["data"]["status"]) == (200, "cancelled")
