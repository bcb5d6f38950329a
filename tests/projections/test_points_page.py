"""A page that changes some columns of accounts leaves all others as they are, whichever they are, and opens new accounts."""

import itertools
from datetime import UTC, datetime

import pytest

from projections.points_page import ACCOUNTS, PointsPage

AT = datetime(2026, 11, 27, 12, tzinfo=UTC)
BEFORE = ("old", 10, 20, 2, True, 3, 4, AT, "OLDCODE1", 5)
NEW = {"tier": 4, "locked": False, "referral_code": "NEWCODE1", "referrals": 2}
NOTHING = {"tier": None, "locked": None, "referral_code": None, "referrals": 0}


def a_row(user_id, balance, lifetime, changes):
    return [
        user_id, balance, lifetime, changes["tier"], changes["locked"], 7, 8, AT, changes["referral_code"], changes["referrals"],
    ]  # fmt: skip


def after(row, changes, balance, lifetime):
    """What the row is then, said once more and plainly."""
    tier, locked, code = (changes["tier"], changes["locked"], changes["referral_code"])
    return (
        row[0],
        row[1] if balance is None else balance,
        row[2] if lifetime is None else lifetime,
        row[3] if tier is None else tier,
        row[4] if locked is None else locked,
        7,
        8,
        row[7],
        row[8] if code is None else code,
        row[9] + changes["referrals"],
    )


@pytest.mark.parametrize("columns", [c for n in range(5) for c in itertools.combinations(NEW, n)], ids="-".join)
async def test_a_page_changes_what_it_says_and_nothing_else(pool, columns):
    changes = {**NOTHING, **{column: NEW[column] for column in columns}}
    page = PointsPage("read_models.some_accounts", "read_models.some_lots")
    asked = {
        # The first has all the changes, the others none: what one row changes must not touch the next.
        "old": (a_row("old", 11, 21, changes), after(BEFORE, changes, 11, 21)),
        "still": (a_row("still", None, None, NOTHING), after(("still", *BEFORE[1:]), NOTHING, None, None)),
        "unseen": (
            a_row("unseen", None, None, changes),
            after(("unseen", 0, 0, 1, False, 0, 0, AT, None, 0), changes, None, None),
        ),
        "unseen-2": (a_row("unseen-2", 5, 6, NOTHING), ("unseen-2", 5, 6, 1, False, 7, 8, AT, None, 0)),
    }
    page._accounts = {user_id: row for user_id, (row, _) in asked.items()}
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(ACCOUNTS.create("some_accounts"))
        for user_id in ("old", "still"):
            await connection.execute(
                "INSERT INTO read_models.some_accounts VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
                user_id,
                *BEFORE[1:],
            )
        await page.flush(connection)
        found = await connection.fetch("SELECT * FROM read_models.some_accounts")
        await transaction.rollback()
    assert {row["user_id"]: tuple(row) for row in found} == {user_id: row for user_id, (_, row) in asked.items()}
