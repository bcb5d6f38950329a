"""The fold of referral rewards into the leaderboard. Tables here, queries in `leaderboard.py`.

So that the leaderboard of any past moment is a look and no scan, the first places as they stood are kept for each day
(UTC) with a reward: its board. All places of a moment are among those on its day's board and those rewarded since that
day began: who is on the board is in front of all who are not and stood still. A reward that comes late, of a day before
others, is put right on all boards behind it, so that boards are what the rewards say, in whatever order they came.
Imports `ledger` only. Read next: `projection.py`.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime
from operator import itemgetter
from typing import Any, Final

from ledger.domain.points import PointsEarned
from projections.projection import Connection, LogEvent, Table, copy_rows

PLACES_ON_A_BOARD: Final = 100
"""As many as are ever asked for. Changing it is a new code version."""

_STANDING: Final = (
    ("referrals", "integer NOT NULL"),
    ("points", "bigint NOT NULL"),
    ("reached_at", "timestamptz NOT NULL"),
    ("position", "bigint NOT NULL"),
)
TOTALS: Final = Table(
    part="",
    columns=(("user_id", 'text COLLATE "C" NOT NULL'), *_STANDING),
    key=("user_id",),
    upserted=True,
    indexes=("(referrals DESC, points DESC, reached_at, position)",),
    subject=("account", "user_id"),
)
REWARDS: Final = Table(
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
MEMBER_DAYS: Final = Table(
    part="member_days",
    columns=(("user_id", 'text COLLATE "C" NOT NULL'), ("day", "date NOT NULL"), *_STANDING),
    key=("user_id", "day"),
    upserted=True,
    subject=("account", "user_id"),
)
"""What a member was rewarded on a day."""
DAYS: Final = Table(
    part="days", columns=(("day", "date NOT NULL"), ("position", "bigint NOT NULL")), key=("day",), upserted=True
)
"""Days with a reward, and the position of the first that came."""
BOARDS: Final = Table(
    part="boards",
    columns=(("day", "date NOT NULL"), ("user_id", 'text COLLATE "C" NOT NULL'), *_STANDING),
    key=("day", "user_id"),
    upserted=True,
)
"""The first places when that day began."""
TABLES: Final = (TOTALS, REWARDS, MEMBER_DAYS, DAYS, BOARDS)

_REWARD_COLUMNS: Final = tuple(name for name, _ in REWARDS.columns)
# Of two with as many referrals and points, the one whose last reward came first got there first.
IN_ORDER: Final = "referrals DESC, points DESC, reached_at, position"

_ADD: Final = """
  referrals = t.referrals + n.referrals, points = t.points + n.points,
  reached_at = greatest(t.reached_at, n.reached_at), position = greatest(t.position, n.position)
"""
_MERGE_TOTALS: Final = f"""
MERGE INTO {{main}} AS t
USING unnest($1::text[], $2::integer[], $3::bigint[], $4::timestamptz[], $5::bigint[])
      AS n(user_id, referrals, points, reached_at, position)
ON t.user_id = n.user_id
WHEN MATCHED THEN UPDATE SET {_ADD}
WHEN NOT MATCHED THEN INSERT (user_id, referrals, points, reached_at, position)
  VALUES (n.user_id, n.referrals, n.points, n.reached_at, n.position)
"""
_MERGE_MEMBER_DAYS: Final = f"""
MERGE INTO {{member_days}} AS t
USING unnest($1::text[], $2::integer[], $3::bigint[], $4::timestamptz[], $5::bigint[])
      AS n(user_id, referrals, points, reached_at, position)
ON t.user_id = n.user_id AND t.day = $6
WHEN MATCHED THEN UPDATE SET {_ADD}
WHEN NOT MATCHED THEN INSERT (user_id, day, referrals, points, reached_at, position)
  VALUES (n.user_id, $6, n.referrals, n.points, n.reached_at, n.position)
