"""Levels decided again after the programme changed them: up one event a level, down one, and nothing twice."""

from msgspec import structs

from ledger.domain.programme import DEFAULT_PROGRAMME, Level
from ledger.errors import UserNotFound
from tests.specs.account import (
    crossed,
    day,
    earn,
    earned,
    expired,
    given,
    granted,
    left,
    locked,
    opened,
    redecide,
)
from tests.specs.decider import sentences


def levels(**minimum: int):
    """Levels of tiers 1, 2, 3, … at these points."""
    made = tuple(Level(name, tier, points) for tier, (name, points) in enumerate(minimum.items(), 1))
    return structs.replace(DEFAULT_PROGRAMME, levels=made)


EASIER = levels(bronze=0, silver=100, gold=200, platinum=300)
HARDER = levels(bronze=0, silver=5000, gold=6000, platinum=7000)
WITHOUT_GOLD = levels(bronze=0, silver=1000)
SILVER_RETIRED = structs.replace(
    DEFAULT_PROGRAMME,
    levels=tuple(structs.replace(level, is_active=level.name != "silver") for level in DEFAULT_PROGRAMME.levels),
)
POOR = (opened(), granted(250, balance=250, lifetime=250))
GOLD = (
    opened(),
    granted(3000, balance=3000, lifetime=3000),
    crossed("silver", 2, 1000, lifetime=3000),
    crossed("gold", 3, 2500, lifetime=3000),
)


@sentences({
    "nobody has no level": given().when(redecide()).refused(UserNotFound, "No account for user u-1."),
    "the same levels change nothing": given(*GOLD).when(redecide()).nothing(),
    "who has nothing stays at the lowest": given(opened()).when(redecide(), programme=EASIER).nothing(),
    "easier levels are crossed one by one, in order": given(*POOR).when(redecide(), programme=EASIER).then(
        crossed("silver", 2, 100, lifetime=250), crossed("gold", 3, 200, lifetime=250)),
    "levels that were crossed so are not crossed again": given(
        *POOR, crossed("silver", 2, 100, lifetime=250), crossed("gold", 3, 200, lifetime=250),
    ).when(redecide(), programme=EASIER).nothing(),
    "only those above are crossed": given(*POOR, crossed("silver", 2, 100, lifetime=250)).when(
        redecide(), programme=EASIER).then(crossed("gold", 3, 200, lifetime=250)),
    "harder levels are left in one step": given(*GOLD).when(redecide(), programme=HARDER).then(
        left("gold", 3, "bronze", 1, lifetime=3000)),
    "a level that was left is not left again": given(*GOLD, left("gold", 3, "bronze", 1, lifetime=3000)).when(
        redecide(), programme=HARDER).nothing(),
    "a level that is there no more is left by the name it had": given(*GOLD).when(
        redecide(), programme=WITHOUT_GOLD).then(left("gold", 3, "silver", 2, lifetime=3000)),
    "a level that is not active any more is left": given(
        opened(), granted(1500, balance=1500, lifetime=1500), crossed("silver", 2, 1000, lifetime=1500),
    ).when(redecide(), programme=SILVER_RETIRED).then(left("silver", 2, "bronze", 1, lifetime=1500)),
    "what is overdue is recorded first": given(
        opened(), granted(250, balance=250, lifetime=250, expires=day(2, 1)),
    ).when(redecide(), programme=EASIER).then(
        expired(2, 250, balance=0, at=day(2, 1)),
        crossed("silver", 2, 100, lifetime=250), crossed("gold", 3, 200, lifetime=250)),
    "where no level changes nothing is recorded": given(
        opened(), granted(50, balance=50, lifetime=50, expires=day(2, 1)),
    ).when(redecide(), programme=EASIER).nothing(),
    "a lock does not keep a level": given(*GOLD, locked()).when(redecide(), programme=HARDER).then(
        left("gold", 3, "bronze", 1, lifetime=3000)),
})  # fmt: skip
def test_deciding_levels_again(row):
    row.check()


@sentences({
    "an earn that comes first crosses the easier levels, and leaves nothing to decide again": given(*POOR).when(
        earn(10, expires=None), programme=EASIER,
    ).then(
        earned(10, balance=260, lifetime=260, expires=None, at=day(3, 1).replace(hour=12)),
        crossed("silver", 2, 100, lifetime=260), crossed("gold", 3, 200, lifetime=260)),
    "a level that was left is crossed again with the points that reach it": given(
        *GOLD, left("gold", 3, "bronze", 1, lifetime=3000),
    ).when(earn(2500, expires=None), programme=HARDER).then(
        earned(2500, balance=5500, lifetime=5500, expires=None, at=day(3, 1).replace(hour=12)),
        crossed("silver", 2, 5000, lifetime=5500)),
})  # fmt: skip
def test_levels_and_earning(row):
    row.check()
