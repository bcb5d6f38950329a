"""Payments over HTTP as they are read: who sees which, the same in list, statistics and export; as of then."""

import asyncio
import csv
import io
from collections import Counter
from typing import Any

import asyncpg
import pytest
from dirty_equals import IsStr

from tests.api.paying import Deal, deliver, funded, money, opened, told

ROLES = ("buyer", "seller", "service", "admin", "finance", "resolver")


def minor(amount: str) -> int:
    return int(amount.replace(".", ""))


async def some_deals(api: Any) -> tuple[Deal, Deal, Any]:
    """One released in part, one that nobody has paid; the second's seller is the first's buyer."""
    deal = await funded(api, "100.00")
    await deal.paid_out("release", "60.00")
    other = await opened(api, "5.00")
    last = await deliver(api, told(other.payment, "processing", "5.00"))
    return deal, other, last.headers["Ledger-Position"]


async def test_a_payment_shows_what_its_commands_answered(api: Any) -> None:
    deal = await funded(api, "100.00")
    done = await deal.paid_out("release", "60.00")
    position = done.headers["Ledger-Position"]
    for user, role in ((deal.buyer, "buyer"), (deal.seller, "seller"), *(("x", role) for role in ROLES[2:])):
        answer = await api.get(deal.path, user, role, minPosition=position)
        assert answer.status_code == 200, answer.text
        data = answer.json()["data"]
        assert answer.headers["ETag"] == f'"{data["version"]}"'
        assert data == {
            "id": deal.payment,
            "purchaseRequestId": deal.purchase,
            "buyerId": deal.buyer,
            "sellerId": deal.seller,
            "provider": "stripe",
            "amount": money("100.00"),
            "status": "confirmed",
            "escrowState": "funded",
            "buckets": dict.fromkeys(data["buckets"], money("0.00"))
            | {"gross": money("100.00"), "held": money("40.00"), "released": money("60.00")},
            "version": data["version"],
            "createdAt": IsStr(),
            "updatedAt": IsStr(),
            "instructions": [done.json()["data"]],
        }
    stale = await api.post(f"{deal.path}/refund", {}, deal.seller, "seller", headers={"If-Match": '"1"'})
    assert stale.status_code == 412
    fresh = {"If-Match": answer.headers["ETag"]}
    assert (await api.post(f"{deal.path}/refund", {}, deal.seller, "seller", headers=fresh)).status_code == 201


async def test_whose_it_is_not_is_refused_and_what_there_is_not_is_not_found(api: Any) -> None:
    deal, _, position = await some_deals(api)
    for path in (deal.path, f"{deal.path}/ledger"):
        for params in ({"minPosition": position}, {"asOf": position}):
            answer = await api.get(path, api.name("stranger"), "buyer", **params)
            assert (answer.status_code, answer.json()["error"]) == (403, "NOT_YOUR_PAYMENT")
    for path in ("/api/payment/none-such", "/api/payment/none-such/ledger"):
        for params in ({}, {"asOf": "1"}, {"asOf": "2026-01-01"}):
            answer = await api.get(path, deal.buyer, "buyer", **params)
            assert (answer.status_code, answer.json()["error"]) == (404, "PAYMENT_NOT_FOUND")
    before = await api.get(deal.path, deal.buyer, "buyer", asOf="2020-01-01")
    assert (before.status_code, before.json()["error"]) == (404, "PAYMENT_NOT_FOUND")


