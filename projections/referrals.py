"""Who brought whom, with which code, and what it earned. Table, fold and queries together.

A row is a member who was brought: pending until their first purchase completes, rewarded from then on. Names are no
part of it: they are looked up in the directory, where a member can be forgotten. Imports `ledger` only.
Read next: `leaderboard.py` for who brought the most.
"""

from datetime import datetime
from operator import itemgetter
from typing import Any, ClassVar, Final, Literal

import msgspec

from ledger import ids
from ledger.domain.points import ReferralCompleted, ReferrerBound
from ledger.errors import CorruptionError
from projections.cursor import Slice, SortOrder, cursor_after
from projections.directory import get_names
from projections.list_pages import start_of
from projections.projection import Connection, LogEvent, Page, Table, copy_rows, table_names
from projections.read_models import Answer, ReadModels

_TABLE: Final = Table(
    part="",
    columns=(
        ("user_id", 'text COLLATE "C" NOT NULL'),
        ("referrer_id", 'text COLLATE "C" NOT NULL'),
        ("code", "text NOT NULL"),
        ("joined_at", "timestamptz NOT NULL"),
        ("bound", "bigint NOT NULL"),
        ("rewarded", "boolean NOT NULL"),
        ("points_earned", "bigint NOT NULL"),
        ("position", "bigint NOT NULL"),
    ),
    key=("user_id",),
    upserted=True,
    indexes=("(referrer_id, bound)",),
    options="fillfactor = 90",
    subject=("account", "user_id"),
)
_COLUMNS: Final = tuple(name for name, _ in _TABLE.columns)
_REWARDED, _POINTS, _POSITION = 5, 6, 7

_MERGE: Final = """
MERGE INTO {referrals} AS r
USING unnest($1::text[], $2::bigint[], $3::bigint[]) AS n(user_id, points_earned, position)
ON r.user_id = n.user_id
WHEN MATCHED THEN UPDATE SET rewarded = true, points_earned = n.points_earned, position = n.position
"""
_LIST: Final = """
SELECT n.total, p.*
FROM (SELECT count(*) AS total FROM {{main}} WHERE referrer_id = $1) AS n
LEFT JOIN LATERAL (
  SELECT r.* FROM {{main}} AS r WHERE r.referrer_id = $1 AND r.bound {beyond} $2
  ORDER BY r.bound {order} LIMIT $3 OFFSET $4
) AS p ON true
ORDER BY p.bound {order}
"""
_QUERIES: Final = {
    "asc": _LIST.format(beyond=">", order="ASC"),
    "desc": _LIST.format(beyond="<", order="DESC"),
}


class Referrals:
    """One row a member who was brought."""

    name: ClassVar[str] = "referrals"
    code_version: ClassVar[int] = 1
    tables: ClassVar[tuple[Table, ...]] = (_TABLE,)
    reads_data: ClassVar[bool] = True
    reads_metadata: ClassVar[bool] = False

    def page(self, build: int) -> Page:
        """An empty page for that build's table."""
        return _ReferralsPage(table_names(self, build)["main"])


_REFERRALS: Final = Referrals()


class _ReferralsPage:
    """New rows as lists in the order of the columns; of others what completed, [user, points, position]."""

    __slots__ = ("_bound", "_completed", "_table")

    def __init__(self, table: str) -> None:
        self._table = table
        self._bound: dict[str, list[Any]] = {}
        self._completed: dict[str, list[Any]] = {}

    def apply(self, event: LogEvent) -> None:
        happened = event.event
        kind = type(happened)
        if kind is ReferrerBound:
            self._bind(event, happened)
        elif kind is ReferralCompleted:
            self._complete(event, happened)

    def _bind(self, log: LogEvent, event: ReferrerBound) -> None:
        user_id = event.user_id
        if user_id in self._bound or user_id in self._completed:
            msg = f"member {user_id} is bound to a referrer again at position {log.position}"
            raise CorruptionError(msg)
        at, position = event.occurred_at, log.position
        self._bound[user_id] = [user_id, event.referrer_id, event.code, at, position, False, 0, position]

    def _complete(self, log: LogEvent, event: ReferralCompleted) -> None:
        row = self._bound.get(event.user_id)
        if row is None:
            self._completed[event.user_id] = [event.user_id, event.reward, log.position]
        else:
            row[_REWARDED], row[_POINTS], row[_POSITION] = True, event.reward, log.position

    async def flush(self, connection: Connection) -> None:
        if self._bound:
            rows = sorted(self._bound.values(), key=itemgetter(0))
            await copy_rows(connection, self._table, _COLUMNS, rows)
        if self._completed:
            completed = [self._completed[user_id] for user_id in sorted(self._completed)]
            merge = _MERGE.format(referrals=self._table)
            tag = await connection.execute(merge, *(list(column) for column in zip(*completed, strict=True)))
            if tag != f"MERGE {len(completed)}":
                msg = f"of {len(completed)} referrals that completed, the read model holds others: {tag}"
                raise CorruptionError(msg)


class Referral(msgspec.Struct, frozen=True, rename="camel"):
    """A member who came with a code of the caller's. No name: they were forgotten."""

    user_id: str
    name: str | None
    joined_at: datetime
    points_earned: int
    status: Literal["pending", "rewarded"]


async def list_referrals(
    models: ReadModels,
    user_id: str,
    *,
    page: int = 1,
    limit: int = 20,
    sort_order: SortOrder = "desc",
    after: str | None = None,
    min_position: int = 0,
) -> Answer[Slice[Referral]]:
    """Whom the member brought, in the order in which they came. `after` takes the place of `page`."""
    start = start_of(after, sort_order)
    found = await models.read(
        _REFERRALS,
        _QUERIES[sort_order],
        user_id,
        start,
        limit + 1,  # one more tells whether there is a next page
        0 if after is not None else (page - 1) * limit,
        min_position=min_position,
        stream=ids.account_stream(user_id),
    )
    rows = [row for row in found.rows[:limit] if row["user_id"] is not None]
    names = await get_names(models.pool, (row["user_id"] for row in rows))
    referrals = [
        Referral(
            row["user_id"],
            names[row["user_id"]].name if row["user_id"] in names else None,
            row["joined_at"],
            row["points_earned"],
            "rewarded" if row["rewarded"] else "pending",
        )
        for row in rows
    ]
    cursor = cursor_after(rows[-1]["bound"], sort_order) if len(found.rows) > limit else None
    answer = Slice(referrals, found.rows[0]["total"], page, limit, cursor)
    return Answer(answer, found.position, 0, {**found.meta(), **answer.meta()})
