"""A ledger of one command at a time in a dict: the use cases with nothing around them.

What is decided happens at once; claims are kept. `World` is the `View` too, and remembers what a command read.
Everything appended passes through the codec, so that what cannot be stored fails here.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from ledger import ids
from ledger.decision import Decision
from ledger.domain.account import PointsAccount, available
from ledger.domain.programme import DEFAULT_PROGRAMME, Programme, ReplaceProgramme
from ledger.domain.purchases import ChangePurchaseStatus, Purchase, RegisterPurchase
from ledger.domain.redemptions import RedeemPoints
from ledger.domain.referrals import GenerateReferralCode
from ledger.handler import USE_CASES, RegisterMember
from ledger.money import Money
from ledger.store.codec import category_of, decode, encode, tag_of
from tests.specs.account import NOW

STEPS = ("pending_payment", "active", "delivery", "delivered", "completed")


class World:
    """`do` a command, look at the states."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now
        self.events: dict[str, list[Any]] = {}
        self.log: list[tuple[str, Any]] = []
        self.claims: set[tuple[str, str]] = set()
        self.reads: set[str] = set()
        self._states: dict[str, Any] = {}

    # the View

    def read(self, stream: str) -> Any:
        self.reads.add(stream)
        state = self._states.get(stream)
        return category_of(stream).initial() if state is None else state

    def version(self, stream: str) -> int:
        self.reads.add(stream)
        return len(self.events.get(stream, ()))

    def is_taken(self, scope: str, value: str) -> bool:
        return (scope, value) in self.claims

    # what happens

    def decide(self, command: Any) -> Decision:
        """What would come of it; nothing happens."""
        self.reads = set()
        return USE_CASES[type(command)](self, command, self.now)

    def do(self, command: Any) -> Any:
        """It happens; its answer's data. A refusal changes nothing."""
        decision = self.decide(command)
        for claim in decision.claims:
            if (claim.scope, claim.value) in self.claims:
                raise claim.refusal()
        self.claims |= {(claim.scope, claim.value) for claim in decision.claims}
        encode(decision.data)
        for stream, events in decision.writes:
            self.append(stream, events)
        return decision.data

    def append(self, stream: str, events: Sequence[msgspec.Struct]) -> None:
        category = category_of(stream)
        state = category.copy(self._states.get(stream, category.initial()))
        for event in events:
            stored = decode(tag_of(event), encode(event))
            assert stored == event
            state = category.evolve(state, stored)
            self.events.setdefault(stream, []).append(stored)
            self.log.append((stream, stored))
        if events:
            self._states[stream] = state
            assert category.decode_state(category.encode_state(state)) == state, "a snapshot gives it back"

    # in fewer words

    def wait(self, days: int) -> None:
        self.now += timedelta(days=days)

    def member(self, *users: str, code: str | None = None) -> None:
        for user in users:
            self.do(RegisterMember(user, f"Name of {user}", None, code))

    def code_of(self, user: str, code: str) -> str:
        """Give the member this code."""
        return self.do(GenerateReferralCode(user, (code,), force=True)).referral_code

    def programme(self, **changes: Any) -> None:
        self.do(ReplaceProgramme(msgspec.structs.replace(self.read(ids.PROGRAMME_STREAM), **changes)))

    def purchase(self, purchase_id: str, buyer: str, seller: str, minor: int, currency: str = "USD") -> None:
        self.do(RegisterPurchase(purchase_id, buyer, seller, Money(minor, currency)))

    def status(self, purchase_id: str, *statuses: str) -> Any:
        answer = None
        for status in statuses:
            answer = self.do(ChangePurchaseStatus(purchase_id, status))
        return answer

    def complete(self, purchase_id: str) -> Any:
        """All the steps from pending."""
        return self.status(purchase_id, *STEPS)

    def redeem(self, user: str, points: int, purchase_id: str) -> Any:
        return self.do(RedeemPoints(user, points, purchase_id))

    def account(self, user: str) -> PointsAccount:
        return self.read(ids.account_stream(user))

    def purchase_state(self, purchase_id: str) -> Purchase:
        return self.read(ids.purchase_stream(purchase_id))

    def balance(self, user: str) -> int:
        return available(self.account(user), self.now)

    def of(self, user: str) -> list[Any]:
        """The events of the member's account."""
        return self.events[ids.account_stream(user)]


def default_programme(**changes: Any) -> Programme:
    return msgspec.structs.replace(DEFAULT_PROGRAMME, **changes)
