"""However a history is cut into pages, the points read model ends with the rows its events fold to."""

import asyncio
import itertools
import random
import re
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from ledger.domain import points
from ledger.domain.levels import RedecideLevels, decide_levels
from ledger.domain.lots import Allocation, described
from ledger.domain.programme import DEFAULT_PROGRAMME, Level
from ledger.domain.redemptions import RestorePoints, decide_restore
from ledger.errors import CorruptionError, LedgerError
from projections.points_page import PointsPage
from projections.projection import LogEvent

START = datetime(2026, 1, 1, tzinfo=UTC)


def elements(text):
    """The values of a line of CSV or of an array, both without their brackets: these hold what JSON does."""
    return msgspec.json.decode(f"[{text}]")


def value_of(column, value):
    return msgspec.convert(value, datetime | None) if column in ("opened_at", "expires_at") else value


class TablesInMemory:
    """Does to two dicts what COPY and the three MERGE statements do to two tables."""

    def __init__(self):
        self.accounts = {}
        self.lots = {}

    async def copy_to_table(self, table, *, source, schema_name, columns, **options):
        assert options == {"format": "csv", "null": "null"}
        rows, key_length = (self.lots, 2) if table == "lots" else (self.accounts, 1)
        text = b"".join([piece async for piece in source])
        for line in text.splitlines():
            record = [value_of(column, value) for column, value in zip(columns, elements(line.decode()), strict=True)]
            assert tuple(record[:key_length]) not in rows, "a unique index"
            rows[tuple(record[:key_length])] = record

    async def execute(self, query, *arrays):
        columns = re.search(r"AS n\(([^)]*)\)", query)[1].split(", ")
        rows = [
            {column: value_of(column, value) for column, value in zip(columns, values, strict=True)}
            for values in zip(*(elements(array[1:-1]) for array in arrays), strict=True)
        ]
        keys = [(row["user_id"], row.get("lot_id")) for row in rows]
        assert keys == sorted(keys), "sorted by key"
        merge = {4: self.take, 6: self.put_back}[len(columns)] if "lot_id" in columns else self.merge_account
        return f"MERGE {sum(merge(row) for row in rows)}"

    def merge_account(self, row):
        key = (row["user_id"],)
        old = self.accounts.setdefault(key, [*key, 0, 0, 1, False, 0, 0, row["opened_at"], None, 0])
        for place, column in enumerate(("balance", "lifetime", "tier", "locked", "version", "position"), 1):
            if row.get(column) is not None:
                old[place] = row[column]
        old[8] = row.get("referral_code") or old[8]
        old[9] += row.get("referrals", 0)
        return 1

    def take(self, row):
        user_id, lot_id, amount, position = row.values()
        lot = self.lots.get((user_id, lot_id))
        if lot is None:
            return 0
        lot[3] -= amount
        lot[5] = position
        assert lot[3] >= 0, "a check constraint"
        if lot[3] == 0:
            del self.lots[user_id, lot_id]
        return 1

    def put_back(self, row):
        user_id, lot_id, amount, position, points_, expires_at = row.values()
        lot = self.lots.get((user_id, lot_id))
        if lot is not None:
            lot[3] += amount
            lot[5] = position
        elif amount > 0:
            self.lots[user_id, lot_id] = [user_id, lot_id, points_, amount, expires_at, position]
        return 1


def a_referral(user_id, state, amount, now):
    if not state.exists:
        return []
    return [
        points.ReferralCodeAssigned(user_id, f"CODE{amount}", now),
        points.ReferralSignedUp(user_id, f"friend-{amount}", "CODE", now),
    ][amount % 2 :]


