"""Balances and lots: what a member has, as of now. Table, fold and queries together.

A balance is a function of the clock: the recorded balance less the lots whose deadline has passed and whose expiry
nobody has recorded yet. Hence the lots are kept, not one number. Imports `ledger` only. Read next: `expiring.py`, `transactions.py`.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import ClassVar, Final

import msgspec

from ledger import ids
from ledger.domain.lots import Lot
from ledger.domain.programme import DEFAULT_PROGRAMME, Programme, level_at, next_level
from ledger.errors import UserNotFound
from projections.points_page import ACCOUNTS, LOTS, PointsPage
from projections.projection import Page, Table, table_names
from projections.read_models import Answer, ReadModels, Rows

SOON: Final = timedelta(days=30)
MOST_LOTS: Final = 1000
"""So many lots of an account are listed, the next to expire first: an answer stays an answer at 100,000."""


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


class AccountState(msgspec.Struct, frozen=True, rename="camel"):
    """An account as an admin sees it. `lots` may be the first of `lots_total`."""

    user_id: str
    balance: int
    lifetime_points: int
    level: str
    lots: list[Lot]
    lots_total: int
    locked: bool
    version: int
    position: int
    as_of: datetime


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
_STATE_QUERY: Final = """
SELECT a.balance, a.lifetime, a.version, a.locked, n.overdue, n.live, l.lot_id, l.points, l.remaining, l.expires_at
FROM {main} AS a
CROSS JOIN LATERAL (
  SELECT coalesce(sum(o.remaining) FILTER (WHERE o.expires_at <= $2), 0)::bigint AS overdue,
         count(*) FILTER (WHERE o.expires_at IS NULL OR o.expires_at > $2) AS live
  FROM {lots} AS o WHERE o.user_id = a.user_id
) AS n
LEFT JOIN LATERAL (
  SELECT o.* FROM {lots} AS o WHERE o.user_id = a.user_id AND (o.expires_at IS NULL OR o.expires_at > $2)
  ORDER BY o.expires_at NULLS LAST, o.lot_id LIMIT $3
) AS l ON true
WHERE a.user_id = $1
ORDER BY l.expires_at NULLS LAST, l.lot_id
"""
_DUE_QUERY: Final = """
SELECT d.user_id FROM (
  SELECT user_id, min(expires_at) AS deadline
  FROM (SELECT user_id, expires_at FROM {lots} WHERE expires_at <= $1 ORDER BY expires_at LIMIT $3) AS l
  GROUP BY user_id) AS d
ORDER BY d.deadline, d.user_id LIMIT $2
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


async def get_account_state(
    models: ReadModels, user_id: str, now: datetime, programme: Programme = DEFAULT_PROGRAMME, *, min_position: int = 0
) -> Answer[AccountState]:
    """The account with its live lots, at most `MOST_LOTS`, in the order they are spent. `UserNotFound` without one."""
    found = await models.read(
        POINTS, _STATE_QUERY, user_id, now, MOST_LOTS, min_position=min_position, stream=ids.account_stream(user_id)
    )
    if not found.rows:
        raise UserNotFound(f"No account for user {user_id}.")
    row = found.rows[0]
    state = AccountState(
        user_id,
        row["balance"] - row["overdue"],
        row["lifetime"],
        level_at(programme, row["lifetime"]).name,
        [
            Lot(lot["lot_id"], lot["points"], lot["remaining"], lot["expires_at"])
            for lot in found.rows
            if lot["lot_id"] is not None
        ],
        row["live"],
        row["locked"],
        row["version"],
        found.position,
        now,
    )
    return Answer(state, found.position, state.version, found.meta())


async def list_due_accounts(models: ReadModels, now: datetime, limit: int = 500) -> Answer[list[str]]:
    """Members with a lot whose deadline has passed, the longest overdue first: what the sweeper records."""
    found = await models.read(POINTS, _DUE_QUERY, now, limit, limit * 20)
    return Answer([row["user_id"] for row in found.rows], found.position)


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
