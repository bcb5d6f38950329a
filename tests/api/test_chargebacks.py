"""Chargebacks over HTTP: before and after money was set aside, disputed or released; early, twice, too large."""

import itertools
from typing import Any

import pytest

from tests.api.paying import Deal, deliver, error, events_of, funded, opened, told


async def charge_back(deal: Deal, amount: str, tx: str = "", **more: Any) -> Any:
    answer = await deliver(
        deal.api, told(deal.payment, "chargeback", amount, tx or deal.api.name("cb"), **more), webhook_id=""
    )
    assert answer.status_code == 202, answer.text
    return answer


async def letter_of(api: Any, answer: Any) -> dict[str, Any]:
    events = await events_of(api, f"letter-{answer.json()['data']['deadLetter']}")
    return dict(events[0]["data"])


def buckets(standing: dict[str, Any]) -> dict[str, int]:
    """Those with something in them, but for gross."""
    return {name: value for name, value in standing.items() if isinstance(value, int) and name != "gross"}


async def test_it_takes_what_is_held_first(api: Any) -> None:
    deal = await funded(api)
    await deal.instruct("release", "30.00")
    answer = await charge_back(deal, "70.00")
    assert "deadLetter" not in answer.json()["data"]
    assert buckets(await deal.standing()) == {"releasing": 3000, "refunded": 7000}


async def test_it_takes_back_reservations_and_then_what_is_disputed(api: Any) -> None:
    deal = await funded(api)
    instruction = (await deal.instruct("release", "30.00")).json()["data"]["instructionId"]
    dispute = await deal.dispute("60.00")
    assert dispute.status_code == 201
    await charge_back(deal, "45.00")
    assert buckets(await deal.standing()) == {"disputed": 5500, "refunded": 4500}
    assert error(await deal.confirm("release", instruction, api.name("tx"))) == (409, "INVALID_TRANSITION")
    # What is left of the dispute is what can be decided on.
    home = f"/api/disputes/{dispute.json()['data']['id']}/resolve"
    split = {"action": "compensation", "note": "So", "toBuyer": {"amount": "60.00", "currency": "USD"}}
    assert error(await api.post(home, split, "judge", "resolver")) == (400, "VALIDATION_FAILED")
    split["toBuyer"] = {"amount": "55.00", "currency": "USD"}
    assert (await api.post(home, split, "judge", "resolver")).json()["data"]["status"] == "resolved"


async def test_of_all_of_it_the_purchase_is_refunded_and_an_emptied_dispute_can_be_closed(api: Any) -> None:
    deal = await funded(api)
    dispute = await deal.dispute()
    await charge_back(deal, "100.00")
    standing = await deal.standing()
    assert (standing["status"], standing["escrowState"], buckets(standing)) == (
        "refunded", "refunded", {"refunded": 10000}
    )  # fmt: skip
    last = (await events_of(api, f"purchase-{deal.purchase}"))[-1]["data"]
    assert last["status"] == "refunded"
    home = f"/api/disputes/{dispute.json()['data']['id']}/resolve"
    resolved = await api.post(home, {"action": "refund", "note": "The bank did"}, "judge", "resolver")
    assert resolved.json()["data"]["status"] == "closed", resolved.text


@pytest.mark.parametrize(
    ("released", "charged", "owed"), [("100.00", "100.00", 10000), ("60.00", "100.00", 6000), ("60.00", "40.00", 0)]
)
async def test_what_was_released_the_seller_owes_and_a_letter_says_so(
    api: Any, released: str, charged: str, owed: int
) -> None:
    deal = await funded(api)
    await deal.paid_out("release", released)
    answer = await charge_back(deal, charged)
    event = (await deal.events())[-1]["data"]
    assert event.get("receivableMinor", 0) == owed
    assert ("deadLetter" in answer.json()["data"]) == bool(owed)
    if owed:
        letter = await letter_of(api, answer)
        assert (letter["code"], "suspenseId" in letter) == ("ALREADY_RELEASED", False)
        path = f"/api/admin/dead-letters/{letter['letterId']}"
        assert error(await api.post(f"{path}/replay", {}, "root", "admin")) == (409, "STILL_IMPOSSIBLE")
        skipped = await api.post(f"{path}/skip", {"reason": "The seller has paid"}, "root", "admin")
        assert skipped.json()["data"]["status"] == "skipped"
    standing = await deal.standing()
    assert standing["gross"] == sum(buckets(standing).values()) == 10000


