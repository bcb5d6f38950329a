"""What is told of the log, without anybody who listens: the table, the payloads, the pages."""

from datetime import UTC, datetime

import msgspec
import pytest

from ledger.errors import CorruptionError
from ledger.store import codec
from ledger.transactions import transaction_of
from projections import live_events
from projections.live_events import LIVE_EVENTS, decode_page, encode_page, messages_of
from projections.projection import LogEvent, Undecodable
from tests.golden.examples import EVENTS

RECORDED = datetime(2026, 3, 1, 10, 0, 1, tzinfo=UTC)


def logged(event: object, position: int = 7) -> LogEvent:
    return LogEvent(position, "account-ada", 1, codec.tag_of(event), RECORDED, event, b"")


def page_of(events: list[LogEvent], after: int = 0):
    unreadable: list[int] = []
    sent = encode_page(after, events, lambda event, _error: unreadable.append(event.position))
    return sent, decode_page(sent.body), unreadable


@pytest.mark.parametrize("tag", sorted(set(EVENTS) & set(codec.TAGS)))
def test_every_line_of_history_is_told_as_points_updated(tag):
    changes_points = transaction_of(EVENTS[tag]) is not None
    told = {live.name for live in LIVE_EVENTS.get(tag, ())}
    assert ("points-updated" in told) == changes_points


def test_every_tag_that_is_told_is_one_that_is_stored():
    assert set(LIVE_EVENTS) <= set(codec.TAGS)


@pytest.mark.parametrize("tag", sorted(LIVE_EVENTS))
def test_a_payload_is_position_instant_and_data_in_json(tag):
    event = EVENTS[tag]
    for message in messages_of(logged(event)):
        assert list(message.payload) == ["position", "occurredAt", "data"]
        assert message.payload["position"] == message.position == 7
        assert datetime.fromisoformat(message.payload["occurredAt"]) == event.occurred_at
        if tag.startswith("points."):
            assert message.payload["data"]["userId"] == event.user_id
            assert message.rooms == (f"user-{event.user_id}",)
        assert msgspec.json.decode(msgspec.json.encode(message.payload)) == message.payload


def test_the_reward_of_a_referral_is_told_beside_the_points_it_is():
    earned = msgspec.structs.replace(EVENTS["points.earned.v1"], source="referral", referred_user="bob")
    updated, reward = messages_of(logged(earned))
    assert (updated.event, reward.event) == ("points-updated", "referral-reward")
    assert reward.rooms == updated.rooms == ("user-u-1",)
    assert reward.payload["data"] == {"userId": "u-1", "referredUser": "bob", "points": 42}
    assert [message.event for message in messages_of(logged(EVENTS["points.earned.v1"]))] == ["points-updated"]


def test_whoever_brought_a_member_is_told():
    (message,) = messages_of(logged(EVENTS["points.referral-signed-up.v1"]))
    assert (message.event, message.rooms) == ("referral-signup", ("user-u-2",))
    assert message.payload["data"] == {"userId": "u-2", "referredUser": "u-1"}


PURCHASE = {"purchaseRequestId": "p-1", "buyerId": "u-1", "sellerId": "u-2"}
PURCHASES = [
    ("purchase.registered.v1", {"status": "pending", "price": {"amount": "12.34", "currency": "USD"}}),
    ("purchase.points-redeemed.v1", {"pointsSpent": 42, "discount": {"amount": "0.42", "currency": "USD"}}),
    (
        "purchase.status-changed.v1",
        {"status": "cancelled", "previousStatus": "delivery", "reason": "Lost", "pointsReturned": 42},
    ),
]


@pytest.mark.parametrize(("tag", "said"), PURCHASES)
def test_a_purchase_is_told_to_both_parties_and_whoever_watches_it(tag, said):
    (message,) = messages_of(logged(EVENTS[tag]))
    assert (message.event, message.rooms) == ("purchase-updated", ("request-p-1", "buyer-u-1", "seller-u-2"))
    assert message.payload["data"] == PURCHASE | said


def test_what_is_in_no_table_is_told_to_nobody():
    assert messages_of(logged(EVENTS["points.account-opened.v1"])) == []


def test_an_event_that_cannot_be_read_is_left_out_and_named():
    broken = LogEvent(2, "account-ada", 2, "points.spent.v1", RECORDED, Undecodable(ValueError("x")), b"")
    with pytest.raises(CorruptionError):
        messages_of(broken)
    earned = EVENTS["points.earned.v1"]
    sent, page, unreadable = page_of([logged(earned, 1), broken, logged(earned, 3)])
    assert (unreadable, sent.up_to) == ([2], 3)
    assert [message.position for message in page.messages] == [1, 3]


def test_a_page_comes_back_as_it_was():
    events = [logged(EVENTS[tag], position) for position, tag in enumerate(sorted(LIVE_EVENTS), 11)]
    sent, page, _ = page_of(events, 10)
    assert (page.after, page.up_to) == (10, sent.up_to) == (10, 10 + len(events))
    assert page.messages == [message for event in events for message in messages_of(event)]


def test_a_page_ends_before_it_grows_too_large(monkeypatch):
    monkeypatch.setattr(live_events, "PAGE_BYTES", 1000)
    sent, page, _ = page_of([logged(EVENTS["points.earned.v1"], position) for position in range(1, 50)])
    assert 1 < sent.up_to < 49
    assert page.up_to == sent.up_to == page.messages[-1].position


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"method":"emit"}', b'{"method":"page"}', b"\xff"])
def test_what_is_no_page_is_none(body):
    assert decode_page(body) is None
