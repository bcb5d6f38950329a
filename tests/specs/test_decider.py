"""The language of the specifications can say no: a wrong row fails, and no row is forgotten."""

import pytest

from ledger.errors import Conflict, LedgerError
from tests.specs import decider


def _decide(command, state):
    if command == "refuse":
        raise Conflict("2 is taken.")
    if command == "meddle":
        state.append("meddled")
    return [command] if command else []


def _sound(state):
    assert "unsound" not in state


LETTERS = decider.Decider(initial=list, evolve=lambda state, event: [*state, event], decide=_decide, sound=_sound)
given = LETTERS.given

RIGHT = {
    "the events that follow": given("a").when("b").then("b"),
    "no event": given("a").when("").nothing(),
    "a refusal": given("a").when("refuse").refused(Conflict, "2 is taken."),
}
WRONG = {
    "other events": given("a").when("b").then("c"),
    "too few events": given("a").when("").then("b"),
    "too many events": given("a").when("b").then("b", "b"),
    "an event where none should be": given("a").when("b").nothing(),
    "a refusal where none should be": given("a").when("refuse").nothing(),
    "no refusal where one should be": given("a").when("b").refused(Conflict, "2 is taken."),
    "another sentence": given("a").when("refuse").refused(Conflict, "3 is taken."),
    "a less exact refusal": given("a").when("refuse").refused(LedgerError, "2 is taken."),
    "a decision that changes the state": given("a").when("meddle").then("meddle"),
    "a history that is not sound": given("unsound").when("b").then("b"),
    "an outcome that is not sound": given("a").when("unsound").then("unsound"),
}


@decider.sentences(RIGHT)
def test_a_right_row_passes(row):
    row.check()


@decider.sentences(WRONG)
def test_a_wrong_row_fails(row):
    with pytest.raises((AssertionError, LedgerError, pytest.fail.Exception)):
        row.check()


def test_a_row_without_a_table_is_noticed():
    row = given("a").when("b").then("b")
    assert decider.LOOSE.pop(id(row)) is row


def test_every_row_of_the_specifications_is_in_a_table():
    rows = [f"given {row.when.given.history} when {row.when.command}" for row in decider.LOOSE.values()]
    assert rows == []
