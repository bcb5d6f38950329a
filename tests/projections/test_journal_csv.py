"""The CSV opened by others: Python's csv, DuckDB and LibreOffice read the same rows and the same totals."""

import asyncio
import csv
import io
import json
import os
import shutil
import subprocess
from collections import defaultdict
from decimal import Decimal

import pytest

from ledger.domain import points
from projections.journal import JOURNAL
from projections.journal_export import _Lines
from projections.runner import Runner
from tests.projections.test_journal import a_payment, rows_of, taken

ODD = [
    "=HYPERLINK(1)", "+1", "-1", "@SUM(A1)", "\tx", "\rx", 'say "hi", twice', "two\nlines", "two\r\nlines", "\n", '"', '=",\n"',
    "Straße ☃", " =not first", "'quoted", "1e5", "\\.", "\\N",
]  # fmt: skip
SOFFICE = shutil.which("soffice")


@pytest.fixture
async def history(ledger, append, pool):
    await ledger.open("ann", "-ann")
    for number, text in enumerate(ODD):
        await ledger(points.EarnPoints("-ann", 10 + number, "bonus", f"={number}", description=text), actor="-1+2")
    await ledger.spend("-ann", 7)
    for number, currency in enumerate(("USD", "JPY", "USDC", "KWD")):
        await a_payment(append, number, currency)
    await Runner(pool, [JOURNAL]).catch_up()


def harmless(text):
    return "'" + text if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def sums(rows):
    totals = defaultdict(lambda: [Decimal(0), Decimal(0)])
    for currency, debit, credit in rows:
        totals[currency][0] += Decimal(str(debit))
        totals[currency][1] += Decimal(str(credit))
    return dict(totals)


async def expected_sums(pool):
    return sums(
        (r["currency"], Decimal(max(r["amount"], 0)).scaleb(-r["decimals"]), Decimal(max(-r["amount"], 0)).scaleb(-r["decimals"]))
        for r in await rows_of(pool)
    )  # fmt: skip


async def test_python_reads_every_row_and_every_text(history, pool, models):
    text, _ = await taken(models)
    read = list(csv.DictReader(io.StringIO(text.decode(), newline=""), strict=True))
    rows = await rows_of(pool)
    assert len(read) == len(rows)
    for got, row in zip(read, rows, strict=True):
        unit = 10 ** row["decimals"]
        assert Decimal(got["debit"]) - Decimal(got["credit"]) == Decimal(row["amount"]) / unit
        assert Decimal(got["balance_after"]) == Decimal(row["balance_after"]) / unit
        assert len(got["balance_after"].partition(".")[2]) == row["decimals"]
        assert got["recorded_at"] == row["recorded_at"].isoformat(timespec="microseconds").replace("+00:00", "Z")
        assert got["event_hash"] == row["event_hash"].hex()
        assert (int(got["position"]), int(got["entry"])) == (row["position"], row["entry"])
        for column in ("account", "currency", "stream", "event_type"):
            assert got[column] == row[column]
        for column in ("user_id", "reference", "description", "actor", "purchase_request_id", "payment_id"):
            assert got[column] == harmless(row[column] or "")
    assert {row["description"] for row in rows} >= set(ODD)
    assert sums((r["currency"], r["debit"], r["credit"]) for r in read) == await expected_sums(pool)
    assert all(debit == credit for debit, credit in (await expected_sums(pool)).values())


async def test_every_line_ends_with_crlf_and_no_other_byte_is_changed(history, models):
    text, _ = await taken(models)
    rows = list(csv.reader(io.StringIO(text.decode(), newline=""), strict=True))
    again = io.StringIO(newline="")
    csv.writer(again, lineterminator="\r\n").writerows(rows)
    assert again.getvalue().count("\r\n") == text.decode().count("\r\n")
    assert text.endswith(b"\r\n")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_line_ends_the_same_wherever_the_text_is_cut_into_pieces(size):
    plain = b'a,"b\nc",d\n"""\n","\n"\nx\n"",""\n'
    lines = _Lines()
    made = b"".join(lines.ended(plain[at : at + size]) for at in range(0, len(plain), size))
    assert made == b'a,"b\nc",d\r\n"""\n","\n"\r\nx\r\n"",""\r\n'


async def test_duckdb_reads_the_same_totals(history, pool, models, tmp_path):
    duckdb = pytest.importorskip("duckdb") if "CI" not in os.environ else __import__("duckdb")
    file = tmp_path / "journal.csv"
    file.write_bytes((await taken(models))[0])
    columns = "SELECT currency, debit::DECIMAL(38, 6), credit::DECIMAL(38, 6) FROM"
    found = duckdb.sql(
        f"{columns} read_csv('{file}', header = true, all_varchar = true, new_line = '\\r\\n')"
    ).fetchall()
    assert sums(found) == await expected_sums(pool)
    assert len(found) == len(await rows_of(pool))


@pytest.mark.slow
@pytest.mark.skipif(
    SOFFICE is None, reason="soffice is not installed (.ci/run does: apt-get install libreoffice-calc-nogui)"
)
async def test_libreoffice_reads_the_same_totals_and_calculates_nothing(history, pool, models, tmp_path):
    assert SOFFICE is not None
    (tmp_path / "journal.csv").write_bytes((await taken(models))[0])
    # Comma, quotes, UTF-8, from the first line; cells are detected as numbers and formulas as for a person.
    reading = "CSV:44,34,76,1,,1033,false,true,false,false,false,-1"
    arguments = [
        "--headless",
        f"-env:UserInstallation=file://{tmp_path}/profile",
        "--convert-to",
        "fods",
        "--outdir",
        str(tmp_path),
    ]
    await asyncio.to_thread(
        subprocess.run,
        [SOFFICE, *arguments, f"--infilter={reading}", str(tmp_path / "journal.csv")],
        check=True,
        capture_output=True,
        timeout=120,
    )
    sheet = (tmp_path / "journal.fods").read_text()
    assert "table:formula" not in sheet
    read = table_of(sheet)
    header, body = read[0], read[1:]
    places = [header.index(column) for column in ("currency", "debit", "credit")]
    assert sums(tuple(row[place] for place in places) for row in body) == await expected_sums(pool)


def table_of(sheet):
    """Rows of a flat ODS file; a number as it is stored, not as it is shown."""
    import xml.etree.ElementTree as ET

    office, table = (
        "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}",
        "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}",
    )
    rows = []
    for row in ET.fromstring(sheet).iter(f"{table}table-row"):
        cells = []
        for cell in row.iter(f"{table}table-cell"):
            value = cell.get(f"{office}value") or "".join(cell.itertext()).strip()
            cells += [value] * int(cell.get(f"{table}number-columns-repeated", "1"))
        if any(cells):
            rows.append(cells)
    return rows


async def test_ndjson_says_the_same_with_texts_as_they_are(history, pool, models):
    text, _ = await taken(models, format_="ndjson")
    read = [json.loads(line) for line in text.decode().removesuffix("\n").split("\n")]
    rows = await rows_of(pool)
    assert [(r["position"], r["entry"], r["description"], r["user_id"]) for r in read] == [
        (r["position"], r["entry"], r["description"], r["user_id"]) for r in rows
    ]
    assert sums((r["currency"], r["debit"], r["credit"]) for r in read) == await expected_sums(pool)
