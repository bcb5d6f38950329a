"""Who brought the most members, for all time or within a month or a week. Tables, fold and queries together.

All-time totals are kept in the order they are shown in. Months and weeks are not: they follow the programme's time
zone, and would all have to be made anew with it. They are added up from the rewards inside them, which one index holds
side by side. Imports `ledger` only. Read next: `periods.py` for where they begin and end.
"""

from datetime import datetime
from operator import itemgetter
from typing import Any, ClassVar, Final, Literal
from zoneinfo import ZoneInfo

import msgspec

from ledger.domain.points import PointsEarned
from projections.directory import get_names
from projections.periods import window_around
from projections.projection import Connection, LogEvent, Page, Table, copy_rows, table_names
from projections.read_models import Answer, ReadModels

LeaderboardPeriod = Literal["all", "month", "week"]

_TOTALS: Final = Table(
    part="",
    columns=(
        ("user_id", 'text COLLATE "C" NOT NULL'),
        ("referrals", "integer NOT NULL"),
        ("points", "bigint NOT NULL"),
        ("reached_at", "timestamptz NOT NULL"),
        ("position", "bigint NOT NULL"),
    ),
    key=("user_id",),
    upserted=True,
    indexes=("(referrals DESC, points DESC, reached_at, position)",),
    subject=("account", "user_id"),
)
_REWARDS: Final = Table(
    part="rewards",
    columns=(
        ("position", "bigint NOT NULL"),
        ("occurred_at", "timestamptz NOT NULL"),
        ("user_id", 'text COLLATE "C" NOT NULL'),
        ("points", "bigint NOT NULL"),
    ),
    key=("position",),
    upserted=False,
    indexes=("(occurred_at) INCLUDE (user_id, points, position)",),
    subject=("account", "user_id"),
)
_REWARD_COLUMNS: Final = tuple(name for name, _ in _REWARDS.columns)

_MERGE: Final = """
MERGE INTO {totals} AS t
USING unnest($1::text[], $2::integer[], $3::bigint[], $4::timestamptz[], $5::bigint[])
      AS n(user_id, referrals, points, reached_at, position)
ON t.user_id = n.user_id
WHEN MATCHED THEN UPDATE SET
  referrals = t.referrals + n.referrals, points = t.points + n.points,
  reached_at = greatest(t.reached_at, n.reached_at), position = n.position
WHEN NOT MATCHED THEN INSERT (user_id, referrals, points, reached_at, position)
  VALUES (n.user_id, n.referrals, n.points, n.reached_at, n.position)
"""
# Of two with as many referrals and points, the one whose last reward came first got there first.
_ALL_TIME: Final = """
SELECT user_id, referrals, points FROM {main} ORDER BY referrals DESC, points DESC, reached_at, position LIMIT $1
"""
_WITHIN: Final = """
SELECT user_id, count(*) AS referrals, sum(points)::bigint AS points
FROM {rewards} WHERE occurred_at >= $2 AND occurred_at < $3
GROUP BY user_id
ORDER BY count(*) DESC, sum(points) DESC, max(occurred_at), max(position) LIMIT $1
"""
_UP_TO: Final = _WITHIN.replace("occurred_at >= $2 AND occurred_at < $3", "occurred_at <= $2")


class Leaderboard:
    """One row a referral reward, one row a member who was rewarded."""

    name: ClassVar[str] = "leaderboard"
    code_version: ClassVar[int] = 1
    tables: ClassVar[tuple[Table, ...]] = (_TOTALS, _REWARDS)
    reads_data: ClassVar[bool] = True
    reads_metadata: ClassVar[bool] = False

    def page(self, build: int) -> Page:
        """An empty page for that build's tables."""
        names = table_names(self, build)
        return _LeaderboardPage(names["main"], names["rewards"])


_LEADERBOARD: Final = Leaderboard()


class _LeaderboardPage:
    """Rewards in the order of their table's columns."""

    __slots__ = ("_rewards", "_rewards_table", "_totals_table")

    def __init__(self, totals_table: str, rewards_table: str) -> None:
        self._totals_table = totals_table
        self._rewards_table = rewards_table
        self._rewards: list[tuple[int, datetime, str, int]] = []

    def apply(self, event: LogEvent) -> None:
        earned = event.event
        # Whoever may earn points for others may name any source; the programme's own reward names the referred member.
        if type(earned) is PointsEarned and earned.referred_user is not None and earned.source == "referral":
            self._rewards.append((event.position, earned.occurred_at, earned.user_id, earned.amount))

    async def flush(self, connection: Connection) -> None:
        if not self._rewards:
            return
        totals: dict[str, list[Any]] = {}
        for position, occurred_at, user_id, points in self._rewards:
            total = totals.setdefault(user_id, [user_id, 0, 0, occurred_at, position])
            total[1] += 1
            total[2] += points
            total[3] = max(total[3], occurred_at)
            total[4] = position
        rows = sorted(totals.values(), key=itemgetter(0))
        merge = _MERGE.format(totals=self._totals_table)
        await connection.execute(merge, *(list(column) for column in zip(*rows, strict=True)))
        await copy_rows(connection, self._rewards_table, _REWARD_COLUMNS, self._rewards)


class Entry(msgspec.Struct, frozen=True, rename="camel"):
    """One place. No name: the member was forgotten."""

    rank: int
    user_id: str
    name: str | None
    avatar: str | None
    referrals: int
    points_earned: int


class LeaderboardView(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """The places of a period, half-open; of `all`, `from` is null and `to` the instant up to which it counts."""

    entries: list[Entry]
    period: LeaderboardPeriod
    from_: datetime | None
    to: datetime
    timezone: str


async def get_leaderboard(
    models: ReadModels,
    period: LeaderboardPeriod,
    timezone: str,
    now: datetime,
    *,
    at: datetime | None = None,
    limit: int = 10,
    min_position: int = 0,
) -> Answer[LeaderboardView]:
    """The whole period around `at`, which is now unless given; of `all`, everything up to it.

    In front is who brought more members, then who earned more points by it, then who got there first.
    """
    start: datetime | None = None
    end = at or now
    if period != "all":
        start, end = window_around(period, end, ZoneInfo(timezone))
        found = await models.read(_LEADERBOARD, _WITHIN, limit, start, end, min_position=min_position)
    elif at is None or at >= now:
        found = await models.read(_LEADERBOARD, _ALL_TIME, limit, min_position=min_position)
    else:
        found = await models.read(_LEADERBOARD, _UP_TO, limit, at, min_position=min_position)
    names = await get_names(models.pool, (row["user_id"] for row in found.rows))
    entries = []
    for rank, row in enumerate(found.rows, 1):
        known = names.get(row["user_id"])
        entries.append(
            Entry(
                rank,
                row["user_id"],
                None if known is None else known.name,
                None if known is None else known.avatar,
                row["referrals"],
                row["points"],
            )
        )
    view = LeaderboardView(entries, period, start, end, timezone)
    return Answer(view, found.position, 0, found.meta())
