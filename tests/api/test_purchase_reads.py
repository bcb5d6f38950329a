"""Purchases over HTTP: who sees which, and that what is read is what the commands answered."""

from typing import Any

import pytest
from dirty_equals import IsStr

from tests.api.test_purchases import register, registered, step


async def test_its_parties_and_those_who_look_after_it_read_a_purchase(api: Any) -> None:
    purchase, buyer, seller = await registered(api, "12.34")
    done = await step(api, purchase, "pending_payment")
    path, position = f"/api/purchases/{purchase}", done.headers["Ledger-Position"]
    for user, role in ((buyer, "buyer"), (seller, "seller"), ("x", "finance"), ("x", "resolver"), ("x", "admin")):
        answer = await api.get(path, user, role, minPosition=position)
        assert answer.status_code == 200, answer.text
        assert answer.headers["ETag"] == '"2"'
        assert answer.json()["data"] == done.json()["data"] | {
            "paymentStatus": "none",
            "escrowState": "none",
            "hold": False,
            "version": 2,
            "createdAt": IsStr(),
            "updatedAt": IsStr(),
        }
    answer = await api.get(path, api.name("stranger"), "buyer")
    assert (answer.status_code, answer.json()["error"]) == (403, "NOT_YOUR_PURCHASE")
    answer = await api.get("/api/purchases/none-such", buyer, "buyer")
    assert (answer.status_code, answer.json()["error"]) == (404, "PURCHASE_NOT_FOUND")


async def test_the_etag_is_what_if_match_takes(api: Any) -> None:
    purchase, buyer, _ = await registered(api)
    done = await step(api, purchase, "pending_payment")
    position = done.headers["Ledger-Position"]
    etag = (await api.get(f"/api/purchases/{purchase}", buyer, "buyer", minPosition=position)).headers["ETag"]
    path, body = f"/api/purchases/{purchase}/status", {"status": "cancelled"}
    assert (await api.post(path, body, headers={"If-Match": '"1"'})).status_code == 412
    assert (await api.post(path, body, headers={"If-Match": etag})).status_code == 200


async def test_a_member_lists_their_own_alone(api: Any) -> None:
    purchase, buyer, seller = await registered(api)
    other, _, _ = await registered(api)
    back = api.name("purchase")
    answer = await register(api, back, seller, buyer)
    position = answer.headers["Ledger-Position"]

    async def listed(user: str, role: str, **params: Any) -> list[str]:
        answer = await api.get("/api/purchases", user, role, minPosition=position, **params)
        assert answer.status_code == 200, answer.text
        return [row["purchaseRequestId"] for row in answer.json()["data"]]

    assert await listed(buyer, "buyer") == [back, purchase]
    assert await listed(seller, "seller", sortOrder="asc") == [purchase, back]
    assert await listed(api.name("stranger"), "buyer") == []
    assert (await listed("x", "resolver", limit=3)) == [back, other, purchase]
    assert await listed(buyer, "buyer", status="completed") == []
    first = await api.get("/api/purchases", buyer, "buyer", limit=1)
    assert first.json()["pagination"] == {"page": 1, "limit": 1, "total": 2, "totalPages": 2, "hasMore": True}
    assert await listed(buyer, "buyer", after=first.json()["meta"]["nextCursor"]) == [purchase]


@pytest.mark.parametrize("params", [{"status": "paid"}, {"buyerId": "ann"}, {"after": "x"}, {"limit": 0}])
async def test_filters_that_are_none_are_refused(api: Any, params: dict[str, Any]) -> None:
    answer = await api.get("/api/purchases", "anyone", "buyer", **params)
    assert (answer.status_code, answer.json()["data"][0]["field"]) == (400, next(iter(params)))