async def test_named_twice_it_is_taken_once_and_with_another_amount_it_is_a_letter(api: Any) -> None:
    deal, tx = await funded(api), api.name("cb")
    for _ in range(3):
        await charge_back(deal, "10.00", tx)
    assert buckets(await deal.standing()) == {"held": 9000, "refunded": 1000}
    answer = await charge_back(deal, "11.00", tx)
    letter = await letter_of(api, answer)
    assert (letter["code"], "suspenseId" in letter) == ("OTHER_AMOUNT", False)
    wrong = await charge_back(deal, "1.00", api.name("cb"), currency="EUR")
    assert (await letter_of(api, wrong))["code"] == "WRONG_CURRENCY"
    answer = await deliver(api, told(deal.payment, "chargeback", "1.00"))
    assert (await letter_of(api, answer))["code"] == "NO_TX_HASH"
    assert buckets(await deal.standing()) == {"held": 9000, "refunded": 1000}


async def test_it_may_name_the_transaction_it_takes_back(api: Any) -> None:
    deal, tx = await opened(api), api.name("tx")
    for kind in ("chargeback", "confirmed", "chargeback", "confirmed"):
        await deliver(api, told(deal.payment, kind, "100.00", tx))
    assert buckets(await deal.standing()) == {"refunded": 10000}


async def test_in_any_order_with_its_payment_it_ends_the_same(api: Any) -> None:
    outcomes = []
    for order in itertools.permutations(range(3)):
        deal = await opened(api)
        one, two, back = api.name("tx"), api.name("tx"), api.name("cb")
        said = [
            told(deal.payment, "partial", "40.00", one),
            told(deal.payment, "completed", "60.00", two),
            told(deal.payment, "chargeback", "70.00", back),
        ]
        for index in order:
            answer = await deliver(api, said[index])
            assert "deadLetter" not in answer.json()["data"], (order, index)
        outcomes.append(await deal.standing())
    assert all(outcome == outcomes[0] for outcome in outcomes), outcomes
    assert buckets(outcomes[0]) == {"held": 3000, "refunded": 7000}


async def test_a_seller_owes_no_more_than_was_released(api: Any) -> None:
    """Charged back beyond all that was paid: somebody must look at it, but it is not the seller's."""
    deal = await funded(api)
    await deal.paid_out("release", "30.00")
    first = await charge_back(deal, "100.00")
    assert (await deal.events())[-1]["data"]["receivableMinor"] == 3000
    second = await charge_back(deal, "100.00")
    owed = sum(event["data"].get("receivableMinor", 0) for event in await deal.events())
    assert (owed, "deadLetter" in first.json()["data"], "deadLetter" in second.json()["data"]) == (3000, True, True)


async def test_what_came_beyond_the_amount_due_is_not_owed_by_the_seller(api: Any) -> None:
    deal = await opened(api)
    await deliver(api, told(deal.payment, "confirmed", "110.00", api.name("tx")))
    await charge_back(deal, "110.00")
    assert (await deal.events())[-1]["data"].get("receivableMinor", 0) == 0


async def test_on_a_cancelled_or_unknown_payment_it_takes_nothing(api: Any) -> None:
    deal = await opened(api)
    await api.post(f"{deal.path}/cancel", {}, deal.buyer, "buyer")
    letter = await letter_of(api, await charge_back(deal, "5.00"))
    assert (letter["code"], "suspenseId" in letter) == ("PAYMENT_CANCELLED", False)
    deal.payment = "pay_nobody"
    letter = await letter_of(api, await charge_back(deal, "5.00"))
    assert (letter["code"], "suspenseId" in letter) == ("UNKNOWN_PAYMENT", False)
