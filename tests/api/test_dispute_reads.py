"""Disputes, money in suspense and dead letters over HTTP, as they are read."""

from typing import Any

import asyncpg
import pytest

from tests.api.paying import deliver, funded, money, opened, told


async def test_a_dispute_lists_what_was_reserved_before_it_and_what_it_decided(api: Any) -> None:
    deal = await funded(api, "100.00")
    before = (await deal.instruct("release", "10.00")).json()["data"]
    disputed = (await deal.dispute("50.00", category="wrong_item", priority="high")).json()["data"]
    path = f"/api/disputes/{disputed['id']}"
    body = {"text": "A photograph.", "url": "https://files.example/p.jpg"}
    await api.post(f"{path}/evidence", body, deal.buyer, "buyer")
    after = await deal.instruct("refund", "5.00")
    position = after.headers["Ledger-Position"]
    for user, role in ((deal.buyer, "buyer"), (deal.seller, "seller"), *(("x", r) for r in ("resolver", "finance"))):
        answer = await api.get(path, user, role, minPosition=position)
        assert answer.status_code == 200, answer.text
        data = answer.json()["data"]
        assert (data["status"], data["amount"], data["category"], data["priority"]) == (
            "pending", money("50.00"), "wrong_item", "high"
        )  # fmt: skip
        assert data["instructions"] == [before]
        assert [(one["text"], one["url"], one["userId"]) for one in data["evidence"]] == [
            ("A photograph.", "https://files.example/p.jpg", deal.buyer)
        ]
        assert answer.headers["ETag"] == '"2"'
    parts = {"toBuyer": money("20.00"), "toSeller": money("30.00")}
    resolved = await api.post(f"{path}/resolve", {"action": "compensation", "note": "Half"} | parts, "rob", "resolver")
    assert resolved.status_code == 200, resolved.text
    done = await deal.confirm("release", before["instructionId"], api.name("tx"))
    data = (await api.get(path, "x", "admin", minPosition=done.headers["Ledger-Position"])).json()["data"]
    assert (data["status"], data["action"]) == ("resolved", "compensation")
    assert [(one["kind"], one["amount"]["amount"], one["status"]) for one in data["instructions"]] == [
        ("release", "10.00", "confirmed"),
        ("refund", "20.00", "reserved"),
        ("release", "30.00", "reserved"),
    ]

    async def listed(user: str, role: str, **params: Any) -> list[str]:
        answer = await api.get("/api/disputes", user, role, **params)
        assert answer.status_code == 200, answer.text
        return [one["id"] for one in answer.json()["data"]]

    assert await listed(deal.buyer, "buyer") == await listed(deal.seller, "seller") == [data["id"]]
    assert await listed(deal.buyer, "buyer", status="resolved") == [data["id"]]
    assert await listed(deal.buyer, "buyer", status="pending") == []
    assert data["id"] in await listed("x", "service", limit=100)
    stranger = api.name("stranger")
    assert await listed(stranger, "buyer") == []
    answer = await api.get(path, stranger, "buyer")
    assert (answer.status_code, answer.json()["error"]) == (403, "NOT_YOUR_DISPUTE")
    answer = await api.get("/api/disputes/none-such", "x", "admin")
    assert (answer.status_code, answer.json()["error"]) == (404, "DISPUTE_NOT_FOUND")


