"""The programme: what it may say, what it is after it was replaced, and what its rates are worth."""

import msgspec
import pytest

from ledger.domain.programme import (
    DEFAULT_LEVELS,
    DEFAULT_PROGRAMME,
    Level,
    Programme,
    ProgrammeReplaced,
    ReplaceProgramme,
    credit_for,
    decide_replace,
    evolve,
    points_for,
    points_that_buy,
)
from ledger.errors import InvalidCommand
from tests.specs.decider import Decider, sentences
from tests.specs.world import default_programme


def _replaced(programme: Programme) -> ProgrammeReplaced:
    return ProgrammeReplaced(**msgspec.structs.asdict(programme))


PROGRAMME = Decider(initial=Programme, evolve=evolve, decide=decide_replace)
given = PROGRAMME.given
OTHER = Programme(
    "2.5", 50, None, 0, 0, 250, "Europe/Vienna", "reverse", "EUR", (Level("all", 1, 0), Level("vip", 7, 10))
)
REWARD_200 = default_programme(referral_reward=200)


@sentences({
    "it is replaced as a whole": given().when(ReplaceProgramme(OTHER)).then(_replaced(OTHER)),
    "one that says what was true before changes nothing": given().when(ReplaceProgramme(DEFAULT_PROGRAMME)).nothing(),
    "a second time changes nothing": given(_replaced(OTHER)).when(ReplaceProgramme(OTHER)).nothing(),
    "it may be put back": given(_replaced(OTHER)).when(ReplaceProgramme(DEFAULT_PROGRAMME)).then(
        _replaced(DEFAULT_PROGRAMME)),
    "one field more changes all of the event": given(_replaced(OTHER)).when(ReplaceProgramme(REWARD_200)).then(
        _replaced(REWARD_200)),
})  # fmt: skip
def test_replacing(row):
    row.check()


def test_the_programme_is_what_the_last_event_says():
    assert PROGRAMME.fold([_replaced(OTHER)]) == OTHER
    assert PROGRAMME.fold([_replaced(OTHER), _replaced(REWARD_200)]) == REWARD_200


def _levels(*changes: dict) -> Programme:
    """The default levels, each with its changes."""
    made = [msgspec.structs.replace(level, **change) for level, change in zip(DEFAULT_LEVELS, changes, strict=False)]
    return default_programme(levels=(*made, *DEFAULT_LEVELS[len(changes) :]))


RATE = 'must be an unsigned decimal string such as "1.5", of at most 6 decimals.'
ZONE = "must be the IANA name of a time zone."
FIRST = "must have tier 1, begin at 0 points and be active."
WRONG = {
    "a rate that is a word": (default_programme(points_per_unit="one"), "pointsPerUnit", RATE),
    "a negative rate": (default_programme(points_per_unit="-1"), "pointsPerUnit", RATE),
    "a rate of seven decimals": (default_programme(points_per_unit="0.0000001"), "pointsPerUnit", RATE),
    "a rate in other digits": (default_programme(points_per_unit="١"), "pointsPerUnit", RATE),
    "credit for nothing": (
        default_programme(points_per_credit_unit=0), "pointsPerCreditUnit",
        "must be a whole number from 1 to 1000000000."),
    "no day to live": (default_programme(expiry_days=0), "expiryDays", "must be a whole number from 1 to 36500."),
    "more than a century to live": (
        default_programme(expiry_days=36501), "expiryDays", "must be a whole number from 1 to 36500."),
    "a negative reward": (
        default_programme(referral_reward=-1), "referralReward", "must be a whole number from 0 to 1000000000."),
    "a negative review": (
        default_programme(review_reward=-1), "reviewReward", "must be a whole number from 0 to 1000000000."),
    "a fee above the price": (
        default_programme(platform_fee_bps=10_001), "platformFeeBps", "must be a whole number from 0 to 10000."),
    "a zone with a space": (default_programme(timezone="Europe/New York"), "timezone", ZONE),
    "a zone that climbs": (default_programme(timezone="../etc/passwd"), "timezone", ZONE),
    "no zone": (default_programme(timezone=""), "timezone", ZONE),
    "another policy": (
        default_programme(refund_policy="maybe"), "refundPolicy", "must be one of keep, reverse."),
    "money nobody knows": (
        default_programme(valuation_currency="XXX"), "valuationCurrency",
        "must be the ISO 4217 code of a currency, USDT or USDC."),
    "no level": (default_programme(levels=()), "levels", "must be 1 to 100 levels."),
    "a hundred and one": (
        default_programme(levels=tuple(Level(f"l{n}", n + 1, n) for n in range(101))), "levels",
        "must be 1 to 100 levels."),
    "a first level that costs": (_levels({"min_points": 1}), "levels[0]", FIRST),
    "a first level nobody has": (_levels({"is_active": False}), "levels[0]", FIRST),
    "a first level of tier 0": (_levels({"tier": 0}), "levels[0]", FIRST),
    "two of one name": (_levels({}, {"name": "bronze"}), "levels[1].name", "bronze is the name of another level."),
    "no name": (_levels({}, {"name": ""}), "levels[1].name", "must have 1 to 64 characters, not only blanks."),
    "a tier again": (_levels({}, {"tier": 1}), "levels[1].tier", "must be higher than that of the level before."),
    "points again": (
        _levels({}, {"min_points": 0}), "levels[1].minPoints", "must be more than those of the level before."),
    "more points than there are": (
        _levels({}, {}, {}, {"min_points": 2**53}), "levels[3].minPoints",
        "must be a whole number from 0 to 9007199254740991."),
    "a perk without words": (
        _levels({}, {"perks": ("",)}), "levels[1].perks", "must be at most 50 texts of 1 to 200 characters."),
    "a picture too large": (
        _levels({}, {"icon": "x" * 201}), "levels[1]", "icon has at most 200 characters, color at most 64."),
}  # fmt: skip


