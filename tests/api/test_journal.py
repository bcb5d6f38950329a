"""The journal over HTTP: one cut, the same bytes later, taken under load; written down; and for finance alone."""

import asyncio
import csv
import io
from decimal import Decimal
from typing import Any

import pytest

from tests.api.paying import funded

EXPORT = "/api/ledger/export"


async def take(api: Any, **params: Any) -> tuple[bytes, int]:
    answer = await api.get(EXPORT, "fin", "finance", **params)
    assert answer.status_code == 200, answer.text
    return answer.content, int(answer.headers["Ledger-Position"])


def read(text: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text.decode(), newline=""), strict=True))


async def test_a_cut_taken_under_load_is_the_same_cut_later_byte_for_byte(api: Any) -> None:
    members = [await api.member() for _ in range(8)]
    done = asyncio.Event()

    async def load(member: str) -> int:
        count = 0
        while not done.is_set():
            await api.earn(member, 3, description="under, load")
            count += 1
        return count

    loads = [asyncio.create_task(load(member)) for member in members]
    cuts = []
    for _ in range(6):
        await asyncio.sleep(0.2)
        cuts.append(await take(api))
    done.set()
    assert sum(await asyncio.gather(*loads)) > 20
    assert len({cut for _, cut in cuts}) == 6, "the log went on between them"
    for text, cut in cuts:
        again, same = await take(api, uptoPosition=cut)
        assert (again, same) == (text, cut)
        rows = read(text)
        assert max(int(row["position"]) for row in rows) <= cut
        for currency in {row["currency"] for row in rows}:
            assert sum(Decimal(r["debit"]) - Decimal(r["credit"]) for r in rows if r["currency"] == currency) == 0


async def test_an_export_is_written_down_after_its_cut(api: Any) -> None:
    position = (await api.earn(await api.member(), 5)).headers["Ledger-Position"]
    params = {"account": "member", "currency": "PTS", "from": "2020-01-01", "minPosition": position, "format": "ndjson"}
    _, cut = await take(api, **params)
    assert cut >= int(position)
    events = await api.get("/api/admin/events", "root", "admin", type="ledger.exported.v1", minPosition=cut + 1)
    event = events.json()["data"]["events"][0]
    assert event["position"] > cut
    assert event["actor"] == {"id": "fin", "role": "finance"}
    data = event["data"]
    assert (data["format"], data["cutPosition"], data["account"], data["currency"], data["recordedFrom"]) == (
        "ndjson", cut, "member", "PTS", "2020-01-01T00:00:00Z",
    )  # fmt: skip
    assert event["stream"] == f"export-{data['exportId']}"


async def test_the_journal_follows_a_payment_to_the_last_cent(api: Any) -> None:
    deal = await funded(api)
    await deal.dispute("20.00")
    released = await deal.paid_out("release", "30.00")
    position = int(released.headers["Ledger-Position"])
    text, _ = await take(api, uptoPosition=position)
    mine = {
        row["account"]: row for row in read(text) if deal.purchase in row["account"] or deal.seller in row["account"]
    }
    buckets = (await api.get(deal.path, minPosition=position)).json()["data"]["buckets"]
    for account, bucket in (("escrow", "held"), ("disputed", "disputed"), ("reserved", "releasing")):
        assert Decimal(mine[f"{account}:{deal.purchase}"]["balance_after"]) == -Decimal(buckets[bucket]["amount"])
    assert mine[f"payable:{deal.seller}"]["credit"] == "30.00"


async def test_the_trial_balance_comes_to_nothing_now_and_then(api: Any) -> None:
    member = await api.member()
    early = (await api.earn(member, 320)).headers["Ledger-Position"]
    await funded(api)
    late = (await api.earn(member, 1)).headers["Ledger-Position"]
    for how, points in (
        ({"minPosition": late}, "-321"),
        ({"asOf": early}, "-320"),
        ({"at": early}, "-320"),
        ({"asOf": late, "account": f"member:{member}"}, "-321"),
    ):
        answer = await api.get("/api/ledger/balances", "fin", "finance", **how)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        found = {(b["account"], b["balance"]["currency"]): b["balance"]["amount"] for b in body["data"]}
        assert found[f"member:{member}", "PTS"] == points
        assert body["meta"]["total"] == len(found)
        if "account" not in how:
            assert {Decimal(total["balance"]["amount"]) for total in body["meta"]["totals"]} == {0}
        if "asOf" in how:
            assert answer.headers["Ledger-Position"] == how["asOf"]
    for wrong in ({"asOf": "1", "at": "1"}, {"asOf": str(10**12)}, {"at": "2999-01-01"}, {"limit": 1}):
        assert (await api.get("/api/ledger/balances", "fin", "finance", **wrong)).status_code == 400


async def test_a_statement_over_http(api: Any) -> None:
    member = await api.member(points=10)
    position = (await api.earn(member, 5)).headers["Ledger-Position"]
    answer = await api.get(
        "/api/ledger/statement", "fin", "finance", account=f"member:{member}", limit=1, minPosition=position
    )
    assert answer.status_code == 200, answer.text
    data, meta = answer.json()["data"], answer.json()["meta"]
    assert (data["opening"]["amount"], data["closing"]["amount"]) == ("0", "-15")
    assert [entry["balanceAfter"]["amount"] for entry in data["entries"]] == ["-10"]
    rest = await api.get(
        "/api/ledger/statement", "fin", "finance", account=f"member:{member}", after=meta["nextCursor"]
    )
    assert [entry["balanceAfter"]["amount"] for entry in rest.json()["data"]["entries"]] == ["-15"]
    for params, status in (({}, 400), ({"account": "member:nobody-at-all"}, 404), ({"account": "No!"}, 400)):
        assert (await api.get("/api/ledger/statement", "fin", "finance", **params)).status_code == status


@pytest.mark.parametrize(
    "params",
    [{"format": "xml"}, {"from": "soon"}, {"uptoPosition": -1}, {"page": 1}, {"account": "a b"}, {"currency": "usd"}],
)
async def test_a_wrong_parameter_is_named(api: Any, params: Any) -> None:
    answer = await api.get(EXPORT, "fin", "finance", **params)
    assert (answer.status_code, answer.json()["data"][0]["field"]) == (400, next(iter(params)))


async def test_a_cut_that_lies_ahead_is_503_and_nothing_is_written_down(api: Any) -> None:
    async def exports() -> int:
        head = int((await api.earn(await api.member(), 1)).headers["Ledger-Position"])
        found = await api.get("/api/admin/events", "root", "admin", type="ledger.exported.v1", minPosition=head)
        total: int = found.json()["pagination"]["total"]
        return total

    before = await exports()
    answer = await api.get(EXPORT, "fin", "finance", uptoPosition=10**12)
    assert (answer.status_code, answer.json()["error"]) == (503, "READ_MODEL_BEHIND")
    assert answer.headers["Retry-After"]
    assert await exports() == before


async def test_a_client_that_hangs_up_lets_the_connection_go(api: Any) -> None:
    """More of them than there are connections and places for exports."""
    for _ in range(12):
        async with api.http.stream("GET", EXPORT, headers=api.bearer("fin", "finance")) as answer:
            assert answer.status_code == 200
            async for _ in answer.aiter_bytes(10):
                break
    for _ in range(100):
        answer = await api.get(EXPORT, "fin", "finance")
        if answer.status_code == 200:
            return
        await asyncio.sleep(0.05)
    pytest.fail("the exports that nobody reads hold on")
