"""Levels of an account: crossed by lifetime points, and decided again when the programme's levels change.

A level is its tier; going up is one event a level, in order, going down is one event. Pure.
Standard library and msgspec only. Read next: `points.py`, where earning crosses levels.
"""

from datetime import datetime

import msgspec

from ledger.domain.account import PointsAccount, check_exists, expiries
from ledger.domain.account_events import Event, LevelCrossed, LevelLeft
from ledger.domain.programme import Programme, level_at


class RedecideLevels(msgspec.Struct, frozen=True):
    """The programme's levels may have changed: put the account on the level its lifetime points reach now."""

    user_id: str


def crossings(user_id: str, tier: int, lifetime: int, programme: Programme, at: datetime) -> list[LevelCrossed]:
    """One event per active level above `tier` that the lifetime points reach, in order."""
    crossed: list[LevelCrossed] = []
    for level in programme.levels:  # mostly none: a comprehension would be a call more
        if level.tier > tier and level.min_points <= lifetime and level.is_active:
            crossed.append(LevelCrossed(user_id, level.name, level.tier, level.min_points, lifetime, at))  # noqa: PERF401  # as above
    return crossed


def decide_levels(command: RedecideLevels, state: PointsAccount, programme: Programme, now: datetime) -> list[Event]:
    """Up, down or nothing. Doing it twice, or after an earn has crossed a level already, changes nothing more."""
    check_exists(state, command.user_id)
    reached = level_at(programme, state.lifetime)
    moves: list[Event] = []
    if reached.tier > state.tier:
        moves = [*crossings(command.user_id, state.tier, state.lifetime, programme, now)]
    elif reached.tier < state.tier:
        moves = [LevelLeft(command.user_id, state.level, state.tier, reached.name, reached.tier, state.lifetime, now)]
    return [*expiries(state, command.user_id, now), *moves] if moves else []