"""
_OPEN_DAY: Final = "INSERT INTO {days} (day, position) VALUES ($1, $2) ON CONFLICT (day) DO NOTHING RETURNING true"
_NEXT_DAY: Final = "SELECT min(day) FROM {days} WHERE day > $1"
_BOARD_OF_NOW: Final = f"""
INSERT INTO {{boards}} (day, user_id, referrals, points, reached_at, position)
SELECT $1::date, user_id, referrals, points, reached_at, position FROM {{main}}
ORDER BY {IN_ORDER} LIMIT {PLACES_ON_A_BOARD}
"""
# Nobody was rewarded between that day and the next one that is known, so the places are those with which it began.
_BOARD_OF_NEXT: Final = """
INSERT INTO {boards} (day, user_id, referrals, points, reached_at, position)
SELECT $1, user_id, referrals, points, reached_at, position FROM {boards} WHERE day = $2
"""
_LATE_ON_BOARDS: Final = """
INSERT INTO {boards} AS b (day, user_id, referrals, points, reached_at, position)
SELECT s.day, n.user_id, t.referrals, t.points, t.reached_at, t.position
FROM {days} AS s CROSS JOIN unnest($2::text[]) AS n(user_id)
CROSS JOIN LATERAL (
  SELECT sum(m.referrals)::integer AS referrals, sum(m.points)::bigint AS points, max(m.reached_at) AS reached_at,
         max(m.position) AS position
  FROM {member_days} AS m WHERE m.user_id = n.user_id AND m.day < s.day
) AS t
WHERE s.day > $1
ON CONFLICT (day, user_id) DO UPDATE SET referrals = excluded.referrals, points = excluded.points,
  reached_at = excluded.reached_at, position = excluded.position
"""
_OFF_THE_BOARD: Final = f"""
DELETE FROM {{boards}} AS b USING (
  SELECT day, user_id, row_number() OVER (PARTITION BY day ORDER BY {IN_ORDER}) AS place FROM {{boards}} WHERE day > $1
) AS p
WHERE b.day = p.day AND b.user_id = p.user_id AND p.place > {PLACES_ON_A_BOARD}
"""


class LeaderboardPage:
    """Rewards by day, in the order of their table's columns. `tables` are named with their schema."""

    __slots__ = ("_days", "_tables")

    def __init__(self, tables: dict[str, str]) -> None:
        """Nothing was rewarded yet."""
        self._tables = tables
        self._days: defaultdict[date, list[tuple[int, datetime, str, int]]] = defaultdict(list)

    def apply(self, event: LogEvent) -> None:
        """Take a reward in; other events pass by."""
        earned = event.event
        # Whoever may earn points for others may name any source; the programme's own reward names the referred member.
        if type(earned) is PointsEarned and earned.referred_user is not None and earned.source == "referral":
            day = earned.occurred_at.astimezone(UTC).date()
            self._days[day].append((event.position, earned.occurred_at, earned.user_id, earned.amount))

    async def flush(self, connection: Connection) -> None:
        """A day at a time, so that a new day's board is made of what was before it."""
        for day in sorted(self._days):
            await self._flush_day(connection, day, self._days[day])

    async def _flush_day(
        self, connection: Connection, day: date, rewards: Sequence[tuple[int, datetime, str, int]]
    ) -> None:
        next_day = await connection.fetchval(self._sql(_NEXT_DAY), day)
        if await connection.fetchval(self._sql(_OPEN_DAY), day, rewards[0][0]):
            if next_day is None:
                await connection.execute(self._sql(_BOARD_OF_NOW), day)
            else:
                await connection.execute(self._sql(_BOARD_OF_NEXT), day, next_day)
        columns = [list(column) for column in zip(*_added_up(rewards), strict=True)]
        await connection.execute(self._sql(_MERGE_TOTALS), *columns)
        await connection.execute(self._sql(_MERGE_MEMBER_DAYS), *columns, day)
        await copy_rows(connection, self._tables["rewards"], _REWARD_COLUMNS, rewards)
        if next_day is not None:
            await connection.execute(self._sql(_LATE_ON_BOARDS), day, columns[0])
            await connection.execute(self._sql(_OFF_THE_BOARD), day)

    def _sql(self, template: str) -> str:
        return template.format_map(self._tables)


def _added_up(rewards: Sequence[tuple[int, datetime, str, int]]) -> list[list[Any]]:
    """One row a member, sorted: user, referrals, points, when and at which position the last came."""
    totals: dict[str, list[Any]] = {}
    for position, occurred_at, user_id, points in rewards:
        total = totals.setdefault(user_id, [user_id, 0, 0, occurred_at, position])
        total[1] += 1
        total[2] += points
        total[3] = max(total[3], occurred_at)
        total[4] = position
    return sorted(totals.values(), key=itemgetter(0))
