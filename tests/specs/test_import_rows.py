"""What a right row of an import file is: columns, ids, amounts, instants. No services: the file alone."""

import contextlib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec import UNSET

from ledger.import_rows import CheckedRows, ImportFile, ImportRefusedError, Problem, Repetitions, Row

HEADER = "userId,amount,source,reference,occurredAt,expiresAt"
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def read(tmp_path):
    """The rows and problems of a file with these lines."""

    def read_lines(*lines: str | bytes, header: str = HEADER, opening: bool = False) -> list[Row | Problem]:
        path: Path = tmp_path / "points.csv"
        path.write_bytes(b"\n".join(x.encode() if isinstance(x, str) else x for x in (header, *lines, "")))
        with contextlib.closing(ImportFile(path, opening=opening, now=NOW)) as file:
            return [*file.rows()]

    return read_lines


def test_a_row_is_read_as_it_is_written(read):
    [row] = read("u1,5,bonus,b-1,2026-01-01T01:00:00+01:00,2027-01-01")
    assert (row.line, row.user_id, row.amount, row.source, row.reference) == (2, "u1", 5, "bonus", "b-1")
    assert row.occurred_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert row.expires_at == datetime(2027, 1, 1, tzinfo=UTC)
    assert row.key == "import:bonus/b-1/u1"


def test_no_deadline_is_the_default_and_never_is_never(read):
    first, second = read("u1,5,bonus,b-1,,", "u1,5,bonus,b-2,,never")
    assert first.occurred_at is None
    assert first.expires_at is UNSET
    assert second.expires_at is None


def test_rows_come_out_of_the_checking_as_they_went_in(read):
    rows = read(
        "u1,5,bonus,b#1,2026-01-01T01:00:00.000001+01:00,9999-12-31", "u1,5,bonus,b-2,,", "u1,5,bonus,b-3,,never"
    )
    with contextlib.closing(CheckedRows()) as checked:
        for batch in (rows[:2], [], rows[2:]):
            checked.add(batch)
        assert [*checked.batches()] == [rows[:2], [], rows[2:]]
        assert [*checked.batches()] == [rows[:2], [], rows[2:]], "as often as they are asked for"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("u 1,5,bonus,b,,", "userId: 'u 1' is not"),
        (",5,bonus,b,,", "userId: '' is not"),
        ("u1,-5,bonus,b,,", "amount: '-5' is not a whole number of points (a deduction is a command of its own)"),
        ("u1,1.5,bonus,b,,", "amount: '1.5' is not a whole number"),
        ("u1,,bonus,b,,", "amount: '' is not a whole number"),
        ("u1,9007199254740992,bonus,b,,", "amount: 9007199254740992 is not from 1 to"),
        ("u1,5,gift,b,,", "source: 'gift' is not one of purchase, referral, review, bonus"),
        ("u1,5,,b,,", "source: '' is not one of"),
        ("u1,5,bonus,,,", "reference: '' is not 1 to 255 visible characters"),
        ("u1,5,bonus,b,2999-01-01,", "occurredAt: 2999-01-01 lies in the future"),
        ("u1,5,bonus,b,2024-01-01T10:00:00,", "occurredAt: '2024-01-01T10:00:00' is not a date or an instant"),
        ("u1,5,bonus,b,2024-02-30,", "occurredAt: '2024-02-30' is not a date"),
        ("u1,5,bonus,b,2024-01-01,2024-01-01", "expiresAt: 2024-01-01 is not later than occurredAt"),
        ("u1,5,bonus,b,,later", "expiresAt: 'later' is not a date"),
        ("u1,5,bonus,b,", "5 cells, the header has 6"),
        ('u1,5,bonus,"b"c,,', "cannot be read as CSV"),
    ],
)
def test_a_wrong_row_is_named_with_its_line(read, row, message):
    fine, problem = read("u0,1,bonus,fine,,", row)
    assert isinstance(fine, Row)
    assert isinstance(problem, Problem)
    assert problem.line == 3
    assert message in problem.message


def test_text_that_is_not_utf8_is_named_with_its_line(read):
    *_, problem = read("u1,5,bonus,b,,", b"u2,5,bonus,\xe9,,")
    assert (problem.line, problem.message[:22]) == (3, "cannot be read as CSV:")


def test_a_line_without_end_is_not_read_to_its_end(read):
    [problem] = read("u1,5,bonus," + "b" * 100_000)
    assert "longer than 65536 bytes" in problem.message


def test_empty_lines_are_passed_over_and_counted(read):
    [row] = read("", "u1,5,bonus,b,,", "")
    assert row.line == 3


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("", "userId is missing"),
        ("u1,5,bonus,b,,", "'u1' is none"),
        ("userId,amount,source", "reference is missing"),
        ("userId,amount,source,reference,userId", "one is twice"),
        ("userId,amount,source,reference,note", "'note' is none"),
    ],
)
def test_a_header_that_does_not_name_the_columns_is_refused(read, header, message):
    with pytest.raises(ImportRefusedError, match=message):
        read("u1,5,bonus,b,,", header=header)


def test_columns_may_come_in_any_order_and_the_optional_ones_be_left_out(read):
    [row] = read("bonus,b,5,u1", header="\ufeffsource,reference,amount,userId")
    assert (row.user_id, row.amount, row.occurred_at, row.expires_at) == ("u1", 5, None, UNSET)


def test_an_opening_balance_has_no_source_and_may_have_a_reference(read):
    bare, referred, wrong = read("u1,5,,,,", "u1,5,,batch-7,,", "u1,5,bonus,b,,", opening=True)
    assert (bare.key, referred.key) == ("import:opening//u1", "import:opening/batch-7/u1")
    assert wrong.message.startswith("source: an opening balance has none")


def test_what_comes_twice_is_found_among_many():
    repetitions = Repetitions()
    with contextlib.closing(repetitions):
        for line in range(2, 5002):
            repetitions.add(f"key-{line}", line)
        repetitions.add("key-77", 6000)
        assert [*repetitions.found()] == [Problem(6000, "has the userId, source and reference of line 77.")]
