"""Accounts with hundreds of lots, in chunks of any size: what a machine of thirty steps does not reach.

Chunks fill, split, thin out and go; sums, order and copies must not notice.
The seed of each account is its parameter, so that a failure names it.
"""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from ledger import ids
from ledger.domain import lots as lot_chunks
from ledger.domain import points
from ledger.domain.points import PointsAccount, available, copy_account, evolve
from ledger.domain.programme import DEFAULT_PROGRAMME
from ledger.store.codec import CATEGORIES
from tests.properties.points_model import Model

USER = "u-1"
START = datetime(2026, 1, 1, tzinfo=UTC)


class Account:
    """The rules and the model side by side."""

    def __init__(self) -> None:
        self.state = PointsAccount()
        self.model = Model()
        self.most_chunks = 0
        self.append(points.decide_open(points.OpenAccount(USER), self.state))

    def append(self, events: list[points.Event]) -> None:
        for event in events:
            self.state = evolve(self.state, event)
            self.model.take_in(event)
        self.most_chunks = max(self.most_chunks, len(self.state.chunks))

    def grant(self, amount: int, now: datetime, expires_at: datetime | None) -> None:
        command = points.GrantPoints(USER, amount, "reason", expires_at=expires_at)
        self.append(points.decide_grant(command, self.state, DEFAULT_PROGRAMME, now))

    def spend(self, amount: int, now: datetime) -> None:
        self.append(points.decide_spend(points.SpendPoints(USER, amount, "order"), self.state, now))

    def agree(self, now: datetime) -> None:
        assert all(1 <= len(lot_chunks.lots_of(chunk)) <= lot_chunks.CHUNK_LOTS for chunk in self.state.chunks)
        lots = self.state.live_lots()
        assert [(lot.lot_id, lot.remaining) for lot in lots] == [
            (lot_id, self.model.lots[lot_id].rest)
            for lot_id in self.model.paying_order(datetime.min.replace(tzinfo=UTC))
        ]
        assert available(self.state, now) == self.model.balance_at(now)
        assert self.state.balance == self.model.recorded_balance


def _random_deadline(chance: Random, now: datetime) -> datetime | None:
    return None if chance.random() < 0.2 else now + timedelta(days=chance.randint(1, 300), hours=chance.randint(0, 1))


def _account_of_many_lots(number: int) -> tuple[Account, datetime]:
    """300 lots, and 300 spends, further grants, foreign allocations and pauses among them."""
    chance = Random(number)
    account, now = Account(), START
    for _ in range(300):
        account.grant(chance.randint(1, 9), now, _random_deadline(chance, now))
    for _ in range(300):
        now += timedelta(hours=chance.randint(0, 12))
        best = account.model.balance_at(now)
        choice = chance.random()
        if choice < 0.2 or not best:
            account.grant(chance.randint(1, 9), now, _random_deadline(chance, now))
        elif choice < 0.3:
            account.append(points.decide_expire(points.ExpireLots(USER), account.state, now))
            amount = chance.randint(1, best)
            parts = account.model.pays_in_any_order(min(amount, 30), now, chance)
            total = sum(part.amount for part in parts)
            balance = account.model.recorded_balance - total
            account.append([points.PointsSpent(USER, total, "old", now, parts, balance)])
        else:
            account.spend(chance.randint(1, min(best, 25)), now)
        if chance.random() < 0.05:
            account.state = copy_account(account.state)
        account.agree(now)
    for amount in (1, 5, 9):
        account.grant(amount, now, None)
    return account, now


@pytest.fixture(params=[2, 3, 16, lot_chunks.CHUNK_LOTS], autouse=True)
def lots_in_a_chunk(request, monkeypatch):
    monkeypatch.setattr(lot_chunks, "CHUNK_LOTS", request.param)
    return request.param


@pytest.mark.parametrize("number", range(4))
def test_hundreds_of_lots_agree_with_the_model_after_every_step(number, lots_in_a_chunk):
    account, _ = _account_of_many_lots(number)
    assert account.most_chunks > 1, "there was more than one chunk"


@pytest.mark.parametrize("step", [1, -1, 7], ids=["ever later", "ever earlier", "all over"])
def test_lots_come_back_in_the_order_they_pay_however_they_came(step):
    account = Account()
    for index in range(401):
        account.grant(1 + index % 3, START, START + timedelta(days=1 + index * step % 401))
    account.agree(START)
    while account.model.lots:
        account.spend(min(account.model.balance_at(START), 37), START)
        account.agree(START)
    assert account.state.chunks == []


@pytest.mark.parametrize("number", range(4))
def test_a_snapshot_goes_on_as_the_original_does(number):
    account, now = _account_of_many_lots(number)
    category = CATEGORIES[ids.ACCOUNT]
    restored = category.decode_state(category.encode_state(account.state))
    assert restored == account.state
    command = points.SpendPoints(USER, available(account.state, now), "order")
    events = points.decide_spend(command, account.state, now)
    assert points.decide_spend(command, restored, now) == events
    for event in events:
        restored, account.state = evolve(restored, event), evolve(account.state, event)
    assert restored == account.state
    assert restored.balance == 0


@pytest.mark.parametrize("number", range(4))
def test_evolving_a_copy_of_many_lots_leaves_the_original(number):
    account, now = _account_of_many_lots(number)
    before = CATEGORIES[ids.ACCOUNT].encode_state(account.state)
    copy = copy_account(account.state)
    for event in points.decide_spend(points.SpendPoints(USER, available(copy, now), "order"), copy, now):
        copy = evolve(copy, event)
    for _ in range(3):
        copy = evolve(copy, points.PointsGranted(USER, 5, "r", None, now, now + timedelta(days=1), 5, 10**6))
    assert CATEGORIES[ids.ACCOUNT].encode_state(account.state) == before
