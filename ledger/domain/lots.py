"""The lots of an account: so many points with one deadline each, in the order they are spent.

They lie in memory as bytes, 32 a lot, up to 256 lots in a chunk. Chunks are replaced, never changed: a copy of the list of
chunks shares them, so that copying and changing an account of 100,000 lots costs microseconds. A lot as an object of its
own, with a deadline and numbers of their own, lay in five places of memory, and a grant touched those of all its
neighbours. Pure. Standard library and msgspec only.
Read next: `points.py`, whose state this is.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from struct import Struct, error
from typing import Final

import msgspec

from ledger.errors import CorruptionError

MAX_POINTS: Final = 2**53 - 1
"""Largest amount, balance and lifetime: what a JSON number carries exactly in every language."""

CHUNK_LOTS: Final = 256
NEVER: Final = datetime.max.replace(tzinfo=UTC)
"""Stands in for a deadline where lots are ordered. Written nowhere: a lot that never expires has `expires_at` None."""


class Allocation(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """So many points of that lot."""

    lot_id: int
    amount: int


class RestoredLot(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """So many points of that lot, and what it takes to bring the lot back: what it began with, and its deadline."""

    lot_id: int
    amount: int
    points: int
    expires_at: datetime | None


class Lot(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What is left of one grant. `points` is what it began with; lots without a rest are not kept."""

    lot_id: int
    points: int
    remaining: int
    expires_at: datetime | None


def lot_order(lot: Lot) -> tuple[bool, datetime, int]:
    """Earliest deadline first, then oldest first; never-expiring last."""
    return (lot.expires_at is None, lot.expires_at or NEVER, lot.lot_id)


# ── as bytes ──────────────────────────────────────────────────────────────────────────────────────────────────────

Chunks = list[bytes]
"""Never empty ones. Of each lot: deadline (days, seconds, microseconds), id, points, remaining."""

LOT_BYTES: Final = 32
_ORDER_BYTES: Final = 16
"""A lot begins with what it is ordered by, so that the bytes of lots are ordered as the lots are."""
_RECORD: Final = Struct(">4I2q")
_pack: Final = _RECORD.pack
_unpack: Final = _RECORD.iter_unpack
_unpack_from: Final = _RECORD.unpack_from
_pack_moment: Final = Struct(">3I").pack
_MOMENT_BYTES: Final = 12
_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)
_END: Final = datetime.max.replace(tzinfo=UTC)
_SPARE_DAY: Final = 1
"""The first day of the year 1, in a zone ahead of UTC, begins before the beginning."""
_NO_DEADLINE: Final = 2**32 - 1

Record = tuple[int, int, int, int, int, int]


def _record(lot_id: int, points: int, remaining: int, expires_at: datetime | None) -> bytes:
    try:
        if expires_at is None:
            return _pack(_NO_DEADLINE, 0, 0, lot_id, points, remaining)
        since = expires_at - _BEGINNING
        return _pack(since.days + _SPARE_DAY, since.seconds, since.microseconds, lot_id, points, remaining)
    except (error, TypeError) as wrong:  # no rule lets a lot be so, but what was written past the rules may
        msg = f"lot {lot_id} cannot be: {remaining} of {points} points until {expires_at}"
        raise CorruptionError(msg) from wrong


def _lot(record: Record) -> Lot:
    days, seconds, microseconds, lot_id, points, remaining = record
    return Lot(lot_id, points, remaining, None if days == _NO_DEADLINE else _deadline(days, seconds, microseconds))


def _deadline(days: int, seconds: int, microseconds: int) -> datetime:
    try:
        return _BEGINNING + timedelta(days - _SPARE_DAY, seconds, microseconds)
    except OverflowError:  # of another zone, and in ours before the first day there is or behind the last
        return _BEGINNING if days <= _SPARE_DAY else _END


def _order(lot_id: int, expires_at: datetime | None) -> bytes:
    return _record(lot_id, 0, 0, expires_at)[:_ORDER_BYTES]


