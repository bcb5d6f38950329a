"""Rows and arrays written as text arrive as the values they were, whatever is in them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from projections.as_text import array_as_text, copy_as_text

WORDS = [
    "m1",
    "",
    "null",
    "NULL",
    "a,b",
    "{a}",
    "[1]",
    "(x)",
    " ",
    "é€😀",
    'say "no"',
    "back\\slash",
    "two\nlines",
    "]\n[",
    "\t",
    "\\N",
]
ROWS = [
    (word, number, number % 2 == 0, datetime(2026, 11, 27, 12, 0, 0, number, UTC), None if number % 3 else 2**63 - 1)
    for number, word in enumerate(WORDS)
]
ROWS += [
    ("before", -1, None, datetime(2, 1, 1, tzinfo=UTC), -(2**63)),
    ("after", -2, False, datetime(9998, 12, 31, 23, 59, 59, 999_999, UTC), 0),
    ("elsewhere", -3, True, datetime(1969, 7, 20, 22, 17, tzinfo=timezone(timedelta(hours=5, minutes=30))), -1),
]
COLUMNS = ("word", "number", "flag", "at", "large")


@pytest.mark.parametrize("rows", [ROWS, ROWS[:10], ROWS[:1], ROWS[-3:]], ids=["escapes", "none", "one", "far"])
async def test_a_row_is_what_it_was(pool, rows):
    async with pool.acquire() as connection:
        await connection.execute("DROP TABLE IF EXISTS read_models.as_text")
        await connection.execute(
            "CREATE TABLE read_models.as_text (word text, number integer, flag boolean, at timestamptz, large bigint)"
        )
        await copy_as_text(connection, "read_models.as_text", COLUMNS, rows)
        found = await connection.fetch("SELECT * FROM read_models.as_text ORDER BY number")
        rows = sorted(rows, key=lambda row: row[1])
        await connection.execute("DROP TABLE read_models.as_text")
    assert [tuple(row) for row in found] == rows


@pytest.mark.parametrize("rows", [ROWS, ROWS[:10], [], ROWS[-3:]], ids=["escapes", "none", "empty", "far"])
async def test_an_array_is_what_it_was(pool, rows):
    columns = list(zip(*rows, strict=True)) or [()] * len(COLUMNS)
    found = await pool.fetchrow(
        "SELECT $1::text::text[], $2::text::integer[], $3::text::boolean[], $4::text::timestamptz[], $5::text::bigint[]",
        *map(array_as_text, columns),
    )
    assert [tuple(array) for array in found] == columns
