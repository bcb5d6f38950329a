"""Payments, disputes and what goes with them as read: rows against histories folded the slow way, for every party."""

import csv
import io
from collections import Counter
from datetime import UTC, datetime

import msgspec
import pytest

from ledger import ids
from ledger.domain.deliveries import Delivery
from ledger.domain.payment_events import PAYMENT_STATUSES
from ledger.domain.payments import OpenPayment
from ledger.domain.purchases import RegisterPurchase
from ledger.errors import InvalidCommand
from ledger.money import Money, money_text
from ledger.payment_errors import DisputeNotFound, NotYourDispute, NotYourPayment, PaymentNotFound
from ledger.payment_views import BUCKET_FIELDS, dispute_view, instruction_view, instructions_view, payment_view
from projections.dead_letter_list import list_letters
from projections.disputes import get_dispute, list_disputes
from projections.payment_export import COLUMNS, csv_of, stream_payments
from projections.payment_ledger import get_payment_as_of, get_payment_ledger
from projections.payment_scope import PaymentScope
from projections.payment_stats import StatusTotals, check_complete, get_payment_stats
from projections.payments import get_payment, list_payments, view_of
from projections.purchases import get_purchase, get_purchase_as_of
from projections.runner import Runner
from projections.suspense import list_suspense
from projections.verify import verify
from tests.projections.payment_histories import MEMBERS, MODELS, Folded, folded


def now():
    return datetime.now(UTC)


def shown(log: Folded, payment_id, *, full=False):
    state, logged = log.states[ids.payment_stream(payment_id)], log.logged[ids.payment_stream(payment_id)]
    view = payment_view(payment_id, state, len(logged), logged[0].recorded_at, logged[-1].recorded_at)
    return msgspec.structs.replace(view, instructions=instructions_view(payment_id, state)) if full else view


def shown_dispute(log: Folded, dispute_id):
    state = log.states[ids.dispute_stream(dispute_id)]
    payment = log.states[ids.payment_stream(state.payment_id)]
    listed = [
        instruction_view(state.payment_id, one, payment.currency)
        for name, one in payment.instructions.items()
        if name in (*state.reserved, *state.instructions)
    ]
    return dispute_view(dispute_id, state, listed)


@pytest.mark.parametrize("history", [1, 2, 3], indirect=True)
async def test_every_read_is_what_the_log_says_and_verify_agrees(models, history, pool):
    log = await folded(pool)
    payments = log.of("payment")
    assert len(payments) > 20
    listed = [await list_payments(models, PaymentScope(), page=page, limit=100) for page in (1, 2)]
    assert [row for page in listed for row in page.value.rows] == [shown(log, one) for one in payments]
    for payment_id in payments:
        assert (await get_payment(models, payment_id)).value == shown(log, payment_id, full=True)
    assert any(payment.instructions for payment in payments.values())

    disputes = log.of("dispute")
    rows = (await list_disputes(models, limit=100)).value.rows
    assert rows == [shown_dispute(log, dispute) for dispute in disputes]
    assert Counter(row.status for row in rows).keys() >= {"closed"}
    assert any(row.evidence for row in rows)
    for dispute in disputes:
        assert (await get_dispute(models, dispute)).value == shown_dispute(log, dispute)

    items = {
        row.id: row for page in (1, 2, 3) for row in (await list_suspense(models, page=page, limit=100)).value.rows
    }
    assert list(items) == list(log.of("suspense"))
    for name, item in log.of("suspense").items():
        assert items[name].remaining == money_text(item.rest_minor, item.currency)
        assert items[name].status == ("open" if item.rest_minor else "settled")
    for status in ("open", "settled"):
        total = (await list_suspense(models, status=status)).value.total
        assert total == sum(item.status == status for item in items.values()) > 0

    letters = log.of("letter")
    found = [row for page in (1, 2, 3) for row in (await list_letters(models, page=page, limit=100)).value.rows]
    assert {row.id: row.status for row in found} == {name: letter.status for name, letter in letters.items()}
    assert {row.kind for row in found} == {"webhook"}
    assert len({row.status for row in found}) >= 2

    for projection in MODELS:
        assert [difference async for difference in verify(pool, projection)] == [], projection.name


