"""The points programme: rates, rewards, expiry and levels. Defaults until an admin changes them.

Standard library and msgspec only. Read next: `points.py`, which is decided under it.
"""

from typing import Final

import msgspec


class Level(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A level is reached at `min_points` lifetime points; `tier` orders the levels from 1."""

    name: str
    tier: int
    min_points: int
    perks: tuple[str, ...] = ()
    icon: str = ""
    color: str = ""
    is_active: bool = True


DEFAULT_LEVELS: Final = (
    Level("bronze", 1, 0, ("Earn points on every purchase",), "medal-bronze", "#cd7f32"),
    Level("silver", 2, 1000, ("Earn points on every purchase", "Early access to offers"), "medal-silver", "#c0c0c0"),
    Level("gold", 3, 2500, ("Early access to offers", "Priority support"), "medal-gold", "#ffd700"),
    Level("platinum", 4, 10000, ("Early access to offers", "Priority support", "Dedicated contact"), "gem", "#e5e4e2"),
)


class Programme(msgspec.Struct, frozen=True, rename="camel"):
    """The state of the `programme` stream: absent (version 0) means these defaults."""

    points_per_unit: str = "1"
    points_per_credit_unit: int = 100
    expiry_days: int | None = 365
    referral_reward: int = 100
    review_reward: int = 10
    platform_fee_bps: int = 0
    timezone: str = "UTC"
    refund_policy: str = "keep"
    valuation_currency: str = "USD"
    levels: tuple[Level, ...] = DEFAULT_LEVELS


DEFAULT_PROGRAMME: Final = Programme()


def level_at(programme: Programme, lifetime_points: int) -> Level:
    """The highest active level whose `min_points` the lifetime points reach; the lowest level if none."""
    reached = [level for level in programme.levels if level.is_active and level.min_points <= lifetime_points]
    return max(reached or programme.levels[:1], key=lambda level: level.tier)


def next_level(programme: Programme, lifetime_points: int) -> Level | None:
    """The lowest active level not reached yet, or None at the top."""
    ahead = [level for level in programme.levels if level.is_active and level.min_points > lifetime_points]
    return min(ahead, key=lambda level: level.min_points, default=None)
