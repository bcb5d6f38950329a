"""The lots of an account: so many points with one deadline each, in the order they are spent.

They lie in chunks (tuples) that are replaced, never changed. A copy of the list of chunks shares them, so that copying
and changing an account of 100,000 lots costs microseconds. Pure. Standard library and msgspec only.
Read next: `points.py`, whose state this is.
"""

from bisect import bisect_left
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain, islice
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


Chunks = list[tuple[Lot, ...]]


def overdue_lots(chunks: Chunks, now: datetime) -> Iterator[Lot]:
    """The live lots at or past their deadline, in order: always the first ones."""
    for lot in chain.from_iterable(chunks):
        if lot.expires_at is None or lot.expires_at > now:
            return
        yield lot


def allocate(chunks: Chunks, overdue: int, amount: int) -> tuple[Allocation, ...]:
    """Which lots pay: earliest deadline first, the first `overdue` ones skipped as they have just expired."""
    parts = []
    for lot in islice(chain.from_iterable(chunks), overdue, None):
        part = min(lot.remaining, amount)
        parts.append(Allocation(lot.lot_id, part))
        amount -= part
        if not amount:
            return tuple(parts)
    msg = f"the lots lack {amount} of the points the balance counts"
    raise CorruptionError(msg)


def add_lot(chunks: Chunks, lot: Lot) -> None:
    """Put the lot where its deadline belongs."""
    if not chunks:
        chunks.append((lot,))
        return
    chunk = chunks[-1]
    if _comes_after(lot, chunk[-1]):
        # Nearly always behind all others: default deadlines only grow, and lots without one go by age.
        if len(chunk) < CHUNK_LOTS:
            chunks[-1] = (*chunk, lot)
        else:
            chunks.append((lot,))
        return
    order = lot_order(lot)
    at = bisect_left(chunks, order, key=_last_order)
    chunk = chunks[at]
    within = bisect_left(chunk, order, key=lot_order)
    if len(chunk) < CHUNK_LOTS:
        chunks[at] = (*chunk[:within], lot, *chunk[within:])
    else:
        half = CHUNK_LOTS // 2
        longer = (*chunk[:within], lot, *chunk[within:])
        chunks[at : at + 1] = (longer[:half], longer[half:])


def _comes_after(lot: Lot, other: Lot) -> bool:
    """Whether `lot_order` puts the lot behind the other, without making two tuples: asked once a grant, when folding too."""
    deadline, before = lot.expires_at, other.expires_at
    if deadline == before:
        return lot.lot_id > other.lot_id
    return deadline is None or (before is not None and deadline > before)


def _last_order(chunk: tuple[Lot, ...]) -> tuple[bool, datetime, int]:
    return lot_order(chunk[-1])


def take_from_lots(chunks: Chunks, allocation: tuple[Allocation, ...]) -> None:
    """Take each part from its lot, wherever it lies: history is followed, not recomputed."""
    done = 0
    while done < len(allocation):
        at, within = _place_of(chunks, allocation[done].lot_id)
        chunk = chunks[at]
        begin = within
        kept: list[Lot] = []
        # All parts that lie side by side in this chunk at once.
        while within < len(chunk) and done < len(allocation) and chunk[within].lot_id == allocation[done].lot_id:
            lot = chunk[within]
            left = lot.remaining - allocation[done].amount
            if left < 0:
                msg = f"lot {lot.lot_id} holds {lot.remaining} points, {allocation[done].amount} are taken from it"
                raise CorruptionError(msg)
            if left:
                kept.append(Lot(lot.lot_id, lot.points, left, lot.expires_at))
            within += 1
            done += 1
        rest = (*chunk[:begin], *kept, *chunk[within:])
        if rest:
            chunks[at] = rest
        else:
            del chunks[at]


def described(chunks: Chunks, allocation: tuple[Allocation, ...]) -> tuple[RestoredLot, ...]:
    """The parts of an allocation with what their lots are: enough to put them back when the lots are gone."""
    wanted = {part.lot_id: part.amount for part in allocation}
    return tuple(
        RestoredLot(lot.lot_id, wanted[lot.lot_id], lot.points, lot.expires_at)
        for lot in chain.from_iterable(chunks)
        if lot.lot_id in wanted
    )


def restore_to_lots(chunks: Chunks, parts: tuple[RestoredLot, ...]) -> None:
    """Put each part back into its lot; one that is no longer alive comes back, with its old deadline."""
    for part in parts:
        order = lot_order(Lot(part.lot_id, part.points, part.amount, part.expires_at))
        at = bisect_left(chunks, order, key=_last_order)
        chunk = chunks[at] if at < len(chunks) else ()
        within = bisect_left(chunk, order, key=lot_order)
        if within == len(chunk) or chunk[within].lot_id != part.lot_id:
            _check_fits(part, part.amount)
            add_lot(chunks, Lot(part.lot_id, part.points, part.amount, part.expires_at))
            continue
        together = chunk[within].remaining + part.amount
        _check_fits(part, together)
        lot = Lot(part.lot_id, part.points, together, part.expires_at)
        chunks[at] = (*chunk[:within], lot, *chunk[within + 1 :])


def _check_fits(part: RestoredLot, together: int) -> None:
    if together > part.points:
        msg = f"lot {part.lot_id} began with {part.points} points and would hold {together}"
        raise CorruptionError(msg)


def _place_of(chunks: Chunks, lot_id: int) -> tuple[int, int]:
    """Chunk and place of a lot: nearly always the very first; one allocated under another order is found too."""
    for at, chunk in enumerate(chunks):
        for within, lot in enumerate(chunk):
            if lot.lot_id == lot_id:
                return at, within
    msg = f"lot {lot_id} is not alive"
    raise CorruptionError(msg)
