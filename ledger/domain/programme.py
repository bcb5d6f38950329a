"""The points programme, stream `programme`: rates, rewards, expiry and levels. Defaults until an admin replaces it.

An event carries the amounts that were decided under it, so that a change of programme changes no history. Pure.
Standard library and msgspec only. Read next: `points.py`, which is decided under it.
"""

import re
from typing import Final

import msgspec

from ledger.domain.lots import MAX_POINTS
from ledger.errors import InvalidCommand
from ledger.money import EXPONENTS

REFUND_POLICIES: Final = ("keep", "reverse")
MOST_LEVELS: Final = 100
MOST_EXPIRY_DAYS: Final = 36_500
MOST_REWARD: Final = 1_000_000_000
MOST_RATE: Final = 1_000_000_000

_RATE: Final = re.compile(r"(0|[1-9][0-9]{0,6})(?:\.([0-9]{1,6}))?")
_ZONE: Final = re.compile(r"[A-Za-z0-9_+-]{1,32}(?:/[A-Za-z0-9_+-]{1,32}){0,2}")
"""The shape of an IANA name. Whether there is such a zone is asked where the zones are: at the door."""

Problems = list[tuple[str, str]]


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

# ── command, event, evolve, decide ────────────────────────────────────────────────────────────────────────────────


class ReplaceProgramme(msgspec.Struct, frozen=True):
    """The whole programme anew. The same as it is changes nothing."""

    programme: Programme


class ProgrammeReplaced(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The programme from now on, all of it."""

    points_per_unit: str
    points_per_credit_unit: int
    expiry_days: int | None
    referral_reward: int
    review_reward: int
    platform_fee_bps: int
    timezone: str
    refund_policy: str
    valuation_currency: str
    levels: tuple[Level, ...]


TAGS: Final[dict[str, type[msgspec.Struct]]] = {"programme.replaced.v1": ProgrammeReplaced}
"""The stored names, frozen for ever."""


def evolve(_state: Programme, event: ProgrammeReplaced) -> Programme:
    """The programme is what the last event says."""
    return Programme(**msgspec.structs.asdict(event))


def decide_replace(command: ReplaceProgramme, state: Programme) -> list[ProgrammeReplaced]:
    """Replace the programme. Refused: whatever it says that cannot be, all of it named at once."""
    wanted = command.programme
    problems = [*_problems_of_rates(wanted), *_problems_of_levels(wanted.levels)]
    if problems:
        raise InvalidCommand.fields(problems)
    return [] if wanted == state else [ProgrammeReplaced(**msgspec.structs.asdict(wanted))]


def _problems_of_rates(wanted: Programme) -> Problems:
    problems: Problems = []
    if _RATE.fullmatch(wanted.points_per_unit) is None:
        problems.append(("pointsPerUnit", 'must be an unsigned decimal string such as "1.5", of at most 6 decimals.'))
    whole = (
        ("pointsPerCreditUnit", wanted.points_per_credit_unit, 1, MOST_RATE),
        ("expiryDays", wanted.expiry_days, 1, MOST_EXPIRY_DAYS),
        ("referralReward", wanted.referral_reward, 0, MOST_REWARD),
        ("reviewReward", wanted.review_reward, 0, MOST_REWARD),
        ("platformFeeBps", wanted.platform_fee_bps, 0, 10_000),
    )
    for name, value, least, most in whole:
        if value is not None and not least <= value <= most:
            problems.append((name, f"must be a whole number from {least} to {most}."))
    if _ZONE.fullmatch(wanted.timezone) is None:
        problems.append(("timezone", "must be the IANA name of a time zone."))
    if wanted.refund_policy not in REFUND_POLICIES:
        problems.append(("refundPolicy", f"must be one of {', '.join(REFUND_POLICIES)}."))
    if wanted.valuation_currency not in EXPONENTS:
        problems.append(("valuationCurrency", "must be the ISO 4217 code of a currency, USDT or USDC."))
    return problems


def _problems_of_levels(levels: tuple[Level, ...]) -> Problems:
    """Rising tiers and points; everybody begins on the first level, which has tier 1 and is active."""
    if not 1 <= len(levels) <= MOST_LEVELS:
        return [("levels", f"must be 1 to {MOST_LEVELS} levels.")]
    problems: Problems = []
    first = levels[0]
    if first.tier != 1 or first.min_points != 0 or not first.is_active:
        problems.append(("levels[0]", "must have tier 1, begin at 0 points and be active."))
    names: set[str] = set()
    for index, level in enumerate(levels):
        where = f"levels[{index}]"
        if level.name in names:
            problems.append((f"{where}.name", f"{level.name} is the name of another level."))
        names.add(level.name)
        if not level.name.strip() or len(level.name) > 64:
            problems.append((f"{where}.name", "must have 1 to 64 characters, not only blanks."))
        if not 0 <= level.min_points <= MAX_POINTS:
            problems.append((f"{where}.minPoints", f"must be a whole number from 0 to {MAX_POINTS}."))
        if index and level.min_points <= levels[index - 1].min_points:
            problems.append((f"{where}.minPoints", "must be more than those of the level before."))
        if index and level.tier <= levels[index - 1].tier:
            problems.append((f"{where}.tier", "must be higher than that of the level before."))
        if level.tier > 1_000_000:
            problems.append((f"{where}.tier", "must be at most 1000000."))
        if len(level.perks) > 50 or any(not 1 <= len(perk) <= 200 for perk in level.perks):
            problems.append((f"{where}.perks", "must be at most 50 texts of 1 to 200 characters."))
        if len(level.icon) > 200 or len(level.color) > 64:
            problems.append((f"{where}", "icon has at most 200 characters, color at most 64."))
    return problems


# ── what is asked of it ───────────────────────────────────────────────────────────────────────────────────────────


def level_at(programme: Programme, lifetime_points: int) -> Level:
    """The highest active level whose `min_points` the lifetime points reach; the lowest level if none."""
    reached = [level for level in programme.levels if level.is_active and level.min_points <= lifetime_points]
    return max(reached or programme.levels[:1], key=lambda level: level.tier)


def next_level(programme: Programme, lifetime_points: int) -> Level | None:
    """The lowest active level not reached yet, or None at the top."""
    ahead = [level for level in programme.levels if level.is_active and level.min_points > lifetime_points]
    return min(ahead, key=lambda level: level.min_points, default=None)


def points_for(programme: Programme, minor: int, unit: int) -> int:
    """Points that so many minor units earn, `unit` of them being a whole one: `points_per_unit`, rounded down."""
    whole, _, fraction = programme.points_per_unit.partition(".")
    return int(whole + fraction) * minor // (int("1" + "0" * len(fraction)) * unit)


def credit_for(programme: Programme, points: int, unit: int) -> int:
    """Minor units that so many points buy: a whole unit for `points_per_credit_unit`, rounded down."""
    return points * unit // programme.points_per_credit_unit


def points_that_buy(programme: Programme, minor: int, unit: int) -> int:
    """The fewest points that buy so many minor units."""
    return -(-minor * programme.points_per_credit_unit // unit)
