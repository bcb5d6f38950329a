"""A decision over several streams while it is made: each step sees what the steps before it have written.

Nothing is appended here: `writes` goes into the decision, all or nothing. Read next: `payments.py`, which uses it.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from ledger.decision import View
from ledger.domain.payment_events import PaymentFact
from ledger.journal import check_agrees
from ledger.store.codec import category_of

Writes = list[tuple[str, Sequence[msgspec.Struct]]]


class Draft:
    """States as they are with the events drafted so far."""

    __slots__ = ("_events", "_states", "_view")

    def __init__(self, view: View) -> None:
        """Nothing is drafted yet."""
        self._view = view
        self._events: dict[str, list[msgspec.Struct]] = {}
        self._states: dict[str, Any] = {}

    def read(self, stream: str) -> Any:
        """The state of the stream. Not to be changed."""
        state = self._states.get(stream)
        return self._view.read(stream) if state is None else state

    def version(self, stream: str) -> int:
        """The version of the stream's last event."""
        return self._view.version(stream) + len(self._events.get(stream, ()))

    def add(self, stream: str, events: Sequence[msgspec.Struct]) -> None:
        """Write these next in that stream. A payment's buckets must be what its postings say: a pair, asked here."""
        if not events:
            return
        category = category_of(stream)
        state = category.copy(self.read(stream))
        for event in events:
            if isinstance(event, PaymentFact):
                check_agrees(state.standing, event)
            state = category.evolve(state, event)
        self._states[stream] = state
        self._events.setdefault(stream, []).extend(events)

    @property
    def writes(self) -> Writes:
        """What was drafted, stream by stream."""
        return list(self._events.items())
