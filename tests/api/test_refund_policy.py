"""What a refund does to points, under both policies, as the buyer sees it. In a database of its own: there is one policy."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from ledger.settings import Settings
from projections.catalogue import PROJECTIONS
from projections.runner import Runner
from tests.api.conftest import Api, running
from tests.api.paying import Deal, bought, deliver, events_of, told

PATH = "/api/admin/programme"
SIGN = {"earn": 1, "admin_grant": 1, "restore": 1, "spend": -1, "expire": -1, "admin_deduct": -1, "clawback": -1}


@pytest.fixture(scope="module")
async def own_database(stack: Any, template_database: str) -> AsyncIterator[str]:
    """A database nobody else has points in."""
    name = f"test_refund_policy_{os.getpid()}"
    admin = await asyncpg.connect(stack.database_url)
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template_database}")
    parts = urlsplit(stack.database_url)
    yield urlunsplit((parts.scheme, parts.netloc, "/" + name, parts.query, parts.fragment))
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.fixture(scope="module")
async def alone(environ: dict[str, str], own_database: str) -> AsyncIterator[Api]:
    """The service with its projector on that database."""
    pool = await asyncpg.create_pool(own_database, min_size=1, max_size=4, server_settings={"role": "ledger_project"})
    runner = Runner(pool, PROJECTIONS, direct_url=own_database)
    task = asyncio.create_task(runner.run())
    async with running(Settings.from_env(environ | {"DATABASE_URL": own_database})) as api:
        while (await api.get("/api/points/my-points", "nobody", "buyer")).status_code == 503:
            pass
        yield api
    await runner.stop()
    await task
    await pool.close()


async def policy(api: Api, name: str, **more: Any) -> None:
    """From here on refunds do this to points."""
    now = await api.get(PATH, "root", "admin")
    headers = api.bearer("root", "admin") | {"If-Match": now.headers["ETag"]}
    body = now.json()["data"] | {"refundPolicy": name, "platformFeeBps": 0} | more
    answer = await api.http.put(PATH, json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    if "Ledger-Position" in answer.headers:
        await api.get(PATH, "root", "admin", minPosition=answer.headers["Ledger-Position"])


async def paid_with_points(api: Api, price: str, points: int, due: str, fee: str = "0.00") -> Deal:
    """A purchase on which so many points of 1,500 were redeemed, and the rest paid."""
    deal = await bought(api, price)
    await api.earn(deal.buyer, 1500)
    if points:
        body = {"pointsToUse": points, "purchaseRequestId": deal.purchase}
        redeemed = await api.post("/api/points/redeem", body, deal.buyer, "buyer")
        assert redeemed.status_code == 200, redeemed.text
    opened = await api.post("/api/payment", {"purchaseRequestId": deal.purchase, "provider": "stripe"}, deal.buyer)
    deal.payment = opened.json()["data"]["id"]
    assert opened.json()["data"]["amount"]["amount"] == due
    paid = await deliver(api, told(deal.payment, "confirmed", due, api.name("tx"), fees={"provider": fee}))
    assert "deadLetter" not in paid.json()["data"]
    return deal


async def completed(deal: Deal) -> Any:
    return await deal.status("delivery", "delivered", "completed")


async def history(deal: Deal, after: Any) -> list[tuple[str, int, int]]:
    """Type, amount and balance of each line, oldest first; the balance is the running sum, and what my-points says."""
    position = after.headers["Ledger-Position"]
    answer = await deal.api.get(
        "/api/points/transactions", deal.buyer, "buyer", limit=100, sortOrder="asc", minPosition=position
    )
    lines = answer.json()["data"]["transactions"]
    balance = 0
    for line in lines:
        assert line["amount"] > 0, line
        balance += SIGN[line["type"]] * line["amount"]
        assert line["balance"] == balance, line
    assert (await deal.api.points(deal.buyer, after))["balance"] == balance
    return [(line["type"], line["amount"], line["balance"]) for line in lines]


async def test_partial_refunds_take_back_and_return_until_it_is_as_if_nothing_had_been(alone: Api) -> None:
    await policy(alone, "reverse")
    deal = await paid_with_points(alone, "100.00", 1000, "90.00")
    before = await history(deal, await completed(deal))
    assert before == [("earn", 1500, 1500), ("spend", 1000, 500), ("earn", 90, 590)]
    for _ in range(3):
        last = await deal.paid_out("refund", "30.00")
    assert (await history(deal, last))[3:] == [
        ("restore", 333, 923), ("clawback", 30, 893),
        ("restore", 333, 1226), ("clawback", 30, 1196),
        ("restore", 334, 1530), ("clawback", 30, 1500),
    ]  # fmt: skip
    points = await alone.points(deal.buyer, last)
    assert (points["balance"], points["lifetimePoints"]) == (1500, 1590)
    lots = {lot["expiresAt"]: lot["points"] for lot in (await _lots(deal, last))}
    assert sorted(lots.values()) == [1500]
    purchase = await alone.get(f"/api/purchases/{deal.purchase}", minPosition=last.headers["Ledger-Position"])
    shown = purchase.json()["data"]
    assert (shown["status"], shown["pointsEarned"], shown["pointsSpent"]) == ("refunded", 0, 0)


async def _lots(deal: Deal, after: Any) -> list[dict[str, Any]]:
    position = after.headers["Ledger-Position"]
    answer = await deal.api.get("/api/points/expiring", deal.buyer, "buyer", within="3650d", minPosition=position)
    assert answer.status_code == 200, answer.text
    found = answer.json()["data"]
    return list(found["lots"] if isinstance(found, dict) else found)


async def test_a_hundred_small_refunds_end_where_one_large_one_does(alone: Api) -> None:
    await policy(alone, "reverse", platformFeeBps=250)
    small = await paid_with_points(alone, "17.77", 777, "10.00", fee="0.33")
    large = await paid_with_points(alone, "17.77", 777, "10.00", fee="0.33")
    for deal in (small, large):
        await completed(deal)
    # 10.00 without both fees (0.33 and 0.25) are 9.42 held.
    for _ in range(47):
        await small.paid_out("refund", "0.20")
    ends = [await history(small, await small.paid_out("refund")), await history(large, await large.paid_out("refund"))]
    sums = [
        {kind: sum(amount for found, amount, _ in end if found == kind) for kind in ("restore", "clawback")}
        for end in ends
    ]
    assert sums[0] == sums[1] == {"restore": 777, "clawback": 10}
    standings = [await small.events(), await large.events()]
    assert [events[-1]["data"]["after"]["refunded"] for events in standings] == [967, 967]


async def test_what_is_spent_already_is_not_taken_below_zero_and_the_event_says_how_much_was_asked(alone: Api) -> None:
    await policy(alone, "reverse")
    deal = await paid_with_points(alone, "90.00", 0, "90.00")
    await completed(deal)
    gone = {"userId": deal.buyer, "amount": -1550, "reason": "Spent elsewhere"}
    assert (await alone.post("/api/points/admin/add", gone, "root", "admin")).status_code == 200
    first = await deal.paid_out("refund", "45.00")
    assert (await history(deal, first))[-1] == ("clawback", 40, 0)
    last = await deal.paid_out("refund")
    # Nothing is there to be taken: no line of nothing, but the ledger knows what was asked.
    assert (await history(deal, last))[-1] == ("clawback", 40, 0)
    reversed_by = [
        event["data"]
        for event in await events_of(alone, f"purchase-{deal.purchase}")
        if event["type"] == "purchase.points-reversed.v1"
    ]
    assert [(one.get("pointsToClaw", 0), one.get("pointsClawed", 0)) for one in reversed_by] == [(45, 40), (45, 0)]


async def test_a_refund_before_completion_earns_less_and_takes_nothing_back(alone: Api) -> None:
    await policy(alone, "reverse")
    deal = await paid_with_points(alone, "100.00", 1000, "90.00")
    await deal.paid_out("refund", "30.00")
    assert (await history(deal, await completed(deal)))[2:] == [("restore", 333, 833), ("earn", 60, 893)]
    last = await deal.paid_out("refund")
    assert (await history(deal, last))[4:] == [("restore", 667, 1560), ("clawback", 60, 1500)]


async def test_the_confirmation_repeated_moves_points_once(alone: Api) -> None:
    await policy(alone, "reverse")
    deal = await paid_with_points(alone, "100.00", 1000, "90.00")
    await completed(deal)
    instruction = (await deal.instruct("refund")).json()["data"]["instructionId"]
    tx = alone.name("tx")
    answers = await asyncio.gather(*(deal.confirm("refund", instruction, tx) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {200}
    assert (await history(deal, answers[0]))[3:] == [("restore", 1000, 1590), ("clawback", 90, 1500)]


async def test_a_reserved_refund_and_a_release_move_no_points(alone: Api) -> None:
    await policy(alone, "reverse")
    deal = await paid_with_points(alone, "100.00", 1000, "90.00")
    await completed(deal)
    await deal.instruct("refund", "30.00")
    last = await deal.paid_out("release", "60.00")
    assert len(await history(deal, last)) == 3


async def test_a_chargeback_takes_points_back_as_a_refund_does(alone: Api) -> None:
    await policy(alone, "reverse")
    deal = await paid_with_points(alone, "100.00", 1000, "90.00")
    await completed(deal)
    last = await deliver(alone, told(deal.payment, "chargeback", "90.00", alone.name("cb")))
    assert (await history(deal, last))[3:] == [("restore", 1000, 1590), ("clawback", 90, 1500)]


async def test_under_keep_a_refund_moves_no_points(alone: Api) -> None:
    await policy(alone, "keep")
    deal = await paid_with_points(alone, "100.00", 1000, "90.00")
    await completed(deal)
    await deal.paid_out("refund", "30.00")
    last = await deal.paid_out("refund")
    assert await history(deal, last) == [("earn", 1500, 1500), ("spend", 1000, 500), ("earn", 90, 590)]


async def test_under_keep_a_cancelled_purchase_returns_what_was_spent_and_its_refund_nothing_more(alone: Api) -> None:
    for name in ("keep", "reverse"):
        await policy(alone, name)
        deal = await paid_with_points(alone, "100.00", 1000, "90.00")
        await deal.status("cancelled")
        instruction = next(event["data"] for event in reversed(await deal.events()))["instructionId"]
        last = await deal.confirm("refund", instruction, alone.name("tx"))
        assert last.status_code == 200, last.text
        assert await history(deal, last) == [("earn", 1500, 1500), ("spend", 1000, 500), ("restore", 1000, 1500)]