def chunk_of(lots: Iterable[Lot]) -> bytes:
    """These lots, which are in their order, as one chunk."""
    return b"".join([_record(lot.lot_id, lot.points, lot.remaining, lot.expires_at) for lot in lots])


def lots_of(chunk: bytes) -> list[Lot]:
    """The lots of a chunk."""
    return [*map(_lot, _unpack(chunk))]


# ── what can be done with them ────────────────────────────────────────────────────────────────────────────────────


def is_any_overdue(chunks: Chunks, now: datetime) -> bool:
    """Whether there are lots at or past their deadline: asked before everything that happens to an account."""
    if not chunks:
        return False
    since = now - _BEGINNING
    moment = _pack_moment(since.days + _SPARE_DAY, since.seconds, since.microseconds)
    return chunks[0][:_MOMENT_BYTES] <= moment


def overdue_lots(chunks: Chunks, now: datetime) -> Iterator[Lot]:
    """The live lots at or past their deadline, in order: always the first ones."""
    if not is_any_overdue(chunks, now):
        return
    for record in _records(chunks):
        lot = _lot(record)
        if lot.expires_at is None or lot.expires_at > now:
            return
        yield lot


def _records(chunks: Chunks) -> Iterator[Record]:
    return chain.from_iterable(map(_unpack, chunks))


def allocate(chunks: Chunks, overdue: int, amount: int) -> tuple[Allocation, ...]:
    """Which lots pay: earliest deadline first, the first `overdue` ones skipped as they have just expired."""
    parts = []
    for _, _, _, lot_id, _, remaining in islice(_records(chunks), overdue, None):
        part = min(remaining, amount)
        parts.append(Allocation(lot_id, part))
        amount -= part
        if not amount:
            return tuple(parts)
    msg = f"the lots lack {amount} of the points the balance counts"
    raise CorruptionError(msg)


def allocate_own_first(chunks: Chunks, own: int, amount: int) -> tuple[Allocation, ...]:
    """Which lots pay: that one if it is alive, then as in any spend; less than `amount` if there is no more."""
    parts: list[Allocation] = []
    found = _find(chunks, own)
    first = () if found is None else (_unpack_from(chunks[found[0]], found[1]),)
    others = (record for record in _records(chunks) if record[3] != own)
    for _, _, _, lot_id, _, remaining in chain(first, others):
        part = min(remaining, amount)
        if not part:
            break
        parts.append(Allocation(lot_id, part))
        amount -= part
    return tuple(parts)


def add_lot(chunks: Chunks, lot_id: int, points: int, remaining: int, expires_at: datetime | None) -> None:
    """Put a lot where its deadline belongs."""
    record = _record(lot_id, points, remaining, expires_at)
    if not chunks:
        chunks.append(record)
        return
    chunk = chunks[-1]
    room = CHUNK_LOTS * LOT_BYTES
    if record > chunk[-LOT_BYTES:]:
        # Nearly always behind all others: default deadlines only grow, and lots without one go by age.
        if len(chunk) < room:
            chunks[-1] = chunk + record
        else:
            chunks.append(record)
        return
    at, place = _place_for(chunks, record[:_ORDER_BYTES])
    chunk = chunks[at]
    longer = chunk[:place] + record + chunk[place:]
    if len(longer) <= room:
        chunks[at] = longer
    else:
        half = CHUNK_LOTS // 2 * LOT_BYTES
        chunks[at : at + 1] = (longer[:half], longer[half:])


