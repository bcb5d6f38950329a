"""Payments counted: how many, and how much, in every status, every escrow state and every bucket, per currency.

Of the same rows as the list, each in exactly one status and one escrow state. Imports `ledger` only.
Read next: `payment_scope.py`.
"""

from collections.abc import Iterable
from typing import Any, Final, TypeVar

import msgspec

from ledger.domain.payment_events import ESCROW_STATES, PAYMENT_STATUSES
from ledger.errors import CorruptionError
from ledger.money import MoneyText, money_text
from ledger.payment_views import BUCKET_FIELDS
from projections.payment_scope import PaymentScope
from projections.payments import PAYMENTS_MODEL
from projections.read_models import Answer, ReadModels


class Total(msgspec.Struct, frozen=True):
    """So many payments, so much money."""

    count: int
    amount: MoneyText


class StatusTotals(msgspec.Struct, frozen=True, rename="camel"):
    """Each payment once, with the amount that is due on it."""

    cancelled: Total
    refunded: Total
    completed: Total
    confirmed: Total
    partial: Total
    failed: Total
    processing: Total
    pending: Total


class EscrowTotals(msgspec.Struct, frozen=True, rename="camel"):
    """Each payment once, with the amount that is due on it."""

    releasing: Total
    refunding: Total
    partial: Total
    releasable: Total
    funded: Total
    released: Total
    refunded: Total
    cancelled: Total
    failed: Total
    none: Total


class BucketTotals(msgspec.Struct, frozen=True, rename="camel"):
    """What all payments together have there, and how many have something there."""

    gross: Total
    provider_fees: Total
    platform_fees: Total
    held: Total
    disputed: Total
    releasing: Total
    refunding: Total
    released: Total
    refunded: Total
    suspense: Total


class CurrencyStats(msgspec.Struct, frozen=True, rename="camel"):
    """All payments in one currency; `amount` is what is due on them."""

    currency: str
    count: int
    amount: MoneyText
    statuses: StatusTotals
    escrow_states: EscrowTotals
    buckets: BucketTotals


class PaymentStats(msgspec.Struct, frozen=True):
    """By currency, in alphabetical order; none where there are no payments."""

    currencies: list[CurrencyStats]


Totals = TypeVar("Totals", StatusTotals, EscrowTotals, BucketTotals)


def check_complete(totals: type[msgspec.Struct], words: Iterable[str]) -> None:
    """The service does not start with a status, escrow state or bucket that would be counted nowhere."""
    missing = set(words) ^ set(totals.__struct_fields__)
    if missing:
        raise TypeError(f"{totals.__name__} and the domain disagree about {', '.join(sorted(missing))}")


check_complete(StatusTotals, PAYMENT_STATUSES)
check_complete(EscrowTotals, ESCROW_STATES)
check_complete(BucketTotals, BUCKET_FIELDS)

_COUNTS: Final = ", ".join(f"count(*) FILTER (WHERE t.{bucket} > 0) AS {bucket}_count" for bucket in BUCKET_FIELDS)
_SUMS: Final = ", ".join(f"sum(t.{bucket})::numeric AS {bucket}" for bucket in BUCKET_FIELDS)


async def get_payment_stats(models: ReadModels, scope: PaymentScope, *, min_position: int = 0) -> Answer[PaymentStats]:
    """The payments of the scope, counted at one moment."""
    rows, arguments = scope.rows(1)
    found = await models.read(
        PAYMENTS_MODEL,
        f"SELECT t.currency, t.status, t.escrow_state, count(*) AS payments, sum(t.due_minor)::numeric AS due, "
        f"{_COUNTS}, {_SUMS} FROM {rows} GROUP BY t.currency, t.status, t.escrow_state",
        *arguments,
        min_position=min_position,
    )
    by_currency: dict[str, list[Any]] = {}
    for row in found.rows:
        by_currency.setdefault(row["currency"], []).append(row)
    stats = PaymentStats([_stats(currency, rows) for currency, rows in sorted(by_currency.items())])
    return Answer(stats, found.position, 0, found.meta())


def _stats(currency: str, rows: list[Any]) -> CurrencyStats:
    """`rows` are the groups of one currency, one a status and escrow state."""

    def total(count: int, minor: int) -> Total:
        return Total(count, money_text(minor, currency))

    def by(column: str, kind: type[Totals]) -> Totals:
        sums = {word: [0, 0] for word in kind.__struct_fields__}
        for row in rows:
            if row[column] not in sums:
                msg = f"a payment has the {column} {row[column]}, which is none"
                raise CorruptionError(msg)
            sums[row[column]][0] += row["payments"]
            sums[row[column]][1] += int(row["due"])
        return kind(**{word: total(*pair) for word, pair in sums.items()})

    buckets = {
        bucket: total(sum(row[f"{bucket}_count"] for row in rows), int(sum(row[bucket] for row in rows)))
        for bucket in BUCKET_FIELDS
    }
    return CurrencyStats(
        currency,
        sum(row["payments"] for row in rows),
        money_text(int(sum(row["due"] for row in rows)), currency),
        by("status", StatusTotals),
        by("escrow_state", EscrowTotals),
        BucketTotals(**buckets),
    )
