"""No event of an account passes by unseen: each has its fold in the balances, and its sign in the explanation."""

from ledger.domain import points
from projections.account_as_of import _SIGNS
from projections.points_page import _FOLDS


def test_every_event_of_an_account_has_a_fold_in_the_balances() -> None:
    assert set(_FOLDS) == set(points.TAGS.values())


def test_every_event_that_changes_a_balance_explains_it() -> None:
    changing = {event for event in points.TAGS.values() if {"amount", "balance"} <= set(event.__struct_fields__)}
    assert set(_SIGNS) == changing