@pytest.mark.parametrize(("programme", "field", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_programme_that_cannot_be_is_refused(programme, field, message):
    with pytest.raises(InvalidCommand) as refusal:
        decide_replace(ReplaceProgramme(programme), DEFAULT_PROGRAMME)
    assert {"field": field, "message": message} in refusal.value.data


def test_everything_that_is_wrong_is_named_at_once():
    with pytest.raises(InvalidCommand) as refusal:
        decide_replace(ReplaceProgramme(default_programme(timezone="", expiry_days=0, levels=())), DEFAULT_PROGRAMME)
    assert [problem["field"] for problem in refusal.value.data] == ["expiryDays", "timezone", "levels"]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Vienna", "America/Argentina/Buenos_Aires", "Etc/GMT+12", "EST5EDT"])
def test_a_zone_looks_like_this(zone):
    assert decide_replace(ReplaceProgramme(default_programme(timezone=zone, review_reward=1)), DEFAULT_PROGRAMME)


@pytest.mark.parametrize(
    ("rate", "minor", "unit", "points"),
    [
        ("1", 1999, 100, 19),
        ("1", 99, 100, 0),
        ("1.5", 100, 100, 1),
        ("1.5", 200, 100, 3),
        ("0.000001", 100_000_000, 100, 1),
        ("0", 100_000, 100, 0),
        ("1", 7, 1, 7),
        ("1", 1_999_999, 1_000_000, 1),
        ("2.25", 1000, 1000, 2),
        ("3", 2**53 - 1, 1, 3 * (2**53 - 1)),
    ],
)
def test_money_earns_points_rounded_down(rate, minor, unit, points):
    assert points_for(default_programme(points_per_unit=rate), minor, unit) == points


@pytest.mark.parametrize(
    ("cost", "points", "unit", "minor", "fewest"),
    [
        (100, 320, 100, 320, 320),
        (100, 199, 1, 1, 100),
        (100, 99, 1, 0, 0),
        (100, 1, 1000, 10, 1),
        (3, 10, 100, 333, 10),
        (7, 100, 100, 1428, 100),
        (1000, 15, 100, 1, 10),
        (1, 2, 1_000_000, 2_000_000, 2),
    ],
)
def test_points_buy_money_rounded_down_and_no_more_are_taken_than_that_costs(cost, points, unit, minor, fewest):
    programme = default_programme(points_per_credit_unit=cost)
    assert credit_for(programme, points, unit) == minor
    assert points_that_buy(programme, minor, unit) == fewest
    assert credit_for(programme, fewest, unit) == minor
    assert fewest == 0 or credit_for(programme, fewest - 1, unit) < minor
