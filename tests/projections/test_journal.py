"""The journal is the log in double entry: every row, every balance, however pages are cut and whatever came late."""

import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta

import pytest

from ledger import ids
from ledger.domain import payment_events as paid
from ledger.domain.payment_events import Standing
from ledger.errors import JournalIncomplete, ReadModelBehind
from ledger.journal import postings_of
from ledger.store import codec
from projections.journal import JOURNAL
from projections.journal_balances import Totals, stream_balances
from projections.journal_export import JournalFilter, export_journal
from projections.journal_statement import get_statement
from projections.projection import table_names
from projections.rebuild import rebuild
from projections.runner import Runner
from projections.verify import verify

NOW = datetime(2027, 1, 1, tzinfo=UTC)
HEADER = (
    "position,entry,recorded_at,event_type,stream,account,currency,debit,credit,balance_after,purchase_request_id,"
    "payment_id,user_id,actor,reference,description,event_hash\r\n"
)


@pytest.fixture
async def journal(pool):
    return Runner(pool, [JOURNAL])


def facts(payment, purchase, currency="USD"):
    return {
        "payment_id": payment,
        "purchase_request_id": purchase,
        "buyer_id": "bob",
        "seller_id": "sue",
        "currency": currency,
        "occurred_at": NOW,
        "after": Standing(),
    }


async def a_payment(append, number, currency="USD"):
    """Paid 100.00 of which 4.00 are fees, 10.00 beyond what was due; 30.00 released, 20.00 disputed."""
    payment, purchase = f"pay-{number}", f"order-{number}"
    stream, fact = ids.payment_stream(payment), facts(payment, purchase, currency)
    for event in (
        paid.PaymentFunded(
            **fact, tx_hash=f"tx-{number}", amount_minor=11_000, counted_minor=10_000, excess_minor=1000,
            provider_fee_minor=150, platform_fee_minor=250, funded=True,
        ),
        paid.InstructionReserved(**fact, instruction_id="i", kind="release", amount_minor=3000),
        paid.PaymentReleased(**fact, instruction_id="i", amount_minor=3000, tx_hash=f"out-{number}"),
        paid.PaymentDisputed(**fact, dispute_id="d", amount_minor=2000),
    ):  # fmt: skip
        await append(stream, event)


async def table(pool, part="main"):
    build = await pool.fetchval("SELECT build FROM read_models.active WHERE name = 'journal'")
    return table_names(JOURNAL, build)[part]


async def rows_of(pool):
    return await pool.fetch(f"SELECT * FROM {await table(pool)} ORDER BY position, entry")


async def fold_of_log(pool):
    """The journal made again with nothing but the log and one dict."""
    balances, rows = defaultdict(int), []
    for e in await pool.fetch("SELECT position, type, data, hash FROM ledger.events ORDER BY position"):
        for entry, p in enumerate(postings_of(codec.decode(e["type"], e["data"])), 1):
            balances[p.account, p.currency] += p.amount
            rows.append(
                (e["position"], entry, p.account, p.currency, p.amount, balances[p.account, p.currency], e["hash"])
            )
    return rows, balances


def shown(rows):
    return [
        tuple(r[c] for c in ("position", "entry", "account", "currency", "amount", "balance_after", "event_hash"))
        for r in rows
    ]


async def taken(models, which=None, **options):
    """The file and its cut."""
    recorded = []

    async def record(cut):
        recorded.append(cut)

    async with export_journal(models, which or JournalFilter(), record, **options) as stream:
        assert recorded == [stream.position], "written down before the first byte"
        return b"".join([piece async for piece in stream.rows]), stream.position


