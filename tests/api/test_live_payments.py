"""Live events of payments and disputes: who hears them, and what is sent again to who comes back."""

from typing import Any

import pytest

from api import realtime
from tests.api.live_client import following, listening
from tests.api.paying import funded, money


@pytest.fixture
async def follower(api, api_database, redis_url):
    async with following(api_database, redis_url) as follower:
        yield follower


async def a_story(api: Any) -> tuple[Any, dict[str, Any], int]:
    """Paid, released in part, disputed: the deal, the dispute, the last position."""
    deal = await funded(api, "100.00")
    await deal.paid_out("release", "60.00")
    disputed = await deal.dispute()
    return deal, disputed.json()["data"], int(disputed.headers["Ledger-Position"])


def told(heard: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, int]]:
    return [(name, payload["position"]) for name, payload in heard]


async def test_both_parties_and_whoever_watches_hear_of_payments_and_disputes(api, follower):
    deal, dispute, last = await a_story(api)
    heard = {}
    for kind, id_, user in (
        ("buyer", deal.buyer, deal.buyer),
        ("seller", deal.seller, deal.seller),
        ("request", deal.purchase, deal.seller),
    ):
        async with listening(api.base_url, api.token(user, "buyer")) as listener:
            assert await listener.join(kind, id_, after=0) == {"ok": True}
            await listener.until(last, "purchase-updated")
            heard[kind] = listener.heard
    assert told(heard["buyer"]) == told(heard["seller"]) == told(heard["request"])
    positions = [position for _, position in told(heard["buyer"])]
    assert positions == sorted(positions)
    names = {name for name, _ in told(heard["buyer"])}
    assert names == {"purchase-updated", "payment-updated", "dispute-updated"}
    ledger = (await api.get(f"{deal.path}/ledger", asOf=last)).json()["data"]["entries"]
    assert [payload["position"] for name, payload in heard["buyer"] if name == "payment-updated"] == [
        entry["position"] for entry in ledger
    ]
    now = (await api.get(deal.path, minPosition=last)).json()["data"]
    *_, released, final = [payload["data"] for name, payload in heard["buyer"] if name == "payment-updated"]
    assert {field: final[field] for field in ("id", "status", "escrowState", "buckets")} == {
        field: now[field] for field in ("id", "status", "escrowState", "buckets")
    }
    assert final["disputeId"] == dispute["id"]
    assert released["instruction"] == {
        field: now["instructions"][0][field] for field in ("instructionId", "kind", "amount", "status", "txHash")
    }
    (opened,) = [payload["data"] for name, payload in heard["buyer"] if name == "dispute-updated"]
    assert (opened["id"], opened["amount"], opened["status"]) == (dispute["id"], money("40.00"), "pending")


async def test_what_is_told_while_somebody_listens_is_what_is_sent_again(api, follower):
    deal = await funded(api, "100.00")
    async with listening(api.base_url, api.token(deal.buyer, "buyer")) as listener:
        await listener.join("buyer", deal.buyer)
        start = int((await deal.instruct("release", "1.00")).headers["Ledger-Position"])
        await listener.until(start, "payment-updated")
        await deal.paid_out("release", "60.00")
        last = int((await deal.dispute()).headers["Ledger-Position"])
        await listener.until(last, "purchase-updated")
        live = [(name, payload) for name, payload in listener.heard if payload["position"] > start]
    async with listening(api.base_url, api.token(deal.buyer, "buyer")) as again:
        assert await again.join("buyer", deal.buyer, after=start) == {"ok": True}
        await again.until(last, "purchase-updated")
        assert again.heard == live
        assert len(live) >= 5


async def test_too_much_in_a_room_of_many_streams_is_refused(api, follower, monkeypatch):
    deal, _, last = await a_story(api)
    monkeypatch.setattr(realtime, "REPLAY_AT_MOST", 3)
    async with listening(api.base_url, api.token(deal.seller, "seller")) as listener:
        await listener.join("user", deal.seller)
        assert await listener.join("seller", deal.seller, after=0) == {"ok": False, "error": "REPLAY_TOO_LONG"}
        assert await listener.join("seller", deal.seller, after=last - 1) == {"ok": True}
        assert await listener.join("seller", deal.buyer, after=0) == {"ok": False, "error": "FORBIDDEN"}