async def test_money_that_belongs_nowhere_is_listed_until_it_is_settled(api: Any) -> None:
    deal = await opened(api, "10.00")
    excess = await deliver(api, told(deal.payment, "confirmed", "13.00", api.name("tx")))
    missing = api.name("missing")
    lost = await deliver(api, told(missing, "confirmed", "7.00", api.name("tx")))
    position = lost.headers["Ledger-Position"]
    assert excess.status_code == lost.status_code == 202

    async def listed(**params: Any) -> list[dict[str, Any]]:
        answer = await api.get("/api/admin/suspense", "f", "finance", limit=100, **params)
        assert answer.status_code == 200, answer.text
        rows: list[dict[str, Any]] = answer.json()["data"]
        return rows

    first, second = (await listed(minPosition=position, status="open"))[:2]
    assert (first["reason"], first["amount"], first["remaining"], first["paymentId"]) == (
        "UNKNOWN_PAYMENT", money("7.00"), money("7.00"), missing
    )  # fmt: skip
    assert (second["reason"], second["remaining"], second["paymentId"]) == ("EXCESS", money("3.00"), deal.payment)
    body = {"action": "return", "reason": "Paid too much", "txHash": api.name("tx")}
    settled = await api.post(f"/api/admin/suspense/{second['id']}/settle", body, "root", "admin")
    assert settled.status_code == 200, settled.text
    at = settled.headers["Ledger-Position"]
    assert [one["id"] for one in await listed(minPosition=at, status="settled")][:1] == [second["id"]]
    assert second["id"] not in [one["id"] for one in await listed(minPosition=at, status="open")]
    ledger = (await api.get(f"{deal.path}/ledger", deal.buyer, "buyer")).json()["data"]
    assert ledger["buckets"]["suspense"] == money("0.00")
    assert ledger["entries"][-1]["type"] in ("suspense.settled.v1", "payment.excess-settled.v1")

    answer = await api.get("/api/admin/dead-letters", "f", "finance", kind="webhook", minPosition=at)
    letter = answer.json()["data"][0]
    assert (letter["kind"], letter["code"], letter["status"], letter["suspenseId"]) == (
        "webhook", "UNKNOWN_PAYMENT", "waiting", first["id"]
    )  # fmt: skip
    assert letter["delivery"] == {
        "provider": "stripe",
        "webhookId": letter["delivery"]["webhookId"],
        "type": "payment.confirmed",
        "paymentId": missing,
        "amount": money("7.00"),
        "txHash": first["txHash"],
    }
    skipped = await api.post(f"/api/admin/dead-letters/{letter['id']}/skip", {"reason": "Seen"}, "root", "admin")
    assert skipped.status_code == 200, skipped.text
    at = skipped.headers["Ledger-Position"]
    answer = await api.get("/api/admin/dead-letters", "root", "admin", status="skipped", minPosition=at)
    assert (answer.json()["data"][0]["id"], answer.json()["data"][0]["reason"]) == (letter["id"], "Seen")
    waiting = await api.get("/api/admin/dead-letters", "root", "admin", status="waiting", limit=100)
    assert letter["id"] not in [one["id"] for one in waiting.json()["data"]]


async def test_an_event_that_a_read_model_cannot_apply_is_in_the_same_list(api: Any, api_database: str) -> None:
    api_connection = await asyncpg.connect(api_database)
    number = await api_connection.fetchval(
        "INSERT INTO read_models.dead_letters (name, build, stream, position, event_type, error, tries) "
        "VALUES ('points', 999999, 'account-x', 1, 'points.earned.v1', 'secret text', 3) RETURNING id"
    )
    try:
        for params in ({"kind": "projection"}, {}):
            answer = await api.get("/api/admin/dead-letters", "root", "admin", **params)
            letter = answer.json()["data"][0]
            assert (letter["id"], letter["kind"], letter["status"]) == (f"projection-{number}", "projection", "waiting")
            assert letter["event"]["readModel"] == "points"
            assert letter["event"]["stream"] == "account-x"
            assert "secret" not in answer.text
        answer = await api.get("/api/admin/dead-letters", "root", "admin", kind="webhook", limit=100)
        assert {one["kind"] for one in answer.json()["data"]} <= {"webhook"}
    finally:
        await api_connection.execute("DELETE FROM read_models.dead_letters WHERE id = $1", number)
        await api_connection.close()


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("disputes", {"status": "open"}),
        ("admin/suspense", {"status": "waiting"}),
        ("admin/dead-letters", {"status": "parked"}),
        ("admin/dead-letters", {"kind": "mail"}),
        ("admin/dead-letters", {"after": "x"}),
    ],
)
async def test_filters_that_are_none_are_refused(api: Any, path: str, params: dict[str, Any]) -> None:
    answer = await api.get(f"/api/{path}", "root", "admin", **params)
    assert (answer.status_code, answer.json()["data"][0]["field"]) == (400, next(iter(params)))