@pytest.mark.parametrize("role", ROLES)
async def test_list_statistics_and_export_show_each_role_the_same(api: Any, role: str) -> None:
    deal, other, position = await some_deals(api)
    user = {"buyer": deal.buyer, "seller": other.seller}.get(role, "somebody")
    mine = {"buyer": {deal.payment}, "seller": {other.payment}}.get(role)
    params = {"minPosition": position}
    listed, after = [], None
    while True:
        paged = params | {"limit": 100} | ({"after": after} if after else {})
        page = await api.get("/api/payment", user, role, **paged)
        listed += page.json()["data"]
        after = page.json()["meta"]["nextCursor"]
        if after is None:
            break
    ids = [one["id"] for one in listed]
    assert len(set(ids)) == len(ids)
    assert set(ids) == mine if mine is not None else {deal.payment, other.payment} < set(ids)

    exported = await api.get("/api/payment/export", user, role, **params)
    assert exported.headers["Ledger-Position"] >= position
    envelope = exported.json()
    assert envelope["data"] == listed
    assert (envelope["success"], envelope["statusCode"], envelope["meta"]["total"]) == (True, 200, len(listed))
    assert (envelope["path"], envelope["method"]) == ("/api/payment/export", "GET")
    in_csv = await api.get("/api/payment/export", user, role, format="csv", **params)
    assert in_csv.headers["Content-Type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(in_csv.text, newline="")))
    assert [row["id"] for row in rows] == ids

    stats = (await api.get("/api/payment/stats", user, role, **params)).json()["data"]["currencies"]
    for entry in stats:
        there = [one for one in listed if one["amount"]["currency"] == entry["currency"]]
        assert entry["count"] == len(there) == sum(total["count"] for total in entry["statuses"].values())
        of_status = Counter(one["status"] for one in there)
        assert {word: total["count"] for word, total in entry["statuses"].items() if total["count"]} == of_status
        due = sum(minor(total["amount"]["amount"]) for total in entry["statuses"].values())
        assert due == sum(minor(one["amount"]["amount"]) for one in there) == minor(entry["amount"]["amount"])
        for bucket, total in entry["buckets"].items():
            together = sum(minor(one["buckets"][bucket]["amount"]) for one in there)
            assert minor(total["amount"]["amount"]) == together, bucket
            column = "".join("_" + letter.lower() if letter.isupper() else letter for letter in bucket)
            assert sum(minor(row[column]) for row in rows if row["currency"] == entry["currency"]) == together
    assert sum(entry["count"] for entry in stats) == len(listed)


async def test_who_has_no_payments_gets_an_empty_list_statistics_and_header(api: Any) -> None:
    await some_deals(api)
    nobody = api.name("nobody")
    assert (await api.get("/api/payment", nobody, "buyer")).json()["data"] == []
    assert (await api.get("/api/payment/stats", nobody, "buyer")).json()["data"] == {"currencies": []}
    assert (await api.get("/api/payment/export", nobody, "buyer")).json()["data"] == []
    text = (await api.get("/api/payment/export", nobody, "buyer", format="csv")).text
    assert text.startswith("id,purchase_request_id,buyer_id,")
    assert text.endswith(",updated_at\r\n")
    assert text.count("\n") == 1


async def test_no_cell_of_the_csv_is_a_formula(api: Any) -> None:
    purchase, buyer, seller = (f"-{number}+2.{api.name('x')}" for number in range(3))
    for user in (buyer, seller):
        await api.post("/api/members", {"userId": user, "name": "Ada"})
    body = {"purchaseRequestId": purchase, "buyerId": buyer, "sellerId": seller, "price": money("1.00")}
    answer = await api.post("/api/purchases", body)
    if answer.status_code == 400:  # the plus is in no id; the hyphen is
        purchase, buyer, seller = (f"-{number}.{api.name('x')}" for number in range(3))
        for user in (buyer, seller):
            await api.post("/api/members", {"userId": user, "name": "Ada"})
        body = {"purchaseRequestId": purchase, "buyerId": buyer, "sellerId": seller, "price": money("1.00")}
        answer = await api.post("/api/purchases", body)
    assert answer.status_code == 201, answer.text
    opened = await api.post("/api/payment", {"purchaseRequestId": purchase, "provider": "stripe"}, buyer, "buyer")
    position = opened.headers["Ledger-Position"]
    answer = await api.get("/api/payment/export", buyer, "buyer", format="csv", minPosition=position)
    (row,) = csv.DictReader(io.StringIO(answer.text, newline=""))
    assert (row["buyer_id"], row["purchase_request_id"]) == (f"'{buyer}", f"'{purchase}")
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row.values())


