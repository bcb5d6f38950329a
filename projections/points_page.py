"""The fold of points events into accounts and lots. Tables here, queries in `points.py`.

Nothing is read back: a lot made and spent within the page is never written. What earlier pages left is taken from by
one MERGE, which fails if a lot does not hold that much; what comes back to a lot is put there by another, which makes
the lot anew if it was used up. Imports `ledger` only. Read next: `projection.py`.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final

from ledger.domain import points
from ledger.domain.account_events import PointsClawedBack
from ledger.errors import CorruptionError
from projections.as_text import array_as_text, copy_as_text
from projections.projection import Connection, LogEvent, Table

ACCOUNTS: Final = Table(
    part="",
    columns=(
        ("user_id", 'text COLLATE "C" NOT NULL'),
        ("balance", "bigint NOT NULL"),
        ("lifetime", "bigint NOT NULL"),
        ("tier", "integer NOT NULL"),
        ("locked", "boolean NOT NULL"),
        ("version", "integer NOT NULL"),
        ("position", "bigint NOT NULL"),
        ("opened_at", "timestamptz NOT NULL"),
        ("referral_code", "text"),
        ("referrals", "integer NOT NULL"),
    ),
    key=("user_id",),
    upserted=True,
    options="fillfactor = 80",  # a balance changes in place, on its page, without touching the index
    subject=("account", "user_id"),
)
LOTS: Final = Table(
    part="lots",
    columns=(
        ("user_id", 'text COLLATE "C" NOT NULL'),
        ("lot_id", "integer NOT NULL"),
        ("points", "bigint NOT NULL"),
        ("remaining", "bigint NOT NULL CHECK (remaining > 0)"),
        ("expires_at", "timestamptz"),
        ("position", "bigint NOT NULL"),
    ),
    key=("user_id", "lot_id"),
    upserted=True,
    indexes=(
        "(user_id, expires_at) WHERE expires_at IS NOT NULL",
        "(expires_at, user_id) WHERE expires_at IS NOT NULL",
    ),
    options="fillfactor = 90",
    subject=("account", "user_id"),
)

_ACCOUNT_COLUMNS: Final = tuple(name for name, _ in ACCOUNTS.columns)
_LOT_COLUMNS: Final = tuple(name for name, _ in LOTS.columns)

# A member whose opening was skipped as unreadable still gets a row: opened when first seen.
_MERGE_ACCOUNTS: Final = """
MERGE INTO {accounts} AS a USING unnest({arrays}) AS n({columns}) ON a.user_id = n.user_id
WHEN MATCHED THEN UPDATE SET {sets}
WHEN NOT MATCHED THEN INSERT
  (user_id, balance, lifetime, tier, locked, version, position, opened_at, referral_code, referrals)
  VALUES (n.user_id, coalesce(n.balance, 0), coalesce(n.lifetime, 0), {tier}, {locked}, n.version, n.position, n.opened_at,
          {referral_code}, {referrals})
"""
# Column: what becomes of it, what it begins with, and what says in a whole page that nothing happened to it.
_RARELY_CHANGED: Final[Mapping[str, tuple[str, str, Any]]] = {
    "tier": ("coalesce(n.tier, a.tier)", "1", None),
    "locked": ("coalesce(n.locked, a.locked)", "false", None),
    "referral_code": ("coalesce(n.referral_code, a.referral_code)", "NULL", None),
    "referrals": ("a.referrals + n.referrals", "0", 0),
}
_USUALLY_CHANGED: Final = {
    "balance": "coalesce(n.balance, a.balance)",
    "lifetime": "coalesce(n.lifetime, a.lifetime)",
    "version": "n.version",
    "position": "n.position",
}


@lru_cache(256)
def _merge_accounts(accounts: str, columns: tuple[str, ...]) -> str:
    """The statement for a page that changes these columns alone: what it does not send, it need not encode."""
    kinds = dict(ACCOUNTS.columns)
    rare = {column: _RARELY_CHANGED[column] for column in columns if column in _RARELY_CHANGED}
    sets = _USUALLY_CHANGED | {column: change for column, (change, _, _) in rare.items()}
    begins = {
        column: f"coalesce(n.{column}, {first})" if column in rare else first
        for column, (_, first, _) in _RARELY_CHANGED.items()
    }
    return _MERGE_ACCOUNTS.format(
        accounts=accounts,
        arrays=", ".join(f"${number}::text::{kinds[column].split()[0]}[]" for number, column in enumerate(columns, 1)),
        columns=", ".join(columns),
        sets=", ".join(f"{column} = {change}" for column, change in sets.items()),
        **begins,
    )


_TAKE: Final = """
MERGE INTO {lots} AS l
USING unnest($1::text::text[], $2::text::integer[], $3::text::bigint[], $4::text::bigint[]) AS n(user_id, lot_id, amount, position)
ON l.user_id = n.user_id AND l.lot_id = n.lot_id
WHEN MATCHED AND l.remaining = n.amount THEN DELETE
WHEN MATCHED THEN UPDATE SET remaining = l.remaining - n.amount, position = n.position
"""
# Put back and taken again within the page comes to 0: a lot that is there has been touched, one that is not stays away.
_PUT_BACK: Final = """
MERGE INTO {lots} AS l
USING unnest($1::text::text[], $2::text::integer[], $3::text::bigint[], $4::text::bigint[], $5::text::bigint[], $6::text::timestamptz[])
      AS n(user_id, lot_id, amount, position, points, expires_at)
