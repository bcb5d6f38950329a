"""What is cached comes back as it was, is nobody else's, and the streams used last are the ones that stay. No services."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ledger.domain import lots, points
from ledger.domain.points import PointsAccount
from ledger.store.cache import Entry, StreamCache
from ledger.store.codec import PACKED, category_of

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HASH = bytes(range(32))


@dataclass
class Cached:
    """A cache with one account in it."""

    cache: StreamCache
    entry: Entry

    @property
    def again(self) -> Entry:
        found = self.cache.get("account-u")
        assert found is not None
        return found


def cached(state: PointsAccount) -> Cached:
    cache = StreamCache(10)
    entry = Entry(state.version, HASH, state, category_of("account-u"))
    cache.put("account-u", entry)
    return Cached(cache, entry)


def account(lot_count: int = 2, **more: Any) -> PointsAccount:
    state = PointsAccount(version=lot_count + 1, balance=5 * lot_count, lifetime=5 * lot_count, **more)
    for number in range(lot_count):
        lots.add_lot(state.chunks, 2 + number, 5, 5, NOON if number % 2 else None)
    return state


def test_an_account_comes_back_as_it_was():
    for state in (
        PointsAccount(),
        account(),
        account(lots.CHUNK_LOTS),
        account(level="gold", tier=3, locked=True, lock_reason="Fräud? \0", referral_code="ABC", referrer="u-2"),
        account(referrals=7, referral_completed=True),
        PointsAccount(2**31 - 1, lots.MAX_POINTS, lots.MAX_POINTS, 2**31 - 1),
    ):
        found = cached(state).again
        assert (found.version, found.hash, found.state) == (state.version, HASH, state)
        assert found.category is category_of("account-u")


def test_what_is_done_to_it_outside_does_not_change_what_is_cached():
    there = cached(account())
    for entry in (there.again, there.entry):
        assert entry.is_shared is (entry is there.entry)
        points.evolve(entry.state, points.PointsGranted("u", 5, "r", None, NOON, None, 15, 15))
        entry.version, entry.hash = 99, b""
    assert there.again.state == account()
    assert (there.again.version, there.again.hash) == (3, HASH)


def test_what_is_not_worth_packing_is_kept_as_it_is_and_shared():
    many, wrong = account(lots.CHUNK_LOTS + 1), account()
    wrong.balance = -1  # no rule lets it, but a log that is wrong must be looked at too
    for state in (many, wrong):
        there = cached(state)
        assert there.again is there.entry
        assert there.again.is_shared


def test_a_hash_that_is_none_is_not_cut_to_one():
    cache = StreamCache(10)
    cache.put("account-u", Entry(3, b"short", account(), category_of("account-u"), is_shared=False))
    found = cache.get("account-u")
    assert found is not None
    assert (found.hash, found.is_shared) == (b"short", True)


def test_every_packing_is_found_by_its_number():
    assert PACKED
    for number, (category, unpack) in enumerate(PACKED):
        assert category.packing is not None
        assert (category.packing.number, category.packing.unpack) == (number, unpack)


def test_the_streams_used_last_stay():
    cache = StreamCache(4)
    for name in "abcd":
        cache.put(name, Entry(1, HASH, account(), category_of("account-u")))
    assert cache.get("a") is not None, "made young again: the others of its half go first"
    for name in "ef":
        cache.put(name, Entry(1, HASH, account(), category_of("account-u")))
    assert {stream for stream, _ in cache.entries()} >= {"a", "e", "f"}
    assert len(cache) == len([*cache.entries()]) <= 4 + 1
    cache.drop("a")
    assert cache.get("a") is None
    assert not cache.has("a")
    assert cache.has("e")
    cache.clear()
    assert len(cache) == 0