async def test_pages_offsets_and_filters(api: Any) -> None:
    deal, _, _ = await some_deals(api)
    seller, payments = deal.seller, [deal.payment]
    for _ in range(4):
        purchase = api.name("purchase")
        body = {"purchaseRequestId": purchase, "buyerId": deal.buyer, "sellerId": seller, "price": money("1.00")}
        await api.post("/api/purchases", body)
        answer = await api.post("/api/payment", {"purchaseRequestId": purchase, "provider": "stripe"})
        payments.append(answer.json()["data"]["id"])
    position = answer.headers["Ledger-Position"]

    async def listed(**params: Any) -> list[str]:
        answer = await api.get("/api/payment", seller, "seller", minPosition=position, **params)
        assert answer.status_code == 200, answer.text
        return [one["id"] for one in answer.json()["data"]]

    assert await listed() == payments[::-1]
    assert await listed(sortOrder="asc") == payments
    assert await listed(limit=2, offset=1) == payments[::-1][1:3]
    assert await listed(limit=2, page=3) == payments[:1]
    assert await listed(status="pending") == payments[:0:-1]
    assert await listed(escrowState="funded") == payments[:1]
    assert await listed(status="confirmed", escrowState="none") == []
    second = (await api.get(f"/api/payment/{payments[1]}", seller, "seller")).json()["data"]["createdAt"]
    assert await listed(**{"from": second}) == payments[:0:-1]
    assert await listed(to=second) == payments[:1]
    stats = (await api.get("/api/payment/stats", seller, "seller", to=second)).json()["data"]["currencies"]
    assert [(entry["count"], entry["amount"]) for entry in stats] == [(1, money("100.00"))]
    exported = await api.get("/api/payment/export", seller, "seller", status="pending")
    assert [one["id"] for one in exported.json()["data"]] == payments[:0:-1]
    page = (await api.get("/api/payment", seller, "seller", limit=2, offset=4)).json()["pagination"]
    assert page == {"page": 3, "limit": 2, "total": 5, "totalPages": 3, "hasMore": False}


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("", {"status": "paid"}),
        ("", {"escrowState": "frozen"}),
        ("", {"offset": -1}),
        ("", {"offset": 0, "page": 2}),
        ("", {"from": "yesterday"}),
        ("/stats", {"page": 1}),
        ("/stats", {"status": "paid"}),
        ("/export", {"format": "xml"}),
        ("/export", {"limit": 5}),
        ("/some", {"asOf": "soon"}),
        ("/some/ledger", {"asOf": "1" * 19}),
        ("/so%20me", {}),
    ],
)
async def test_what_cannot_be_asked_is_refused_by_name(api: Any, path: str, params: dict[str, Any]) -> None:
    answer = await api.get("/api/payment" + path, "anyone", "buyer", **params)
    assert answer.status_code == 400, answer.text
    field = answer.json()["data"][0]["field"]
    assert field == (next(iter(params)) if params else "paymentId")
    if field in ("status", "escrowState"):
        assert "pending" in answer.json()["data"][0]["message"] or "funded" in answer.json()["data"][0]["message"]


async def test_the_ledger_of_a_payment_has_every_entry_and_is_balanced(api: Any) -> None:
    deal = await funded(api, "100.00")
    released = await deal.instruct("release", "60.00")
    instruction, tx = released.json()["data"]["instructionId"], api.name("tx")
    await deal.confirm("release", instruction, tx)
    refund = await deal.instruct("refund")
    answer = await api.get(f"{deal.path}/ledger", deal.buyer, "buyer")
    data = answer.json()["data"]
    assert data["buckets"] == dict.fromkeys(data["buckets"], money("0.00")) | {
        "gross": money("100.00"),
        "refunding": money("40.00"),
        "released": money("60.00"),
    }
    assert [entry["type"] for entry in data["entries"]] == [
        "payment.opened.v1",
        "payment.delivery-received.v1",
        "payment.funded.v1",
        "payment.instruction-reserved.v1",
        "payment.released.v1",
        "payment.instruction-reserved.v1",
    ]
    sums: Counter[str] = Counter()
    for entry in data["entries"]:
        for posting in entry["postings"]:
            sums[posting["account"]] += minor(posting["debit"]["amount"]) - minor(posting["credit"]["amount"])
    assert sum(sums.values()) == 0
    assert {account: amount for account, amount in sums.items() if amount} == {
        "provider_clearing": 10_000,
        f"reserved:{deal.purchase}": -4_000,
        f"payable:{deal.seller}": -6_000,
    }
    confirmed = data["entries"][4]
    assert (confirmed["instructionId"], confirmed["txHash"], confirmed["amount"]) == (instruction, tx, money("60.00"))
    assert confirmed["actor"] == {"id": "shop", "role": "service"}
    assert data["entries"][5]["actor"]["id"] == deal.seller

    then = await api.get(f"{deal.path}/ledger", deal.seller, "seller", asOf=released.headers["Ledger-Position"])
    assert len(then.json()["data"]["entries"]) == 4
    assert then.json()["data"]["buckets"]["releasing"] == money("60.00")
    at = data["entries"][2]["recordedAt"]
    past = (await api.get(deal.path, "x", "finance", asOf=at)).json()["data"]
    assert (past["status"], past["buckets"]["held"], past["instructions"]) == ("confirmed", money("100.00"), [])
    now = (await api.get(deal.path, minPosition=refund.headers["Ledger-Position"])).json()["data"]
    assert (await api.get(deal.path, asOf=refund.headers["Ledger-Position"])).json()["data"] == now