async def test_a_purchase_shows_what_its_own_events_and_those_of_its_payment_say(models, history, pool):
    log = await folded(pool)
    seen = Counter()
    for purchase_id, state in log.of("purchase").items():
        view = (await get_purchase(models, purchase_id)).value
        payment = log.states.get(ids.payment_stream(state.payment_id)) if state.payment_id else None
        expected = (payment.standing.status, payment.standing.escrow_state) if payment else ("none", "none")
        assert (view.payment_status, view.escrow_state, view.hold) == (*expected, bool(state.dispute_id))
        assert (view.payment_id or "") == state.payment_id
        assert (view.status, view.points_earned, view.points_spent) == (
            state.status, state.points_earned, state.points_spent
        )  # fmt: skip
        assert view == (await get_purchase_as_of(models, purchase_id, None, now())).value
        seen[view.payment_status] += 1
    assert len(seen) > 3


@pytest.mark.parametrize("at_once", [True, False])
async def test_what_is_told_late_of_an_earlier_payment_is_not_the_purchases(models, ledger, pool, at_once):
    runner = Runner(pool, MODELS)

    async def happens(command):
        await ledger(command)
        if not at_once:
            await runner.catch_up()

    def delivery(number, kind, payment):
        return Delivery(f"l-{number}", "stripe", f"msg-{number}", kind, payment, 500, "USD", f"tx-{number}")

    await ledger.open("ann", "sue")
    await happens(RegisterPurchase("p-1", "ann", "sue", Money(500, "USD")))
    await happens(OpenPayment("pay-1", "p-1", "stripe", "ann", "buyer"))
    await happens(delivery(1, "payment.failed", "pay-1"))
    await happens(OpenPayment("pay-2", "p-1", "stripe", "ann", "buyer"))
    await happens(delivery(2, "payment.confirmed", "pay-2"))
    await happens(delivery(3, "payment.processing", "pay-1"))
    await runner.catch_up()
    view = (await get_purchase(models, "p-1")).value
    assert (view.payment_id, view.payment_status, view.escrow_state, view.status) == (
        "pay-2", "confirmed", "funded", "active"
    )  # fmt: skip
    assert (await get_payment(models, "pay-1")).value.version > 3, "the late delivery is of a cancelled payment"
    before = (await list_payments(models, PaymentScope(), sort_order="asc")).value.rows
    assert [(row.id, row.status) for row in before] == [("pay-1", "cancelled"), ("pay-2", "confirmed")]


