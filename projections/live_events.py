"""Live events: which event of the log is told to whom, under which name and in which words.

Pure: one event in, messages out, no state. Imports `ledger` only. Read next: `live_purchases.py` for what is said of
purchases, payments and disputes, `live_checkpoint.py` for how far the log has been told, `../workers/live_events.py` for
who tells it, `../api/live_pages.py` for who hears it.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from ledger import ids
from ledger.errors import CorruptionError
from ledger.store.codec import tag_of
from ledger.transactions import Transaction, transaction_of
from projections.live_purchases import DISPUTE_EVENTS, PAYMENT_EVENTS, PURCHASE_EVENTS
from projections.projection import LogEvent, Undecodable

PAGE_BYTES: Final = 1 << 20
"""A page of messages ends behind the event with which it grows larger than this."""


class Message(msgspec.Struct, frozen=True):
    """One message to everybody in one of these rooms. `payload` is `{position, occurredAt, data}` as JSON has it."""

    event: str
    rooms: tuple[str, ...]
    position: int
    payload: dict[str, Any]


class LivePage(msgspec.Struct, frozen=True, tag_field="method", tag="page"):
    """The messages of all events in (after, up_to]. Pages follow each other without gap: whoever misses one knows.

    `method` sets it apart from what Socket.IO's own Redis manager sends on the same channel.
    """

    after: int
    up_to: int
    messages: list[Message]


class LiveEvent(msgspec.Struct, frozen=True):
    """How an event is told: the name clients listen to, the rooms (none: not this one), and the `data`."""

    name: str
    rooms: Callable[[Any], tuple[str, ...]]
    data: Callable[[LogEvent], Any]


# ── rooms ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def user_room(user_id: str) -> str:
    """The room of one user's points."""
    return f"user-{user_id}"


STREAM_OF_ROOM: Final[Mapping[str, Callable[[str], str]]] = {"user": ids.account_stream}
"""Kind of room → the stream all its messages come from, so that they can be sent again. Others: `room_events.py`."""

# ── data ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class PointsUpdated(msgspec.Struct, frozen=True, rename="camel"):
    """`transaction` is the line as `GET /api/points/transactions` shows it; the lifetime where it has changed."""

    user_id: str
    balance: int
    transaction: Transaction
    lifetime_points: int | UnsetType = UNSET


class LevelUp(msgspec.Struct, frozen=True, rename="camel"):
    """One level that was crossed. Several at once are several messages, lowest first."""

    user_id: str
    level: dict[str, Any]
    lifetime_points: int


def _points_updated(logged: LogEvent) -> PointsUpdated:
    event = logged.event
    line = transaction_of(event)
    if line is None:
        raise CorruptionError(f"the event at position {logged.position} changes no points, but is told as if it did")
    line.stamp(logged.position, logged.recorded_at)
    return PointsUpdated(event.user_id, event.balance, line, getattr(event, "lifetime", UNSET))


def _level_up(logged: LogEvent) -> LevelUp:
    event = logged.event
    level = {"name": event.level, "tier": event.tier, "minPoints": event.min_points}
    return LevelUp(event.user_id, level, event.lifetime)


class ReferralSignup(msgspec.Struct, frozen=True, rename="camel"):
    """Somebody signed up with a code of this member."""

    user_id: str
    referred_user: str


class ReferralReward(msgspec.Struct, frozen=True, rename="camel"):
    """What the member earned because the first purchase of somebody they brought completed."""

    user_id: str
    referred_user: str
    points: int


def _referral_signup(logged: LogEvent) -> ReferralSignup:
    return ReferralSignup(logged.event.user_id, logged.event.referred_user)


def _referral_reward(logged: LogEvent) -> ReferralReward:
    return ReferralReward(logged.event.user_id, logged.event.referred_user, logged.event.amount)


def _room_of_user(event: Any) -> tuple[str, ...]:
    return (user_room(event.user_id),)


def _room_of_referrer(event: Any) -> tuple[str, ...]:
    return (user_room(event.user_id),) if event.referred_user is not None else ()


