"""An account that nobody is deciding on: one string of bytes in memory, JSON in snapshots and before an admin's eyes.

As objects it is some thirty, in as many places of memory; whoever comes back to one of a hundred thousand waits for each
of them. As bytes it lies in one place, is read in one go, and takes a fifth of the room (weighed with two lots: 140
bytes instead of 754). Pure. Standard library and msgspec only. Read next: `../store/cache.py`, which keeps it.
"""

from struct import Struct, error
from typing import Final

import msgspec
from msgspec import structs

from ledger.domain.account import PointsAccount
from ledger.domain.lots import Lot, chunk_of, lots_of

# ── as bytes ──────────────────────────────────────────────────────────────────────────────────────────────────────

_NUMBERS: Final = Struct(">2I2Q2I2?")
"""Bytes of texts, version, balance, lifetime, tier, referrals, locked, referral completed. Texts and lots follow."""
_pack: Final = _NUMBERS.pack
_unpack_from: Final = _NUMBERS.unpack_from
_SIZE: Final = _NUMBERS.size
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(tuple[str, str, str, str]).decode


def pack_account(state: PointsAccount) -> bytes | None:
    """The account as bytes; None if it has so many lots that bringing it back would cost more than it spares.

    Also None for numbers that no rule lets an account have: whatever is wrong with it, it may be looked at.
    """
    chunks = state.chunks
    if len(chunks) > 1:
        return None
    texts = b""
    if state.level or state.referral_code or state.referrer or state.lock_reason:
        texts = _encode((state.lock_reason, state.level, state.referral_code, state.referrer))
    try:
        numbers = _pack(
            len(texts),
            state.version,
            state.balance,
            state.lifetime,
            state.tier,
            state.referrals,
            state.locked,
            state.referral_completed,
        )
    except error:
        return None
    return numbers + texts + chunks[0] if chunks else numbers + texts


def unpack_account(data: bytes, at: int) -> PointsAccount:
    """The account again; it begins at that byte and goes on to the end. Nothing else refers to it."""
    texts, version, balance, lifetime, tier, referrals, locked, completed = _unpack_from(data, at)
    at += _SIZE
    lock_reason = level = referral_code = referrer = ""
    if texts:
        lock_reason, level, referral_code, referrer = _decode(data[at : at + texts])
        at += texts
    chunks = [data[at:]] if len(data) > at else []
    return PointsAccount(
        version,
        balance,
        lifetime,
        tier,
        locked,
        lock_reason,
        chunks,
        level,
        referral_code,
        referrer,
        referrals,
        completed,
    )


# ── as JSON ───────────────────────────────────────────────────────────────────────────────────────────────────────


class _LegibleAccount(PointsAccount, rename="camel", gc=False):
    """The account as it is kept in snapshots and shown to admins."""

    chunks: list[list[Lot]] = msgspec.field(default_factory=list)  # type: ignore[assignment]  # the same lots


_encode_legible: Final = msgspec.json.Encoder().encode
_decode_legible: Final = msgspec.json.Decoder(_LegibleAccount).decode


def encode_account(state: PointsAccount) -> bytes:
    """The state as JSON, each lot an object."""
    fields = structs.asdict(state)
    return _encode_legible(_LegibleAccount(**fields | {"chunks": [*map(lots_of, state.chunks)]}))


def decode_account(data: bytes) -> PointsAccount:
    """The state again."""
    fields = structs.asdict(_decode_legible(data))
    return PointsAccount(**fields | {"chunks": [*map(chunk_of, fields["chunks"])]})