def a_history(seed, length):
    """Random commands of three members, decided by the rules; the events as the log has them, and the states."""
    chance = random.Random(seed)
    states = {f"user-{n}": points.PointsAccount() for n in range(3)}
    redeemed = {user_id: [] for user_id in states}
    log = []
    now = START
    for _ in range(length):
        user_id = chance.choice(list(states))
        state = states[user_id]
        now += timedelta(hours=chance.randint(1, 40))
        amount = chance.randint(1, 900)
        deadline = chance.choice([None, now + timedelta(days=chance.randint(1, 20))])
        spent = redeemed[user_id]
        returned = spent.pop(chance.randrange(len(spent))) if spent and chance.random() < 0.4 else None
        other = structs.replace(
            DEFAULT_PROGRAMME, levels=(Level("low", 1, 0), Level("high", chance.randint(2, 5), 700))
        )
        decisions = [
            lambda u=user_id, s=state: points.decide_open(points.OpenAccount(u), s),
            lambda u=user_id, s=state, a=amount, d=deadline, t=now: points.decide_earn(
                points.EarnPoints(u, a, "bonus", "r", expires_at=d), s, DEFAULT_PROGRAMME, t
            ),
            lambda u=user_id, s=state, a=amount, t=now: points.decide_spend(points.SpendPoints(u, a, "r"), s, t),
            lambda u=user_id, s=state, a=amount, t=now: points.decide_deduct(points.DeductPoints(u, a, "r"), s, t),
            lambda u=user_id, s=state, t=now: points.decide_expire(points.ExpireLots(u), s, t),
            lambda u=user_id, s=state, t=now: points.decide_lock(points.LockAccount(u, "r"), s, t),
            lambda u=user_id, s=state, t=now: points.decide_unlock(points.UnlockAccount(u, "r"), s, t),
            lambda u=user_id, s=state, o=other, t=now: decide_levels(RedecideLevels(u), s, o, t),
            lambda u=user_id, s=state, a=amount, t=now: a_referral(u, s, a, t),
        ]
        try:
            if returned is None:
                events = chance.choices(decisions, weights=[1, 6, 3, 1, 1, 0.3, 1, 0.5, 1])[0]()
            else:
                events = decide_restore(RestorePoints(user_id, "p", returned), state, now)
        except LedgerError:
            continue
        for event in events:
            if isinstance(event, points.PointsSpent):
                spent.append(described(states[user_id].chunks, event.allocation))
            states[user_id] = state = points.evolve(states[user_id], event)
            log.append(LogEvent(len(log) + 1, f"account-{user_id}", state.version, "points", now, event, b""))
    return log, states


async def project(log, cuts):
    tables = TablesInMemory()
    edges = sorted({0, len(log), *(cut % (len(log) + 1) for cut in cuts)})
    for start, end in itertools.pairwise(edges):
        page = PointsPage("read_models.accounts", "read_models.lots")
        for event in log[start:end]:
            page.apply(event)
        await page.flush(tables)
    return tables


@given(st.integers(0, 2**32), st.integers(1, 120), st.lists(st.integers(0, 10_000), max_size=12))
def test_rows_do_not_depend_on_where_pages_are_cut(seed, length, cuts):
    log, states = a_history(seed, length)
    tables = asyncio.run(project(log, cuts))
    assert tables.accounts.keys() == {(u,) for u, state in states.items() if state.exists}
    for (user_id,), row in tables.accounts.items():
        state = states[user_id]
        assert row[1:6] == [state.balance, state.lifetime, state.tier, state.locked, state.version]
        assert row[8:] == [state.referral_code or None, state.referrals]
        live = {(lot.lot_id, lot.points, lot.remaining, lot.expires_at) for lot in state.live_lots()}
        assert {tuple(lot[1:5]) for key, lot in tables.lots.items() if key[0] == user_id} == live
        assert row[1] == sum(lot[2] for lot in live)


@given(st.integers(0, 2**32), st.integers(1, 60))
def test_every_row_is_the_same_whether_pages_hold_one_event_or_all(seed, length):
    log, _ = a_history(seed, length)
    one_by_one = asyncio.run(project(log, range(len(log))))
    at_once = asyncio.run(project(log, []))
    assert one_by_one.accounts == at_once.accounts
    assert one_by_one.lots == at_once.lots


def test_taking_from_a_lot_that_is_not_there_is_corruption():
    spent = points.PointsSpent("ann", 5, "r", START, (Allocation(2, 5),), 0)
    log = [LogEvent(1, "account-ann", 3, "points.spent.v1", START, spent, b"")]
    with pytest.raises(CorruptionError, match="1 lots"):
        asyncio.run(project(log, []))
