"""The trial balance: what every account held at one position, and that it comes to nothing in every currency.

Imports `ledger` only. Read next: `journal.py`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

import msgspec

from ledger.errors import InvalidCommand
from ledger.journal import POINTS
from ledger.money import MoneyText, format_minor
from projections.cuts import find_cut
from projections.history import AsOf
from projections.journal import of_account, whole_journal
from projections.read_models import STREAMED_AT_ONCE, ReadModels, Stream

# An account nobody has posted to since stands where it stood; of the others, the last posting up to there tells.
_BALANCES: Final = """
SELECT a.account, a.currency, coalesce(past.balance_after, a.balance) AS balance
FROM {{accounts}} AS a
LEFT JOIN LATERAL (
  SELECT p.balance_after FROM {{main}} AS p
  WHERE a.position > $1 AND p.account = a.account AND p.currency = a.currency AND p.position <= $1
  ORDER BY p.position DESC, p.entry DESC LIMIT 1
) AS past ON true
WHERE (a.position <= $1 OR past.balance_after IS NOT NULL){tests}
ORDER BY a.account, a.currency
"""


class BalanceView(msgspec.Struct, frozen=True):
    """What an account held. `balance` is debits less credits: a member's 320 points read -320."""

    account: str
    currency: str
    debit: MoneyText
    credit: MoneyText
    balance: MoneyText


class Totals:
    """The sums of the accounts seen, by currency: debits, credits, and what they come to."""

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self._by_currency: dict[str, list[int]] = {}

    def add(self, row: Any) -> None:
        """One account."""
        sums = self._by_currency.setdefault(row["currency"], [0, 0])
        sums[row["balance"] < 0] += abs(row["balance"])

    def views(self) -> list[BalanceView]:
        """One for each currency, with no account's name."""
        return [balance_view("", currency, d, c) for currency, (d, c) in sorted(self._by_currency.items())]


@asynccontextmanager
async def stream_balances(
    models: ReadModels,
    as_of: AsOf,
    now: datetime,
    *,
    account: str | None = None,
    currency: str | None = None,
    min_position: int = 0,
) -> AsyncIterator[Stream]:
    """Every account that was ever posted to by then, in the order of names. `position` is the cut."""
    asked = 0
    if as_of is not None:
        async with models.pool.acquire() as connection:
            asked = (await find_cut(connection, as_of, now)).position
    async with whole_journal(models, min_position=max(min_position, asked)) as seen:
        position = seen.position if as_of is None else asked
        given: list[object] = [position]
        tests = ""
        if account is not None:
            given.append(account)
            tests += f" AND {of_account(len(given)).replace('account ', 'a.account ')}"
        if currency is not None:
            given.append(currency)
            tests += f" AND a.currency = ${len(given)}"
        query = _BALANCES.format(tests=tests).format_map(seen.tables)
        yield Stream(seen.connection.cursor(query, *given, prefetch=STREAMED_AT_ONCE), position)


def view_of(row: Any) -> BalanceView:
    """A row of `stream_balances`."""
    balance = row["balance"]
    return balance_view(row["account"], row["currency"], max(balance, 0), max(-balance, 0))


def balance_view(account: str, currency: str, debit: int, credit: int) -> BalanceView:
    """As it goes out, each side and what they come to."""
    return BalanceView(
        account, currency, signed_money(debit, currency), signed_money(credit, currency),
        signed_money(debit - credit, currency),
    )  # fmt: skip


def signed_money(minor: int, currency: str) -> MoneyText:
    """A debit, or a credit with a minus before it; points are whole."""
    digits = str(abs(minor)) if currency == POINTS else format_minor(abs(minor), currency)
    return MoneyText(("-" if minor < 0 else "") + digits, currency)


def one_instant(as_of: AsOf, at: AsOf) -> AsOf:
    """`asOf`, or `at`, which is another name of it. Refused: both."""
    if as_of is not None and at is not None:
        raise InvalidCommand.field("at", "is another name of asOf: give one of them.")
    return at if as_of is None else as_of