async def test_a_read_changes_nothing(api: Any) -> None:
    deal, _, position = await some_deals(api)
    for path in ("", "/stats", "/export", f"/{deal.payment}", f"/{deal.payment}/ledger"):
        assert (await api.get("/api/payment" + path, deal.buyer, "buyer", minPosition=position)).status_code == 200
    events = await api.get("/api/admin/events", "root", "admin", limit=1)
    assert events.json()["data"]["events"][0]["position"] == int(position)


async def test_so_many_exports_at_once_and_no_more(api: Any) -> None:
    resources = api.app.gate.resources
    held = [await resources.exports.acquire() for _ in range(resources.exports._value)]
    try:
        answer = await api.get("/api/payment/export", "x", "finance")
        assert (answer.status_code, answer.json()["error"]) == (503, "OVERLOADED")
        assert answer.headers["Retry-After"]
    finally:
        for _ in held:
            resources.exports.release()
    for _ in range(3 * len(held)):
        assert (await api.get("/api/payment/export", "x", "finance")).status_code == 200


async def test_a_purchase_shows_its_payment_and_looks_back(api: Any) -> None:
    deal = await funded(api, "12.34")
    disputed = await deal.dispute()
    position = disputed.headers["Ledger-Position"]
    now = (await api.get(f"/api/purchases/{deal.purchase}", deal.buyer, "buyer", minPosition=position)).json()["data"]
    assert (now["paymentId"], now["paymentStatus"], now["escrowState"], now["hold"], now["status"]) == (
        deal.payment, "confirmed", "funded", True, "active"
    )  # fmt: skip
    assert (await api.get(f"/api/purchases/{deal.purchase}", asOf=position)).json()["data"] == now
    then = (await api.get(f"/api/purchases/{deal.purchase}", asOf=now["createdAt"])).json()["data"]
    assert (then["status"], then["paymentStatus"], then["hold"], then["version"]) == ("pending", "none", False, 1)
    assert "paymentId" not in then
    stranger = await api.get(f"/api/purchases/{deal.purchase}", api.name("stranger"), "buyer", asOf=position)
    assert (stranger.status_code, stranger.json()["error"]) == (403, "NOT_YOUR_PURCHASE")
    early = await api.get(f"/api/purchases/{deal.purchase}", asOf="1")
    assert (early.status_code, early.json()["error"]) == (404, "PURCHASE_NOT_FOUND")


async def test_an_export_that_nobody_reads_to_its_end_lets_go_of_what_it_holds(api: Any, api_database: str) -> None:
    """Rows enough that the server still has most of them when the client leaves."""
    deal, _, position = await some_deals(api)
    assert (await api.get(deal.path, minPosition=position)).status_code == 200
    connection = await asyncpg.connect(api_database)
    table = await connection.fetchval(
        "SELECT 'read_models.rm_payments_v' || build FROM read_models.active WHERE name = 'payments'"
    )
    many = (
        f"INSERT INTO {table} SELECT (jsonb_populate_record(p, jsonb_build_object('payment_id', 'copy-' || n))).* "
        f"FROM {table} AS p, generate_series(1, 40000) AS n WHERE p.payment_id = $1"
    )
    resources = api.app.gate.resources
    free = resources.exports._value
    try:
        await connection.execute(many, deal.payment)
        for params in ({}, {"format": "csv"}):
            async with api.http.stream(
                "GET", "/api/payment/export", params=params, headers=api.bearer("x", "finance")
            ) as answer:
                assert answer.status_code == 200
                async for _ in answer.aiter_bytes():
                    break
            async with asyncio.timeout(10):
                while resources.exports._value < free:  # noqa: ASYNC110  # the server notices in its own time
                    await asyncio.sleep(0.01)
        complete = await api.get("/api/payment/export", "x", "finance", format="csv")
        assert complete.text.count("copy-") == 40_000
    finally:
        await connection.execute(f"DELETE FROM {table} WHERE payment_id LIKE 'copy-%'")
        await connection.close()
    busy = resources.pool.get_size() - resources.pool.get_idle_size()
    assert busy <= 1
