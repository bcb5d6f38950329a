"""Who brought the most members, for all time, up to a moment, or within a month or a week. The queries.

All-time totals are kept in the order they are shown in, and so are the first places as they stood at the begin of each
day. Months and weeks are not: they follow the programme's time zone, and would all have to be made anew with it. They
are added up from the rewards inside them, which one index holds side by side. Imports `ledger` only.
Read next: `leaderboard_page.py` for the tables and the fold, `periods.py` for where periods begin and end.
"""

from datetime import UTC, datetime
from typing import ClassVar, Final, Literal
from zoneinfo import ZoneInfo

import msgspec

from projections.directory import get_names
from projections.leaderboard_page import IN_ORDER, PLACES_ON_A_BOARD, TABLES, LeaderboardPage
from projections.periods import window_around
from projections.projection import Page, Table, table_names
from projections.read_models import Answer, ReadModels

LeaderboardPeriod = Literal["all", "month", "week"]

_ALL_TIME: Final = f"SELECT user_id, referrals, points FROM {{main}} ORDER BY {IN_ORDER} LIMIT $1"
_WITHIN: Final = """
SELECT user_id, count(*) AS referrals, sum(points)::bigint AS points
FROM {rewards} WHERE occurred_at >= $2 AND occurred_at < $3
GROUP BY user_id
ORDER BY count(*) DESC, sum(points) DESC, max(occurred_at), max(position) LIMIT $1
"""
# Those on the board of the last day with a reward, and those rewarded since it began: all others stand behind them.
_UP_TO: Final = f"""
WITH that_day AS MATERIALIZED (SELECT max(day) AS day FROM {{days}} WHERE day <= $3),
since AS MATERIALIZED (
  SELECT user_id, count(*) AS referrals, sum(points)::bigint AS points, max(occurred_at) AS reached_at,
         max(position) AS position
  FROM {{rewards}}
  WHERE occurred_at >= (SELECT day::timestamp AT TIME ZONE 'UTC' FROM that_day) AND occurred_at <= $2
  GROUP BY user_id
)
SELECT user_id, referrals, points FROM (
  SELECT s.user_id, s.referrals + coalesce(b.referrals, 0) AS referrals, s.points + coalesce(b.points, 0) AS points,
         greatest(s.reached_at, b.reached_at) AS reached_at, greatest(s.position, b.position) AS position
  FROM since AS s
  CROSS JOIN LATERAL (
    SELECT sum(m.referrals) AS referrals, sum(m.points)::bigint AS points, max(m.reached_at) AS reached_at,
           max(m.position) AS position
    FROM {{member_days}} AS m WHERE m.user_id = s.user_id AND m.day < (SELECT day FROM that_day)
  ) AS b
  UNION ALL
  SELECT b.user_id, b.referrals, b.points, b.reached_at, b.position FROM {{boards}} AS b
  WHERE b.day = (SELECT day FROM that_day) AND NOT EXISTS (SELECT FROM since AS s WHERE s.user_id = b.user_id)
) AS standing
ORDER BY {IN_ORDER} LIMIT $1
"""


class Leaderboard:
    """One row a referral reward, one a member who was rewarded, one a member and day; and the board of each day."""

    name: ClassVar[str] = "leaderboard"
    code_version: ClassVar[int] = 2
    tables: ClassVar[tuple[Table, ...]] = TABLES
    reads_data: ClassVar[bool] = True
    reads_metadata: ClassVar[bool] = False

    def page(self, build: int) -> Page:
        """An empty page for that build's tables."""
        return LeaderboardPage(dict(table_names(self, build)))


_LEADERBOARD: Final = Leaderboard()


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
    assert limit <= PLACES_ON_A_BOARD, "no board has so many places"
    start: datetime | None = None
    end = at or now
    if period != "all":
        start, end = window_around(period, end, ZoneInfo(timezone))
        found = await models.read(_LEADERBOARD, _WITHIN, limit, start, end, min_position=min_position)
    elif at is None or at >= now:
        found = await models.read(_LEADERBOARD, _ALL_TIME, limit, min_position=min_position)
    else:
        found = await models.read(_LEADERBOARD, _UP_TO, limit, at, at.astimezone(UTC).date(), min_position=min_position)
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
