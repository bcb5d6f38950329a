"""Given these events, when this command comes, then these events follow: the language the rules are tested in.

    given(opened(), earned(100, ...)).when(spend(30)).then(spent(30, ...))
    given(opened()).when(spend(1)).refused(InsufficientPoints, "0 points available, 1 asked for.")
    given(opened()).when(open_account()).nothing()

Each line is a row of a table, its key the sentence it proves:

    @sentences({"a second time changes nothing": given(opened()).when(open_account()).nothing()})
    def test_opening_an_account(row): row.check()

A row is only described where it is written and runs in its test, so that one that cannot even be decided fails
alone. A row that no table holds would never run: `test_decider.py` fails when there is one.
Standard library and pytest only; `account.py` says what a decider of points is.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, Final

import msgspec
import pytest

from ledger.errors import LedgerError

LOOSE: Final[dict[int, "Row"]] = {}
"""Rows that are described but neither in a table nor checked by hand."""


class Decider(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to specify. `sound(state)` asserts what must hold of any state that events lead to."""

    initial: Callable[[], Any]
    evolve: Callable[[Any, Any], Any]
    decide: Callable[..., Sequence[Any]]
    sound: Callable[[Any], None] = lambda _state: None

    def fold(self, events: Sequence[Any], state: Any = None) -> Any:
        """The state these events lead to, sound after each of them."""
        state = self.initial() if state is None else state
        for event in events:
            state = self.evolve(state, event)
            self.sound(state)
        return state

    def given(self, *events: Any) -> "Given":
        """What has happened."""
        return Given(self, events)


class Given(msgspec.Struct, frozen=True):
    """A history. Next: `when`."""

    decider: Decider
    history: tuple[Any, ...]

    def when(self, command: Any, **context: Any) -> "When":
        """The command, and whatever else the decision is made by: `now`, the programme."""
        return When(self, command, context)


class When(msgspec.Struct, frozen=True):
    """A command on a history. Next: what comes of it."""

    given: Given
    command: Any
    context: dict[str, Any]

    def then(self, *events: Any) -> "Row":
        """Exactly these events, in this order."""
        assert events, "say nothing() where no event follows"
        return Row(self, events)

    def nothing(self) -> "Row":
        """No event, and no refusal."""
        return Row(self, ())

    def refused(self, error: type[LedgerError], message: str) -> "Row":
        """Exactly this refusal (not one derived from it), with this sentence."""
        return Row(self, (), error, message)


class Row:
    """One case. `check` decides and compares."""

    def __init__(
        self, when: When, events: tuple[Any, ...], error: type[LedgerError] | None = None, message: str = ""
    ) -> None:
        self.when, self.events, self.error, self.message = when, events, error, message
        LOOSE[id(self)] = self

    def check(self) -> None:
        """Decide; compare events or refusal; whatever came of it, the state decided on is as it was."""
        LOOSE.pop(id(self), None)
        decider = self.when.given.decider
        state = decider.fold(self.when.given.history)
        before = deepcopy(state)
        if self.error is None:
            events = list(decider.decide(self.when.command, state, **self.when.context))
            assert events == list(self.events)
            assert state == before, "a decision changes no state"
            decider.fold(events, state)
        else:
            with pytest.raises(self.error) as refusal:
                decider.decide(self.when.command, state, **self.when.context)
            assert (type(refusal.value), refusal.value.message) == (self.error, self.message)
            assert state == before, "a refusal changes no state"


def sentences(table: dict[str, Row]) -> pytest.MarkDecorator:
    """A table of rows for one test, each under the sentence it proves."""
    for row in table.values():
        LOOSE.pop(id(row), None)
    return pytest.mark.parametrize("row", list(table.values()), ids=list(table))
