"""Balances and lots: what a member has, as of now. Table, fold and queries together.

A balance is a function of the clock: the recorded balance less the lots whose deadline has passed and whose expiry
nobody has recorded yet. Hence the lots are kept, not one number. Imports `ledger` only. Read next: `expiring.py`, `transactions.py`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Final

import msgspec

from ledger import ids
from ledger.domain.programme import DEFAULT_PROGRAMME, Programme, level_at, next_level
from ledger.errors import UserNotFound
from projections.points_page import ACCOUNTS, LOTS, PointsPage
from projections.projection import Page, Table, table_names
from projections.read_models import Answer, ReadModels, Rows

SOON: Final = timedelta(days=30)


class Points:
    """One row an account, one row a live lot."""

    name: ClassVar[str] = "points"
    code_version: ClassVar[int] = 2
    tables: ClassVar[tuple[Table, ...]] = (ACCOUNTS, LOTS)
    reads_data: ClassVar[bool] = True
    reads_metadata: ClassVar[bool] = False

    def page(self, build: int) -> Page:
        """An empty page for that build's tables."""
        names = table_names(self, build)
        return PointsPage(names["main"], names["lots"])


POINTS: Final = Points()


class LevelView(msgspec.Struct, frozen=True, rename="camel"):
    """The level a member has."""

    name: str
    tier: int
    min_points: int
    perks: tuple[str, ...]


class NextLevel(msgspec.Struct, frozen=True, rename="camel"):
    """The level a member may reach next."""

    name: str
    tier: int
    min_points: int
    points_to_go: int


class Expiring(msgspec.Struct, frozen=True, rename="camel"):
    """So many points are lost at that deadline."""

    points: int
    expires_at: datetime


class PointsSummary(msgspec.Struct, frozen=True, rename="camel"):
    """What a member has: points, whole numbers; instants in UTC. `referrals_count`: members who came with their code."""

    balance: int
    lifetime_points: int
    level: LevelView
    next_level: NextLevel | None
    referral_code: str | None
    referrals_count: int
    expiring_soon: list[Expiring]


DueAfter = tuple[datetime, str]
DUE_FROM_THE_FIRST: Final[DueAfter] = (datetime.min.replace(tzinfo=UTC), "")


class Due(msgspec.Struct, frozen=True):
    """Members who are due, each once, with the number of their lots that are; and where to go on, None at the end."""

    lots: dict[str, int]
    after: DueAfter | None


_SUMMARY_QUERY: Final = """
SELECT a.balance, a.lifetime, a.version, a.referral_code, a.referrals, coalesce(o.overdue, 0) AS overdue,
       s.points, s.deadlines
FROM {main} AS a
LEFT JOIN LATERAL (
  SELECT sum(l.remaining)::bigint AS overdue FROM {lots} AS l
  WHERE l.user_id = a.user_id AND l.expires_at <= $2
) AS o ON true
LEFT JOIN LATERAL (
  SELECT array_agg(d.points ORDER BY d.expires_at) AS points, array_agg(d.expires_at ORDER BY d.expires_at) AS deadlines
  FROM (SELECT l.expires_at, sum(l.remaining)::bigint AS points FROM {lots} AS l
        WHERE l.user_id = a.user_id AND l.expires_at > $2 AND l.expires_at <= $3
        GROUP BY l.expires_at) AS d
) AS s ON true
WHERE a.user_id = $1
"""
# A member is due at the first of their deadlines that have passed, so that each comes once, however many lots they have.
_DUE_QUERY: Final = """
SELECT p.user_id, p.expires_at, a.lots, a.first = p.expires_at AS first
FROM (SELECT DISTINCT expires_at, user_id FROM (
        SELECT expires_at, user_id FROM {lots}
        WHERE expires_at <= $1 AND (expires_at, user_id) > ($2, $3) ORDER BY expires_at, user_id LIMIT $4) AS l) AS p
CROSS JOIN LATERAL (SELECT count(*) AS lots, min(e.expires_at) AS first FROM {lots} AS e
                    WHERE e.user_id = p.user_id AND e.expires_at <= $1) AS a
ORDER BY p.expires_at, p.user_id
"""


async def get_points(
    models: ReadModels, user_id: str, now: datetime, programme: Programme = DEFAULT_PROGRAMME, *, min_position: int = 0
) -> Answer[PointsSummary]:
    """What the member has at `now`; zeros and version 0 where no account was opened."""
    found = await _summary_rows(models, user_id, now, min_position)
    if not found.rows:
        return Answer(_summary(programme), found.position, 0, found.meta())
    return _summary_answer(found, programme)


async def get_account(
    models: ReadModels, user_id: str, now: datetime, programme: Programme = DEFAULT_PROGRAMME, *, min_position: int = 0
) -> Answer[PointsSummary]:
    """As `get_points`, but `UserNotFound` where no account was opened."""
    found = await _summary_rows(models, user_id, now, min_position)
    if not found.rows:
        raise UserNotFound(f"No account for user {user_id}.")
    return _summary_answer(found, programme)


async def list_due_accounts(
    models: ReadModels, now: datetime, after: DueAfter = DUE_FROM_THE_FIRST, lots: int = 500
) -> Answer[Due]:
    """Members with a lot whose deadline has passed, the longest overdue first: what the sweeper records.

    Looks at so many lots behind `after`, by an index; what it answers goes on behind them.
    """
    found = await models.read(POINTS, _DUE_QUERY, now, *after, lots)
    last = found.rows[-1] if found.rows else None
    due = Due(
        {row["user_id"]: row["lots"] for row in found.rows if row["first"]},
        None if last is None else (last["expires_at"], last["user_id"]),
    )
    return Answer(due, found.position)


async def _summary_rows(models: ReadModels, user_id: str, now: datetime, min_position: int) -> Rows:
    return await models.read(
        POINTS,
        _SUMMARY_QUERY,
        user_id,
        now,
        now + SOON,
        min_position=min_position,
        stream=ids.account_stream(user_id),
    )


def _summary_answer(found: Rows, programme: Programme) -> Answer[PointsSummary]:
    row = found.rows[0]
    soon = [Expiring(*pair) for pair in zip(row["points"] or (), row["deadlines"] or (), strict=True)]
    summary = _summary(
        programme, row["balance"] - row["overdue"], row["lifetime"], row["referral_code"], row["referrals"], soon
    )
    return Answer(summary, found.position, row["version"], found.meta())


def _summary(
    programme: Programme,
    balance: int = 0,
    lifetime: int = 0,
    referral_code: str | None = None,
    referrals: int = 0,
    soon: Sequence[Expiring] = (),
) -> PointsSummary:
    level = level_at(programme, lifetime)
    ahead = next_level(programme, lifetime)
    return PointsSummary(
        balance,
        lifetime,
        LevelView(level.name, level.tier, level.min_points, level.perks),
        None if ahead is None else NextLevel(ahead.name, ahead.tier, ahead.min_points, ahead.min_points - lifetime),
        referral_code,
        referrals,
        list(soon),
    )
