"""What the tests of the committer say: who asks, under which key, and whether the log that came of it holds together."""

from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import msgspec

from ledger.audit.chain import GENESIS, event_hash
from ledger.decision import Answer, Decide, Decision, Origin, View
from ledger.domain import points
from ledger.handler import Handler, RegisterMember
from ledger.ids import account_stream
from ledger.store.codec import Actor, decode
from ledger.store.committer import Work
from ledger.store.port import NewEvent, Store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def asked(key: str | None = None, *, body: str = "", caller: str = "shop", now: datetime = NOW, **more: Any) -> Origin:
    """Where a command comes from. Requests of one key and another body are different requests."""
    return Origin(Actor(caller, "service"), now, sha256(body.encode()).digest(), "req", "req", key, **more)


def earn(user: str, amount: int, reference: str, **more: Any) -> points.EarnPoints:
    """Points that do not expire."""
    return points.EarnPoints(user, amount, "bonus", reference, expires_at=None, **more)


def spend(user: str, amount: int, reference: str = "order") -> points.SpendPoints:
    return points.SpendPoints(user, amount, reference)


def as_json(answer: Answer) -> bytes:
    """What the client would get, but for the envelope."""
    return msgspec.json.encode((answer.status, answer.data))


async def register(handler: Handler, *users: str) -> None:
    for user in users:
        await handler.handle(RegisterMember(user, f"Name of {user}"), asked())


def work(decide: Decide, key: str | None = None) -> Work:
    """A command that no use case is: whatever `decide` says."""
    return Work(asked(key), decide)


def opens(*users: str) -> Decide:
    """Decides to open all these accounts at once."""

    def decide(view: View) -> Decision:
        writes = [
            (account_stream(user), points.decide_open(points.OpenAccount(user), view.read(account_stream(user))))
            for user in users
        ]
        return Decision(200, {"opened": len(users)}, writes)

    return decide


def account_opened_at(version: int) -> NewEvent:
    """An event of account a's stream that is right but for its place."""
    stream, data = account_stream("a"), b'{"userId":"a"}'
    digest = event_hash(GENESIS, stream, version, "points.account-opened.v1", b"{}", data)
    return NewEvent(stream, version, "points.account-opened.v1", b"{}", data, digest)


async def balances(store: Store) -> dict[str, int]:
    """The balance of each account as the whole log tells it, having checked that the log holds together."""
    versions: dict[str, int] = {}
    hashes: dict[str, bytes] = {}
    sums: dict[str, int] = {}
    log = await store.read(0, 1_000_000)
    assert [event.position for event in log] == list(range(1, len(log) + 1)), "positions have gaps"
    assert len(log) == await store.head()
    for e in log:
        assert e.version == versions.get(e.stream, 0) + 1, f"versions of {e.stream} have gaps"
        assert e.hash == event_hash(hashes.get(e.stream, GENESIS), e.stream, e.version, e.type, e.metadata, e.data)
        versions[e.stream], hashes[e.stream] = e.version, e.hash
        event = decode(e.type, e.data)
        user = e.stream.removeprefix("account-")
        if isinstance(event, points.PointsEarned | points.PointsGranted):
            sums[user] = sums.get(user, 0) + event.amount
        elif isinstance(event, points.PointsSpent | points.PointsDeducted | points.PointsExpired):
            sums[user] = sums.get(user, 0) - event.amount
        assert getattr(event, "balance", sums.get(user, 0)) == sums.setdefault(user, 0), f"{user}'s running balance"
        assert sums[user] >= 0, f"{user} is overdrawn"
    return sums