def _place_for(chunks: Chunks, order: bytes) -> tuple[int, int]:
    """The chunk, and the place in it, of the first lot that is not before this one: behind all, where there is none."""
    at = bisect_left(chunks, order, key=_last_order)
    if at == len(chunks):
        return at, 0
    chunk = chunks[at]
    return at, LOT_BYTES * bisect_left(
        range(len(chunk) // LOT_BYTES), order, key=lambda n: chunk[n * LOT_BYTES : n * LOT_BYTES + _ORDER_BYTES]
    )


def _last_order(chunk: bytes) -> bytes:
    return chunk[-LOT_BYTES : _ORDER_BYTES - LOT_BYTES]


def take_from_lots(chunks: Chunks, allocation: tuple[Allocation, ...]) -> None:
    """Take each part from its lot, wherever it lies: history is followed, not recomputed."""
    done = 0
    while done < len(allocation):
        at, begin = _place_of(chunks, allocation[done].lot_id)
        chunk = chunks[at]
        place = begin
        kept = b""
        # All parts that lie side by side in this chunk at once.
        while place < len(chunk) and done < len(allocation):
            days, seconds, microseconds, lot_id, points, remaining = _unpack_from(chunk, place)
            part = allocation[done]
            if lot_id != part.lot_id:
                break
            left = remaining - part.amount
            if left < 0:
                msg = f"lot {lot_id} holds {remaining} points, {part.amount} are taken from it"
                raise CorruptionError(msg)
            if left:
                kept += _pack(days, seconds, microseconds, lot_id, points, left)
            place += LOT_BYTES
            done += 1
        rest = chunk[:begin] + kept + chunk[place:]
        if rest:
            chunks[at] = rest
        else:
            del chunks[at]


def described(chunks: Chunks, allocation: tuple[Allocation, ...]) -> tuple[RestoredLot, ...]:
    """The parts of an allocation with what their lots are: enough to put them back when the lots are gone."""
    wanted = {part.lot_id: part.amount for part in allocation}
    found: list[RestoredLot] = []
    for record in _records(chunks):
        if len(found) == len(wanted):
            break
        if record[3] in wanted:
            lot = _lot(record)
            found.append(RestoredLot(lot.lot_id, wanted[lot.lot_id], lot.points, lot.expires_at))
    return tuple(found)


def restore_to_lots(chunks: Chunks, parts: tuple[RestoredLot, ...]) -> None:
    """Put each part back into its lot; one that is no longer alive comes back, with its old deadline."""
    for part in parts:
        at, place = _place_for(chunks, _order(part.lot_id, part.expires_at))
        chunk = chunks[at] if at < len(chunks) else b""
        alive = place < len(chunk)
        remaining = 0
        if alive:
            _, _, _, lot_id, _, remaining = _unpack_from(chunk, place)
            alive = lot_id == part.lot_id
        if not alive:
            _check_fits(part, part.amount)
            add_lot(chunks, part.lot_id, part.points, part.amount, part.expires_at)
            continue
        together = remaining + part.amount
        _check_fits(part, together)
        record = _record(part.lot_id, part.points, together, part.expires_at)
        chunks[at] = chunk[:place] + record + chunk[place + LOT_BYTES :]


def _check_fits(part: RestoredLot, together: int) -> None:
    if together > part.points:
        msg = f"lot {part.lot_id} began with {part.points} points and would hold {together}"
        raise CorruptionError(msg)


_ID: Final = slice(12, 16)
_LAST_BYTE_OF_IDS: Final = slice(15, None, LOT_BYTES)
_pack_id: Final = Struct(">I").pack


def _place_of(chunks: Chunks, lot_id: int) -> tuple[int, int]:
    found = _find(chunks, lot_id)
    if found is None:
        msg = f"lot {lot_id} is not alive"
        raise CorruptionError(msg)
    return found


def _find(chunks: Chunks, lot_id: int) -> tuple[int, int] | None:
    """Chunk and place of a lot: nearly always the very first; one allocated under another order is found too."""
    wanted = _pack_id(lot_id) if 0 <= lot_id <= _NO_DEADLINE else b"no such id"
    for at, chunk in enumerate(chunks):
        if chunk[_ID] == wanted:
            return at, 0
        ends = chunk[_LAST_BYTE_OF_IDS]
        number = ends.find(wanted[-1], 1)
        while number > 0:
            place = number * LOT_BYTES
            if chunk[place + _ID.start : place + _ID.stop] == wanted:
                return at, place
            number = ends.find(wanted[-1], number + 1)
    return None