@pytest.mark.parametrize("party", [None, *MEMBERS, "nobody"])
async def test_list_statistics_and_export_are_of_the_same_rows_for_everybody(models, history, pool, party):
    log = await folded(pool)
    everything = [shown(log, one) for one in log.of("payment")]
    mine = [one for one in everything if party in (None, one.buyer_id, one.seller_id)]
    middle = everything[len(everything) // 2].created_at
    for scope, wanted in (
        (PaymentScope(party), mine),
        (PaymentScope(party, status="confirmed"), [one for one in mine if one.status == "confirmed"]),
        (PaymentScope(party, escrow_state="funded"), [one for one in mine if one.escrow_state == "funded"]),
        (PaymentScope(party, from_=middle), [one for one in mine if one.created_at >= middle]),
        (PaymentScope(party, to=middle), [one for one in mine if one.created_at < middle]),
    ):
        listed, after = [], None
        while True:
            answer = await list_payments(models, scope, limit=7, after=after)
            assert answer.value.total == len(wanted)
            listed += answer.value.rows
            after = answer.meta["nextCursor"]
            if after is None:
                break
        assert listed == wanted
        assert (await list_payments(models, scope, offset=3, limit=5)).value.rows == wanted[3:8]

        async with stream_payments(models, scope) as stream:
            assert [view_of(row) async for row in stream.rows] == wanted
        async with stream_payments(models, scope) as stream:
            text = "".join([line async for line in csv_of(aiter(stream.rows))])
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        assert text.split("\r\n")[0].split(",") == list(COLUMNS)
        assert [row["id"] for row in rows] == [one.id for one in wanted]

        stats = (await get_payment_stats(models, scope)).value
        assert [entry.currency for entry in stats.currencies] == sorted({one.amount.currency for one in wanted})
        for entry in stats.currencies:
            of_currency = [one for one in wanted if one.amount.currency == entry.currency]
            assert entry.count == len(of_currency) == sum(getattr(entry.statuses, s).count for s in PAYMENT_STATUSES)
            for kind, totals in (("status", entry.statuses), ("escrow_state", entry.escrow_states)):
                for word in totals.__struct_fields__:
                    there = [one.amount for one in of_currency if getattr(one, kind) == word]
                    total = getattr(totals, word)
                    assert (total.count, total.amount) == (len(there), added(there, entry.currency))
            for bucket in BUCKET_FIELDS:
                amounts = [getattr(one.buckets, bucket) for one in of_currency]
                total = getattr(entry.buckets, bucket)
                assert total.amount == added(amounts, entry.currency)
                assert total.count == sum(minor(amount) > 0 for amount in amounts)
                in_csv = [minor_of(row[bucket]) for row in rows if row["currency"] == entry.currency]
                assert sum(in_csv) == minor(total.amount)


def minor(money):
    return minor_of(money.amount)


def minor_of(text):
    return int(text.replace(".", ""))


def added(amounts, currency):
    return money_text(sum(minor(amount) for amount in amounts), currency)


async def test_a_payment_as_of_then_is_what_it_was_and_its_entries_add_up_to_its_buckets(pool, models, history):
    log = await folded(pool)
    ledgers = 0
    for payment_id in list(log.of("payment"))[:12]:
        logged = log.logged[ids.payment_stream(payment_id)]
        for number, event in enumerate(logged, 1):
            then = (await get_payment_as_of(pool, payment_id, event.position, now())).value
            assert (then.status, then.escrow_state, then.version) == (
                event.event.after.status, event.event.after.escrow_state, number
            )  # fmt: skip
            at = (await get_payment_as_of(pool, payment_id, event.recorded_at, now())).value
            assert at.version == sum(one.recorded_at <= event.recorded_at for one in logged)
            assert (await get_payment_ledger(pool, payment_id, event.position, now())).value.buckets == then.buckets
        with pytest.raises(PaymentNotFound):
            await get_payment_as_of(pool, payment_id, logged[0].position - 1, now())
        assert (await get_payment_as_of(pool, payment_id, None, now())).value == (
            await get_payment(models, payment_id)
        ).value
        ledger = (await get_payment_ledger(pool, payment_id, None, now())).value
        assert [entry.position for entry in ledger.entries] == sorted(entry.position for entry in ledger.entries)
        accounts = Counter()
        for entry in ledger.entries:
            assert sum(minor(one.debit) - minor(one.credit) for one in entry.postings) == 0
            for one in entry.postings:
                accounts[one.account.partition(":")[0]] += minor(one.credit) - minor(one.debit)
        buckets = ledger.buckets
        assert accounts["escrow"] == minor(buckets.held)
        assert accounts["disputed"] == minor(buckets.disputed)
        assert accounts["reserved"] == minor(buckets.releasing) + minor(buckets.refunding)
        assert accounts["payable"] == minor(buckets.released)
        assert accounts["refundable"] == minor(buckets.refunded)
        ledgers += bool(accounts)
    assert ledgers > 3


async def test_only_its_parties_are_shown_a_payment_or_a_dispute(pool, models, history):
    log = await folded(pool)
    for payment_id, state in log.of("payment").items():
        (other,) = {*MEMBERS} - {state.buyer_id, state.seller_id}
        for read in (
            get_payment(models, payment_id, other),
            get_payment_as_of(pool, payment_id, 1, now(), other),
            get_payment_ledger(pool, payment_id, None, now(), other),
        ):
            with pytest.raises(NotYourPayment):
                await read
        assert (await get_payment(models, payment_id, state.seller_id)).value.id == payment_id
    dispute, state = next(iter(log.of("dispute").items()))
    (other,) = {*MEMBERS} - {state.buyer_id, state.seller_id}
    with pytest.raises(NotYourDispute):
        await get_dispute(models, dispute, other)
    assert (await get_dispute(models, dispute, state.buyer_id)).value.id == dispute
    assert {row.id for row in (await list_disputes(models, other, limit=100)).value.rows} == {
        name for name, one in log.of("dispute").items() if other in (one.buyer_id, one.seller_id)
    }
    for status in ("pending", "closed"):
        of_status = (await list_disputes(models, state.buyer_id, status=status, limit=100)).value.rows
        assert {row.id for row in of_status} == {
            name
            for name, one in log.of("dispute").items()
            if state.buyer_id in (one.buyer_id, one.seller_id) and one.status == status
        }
    with pytest.raises(PaymentNotFound):
        await get_payment(models, "none-such", "ann")
    with pytest.raises(DisputeNotFound):
        await get_dispute(models, "none-such")
    with pytest.raises(InvalidCommand):
        await list_payments(models, PaymentScope(), after="nonsense")


def test_a_status_that_is_counted_nowhere_stops_the_start():
    check_complete(StatusTotals, PAYMENT_STATUSES)
    with pytest.raises(TypeError, match="expired"):
        check_complete(StatusTotals, (*PAYMENT_STATUSES, "expired"))
