"""The history of one payment told anew from its events alone, by the specification and not by the service's code.

Amounts and kinds are read from what happened, never from the standing the events carry; that is compared at the end of
each step. Anything illegal is an AssertionError that names the position.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

BUCKETS = ("providerFees", "platformFees", "held", "disputed", "releasing", "refunding", "released", "refunded")
RESERVED = {"release": "releasing", "refund": "refunding"}


class History:
    """Buckets, instructions and transactions as they follow from the events."""

    def __init__(self) -> None:
        self.money: Counter[str] = Counter()
        self.due = 0
        self.reserved: dict[str, tuple[str, int]] = {}
        self.outcomes: dict[str, tuple[str, str]] = {}
        self.transactions: list[str] = []
        self.disputes: set[str] = set()

    def take(self, position: int, kind: str, data: dict[str, Any]) -> None:
        """One event, in the order of the log."""
        step = getattr(self, "_" + kind.replace("-", "_"), None)
        assert step is not None, f"{position}: {kind} is not expected here"
        assert self.due or kind == "opened", f"{position}: {kind} before it was opened"
        step(data)
        assert min(self.money.values(), default=0) >= 0, f"{position}: a bucket is below zero: {self.money}"
        within = sum(self.money[bucket] for bucket in BUCKETS)
        assert within == self.money["gross"] <= self.due, f"{position}: {self.money}"
        shown = {name: value for name, value in data["after"].items() if isinstance(value, int)}
        assert shown == {name: value for name, value in self.money.items() if value}, f"{position}: {shown}"

    def _move(self, source: str, target: str, amount: int) -> None:
        assert amount > 0
        self.money[source] -= amount
        self.money[target] += amount

    def _opened(self, data: dict[str, Any]) -> None:
        assert not self.due, "opened twice"
        self.due = data["dueMinor"]

    def _delivery_received(self, data: dict[str, Any]) -> None:
        pass

    def _delivered(self, data: dict[str, Any]) -> None:
        pass

    def _funded(self, data: dict[str, Any]) -> None:
        self.transactions.append(data["txHash"])
        amount = data["amountMinor"]
        counted = min(amount, self.due - self.money["gross"])
        self.money["gross"] += counted
        self.money["held"] += counted
        self.money["suspense"] += amount - counted

    def _instruction_reserved(self, data: dict[str, Any]) -> None:
        instruction = data["instructionId"]
        assert instruction not in self.reserved, "reserved twice"
        assert instruction not in self.outcomes, "reserved after its end"
        self.reserved[instruction] = (data["kind"], data["amountMinor"])
        self._move(data.get("source", "held"), RESERVED[data["kind"]], data["amountMinor"])

    def _ends(self, data: dict[str, Any], outcome: str) -> tuple[str, int]:
        instruction = data["instructionId"]
        assert instruction not in self.outcomes, f"{instruction} was {self.outcomes.get(instruction)} already"
        kind, amount = self.reserved.pop(instruction)
        assert amount == data["amountMinor"], "another amount than was reserved"
        self.outcomes[instruction] = (outcome, data.get("txHash", ""))
        return kind, amount

    def _instruction_cancelled(self, data: dict[str, Any]) -> None:
        kind, amount = self._ends(data, "cancelled")
        self._move(RESERVED[kind], "held", amount)

    def _released(self, data: dict[str, Any]) -> None:
        kind, amount = self._ends(data, "confirmed")
        assert kind == "release"
        self.transactions.append(data["txHash"])
        self._move("releasing", "released", amount)

    def _refunded(self, data: dict[str, Any]) -> None:
        kind, amount = self._ends(data, "confirmed")
        assert kind == "refund"
        self.transactions.append(data["txHash"])
        self._move("refunding", "refunded", amount)

    def _disputed(self, data: dict[str, Any]) -> None:
        assert not self.disputes, f"a second dispute beside {self.disputes}"
        self.disputes.add(data["disputeId"])
        self._move("held", "disputed", data["amountMinor"])

    def _hold_lifted(self, data: dict[str, Any]) -> None:
        self.disputes.remove(data["disputeId"])
        self._move("disputed", "held", data["amountMinor"])


def folded(events: Iterable[tuple[int, str, dict[str, Any]]]) -> History:
    """All of it; each transaction once."""
    history = History()
    for position, kind, data in events:
        if history.disputes and not history.money["disputed"]:
            history.disputes.clear()  # what it held has become instructions: it is decided
        history.take(position, kind, data)
    assert len(history.transactions) == len(set(history.transactions)), "a transaction counts twice"
    return history
