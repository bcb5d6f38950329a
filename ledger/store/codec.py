"""Events to bytes and back: one table of tags, one table of stream categories, upcasters for old versions.

The tag (`points.earned.v1`) is the event's `type` column and is frozen; classes may move. Read next: `port.py`.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from ledger import ids
from ledger.domain import (
    dead_letters,
    dispute_events,
    disputes,
    exports,
    payment_events,
    payments,
    points,
    programme,
    purchase_events,
    purchases,
    referrals,
    suspense,
)
from ledger.domain.account_at_rest import decode_account, encode_account, pack_account, unpack_account
from ledger.errors import CorruptionError

TAGS: Final[Mapping[str, type[msgspec.Struct]]] = {
    **points.TAGS,
    **programme.TAGS,
    **referrals.TAGS,
    **purchase_events.TAGS,
    **payment_events.TAGS,
    **dispute_events.TAGS,
    **suspense.TAGS,
    **dead_letters.TAGS,
    **exports.TAGS,
}
UPCASTERS: Final[Mapping[str, tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]]] = {}
"""Old tag → (new tag, what turns the old raw dict into the new one). Applied until the tag is current."""

TAG_OF: Final = {event: tag for tag, event in TAGS.items()}
"""The stored name of an event's class."""
_DECODE: Final = {tag: msgspec.json.Decoder(event).decode for tag, event in TAGS.items()}
encode: Final = msgspec.json.Encoder().encode
"""JSON bytes of an event, metadata or an answer, fields in the order they are declared."""


class Actor(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """Who gave the command."""

    id: str
    role: str


class Metadata(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """What surrounds an event and is hashed with it. `at` is the clock the decision was made by."""

    actor: Actor
    at: datetime
    request_id: str
    command_id: str
    correlation_id: str
    causation_id: str | None = None
    key: str | None = None


decode_metadata: Final = msgspec.json.Decoder(Metadata).decode


def tag_of(event: msgspec.Struct) -> str:
    """The stored name of the event's class."""
    return TAG_OF[type(event)]


def decode(tag: str, data: bytes) -> Any:
    """The event as its Struct, upcast to the newest version. An unknown tag or wrong shape is corruption."""
    decoder = _DECODE.get(tag)
    try:
        if decoder is not None:
            return decoder(data)
        raw = msgspec.json.decode(data)
        while tag in UPCASTERS:
            tag, upcast = UPCASTERS[tag]
            raw = upcast(raw)
        return msgspec.convert(raw, TAGS[tag])
    except (KeyError, msgspec.MsgspecError) as error:
        msg = f"an event of type {tag} cannot be read: {error}"
        raise CorruptionError(msg) from error


class Packing(msgspec.Struct, frozen=True):
    """How a state is put away as bytes in memory, under a number of its own.

    `pack` says None where that is not worth it; `unpack` is given the bytes and where in them it begins.
    """

    number: int
    pack: Callable[[Any], bytes | None]
    unpack: Callable[[bytes, int], Any]


class Category(msgspec.Struct, frozen=True):
    """How a kind of stream is folded, copied before evolving, and kept in snapshots (`schema` names the shape)."""

    initial: Callable[[], Any]
    evolve: Callable[[Any, Any], Any]
    copy: Callable[[Any], Any]
    schema: int
    decode_state: Callable[[bytes], Any]
    encode_state: Callable[[Any], bytes] = encode
    packing: Packing | None = None


def _unchanged(state: Any) -> Any:
    return state


CATEGORIES: Final[Mapping[str, Category]] = {
    ids.ACCOUNT: Category(
        points.PointsAccount,
        points.evolve,
        points.copy_account,
        2,
        decode_account,
        encode_account,
        Packing(0, pack_account, unpack_account),
    ),
    ids.PROGRAMME_STREAM: Category(
        lambda: programme.DEFAULT_PROGRAMME,
        programme.evolve,
        _unchanged,
        1,
        msgspec.json.Decoder(programme.Programme).decode,
    ),
    ids.CODE: Category(
        referrals.ReferralCode,
        referrals.evolve,
        _unchanged,
        1,
        msgspec.json.Decoder(referrals.ReferralCode).decode,
    ),
    ids.PURCHASE: Category(
        purchases.Purchase,
        purchases.evolve,
        _unchanged,
        2,
        msgspec.json.Decoder(purchases.Purchase).decode,
    ),
    ids.PAYMENT: Category(
        payments.Payment,
        payments.evolve,
        _unchanged,
        1,
        msgspec.json.Decoder(payments.Payment).decode,
    ),
    ids.DISPUTE: Category(
        disputes.Dispute,
        disputes.evolve,
        _unchanged,
        1,
        msgspec.json.Decoder(disputes.Dispute).decode,
    ),
    ids.SUSPENSE: Category(
        suspense.SuspenseItem,
        suspense.evolve,
        _unchanged,
        1,
        msgspec.json.Decoder(suspense.SuspenseItem).decode,
    ),
    ids.LETTER: Category(
        dead_letters.DeadLetter,
        dead_letters.evolve,
        _unchanged,
        1,
        msgspec.json.Decoder(dead_letters.DeadLetter).decode,
    ),
    ids.EXPORT: Category(
        exports.Export,
        exports.evolve,
        _unchanged,
        1,
        msgspec.json.Decoder(exports.Export).decode,
    ),
}

PACKED: Final = [
    (category, category.packing.unpack) for category in CATEGORIES.values() if category.packing is not None
]
"""Category and `unpack`, by the number of the packing."""


def category_of(stream: str) -> Category:
    """The category a stream's name begins with. A stream of no known category is corruption."""
    try:
        return CATEGORIES[ids.category(stream)]
    except KeyError:
        msg = f"no stream category for {stream!r}"
        raise CorruptionError(msg) from None
