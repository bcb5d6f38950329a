"""Which level lifetime points reach, and what is missing to the next one."""

import pytest
from msgspec import structs

from ledger.domain.programme import DEFAULT_PROGRAMME, level_at, next_level

SILVER_RETIRED = structs.replace(
    DEFAULT_PROGRAMME,
    levels=tuple(structs.replace(level, is_active=level.name != "silver") for level in DEFAULT_PROGRAMME.levels),
)
PLATINUM_RETIRED = structs.replace(
    DEFAULT_PROGRAMME,
    levels=tuple(structs.replace(level, is_active=level.name != "platinum") for level in DEFAULT_PROGRAMME.levels),
)


def test_the_levels_nobody_changed():
    assert [(level.name, level.tier, level.min_points) for level in DEFAULT_PROGRAMME.levels] == [
        ("bronze", 1, 0),
        ("silver", 2, 1000),
        ("gold", 3, 2500),
        ("platinum", 4, 10000),
    ]


def test_the_programme_nobody_changed():
    rates = structs.asdict(DEFAULT_PROGRAMME)
    del rates["levels"]
    assert rates == {
        "points_per_unit": "1",
        "points_per_credit_unit": 100,
        "expiry_days": 365,
        "referral_reward": 100,
        "review_reward": 10,
        "platform_fee_bps": 0,
        "timezone": "UTC",
        "refund_policy": "keep",
        "valuation_currency": "USD",
    }


@pytest.mark.parametrize(
    ("lifetime", "level", "ahead", "to_go"),
    [
        (0, "bronze", "silver", 1000),
        (1, "bronze", "silver", 999),
        (999, "bronze", "silver", 1),
        (1000, "silver", "gold", 1500),
        (1280, "silver", "gold", 1220),
        (2499, "silver", "gold", 1),
        (2500, "gold", "platinum", 7500),
        (9999, "gold", "platinum", 1),
    ],
)
def test_points_reach_a_level_and_miss_the_next(lifetime, level, ahead, to_go):
    following = next_level(DEFAULT_PROGRAMME, lifetime)
    assert following is not None
    assert (level_at(DEFAULT_PROGRAMME, lifetime).name, following.name) == (level, ahead)
    assert following.min_points - lifetime == to_go


@pytest.mark.parametrize("lifetime", [10_000, 10_001, 9_007_199_254_740_991])
def test_nothing_comes_after_the_highest_level(lifetime):
    assert level_at(DEFAULT_PROGRAMME, lifetime).name == "platinum"
    assert next_level(DEFAULT_PROGRAMME, lifetime) is None


@pytest.mark.parametrize(
    ("programme", "lifetime", "level", "ahead"),
    [
        (SILVER_RETIRED, 500, "bronze", "gold"),
        (SILVER_RETIRED, 1280, "bronze", "gold"),
        (SILVER_RETIRED, 2500, "gold", "platinum"),
        (PLATINUM_RETIRED, 2500, "gold", None),
        (PLATINUM_RETIRED, 12_000, "gold", None),
    ],
    ids=[
        "gold comes after bronze",
        "its points do not reach it",
        "the level above it is reached",
        "gold is the highest",
        "however many points there are",
    ],
)
def test_a_level_that_is_not_active_is_no_level(programme, lifetime, level, ahead):
    following = next_level(programme, lifetime)
    assert level_at(programme, lifetime).name == level
    assert (following and following.name) == ahead