ON l.user_id = n.user_id AND l.lot_id = n.lot_id
WHEN MATCHED THEN UPDATE SET remaining = l.remaining + n.amount, position = n.position
WHEN NOT MATCHED AND n.amount > 0 THEN INSERT (user_id, lot_id, points, remaining, expires_at, position)
  VALUES (n.user_id, n.lot_id, n.points, n.amount, n.expires_at, n.position)
"""

# Places in the list that stands for an account in the fold; None: not changed by this page.
_BALANCE, _LIFETIME, _TIER, _LOCKED, _VERSION, _POSITION, _AT, _CODE, _REFERRALS = range(1, 10)


class PointsPage:
    """Accounts and lots as lists, in the order of their columns.

    `_lots` are those made in this page. Of others it is known what was taken, [user, lot, amount, position], and which
    of them had something put back, [points, deadline] of the lot: then the amount taken may be negative.
    """

    __slots__ = ("_accounts", "_accounts_table", "_lots", "_lots_table", "_opened", "_put_back", "_taken")

    def __init__(self, accounts_table: str, lots_table: str) -> None:
        """Tables are named with their schema."""
        self._accounts_table = accounts_table
        self._lots_table = lots_table
        self._accounts: dict[str, list[Any]] = {}
        self._opened: dict[str, list[Any]] = {}
        self._lots: dict[tuple[str, int], list[Any]] = {}
        self._taken: dict[tuple[str, int], list[Any]] = {}
        self._put_back: dict[tuple[str, int], tuple[int, datetime | None]] = {}

    def apply(self, event: LogEvent) -> None:
        """Take the event in; events that are not about points pass by."""
        fold = _FOLDS.get(type(event.event))
        if fold is not None:
            fold(self, event, event.event)

    def _account(self, log: LogEvent, user_id: str) -> list[Any]:
        row = self._accounts.get(user_id)
        if row is None:
            row = self._accounts[user_id] = [user_id, None, None, None, None, 0, 0, log.recorded_at, None, 0]
        row[_VERSION] = log.version
        row[_POSITION] = log.position
        return row

    def open_account(self, log: LogEvent, event: points.AccountOpened) -> None:
        """The account's row; a second opening is a broken log."""
        if event.user_id in self._accounts:
            msg = f"account {event.user_id} is opened again at position {log.position}"
            raise CorruptionError(msg)
        row = [event.user_id, 0, 0, 1, False, log.version, log.position, log.recorded_at, None, 0]
        self._accounts[event.user_id] = self._opened[event.user_id] = row

    def add_lot(self, log: LogEvent, event: points.PointsEarned | points.PointsGranted) -> None:
        """A lot, whose id is the version of its event, and what the event says is true after it."""
        user_id = event.user_id
        row = self._accounts.get(user_id)
        if row is None:
            row = self._accounts[user_id] = [user_id, None, None, None, None, 0, 0, log.recorded_at, None, 0]
        row[_BALANCE] = event.balance
        row[_LIFETIME] = event.lifetime
        version = row[_VERSION] = log.version
        position = row[_POSITION] = log.position
        amount = event.amount
        self._lots[user_id, version] = [user_id, version, amount, amount, event.expires_at, position]

    def spend(self, log: LogEvent, event: points.PointsSpent | points.PointsDeducted | PointsClawedBack) -> None:
        """Taken from these lots; from none, where there was nothing to be taken back."""
        self._account(log, event.user_id)[_BALANCE] = event.balance
        for part in event.allocation:
            self._take(event.user_id, part.lot_id, part.amount, log.position)

    def expire(self, log: LogEvent, event: points.PointsExpired) -> None:
        """What was left of a lot."""
        self._account(log, event.user_id)[_BALANCE] = event.balance
        self._take(event.user_id, event.lot_id, event.amount, log.position)

    def restore(self, log: LogEvent, event: points.PointsRestored) -> None:
        """Back to the lots they were taken from; one that was used up lives again, with its old deadline."""
        user_id = event.user_id
        self._account(log, user_id)[_BALANCE] = event.balance
        for part in event.lots:
            key = (user_id, part.lot_id)
            if key not in self._lots:
                self._put_back[key] = (part.points, part.expires_at)
            self._take(user_id, part.lot_id, -part.amount, log.position)

    def cross_level(self, log: LogEvent, event: points.LevelCrossed) -> None:
        """The level's tier."""
        self._account(log, event.user_id)[_TIER] = event.tier

    def leave_level(self, log: LogEvent, event: points.LevelLeft) -> None:
        """The tier of the level that is left to them."""
        self._account(log, event.user_id)[_TIER] = event.now_tier

    def assign_code(self, log: LogEvent, event: points.ReferralCodeAssigned) -> None:
        """The code they refer others with from now on."""
        self._account(log, event.user_id)[_CODE] = event.code

    def sign_up(self, log: LogEvent, event: points.ReferralSignedUp) -> None:
        """One more member who came with a code of theirs."""
        self._account(log, event.user_id)[_REFERRALS] += 1

    def touch(self, log: LogEvent, event: points.ReferrerBound | points.ReferralCompleted) -> None:
        """Nothing that is shown here, but the version moves: it is the reader's ETag."""
        self._account(log, event.user_id)

    def lock(self, log: LogEvent, event: points.AccountLockedByAdmin) -> None:
        """Spending stopped."""
        self._account(log, event.user_id)[_LOCKED] = True

    def unlock(self, log: LogEvent, event: points.AccountUnlocked) -> None:
        """Spending allowed."""
        self._account(log, event.user_id)[_LOCKED] = False

    def _take(self, user_id: str, lot_id: int, amount: int, position: int) -> None:
        key = (user_id, lot_id)
        lot = self._lots.get(key)
        if lot is not None:
            lot[3] -= amount
            lot[5] = position
            if lot[3] == 0:
                del self._lots[key]
        else:
            taken = self._taken.setdefault(key, [user_id, lot_id, 0, 0])
            taken[2] += amount
            taken[3] = position

    async def flush(self, connection: Connection) -> None:
        """New accounts and lots by COPY, changed ones by MERGE."""
        opened = self._opened
        changed = [row for user_id, row in self._accounts.items() if user_id not in opened]
        if opened:
            rows = sorted(opened.values(), key=itemgetter(0))
            await copy_as_text(connection, self._accounts_table, _ACCOUNT_COLUMNS, rows)
        if changed:
            changed.sort(key=itemgetter(0))
            sent = {
                name: array_as_text(column)
                for name, column in zip(_ACCOUNT_COLUMNS, zip(*changed, strict=True), strict=True)
                if name not in _RARELY_CHANGED or column.count(_RARELY_CHANGED[name][2]) < len(column)
            }
            await connection.execute(_merge_accounts(self._accounts_table, tuple(sent)), *sent.values())
        if self._taken:
            await self._flush_changed_lots(connection)
        if self._lots:
            rows = [self._lots[key] for key in sorted(self._lots)]
            await copy_as_text(connection, self._lots_table, _LOT_COLUMNS, rows)

    async def _flush_changed_lots(self, connection: Connection) -> None:
        taken, put_back = [], []
        for key in sorted(self._taken):
            row = self._taken[key]
            if row[2] > 0 or key not in self._put_back:
                taken.append(row)
            else:
                put_back.append([row[0], row[1], -row[2], row[3], *self._put_back[key]])
        if taken:
            merge = _TAKE.format(lots=self._lots_table)
            tag = await connection.execute(merge, *map(array_as_text, zip(*taken, strict=True)))
            if tag != f"MERGE {len(taken)}":
                msg = f"of {len(taken)} lots to take points from, the read model holds others: {tag}"
                raise CorruptionError(msg)
        if put_back:
            merge = _PUT_BACK.format(lots=self._lots_table)
            await connection.execute(merge, *map(array_as_text, zip(*put_back, strict=True)))


_FOLDS: Final[dict[type, Callable[[PointsPage, LogEvent, Any], None]]] = {
    points.AccountOpened: PointsPage.open_account,
    points.PointsEarned: PointsPage.add_lot,
    points.PointsGranted: PointsPage.add_lot,
    points.PointsSpent: PointsPage.spend,
    points.PointsDeducted: PointsPage.spend,
    PointsClawedBack: PointsPage.spend,
    points.PointsExpired: PointsPage.expire,
    points.PointsRestored: PointsPage.restore,
    points.LevelCrossed: PointsPage.cross_level,
    points.LevelLeft: PointsPage.leave_level,
    points.ReferralCodeAssigned: PointsPage.assign_code,
    points.ReferralSignedUp: PointsPage.sign_up,
    points.ReferrerBound: PointsPage.touch,
    points.ReferralCompleted: PointsPage.touch,
    points.AccountLockedByAdmin: PointsPage.lock,
    points.AccountUnlocked: PointsPage.unlock,
}