async def balances_at(models, as_of=None, **options):
    totals = Totals()
    async with stream_balances(models, as_of, datetime.now(UTC), **options) as stream:
        rows = [row async for row in stream.rows]
    for row in rows:
        totals.add(row)
    return {(row["account"], row["currency"]): row["balance"] for row in rows}, totals.views()


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_journal_is_the_fold_of_the_log_and_sums_to_nothing_at_every_position(
    seed, pool, ledger, models, append
):
    chance = random.Random(seed)
    print("seed", seed)
    await ledger.open("ann", "bob", "sue")
    for _ in range(40):
        who = chance.choice(["ann", "bob", "sue"])
        try:
            await chance.choice([ledger.earn, ledger.earn, ledger.spend])(who, chance.randint(1, 90))
        except Exception as error:
            assert error.code == "INSUFFICIENT_POINTS"
        await Runner(pool, [JOURNAL], page_size=chance.randint(1, 9)).catch_up()
    for number in range(3):
        await a_payment(append, number, chance.choice(["USD", "JPY", "USDC"]))
    await Runner(pool, [JOURNAL], page_size=chance.randint(1, 9)).catch_up()
    rows = await rows_of(pool)
    expected, balances = await fold_of_log(pool)
    assert shown(rows) == expected
    sums = defaultdict(int)
    for i, row in enumerate(rows):
        sums[row["currency"]] += row["amount"]
        if i + 1 == len(rows) or rows[i + 1]["position"] > row["position"]:
            assert set(sums.values()) == {0}
    points = await pool.fetch(
        "SELECT user_id, sum(amount) AS n FROM "
        f"(SELECT substr(account, 8) AS user_id, amount FROM {await table(pool)} WHERE account LIKE 'member:%') a GROUP BY 1"
    )
    for row in points:
        last = await pool.fetchrow(
            "SELECT data FROM ledger.events WHERE stream = $1 AND type ~ 'points[.](earned|spent)' "
            "ORDER BY position DESC LIMIT 1",
            ids.account_stream(row["user_id"]),
        )
        assert codec.msgspec.json.decode(last["data"])["balance"] == -row["n"]
    now, totals = await balances_at(models)
    assert now == dict(balances)
    assert {view.balance.amount.replace("0", "").strip(".") for view in totals} == {""}
    assert await differences(pool) == []


async def differences(pool):
    return [difference async for difference in verify(pool, JOURNAL)]


async def test_money_lies_where_the_buckets_say(pool, models, append, journal):
    await a_payment(append, 7)
    await journal.catch_up()
    now, _ = await balances_at(models)
    assert now == {
        ("provider_clearing", "USD"): 11_000,
        ("suspense", "USD"): -1000,
        ("fees:provider", "USD"): -150,
        ("fees:platform", "USD"): -250,
        ("escrow:order-7", "USD"): -4600,
        ("reserved:order-7", "USD"): 0,
        ("payable:sue", "USD"): -3000,
        ("disputed:order-7", "USD"): -2000,
    }
    person = {row["account"]: row["user_id"] for row in await rows_of(pool)}
    assert (person["payable:sue"], person["escrow:order-7"]) == ("sue", None)


async def test_a_trial_balance_of_the_past_is_what_it_was_then(pool, models, ledger, append, journal):
    await ledger.open("ann")
    seen = {}
    for amount in (10, 20, 30):
        position = (await ledger.earn("ann", amount)).position
        await a_payment(append, amount)
        await journal.catch_up()
        seen[position] = (await balances_at(models, position))[0]
        seen[(await pool.fetchval("SELECT position FROM ledger.head"))] = (await balances_at(models))[0]
    await ledger.spend("ann", 5)
    await journal.catch_up()
    for position, balances in seen.items():
        assert (await balances_at(models, position))[0] == balances
        instant = await pool.fetchval("SELECT recorded_at FROM ledger.events WHERE position = $1", position)
        assert (await balances_at(models, instant))[0] == balances
    only, totals = await balances_at(models, account="member", currency="PTS")
    assert only == {("member:ann", "PTS"): -55}
    assert [(t.currency, t.credit.amount) for t in totals] == [("PTS", "55")]
    fees, _ = await balances_at(models, account="fees")
    assert set(fees) == {("fees:platform", "USD"), ("fees:provider", "USD")}


async def test_a_statement_opens_and_closes_with_what_the_account_held(pool, models, ledger, journal):
    await ledger.open("ann", "bob")
    at = [(await ledger.earn("ann", amount)).position for amount in range(1, 8)]
    await ledger.earn("bob", 1000)
    await journal.catch_up()
    recorded = {
        r["position"]: r["recorded_at"] for r in await pool.fetch("SELECT position, recorded_at FROM ledger.events")
    }
    span = {"from_": recorded[at[2]], "to": recorded[at[5]]}
    seen, after = [], None
    while True:
        found = (await get_statement(models, "member:ann", limit=2, after=after, **span)).value
        assert (found.opening.amount, found.closing.amount, found.entries.total) == ("-3", "-15", 3)
        seen += found.entries.rows
        after = found.entries.next_cursor
        if after is None:
            break
    assert [(e.position, e.credit.amount, e.debit.amount, e.balance_after.amount) for e in seen] == [
        (at[2], "3", "0", "-6"), (at[3], "4", "0", "-10"), (at[4], "5", "0", "-15"),
    ]  # fmt: skip
    back = (await get_statement(models, "member:ann", limit=100, sort_order="desc", **span)).value
    assert [e.position for e in back.entries.rows] == [e.position for e in reversed(seen)]