def _room_of_what_is_left(event: Any) -> tuple[str, ...]:
    return (user_room(event.user_id),) if event.amount else ()


def _rooms_of_purchase(event: Any) -> tuple[str, ...]:
    return (f"request-{event.purchase_request_id}", f"buyer-{event.buyer_id}", f"seller-{event.seller_id}")


def _to_parties(name: str, told: Mapping[str, Callable[[LogEvent], Any]]) -> dict[str, tuple[LiveEvent, ...]]:
    return {tag: (LiveEvent(name, _rooms_of_purchase, data),) for tag, data in told.items()}


# ── the table ─────────────────────────────────────────────────────────────────────────────────────────────────────

_POINTS_UPDATED: Final = LiveEvent("points-updated", _room_of_user, _points_updated)

LIVE_EVENTS: Final[Mapping[str, tuple[LiveEvent, ...]]] = {
    "points.earned.v1": (
        _POINTS_UPDATED,
        LiveEvent("referral-reward", _room_of_referrer, _referral_reward),
    ),
    "points.granted.v1": (_POINTS_UPDATED,),
    "points.deducted.v1": (_POINTS_UPDATED,),
    "points.spent.v1": (_POINTS_UPDATED,),
    "points.restored.v1": (_POINTS_UPDATED,),
    # What was to be taken back may have been spent: nothing has changed then.
    "points.clawed-back.v1": (LiveEvent("points-updated", _room_of_what_is_left, _points_updated),),
    "points.expired.v1": (_POINTS_UPDATED,),
    "points.level-crossed.v1": (LiveEvent("level-up", _room_of_user, _level_up),),
    "points.referral-signed-up.v1": (LiveEvent("referral-signup", _room_of_user, _referral_signup),),
    **_to_parties("purchase-updated", PURCHASE_EVENTS),
    **_to_parties("payment-updated", PAYMENT_EVENTS),
    **_to_parties("dispute-updated", DISPUTE_EVENTS),
}
"""Newest tag of an event → how it is told, in this order. An event that is not here is told to nobody."""


def messages_of(logged: LogEvent) -> list[Message]:
    """The messages of one event; none for most. Raises `CorruptionError` for one that cannot be read."""
    event = logged.event
    if isinstance(event, Undecodable):
        raise CorruptionError(f"the event at position {logged.position} cannot be read") from event.error
    return [
        Message(live.name, rooms, logged.position, _payload(logged, live.data(logged)))
        for live in LIVE_EVENTS.get(tag_of(event), ())
        if (rooms := live.rooms(event))
    ]


def _payload(logged: LogEvent, data: Any) -> dict[str, Any]:
    occurred_at: datetime = getattr(logged.event, "occurred_at", logged.recorded_at)
    payload: dict[str, Any] = msgspec.to_builtins(
        {"position": logged.position, "occurredAt": occurred_at, "data": data}, builtin_types=()
    )
    return payload


# ── pages ─────────────────────────────────────────────────────────────────────────────────────────────────────────

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(LivePage).decode


def encode_page(after: int, events: Sequence[LogEvent], on_unreadable: Callable[[LogEvent, Exception], None]) -> "Sent":
    """The page of these events, or of the first of them if all would be too large.

    One that cannot be told is left out, and `on_unreadable` is told: live events do not stop for it.
    """
    encoded: list[msgspec.Raw] = []
    size, up_to = 0, after
    for logged in events:
        try:
            messages = messages_of(logged)
        except Exception as error:  # a fault in one event or in its mapping must not silence all the others
            on_unreadable(logged, error)
            messages = []
        for message in messages:
            body = _encode(message)
            encoded.append(msgspec.Raw(body))
            size += len(body)
        up_to = logged.position
        if size > PAGE_BYTES:
            break
    return Sent(up_to, _encode({"method": "page", "after": after, "up_to": up_to, "messages": encoded}))


class Sent(msgspec.Struct, frozen=True):
    """A page as it travels, and where it ends."""

    up_to: int
    body: bytes


def decode_page(body: bytes) -> LivePage | None:
    """The page, or None for what is none."""
    try:
        return _decode(body)
    except msgspec.MsgspecError:
        return None
