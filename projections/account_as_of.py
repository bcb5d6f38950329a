"""A member's account as it stood at a position or an instant, and the lines that add up to its balance.

Folded from the stream in the log with the rules' own `evolve`: no read model, so that an answer as of a moment is the
same for ever. Imports `ledger` only. Read next: `cuts.py` for the moment, `points.py` for the account of now.
"""

from collections import deque
from datetime import datetime
from typing import Final

import msgspec
from msgspec import structs

from ledger import ids
from ledger.domain import points
from ledger.domain.account import PointsAccount, available, evolve
from ledger.domain.account_events import PointsClawedBack
from ledger.domain.lots import Lot, overdue_lots
from ledger.domain.points import (
    PointsDeducted,
    PointsEarned,
    PointsExpired,
    PointsGranted,
    PointsRestored,
    PointsSpent,
)
from ledger.domain.programme import level_at
from ledger.errors import UserNotFound
from ledger.store.codec import CATEGORIES
from ledger.store.snapshots import SNAPSHOT
from projections.cuts import Cut, find_cut
from projections.log import read_stream
from projections.programme import programme_at
from projections.projection import Connection, LogEvent, Pool, Undecodable
from projections.read_models import Answer

MOST_LOTS: Final = 1000
"""So many lots are listed, the next to expire first: an answer stays an answer at 100,000."""
MOST_LINES: Final = 10_000
"""So many lines are listed, the last ones; what came before is one line, so that they still add up."""
BROUGHT_FORWARD: Final = "brought-forward"
_EVENTS_AT_ONCE: Final = 2000
_EXPIRED: Final = next(tag for tag, event in points.TAGS.items() if event is PointsExpired)
_ACCOUNTS: Final = CATEGORIES[ids.ACCOUNT]
_SIGNS: Final[dict[type, int]] = {
    PointsEarned: 1,
    PointsGranted: 1,
    PointsRestored: 1,
    PointsSpent: -1,
    PointsDeducted: -1,
    PointsClawedBack: -1,
    PointsExpired: -1,
}


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


class BalanceLine(msgspec.Struct, frozen=True, rename="camel"):
    """What an event changed, and the balance it led to. No position: a lot has expired and nobody has recorded it yet."""

    position: int | None
    type: str
    change: int
    balance_after: int


class ExplainedAccount(AccountState, frozen=True, rename="camel"):
    """The account and the lines that lead to its balance; `residual` is what they leave unexplained: 0.

    `events` may begin with a line `brought-forward` for all that came before, of `events_total` together.
    """

    events: list[BalanceLine]
    events_total: int
    residual: int


async def get_account_as_of(
    pool: Pool, user_id: str, as_of: int | datetime | None, now: datetime
) -> Answer[AccountState]:
    """The account with its live lots, in the order they are spent. `UserNotFound` where there was none yet."""
    async with pool.acquire() as connection:
        cut = await find_cut(connection, as_of, now)
        state = await _state_at(connection, user_id, cut, await _kept_state(connection, user_id, cut), None)
        account = await _account(connection, user_id, state, cut)
    return Answer(account, cut.position, state.version)


async def explain_account(
    pool: Pool, user_id: str, as_of: int | datetime | None, now: datetime
) -> Answer[ExplainedAccount]:
    """The same with every change of its balance."""
    book = _Book()
    async with pool.acquire() as connection:
        cut = await find_cut(connection, as_of, now)
        state = await _state_at(connection, user_id, cut, PointsAccount(), book)
        account = await _account(connection, user_id, state, cut)
    for lot in overdue_lots(state.chunks, cut.at):
        book.add(None, _EXPIRED, -lot.remaining)
    explained = ExplainedAccount(
        **structs.asdict(account),
        events=book.lines(),
        events_total=book.count,
        residual=account.balance - book.balance,
    )
    return Answer(explained, cut.position, state.version)


async def _kept_state(connection: Connection, user_id: str, cut: Cut) -> PointsAccount:
    """What a snapshot holds that is not younger than the cut; nothing where there is none."""
    row = await connection.fetchrow(SNAPSHOT, ids.account_stream(user_id), _ACCOUNTS.schema)
    if row is None or row["position"] > cut.position:
        return PointsAccount()
    state: PointsAccount = _ACCOUNTS.decode_state(row["state"])
    return state


async def _state_at(
    connection: Connection, user_id: str, cut: Cut, state: PointsAccount, book: "_Book | None"
) -> PointsAccount:
    """The state with the rest of the stream up to the cut taken in, each change written into the book."""
    start, more = 1, True
    while more:
        page = await read_stream(
            connection,
            ids.account_stream(user_id),
            state.version,
            start,
            cut.position,
            _EVENTS_AT_ONCE,
            metadata=False,
        )
        for logged in page.events:
            if isinstance(logged.event, Undecodable):
                raise logged.event.error
            if book is not None:
                _note(book, logged)
            evolve(state, logged.event)
        start, more = page.up_to + 1, len(page.events) == _EVENTS_AT_ONCE
    if not state.exists:
        raise UserNotFound(f"No account for user {user_id} at position {cut.position}.")
    return state


def _note(book: "_Book", logged: LogEvent) -> None:
    """What the event changed, by its amount: not by the balance it says it led to, which is what is to be explained."""
    sign = _SIGNS.get(type(logged.event))
    if sign is not None and logged.event.amount:
        book.add(logged.position, logged.type, sign * logged.event.amount)


async def _account(connection: Connection, user_id: str, state: PointsAccount, cut: Cut) -> AccountState:
    """The level is that of the programme as it was then."""
    programme = await programme_at(connection, cut.position)
    lots = [lot for lot in state.live_lots() if lot.expires_at is None or lot.expires_at > cut.at]
    return AccountState(
        user_id,
        available(state, cut.at),
        state.lifetime,
        level_at(programme, state.lifetime).name,
        lots[:MOST_LOTS],
        len(lots),
        state.locked,
        state.version,
        cut.position,
        cut.at,
    )


class _Book:
    """The lines, and their sum."""

    def __init__(self) -> None:
        self.balance = 0
        self.count = 0
        self._lines: deque[BalanceLine] = deque()
        self._before: BalanceLine | None = None

    def add(self, position: int | None, kind: str, change: int) -> None:
        self.balance += change
        self.count += 1
        self._lines.append(BalanceLine(position, kind, change, self.balance))
        if len(self._lines) > MOST_LINES:
            first = self._lines.popleft()
            self._before = BalanceLine(first.position, BROUGHT_FORWARD, first.balance_after, first.balance_after)

    def lines(self) -> list[BalanceLine]:
        return [*([self._before] if self._before else []), *self._lines]
