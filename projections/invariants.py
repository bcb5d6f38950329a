"""What must hold between read models, asked again and again: buckets, postings, purchases and points say the same.

Each invariant is a query for what breaks it. All are asked in one snapshot, so that read models at the same position are
compared without a lock. One whose read models are at different positions is left for the next time.
Imports `ledger` only. Read next: `../workers/invariants.py`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from ledger.domain.payment_events import BUCKETS
from projections.catalogue import projection_named
from projections.projection import Connection, Pool
from projections.read_models import snapshot_of

EXAMPLES_AT_MOST: Final = 5
STATEMENT_SECONDS: Final = 300


class Invariant(msgspec.Struct, frozen=True, kw_only=True):
    """A sentence that must be true. `broken` selects one text a row for each thing of which it is not.

    Tables are written `{payments}`, `{journal_accounts}`: the name of the read model, and of the part if it has several.
    """

    name: str
    meaning: str
    reads: tuple[str, ...]
    broken: str


def _of_purchases(kind: str, buckets: str) -> str:
    """Accounts of that kind against the buckets of all payments of the purchase."""
    return f"""
SELECT coalesce(j.account, '{kind}:' || p.purchase_id) || ' ' || coalesce(j.currency, p.currency) AS broken
FROM (SELECT account, currency, balance FROM {{journal_accounts}} WHERE account LIKE '{kind}:%') AS j
FULL JOIN (
  SELECT purchase_id, currency, sum({buckets}) AS minor FROM {{payments}} GROUP BY purchase_id, currency
) AS p ON j.account = '{kind}:' || p.purchase_id AND j.currency = p.currency
WHERE coalesce(j.balance, 0) <> -coalesce(p.minor, 0)
"""


INVARIANTS: Final[tuple[Invariant, ...]] = (
    Invariant(
        name="buckets_are_gross",
        meaning="The buckets of each payment are its gross, and none is negative.",
        reads=("payments",),
        broken=f"SELECT payment_id AS broken FROM {{payments}} WHERE gross <> {' + '.join(BUCKETS)} "
        f"OR least({', '.join(BUCKETS)}, suspense) < 0 OR gross > due_minor",
    ),
    Invariant(
        name="journal_sums_to_zero",
        meaning="All accounts of the journal together are zero in each currency.",
        reads=("journal",),
        broken="SELECT currency AS broken FROM {journal_accounts} GROUP BY currency HAVING sum(balance) <> 0",
    ),
    Invariant(
        name="escrow_is_held",
        meaning="The escrow account of each purchase is what its payments hold.",
        reads=("journal", "payments"),
        broken=_of_purchases("escrow", "held"),
    ),
    Invariant(
        name="disputed_is_disputed",
        meaning="The disputed account of each purchase is what its payments have in dispute.",
        reads=("journal", "payments"),
        broken=_of_purchases("disputed", "disputed"),
    ),
    Invariant(
        name="reserved_is_instructed",
        meaning="The reserved account of each purchase is what its payments are releasing and refunding.",
        reads=("journal", "payments"),
        broken=_of_purchases("reserved", "releasing + refunding"),
    ),
    Invariant(
        name="suspense_is_listed",
        meaning="The suspense account is what the open items of suspense hold.",
        reads=("journal", "suspense"),
        broken="""
SELECT coalesce(j.currency, s.currency) AS broken
FROM (SELECT currency, balance FROM {journal_accounts} WHERE account = 'suspense') AS j
FULL JOIN (SELECT currency, sum(rest_minor) AS minor FROM {suspense} GROUP BY currency) AS s USING (currency)
WHERE coalesce(j.balance, 0) <> -coalesce(s.minor, 0)
""",
    ),
    Invariant(
        name="purchases_show_their_payment",
        meaning="A purchase shows the status and escrow state that its payment has.",
        reads=("payments", "purchases"),
        broken="""
