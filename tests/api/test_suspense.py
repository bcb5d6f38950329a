"""Money that belongs nowhere yet, and deliveries that could not be true: settled, replayed and put away once."""

import asyncio
from typing import Any

import pytest

from tests.api.paying import Deal, deliver, error, events_of, funded, money, opened, told


async def parked(api: Any, amount: str = "12.00", tx: str = "", **more: Any) -> str:
    """The id of money that came for a payment nobody knows: that of its letter too."""
    answer = await deliver(api, told("pay_nobody", "confirmed", amount, tx or api.name("tx"), **more))
    assert answer.status_code == 202, answer.text
    return str(answer.json()["data"]["deadLetter"])


async def settle(api: Any, item: str, action: str, **more: Any) -> Any:
    body = {"action": action, "reason": "So it is"} | more
    return await api.post(f"/api/admin/suspense/{item}/settle", body, "root", "admin")


async def excess_of(deal: Deal) -> str:
    return str((await deal.events())[-1]["data"]["suspenseId"])


async def test_what_is_returned_is_neither_returned_again_nor_applied(api: Any) -> None:
    item, deal = await parked(api), await opened(api)
    answers = await asyncio.gather(*(settle(api, item, "return", txHash=api.name("tx")) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
    assert error(await settle(api, item, "return")) == (409, "INVALID_TRANSITION")
    assert error(await settle(api, item, "apply", paymentId=deal.payment)) == (409, "INVALID_TRANSITION")
    assert [event["type"] for event in await events_of(api, f"suspense-{item}")] == [
        "suspense.parked.v1",
        "suspense.settled.v1",
    ]


async def test_what_is_applied_counts_once(api: Any) -> None:
    item, deal = await parked(api, "100.00"), await opened(api)
    answers = await asyncio.gather(*(settle(api, item, "apply", paymentId=deal.payment) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
    assert (await deal.standing())["gross"] == 10000
    assert error(await settle(api, item, "return")) == (409, "INVALID_TRANSITION")


async def test_returned_and_applied_at_once_it_goes_one_way(api: Any) -> None:
    for _ in range(5):
        item, deal = await parked(api, "100.00"), await opened(api)
        back, there = await asyncio.gather(
            settle(api, item, "return", txHash=api.name("tx")), settle(api, item, "apply", paymentId=deal.payment)
        )
        assert {back.status_code, there.status_code} == {200, 409}
        assert (await deal.types() == ["opened"]) == (back.status_code == 200)


async def test_more_than_a_payment_lacks_waits_on(api: Any) -> None:
    item, deal, other = await parked(api, "130.00"), await opened(api), await opened(api)
    first = await settle(api, item, "apply", paymentId=deal.payment)
    assert first.json()["data"]["remaining"] == money("30.00")
    assert error(await settle(api, item, "apply", paymentId=deal.payment)) == (409, "AMOUNT_NOT_AVAILABLE")
    second = await settle(api, item, "apply", paymentId=other.payment)
    assert second.json()["data"]["remaining"] == money("0.00")
    standings = [await deal.standing(), await other.standing()]
    assert [(one["status"], one["gross"]) for one in standings] == [("confirmed", 10000), ("partial", 3000)]


async def test_it_goes_to_no_payment_that_cannot_take_it(api: Any) -> None:
    item, full, euros = await parked(api), await funded(api), await parked(api, currency="EUR")
    cancelled, open_one = await opened(api), await opened(api)
    await api.post(f"{cancelled.path}/cancel", {}, "shop", "service")
    assert error(await settle(api, item, "apply", paymentId=full.payment)) == (409, "AMOUNT_NOT_AVAILABLE")
    assert error(await settle(api, item, "apply", paymentId=cancelled.payment)) == (409, "INVALID_TRANSITION")
    assert error(await settle(api, item, "apply", paymentId="pay_nobody")) == (404, "PAYMENT_NOT_FOUND")
    assert error(await settle(api, item, "apply")) == (400, "VALIDATION_FAILED")
    assert error(await settle(api, euros, "apply", paymentId=open_one.payment)) == (400, "VALIDATION_FAILED")
    assert error(await settle(api, "dl_nobody", "return")) == (404, "SUSPENSE_NOT_FOUND")
    for waiting in (item, euros):
        assert len(await events_of(api, f"suspense-{waiting}")) == 1
    assert await open_one.types() == ["opened"]


async def test_an_excess_leaves_its_payment_when_it_is_settled(api: Any) -> None:
    deal, other = await opened(api), await opened(api)
    tx = api.name("tx")
    await deliver(api, told(deal.payment, "confirmed", "110.00", tx))
    assert (await deal.standing())["suspense"] == 1000
    item = await excess_of(deal)
    assert (await settle(api, item, "apply", paymentId=other.payment)).status_code == 200
    assert "suspense" not in await deal.standing()
    assert (await other.standing())["gross"] == 1000
    # The transaction stays the first payment's: named for the other one, it brings nothing more.
    late = await deliver(api, told(other.payment, "confirmed", "110.00", tx))
    letter = (await events_of(api, f"letter-{late.json()['data']['deadLetter']}"))[0]["data"]
    assert (letter["code"], "suspenseId" in letter) == ("TX_HASH_USED", False)
    assert (await other.standing())["gross"] == 1000


async def test_a_return_by_one_transaction_is_one_return(api: Any) -> None:
    one, other, tx = await parked(api), await parked(api), api.name("tx")
    answers = await asyncio.gather(*(settle(api, item, "return", txHash=tx) for item in (one, other)))
    assert sorted(error(answer) for answer in answers) == [(200, None), (409, "TX_HASH_USED")]


@pytest.mark.parametrize("end", ["skip", "settle"])
async def test_a_letter_ends_once(api: Any, end: str) -> None:
    letter = await parked(api)
    path = f"/api/admin/dead-letters/{letter}"
    assert error(await api.post(f"{path}/replay", {}, "root", "admin")) == (409, "STILL_IMPOSSIBLE")
    if end == "settle":
        assert (await settle(api, letter, "return")).status_code == 200
        assert error(await api.post(f"{path}/replay", {}, "root", "admin")) == (409, "STILL_IMPOSSIBLE")
    answers = await asyncio.gather(*(api.post(f"{path}/skip", {"reason": "Seen"}, "root", "admin") for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 4
    assert error(await api.post(f"{path}/replay", {}, "root", "admin")) == (409, "INVALID_TRANSITION")
    # What it brought waits on.
    assert (await settle(api, letter, "return")).status_code == (409 if end == "settle" else 200)


async def test_a_letter_is_replayed_once_when_it_has_become_true(api: Any) -> None:
    """The money came under a wrong name, and was applied; the provider had said the right name too."""
    deal, tx = await opened(api), api.name("tx")
    item = await parked(api, "100.00", tx)
    right = await deliver(api, told(deal.payment, "completed", "100.00", tx))
    path = f"/api/admin/dead-letters/{right.json()['data']['deadLetter']}/replay"
    assert error(await api.post(path, {}, "root", "admin")) == (409, "STILL_IMPOSSIBLE")
    assert (await settle(api, item, "apply", paymentId=deal.payment)).status_code == 200
    answers = await asyncio.gather(*(api.post(path, {}, "root", "admin") for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 4
    standing = await deal.standing()
    assert (standing["status"], standing["gross"], "suspense" in standing) == ("completed", 10000, False)


async def test_the_money_of_a_transaction_waits_once_whatever_is_said_of_it(api: Any) -> None:
    deal, tx = await opened(api), api.name("tx")
    said = [told(payment, "confirmed", "12.00", tx) for payment in ("pay_nobody", "pay_nowhere", deal.payment)]
    said += [told("pay_nobody", kind, "12.00", tx) for kind in ("completed", "partial")]
    answers = await asyncio.gather(*(deliver(api, body) for body in said * 3))
    assert {answer.status_code for answer in answers} == {202}
    letters = [answer.json()["data"].get("deadLetter") for answer in answers]
    waiting = [len(await events_of(api, f"suspense-{letter}")) for letter in letters if letter]
    counted = (await deal.standing()).get("gross", 0)
    assert sum(waiting) + (counted > 0) == 1


async def test_an_amount_that_grows_is_parked_for_no_more_than_it_grew(api: Any) -> None:
    """50.00 counted, then 70.00, then 71.00 said of one transaction: 21.00 more at most."""
    deal, tx = await opened(api), api.name("tx")
    await deliver(api, told(deal.payment, "partial", "50.00", tx))
    waiting = 0
    for amount in ("70.00", "71.00", "70.00", "50.00", "20.00"):
        answer = await deliver(api, told(deal.payment, "partial", amount, tx))
        if letter := answer.json()["data"].get("deadLetter"):
            waiting += sum(event["data"]["amountMinor"] for event in await events_of(api, f"suspense-{letter}"))
    assert waiting <= 2100