async def test_an_event_that_comes_late_takes_its_place(pool, ledger, append_raw, models, monkeypatch):
    """It waited as a dead letter while others were posted to its accounts; nothing is handed out meanwhile."""
    from projections import journal_page
    from projections.dead_letters import list_dead_letters, replay_dead_letter

    await ledger.open("ann", "bob")
    await ledger.earn("ann", 5)
    await Runner(pool, [JOURNAL]).catch_up()
    poison = (await ledger.earn("ann", 7)).position
    plain = journal_page.JournalPage.apply

    def poisoned(self, log):
        if log.position == poison:
            raise ValueError("not today")
        plain(self, log)

    monkeypatch.setattr(journal_page.JournalPage, "apply", poisoned)
    runner = Runner(pool, [JOURNAL])
    await runner.catch_up()
    for _ in range(3):
        await ledger.earn("ann", 3)
        await ledger.earn("bob", 11)
        await runner.catch_up()
    for refused in (taken(models), balances_at(models), get_statement(models, "issuance")):
        with pytest.raises(JournalIncomplete, match=f"position {poison} "):
            await refused
    monkeypatch.setattr(journal_page.JournalPage, "apply", plain)
    (letter,) = (await list_dead_letters(pool)).rows
    await replay_dead_letter(pool, letter.id)
    await ledger.earn("ann", 1)
    await runner.catch_up()
    assert shown(await rows_of(pool)) == (await fold_of_log(pool))[0]
    assert await differences(pool) == []


async def test_the_same_cut_is_the_same_bytes_later_and_from_another_build(pool, models, ledger, append, journal):
    await ledger.open("ann")
    await ledger.earn("ann", 320)
    await a_payment(append, 1)
    await journal.catch_up()
    first, cut = await taken(models)
    await ledger.earn("ann", 1)
    await a_payment(append, 2)
    await journal.catch_up()
    assert await taken(models, up_to=cut) == (first, cut)
    await rebuild(pool, JOURNAL)
    assert await taken(models, up_to=cut) == (first, cut)
    assert (await taken(models))[0].startswith(first)


async def test_a_cut_that_lies_ahead_is_waited_for_and_then_refused(models, ledger, journal):
    await ledger.open("ann")
    await journal.catch_up()
    with pytest.raises(ReadModelBehind, match="position 1, not yet at 2"):
        await taken(models, up_to=2)


async def test_a_filter_takes_exactly_its_rows(pool, models, ledger, append, journal):
    await ledger.open("ann", "ann2")
    await ledger.earn("ann", 3)
    await ledger.earn("ann2", 3)
    await a_payment(append, 1)
    await a_payment(append, 2, "JPY")
    await journal.catch_up()
    rows = await rows_of(pool)
    middle = rows[len(rows) // 2]["recorded_at"]

    async def count(**which):
        text, _ = await taken(models, JournalFilter(**which))
        return text.count(b"\r\n") - 1

    assert await count() == len(rows)
    assert await count(account="member:ann") == 1
    assert await count(account="member") == 2
    assert await count(account="mem") == 0
    assert await count(currency="JPY") == sum(row["currency"] == "JPY" for row in rows)
    before, after = await count(to=middle), await count(from_=middle)
    assert before == sum(row["recorded_at"] < middle for row in rows)
    assert before + after == len(rows)
    assert await count(from_=middle, to=middle) == 0
    assert await count(to=middle + timedelta(microseconds=1)) > before


async def test_an_empty_journal_is_a_header(models, journal):
    await journal.catch_up()
    assert await taken(models) == (HEADER.encode(), 0)
    assert await taken(models, format_="ndjson") == (b"", 0)