SELECT u.purchase_id AS broken
FROM {purchases} AS u
LEFT JOIN {purchases_payments} AS s ON s.payment_id = u.payment_id
LEFT JOIN {payments} AS p ON p.payment_id = u.payment_id
WHERE u.payment_id <> '' AND (s.status, s.escrow_state) IS DISTINCT FROM (p.status, p.escrow_state)
""",
    ),
    Invariant(
        name="points_are_lots",
        meaning="The recorded balance of each account is what its lots hold.",
        reads=("points",),
        broken="""
SELECT a.user_id AS broken
FROM {points} AS a
LEFT JOIN (SELECT user_id, sum(remaining) AS points FROM {points_lots} GROUP BY user_id) AS l USING (user_id)
WHERE a.balance <> coalesce(l.points, 0)
""",
    ),
    Invariant(
        name="journal_has_the_points",
        meaning="A member's account in the journal is their recorded balance.",
        reads=("journal", "points"),
        broken="""
SELECT coalesce(substr(j.account, 8), a.user_id) AS broken
FROM (SELECT account, balance FROM {journal_accounts} WHERE account LIKE 'member:%' AND currency = 'PTS') AS j
FULL JOIN (SELECT user_id, balance FROM {points} WHERE balance > 0) AS a ON j.account = 'member:' || a.user_id
WHERE coalesce(j.balance, 0) <> -coalesce(a.balance, 0)
""",
    ),
)


class Checked(msgspec.Struct, frozen=True, rename="camel"):
    """An invariant and when it was last asked: `broken` things at that position, some of them by name."""

    name: str
    meaning: str
    checked_at: datetime | None
    position: int | None
    broken: int
    examples: list[str]


async def check_invariants(pool: Pool) -> list[str]:
    """Ask all, and write down what was found. The names of those that are broken."""
    found: list[tuple[str, int, int, list[str]]] = []
    async with pool.acquire() as connection:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await connection.execute(f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'")
            for invariant in INVARIANTS:
                outcome = await _check(connection, invariant)
                if outcome is not None:
                    found.append((invariant.name, *outcome))
        await connection.executemany(
            "INSERT INTO ledger.invariants (name, position, broken, examples) VALUES ($1, $2, $3, $4) "
            "ON CONFLICT (name) DO UPDATE SET checked_at = clock_timestamp(), position = excluded.position, "
            "broken = excluded.broken, examples = excluded.examples",
            found,
        )
    return [name for name, _, broken, _ in found if broken]


async def _check(connection: Connection, invariant: Invariant) -> tuple[int, int, list[str]] | None:
    """(position, how many, some of them); None where it cannot be asked: not built yet, parked, or out of step."""
    names: dict[str, str] = {}
    positions = set()
    for name in invariant.reads:
        seen = await snapshot_of(connection, projection_named(name))
        if seen is None:
            return None
        positions.add(seen.position)
        names |= {name if part == "main" else f"{name}_{part}": table for part, table in seen.tables.items()}
    if len(positions) > 1:
        return None
    parked = await connection.fetchval(
        "SELECT count(*) FROM read_models.dead_letters WHERE name = ANY($1) AND state = 'parked'", [*invariant.reads]
    )
    if parked:
        return None  # a parked stream is behind the others, which is told elsewhere
    row = await connection.fetchrow(
        f"SELECT count(*) AS broken, coalesce((array_agg(q.broken))[1:{EXAMPLES_AT_MOST}], '{{}}') AS examples "
        f"FROM ({invariant.broken.format_map(names)}) AS q"
    )
    assert row is not None, "an aggregate always has its row"
    return positions.pop(), row["broken"], row["examples"]


async def list_invariants(pool: Pool) -> list[Checked]:
    """All of them, with what was found the last time each was asked."""
    rows: Mapping[str, Any] = {row["name"]: row for row in await pool.fetch("SELECT * FROM ledger.invariants")}
    return [
        Checked(
            invariant.name,
            invariant.meaning,
            row["checked_at"] if row else None,
            row["position"] if row else None,
            row["broken"] if row else 0,
            row["examples"] if row else [],
        )
        for invariant in INVARIANTS
        for row in (rows.get(invariant.name),)
    ]
