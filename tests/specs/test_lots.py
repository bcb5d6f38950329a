"""Lots as bytes: whatever a lot may be comes back as it was, in the order they are spent, and is found again by its id."""

from datetime import UTC, datetime, timedelta, timezone
from random import Random

import pytest

from ledger.domain import lots
from ledger.domain.lots import MAX_POINTS, Allocation, Lot, add_lot, is_any_overdue, lot_order, lots_of, overdue_lots
from ledger.errors import CorruptionError

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)
DEADLINES = (
    None,
    datetime.max.replace(tzinfo=UTC),
    datetime.min.replace(tzinfo=UTC),
    NOON,
    NOON + MOMENT,
    NOON - MOMENT,
    datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
)
AHEAD_OF_UTC = timezone(timedelta(hours=14))
BEHIND_UTC = timezone(timedelta(hours=-1))
FIRST_DAY = datetime.min.replace(tzinfo=UTC)
LAST_MOMENT = datetime.max.replace(tzinfo=UTC)


def test_a_deadline_behind_the_last_instant_there_is_becomes_the_last():
    assert all_of(chunks_with(Lot(2, 5, 5, datetime.max.replace(tzinfo=BEHIND_UTC))))[0].expires_at == LAST_MOMENT


def chunks_with(*added: Lot) -> lots.Chunks:
    chunks: lots.Chunks = []
    for lot in added:
        add_lot(chunks, lot.lot_id, lot.points, lot.remaining, lot.expires_at)
    return chunks


def all_of(chunks: lots.Chunks) -> list[Lot]:
    return [lot for chunk in chunks for lot in lots_of(chunk)]


@pytest.mark.parametrize("deadline", DEADLINES)
@pytest.mark.parametrize("points", [1, MAX_POINTS])
@pytest.mark.parametrize("lot_id", [1, 2**31 - 1])
def test_a_lot_comes_back_as_it_was(lot_id, points, deadline):
    lot = Lot(lot_id, points, points, deadline)
    assert all_of(chunks_with(lot)) == [lot]
    assert len(chunks_with(lot)[0]) == lots.LOT_BYTES


@pytest.mark.parametrize("deadline", [datetime(1, 1, 1, 0, 0, tzinfo=AHEAD_OF_UTC), NOON.astimezone(AHEAD_OF_UTC)])
def test_a_deadline_of_another_zone_is_the_same_instant(deadline):
    first = chunks_with(Lot(2, 5, 5, deadline), Lot(3, 5, 5, NOON + MOMENT))
    assert is_any_overdue(first, NOON)
    assert all_of(first)[0].expires_at == max(deadline, FIRST_DAY)
    assert chunks_with(Lot(3, 5, 5, NOON + MOMENT), Lot(2, 5, 5, deadline)) == first


def test_they_lie_in_the_order_they_are_spent_however_they_came():
    chance = Random(1)
    added = [Lot(number, number, number, chance.choice(DEADLINES)) for number in range(1, 60)]
    for _ in range(20):
        chance.shuffle(added)
        assert all_of(chunks_with(*added)) == sorted(added, key=lot_order)


@pytest.mark.parametrize(("after", "overdue"), [(-MOMENT, []), (0 * MOMENT, [2]), (MOMENT, [2, 3])])
def test_a_lot_is_overdue_from_its_deadline_on(after, overdue):
    chunks = chunks_with(Lot(2, 5, 5, NOON), Lot(3, 5, 5, NOON + MOMENT), Lot(4, 5, 5, None))
    assert [lot.lot_id for lot in overdue_lots(chunks, NOON + after)] == overdue
    assert is_any_overdue(chunks, NOON + after) is bool(overdue)


def test_without_lots_or_deadlines_nothing_is_overdue():
    assert not is_any_overdue([], datetime.max.replace(tzinfo=UTC))
    assert not is_any_overdue(chunks_with(Lot(2, 5, 5, None)), datetime.max.replace(tzinfo=UTC))


def test_a_lot_is_found_among_those_whose_ids_end_alike():
    ids = [2, 2 + 2**8, 2 + 2**16, 2 + 2**24, 2 + 2**24 + 2**8, 1, 3]
    chunks = chunks_with(*(Lot(lot_id, 10, 10, NOON - n * MOMENT) for n, lot_id in enumerate(ids)))
    for lot_id in ids:
        lots.take_from_lots(chunks, (Allocation(lot_id, 4),))
        assert [lot.remaining for lot in all_of(chunks) if lot.lot_id == lot_id] == [6]
    assert [lot.remaining for lot in all_of(chunks)] == [6] * len(ids)
    for lot_id in ids:
        lots.take_from_lots(chunks, (Allocation(lot_id, 6),))
        assert lot_id not in [lot.lot_id for lot in all_of(chunks)]
    assert chunks == []


@pytest.mark.parametrize(
    "part", [Allocation(7, 1), Allocation(2 + 2**8, 1), Allocation(2, 11), Allocation(-1, 1), Allocation(2 + 2**32, 1)]
)
def test_what_is_not_there_cannot_be_taken(part):
    with pytest.raises(CorruptionError):
        lots.take_from_lots(chunks_with(Lot(2, 10, 10, None)), (part,))


def test_numbers_that_no_rule_allows_are_carried_and_those_that_cannot_be_are_named():
    wrong = Lot(2, -5, -5, None)
    assert all_of(chunks_with(wrong)) == [wrong]
    for points, deadline in ((2**64, None), (5, NOON.replace(tzinfo=None))):
        with pytest.raises(CorruptionError, match="lot 2 cannot be"):
            chunks_with(Lot(2, points, points, deadline))


@pytest.mark.parametrize(
    ("own", "amount", "wanted"),
    [
        (3, 4, [(3, 4)]),
        (3, 5, [(3, 5)]),
        (3, 8, [(3, 5), (2, 3)]),
        (3, 15, [(3, 5), (2, 5), (4, 5)]),
        (3, 99, [(3, 5), (2, 5), (4, 5)]),
        (7, 6, [(2, 5), (3, 1)]),
        (0, 0, []),
    ],
)
@pytest.mark.parametrize("chunk_lots", [1, 2, 256])
def test_a_lot_of_ones_own_pays_first_then_as_in_any_spend(monkeypatch, chunk_lots, own, amount, wanted):
    monkeypatch.setattr(lots, "CHUNK_LOTS", chunk_lots)
    chunks = chunks_with(*(Lot(number, 5, 5, NOON + number * MOMENT) for number in (2, 3, 4)))
    assert lots.allocate_own_first(chunks, own, amount) == tuple(Allocation(*part) for part in wanted)
    assert lots.allocate_own_first([], own, amount) == ()
