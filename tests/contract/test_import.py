"""Importing points from a file: all of it or nothing of it, once however often, and totals that add up."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from ledger import importer
from ledger.decision import Origin
from ledger.domain.points import EarnPoints
from ledger.errors import CorruptionError
from ledger.handler import Handler, RegisterMember
from ledger.import_rows import CheckedRows, ImportFile, ImportRefusedError
from ledger.importer import FileTotal, Imported, Total, append, check
from ledger.store.append import PostgresStore
from ledger.store.bulk import BulkCommitter
from ledger.store.codec import Actor
from ledger.store.known_keys import KnownKeys

HEADER = "userId,amount,source,reference,occurredAt,expiresAt"


class Desk:
    """Everything an import needs, on one database."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder

    async def open(self) -> "Desk":
        self.store = await PostgresStore(self.url).open()
        self.committer = BulkCommitter(self.store, batch_limit=importer.BATCH)
        await self.committer.start()
        self.known_keys = await KnownKeys.open(self.url)
        return self

    async def close(self) -> None:
        await self.committer.stop()
        await self.store.close()
        await self.known_keys.close()

    def file(self, *rows: str, header: str = HEADER, opening: bool = False) -> ImportFile:
        path = self.folder / "points.csv"
        path.write_bytes("\n".join([header, *rows, ""]).encode())
        return ImportFile(path, opening=opening, now=datetime.now(UTC))

    async def run(self, *rows: str, header: str = HEADER, opening: bool = False, on_progress=None) -> Imported:
        file = self.file(*rows, header=header, opening=opening)
        with contextlib.closing(file), contextlib.closing(CheckedRows()) as checked:
            total = await check(file, self.known_keys, lambda _: None, checked)
            return await append(checked, total, self.known_keys, self.committer, on_progress or (lambda _: None))

    async def problems(self, *rows: str, header: str = HEADER, opening: bool = False) -> list[tuple[int, str]]:
        with pytest.raises(ImportRefusedError) as refused:
            await self.run(*rows, header=header, opening=opening)
        assert await self.events() == 0
        return [(problem.line, problem.message) for problem in refused.value.problems]

    async def events(self) -> int:
        return await self.store.head()

    async def types(self, user_id: str) -> list[str]:
        return [event.type for event in await self.store.read_stream(f"account-{user_id}")]


@pytest.fixture
async def desk(database_url, tmp_path) -> AsyncIterator[Desk]:
    opened = await Desk(database_url, tmp_path).open()
    yield opened
    await opened.close()


async def test_rows_open_accounts_and_add_points_with_every_level_they_cross(desk):
    done = await desk.run(
        "u1,1200,purchase,order-1,2026-01-01T00:00:00Z,never", "u1,5,bonus,b-1,,", "u2,7,review,r-1,,"
    )
    assert done.appended == Total(3, 1212)
    assert (done.accounts_opened, done.balance_moved) == (2, 1212)
    assert await desk.types("u1") == [
        "points.account-opened.v1",
        "points.earned.v1",
        "points.level-crossed.v1",
        "points.earned.v1",
    ]


async def test_running_it_twice_changes_nothing(desk):
    rows = [f"u{n % 7},{n + 1},purchase,order-{n},," for n in range(50)]
    first = await desk.run(*rows)
    head = await desk.events()
    second = await desk.run(*rows)
    assert await desk.events() == head
    assert second.appended == Total()
    assert second.already_there == first.appended == Total(50, 1275)
    assert second.balance_moved == 0


async def test_a_second_file_may_hold_rows_of_the_first(desk):
    await desk.run("u1,5,bonus,b-1,,")
    done = await desk.run("u1,5,bonus,b-1,,", "u1,6,bonus,b-2,,")
    assert (done.already_there, done.appended) == (Total(1, 5), Total(1, 6))


async def test_one_bad_row_and_nothing_is_appended(desk):
    rows = [f"u{n},1,purchase,order-{n},," for n in range(5000)]
    assert await desk.problems(*rows, "u1,0,purchase,last,,") == [
        (5002, "amount: 0 is not from 1 to 9007199254740991.")
    ]


async def test_the_same_reference_of_a_user_and_source_twice_is_refused(desk):
    rows = ["u1,5,bonus,b,,", "u1,5,review,b,,", "u2,5,bonus,b,,", "u1,6,bonus,b,,"]
    assert await desk.problems(*rows) == [(5, "has the userId, source and reference of line 2.")]


async def test_only_the_first_hundred_bad_rows_are_kept_and_all_are_counted(desk):
    file = desk.file(*(f"u{n},0,bonus,b{n},," for n in range(1000)))
    with contextlib.closing(file), contextlib.closing(CheckedRows()) as checked:
        with pytest.raises(ImportRefusedError, match="1000 bad rows; nothing") as refused:
            await check(file, desk.known_keys, lambda _: None, checked)
        assert [*checked.batches()] == []
    assert [problem.line for problem in refused.value.problems] == list(range(2, 102))


async def test_opening_balances_need_neither_source_nor_reference(desk):
    done = await desk.run("u1,500", "u2,20", header="userId,amount", opening=True)
    assert done.file.by_source == {"opening": Total(2, 520)}
    assert done.balance_moved == 520
    events = await desk.store.read_stream("account-u1")
    assert events[-1].type == "points.granted.v1"
    assert b'"reason":"Opening balance"' in events[-1].data
    assert b'"expiresAt":null' in events[-1].data
    again = await desk.run("u1,500", "u2,20", header="userId,amount", opening=True)
    assert again.already_there == Total(2, 520)


async def test_a_row_imported_before_with_other_values_is_refused_before_anything_is_appended(desk):
    await desk.run("u1,5,bonus,b,,")
    head = await desk.events()
    with pytest.raises(ImportRefusedError) as refused:
        await desk.run("u9,1,bonus,x,,", "u1,6,bonus,b,,")
    assert [(p.line, p.message) for p in refused.value.problems] == [(3, "was imported before, with other values.")]
    assert await desk.events() == head


async def test_points_earned_by_other_means_are_counted_and_left_as_they_are(desk):
    handler = Handler(desk.committer)
    now = datetime.now(UTC)
    origin = Origin(Actor("shop", "service"), now, bytes(32), "r", "c")
    await handler.handle(RegisterMember("u1", "Ann"), origin)
    await handler.handle(EarnPoints("u1", 5, "purchase", "order-1"), origin)
    done = await desk.run("u1,5,purchase,order-1,,", "u1,9,purchase,order-2,,")
    assert (done.earned_otherwise, done.appended) == (Total(1, 5), Total(1, 9))


async def test_points_past_their_deadline_count_in_lifetime_and_move_no_balance(desk):
    done = await desk.run("u1,5,purchase,old,2020-01-01,", "u1,7,purchase,new,,never")
    assert (done.appended, done.balance_moved) == (Total(2, 12), 7)
    assert "points.expired.v1" in await desk.types("u1")


async def test_the_metadata_says_which_file_it_came_from(desk):
    done = await desk.run("u1,5,bonus,b,,")
    event = (await desk.store.read_stream("account-u1"))[-1]
    assert b'"actor":{"id":"import","role":"admin"}' in event.metadata
    assert f'"requestId":"{done.file.sha256[:32]}"'.encode() in event.metadata
    assert b'"key":"import:bonus/b/u1"' in event.metadata


async def test_an_import_that_stops_half_way_goes_on_when_it_is_run_again(desk, monkeypatch):
    monkeypatch.setattr(importer, "BATCH", 100)
    rows = [f"u{n % 37},{n + 1},purchase,order-{n},," for n in range(1000)]
    seen = 0

    def stop_half_way(done_rows: int) -> None:
        nonlocal seen
        seen = done_rows
        if done_rows >= 400:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await desk.run(*rows, on_progress=stop_half_way)
    rest = await desk.run(*rows)
    assert rest.already_there.rows >= seen
    assert rest.appended.rows == 1000 - rest.already_there.rows > 0
    assert await sums(desk.url) == (1000, sum(range(1, 1001)))


async def test_a_file_that_changes_while_it_is_checked_is_refused(desk, monkeypatch):
    monkeypatch.setattr(importer, "BATCH", 1)

    path = desk.folder / "points.csv"

    def one_more(_: int) -> None:
        if "u3" not in path.read_text():
            with path.open("a") as more:
                more.write("u3,6,bonus,c,,\n")

    file = desk.file("u1,5,bonus,b,,", "u2,5,bonus,b,,")
    with (
        contextlib.closing(file),
        contextlib.closing(CheckedRows()) as checked,
        pytest.raises(ImportRefusedError, match="the file changes while it is imported"),
    ):
        await check(file, desk.known_keys, one_more, checked)
    assert await desk.events() == 0


async def test_what_was_checked_is_appended_whatever_becomes_of_the_file(desk):
    with contextlib.closing(desk.file("u1,5,bonus,b,,")) as file, contextlib.closing(CheckedRows()) as checked:
        total = await check(file, desk.known_keys, lambda _: None, checked)
        (desk.folder / "points.csv").write_text("something else")
        done = await append(checked, total, desk.known_keys, desk.committer, lambda _: None)
    assert done.appended == Total(1, 5)


async def test_a_row_that_the_balance_refuses_stops_the_import_and_is_named(desk):
    await desk.run("u1,9007199254740991", header="userId,amount", opening=True)
    with pytest.raises(
        ImportRefusedError, match=r"^stopped at line 3: .* would pass .* Run it again to go on"
    ) as refused:
        await desk.run("u2,5,bonus,b,,", "u1,5,bonus,b,,")
    assert "\n" not in str(refused.value)


async def test_totals_that_do_not_add_up_are_never_reported_as_success(desk):
    with contextlib.closing(desk.file("u1,5,bonus,b,,")) as file, contextlib.closing(CheckedRows()) as checked:
        await check(file, desk.known_keys, lambda _: None, checked)
        wrong = FileTotal("0" * 64, Total(2, 5), {}, Total())
        with pytest.raises(CorruptionError, match="2 rows of 5 points, accounted for are 1 of 5"):
            await append(checked, wrong, desk.known_keys, desk.committer, lambda _: None)


async def test_others_may_append_meanwhile(desk, database_url):
    """The same accounts from another process: conflicts are decided again, nothing is lost or doubled."""
    store = await PostgresStore(database_url).open()
    other = BulkCommitter(store)
    await other.start()
    handler = Handler(other)
    stop = asyncio.Event()
    earned = 0

    async def shop() -> None:
        nonlocal earned
        while not stop.is_set():
            origin = Origin(Actor("shop", "service"), datetime.now(UTC) - timedelta(0), bytes(32), "r", "c")
            await handler.handle(RegisterMember(f"u{earned % 20}", "Ann"), origin)
            await handler.handle(EarnPoints(f"u{earned % 20}", 1, "purchase", f"shop-{earned}"), origin)
            earned += 1

    shopping = asyncio.create_task(shop())
    done = await desk.run(*(f"u{n % 20},2,purchase,order-{n},," for n in range(3000)))
    stop.set()
    await shopping
    await other.stop()
    await store.close()
    assert done.appended == Total(3000, 6000)
    assert earned > 0
    assert await sums(database_url) == (3000 + earned, 6000 + earned)


@pytest.mark.slow
async def test_a_killed_import_goes_on_when_it_is_run_again(database_url, tmp_path):
    """The command itself, killed with SIGKILL in the middle."""
    count = 30_000
    file = tmp_path / "points.csv"
    file.write_text("\n".join([HEADER, *(f"u{n % 999},1,purchase,order-{n},," for n in range(count)), ""]))
    environment = {**os.environ, "DATABASE_URL": database_url, "LEDGER_DATA": str(tmp_path / "data")}
    command = [sys.executable, "-m", "api.cli", "import", "--json", str(file)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)  # noqa: ASYNC220  # killed below
    connection = await asyncpg.connect(database_url)
    try:
        while await connection.fetchval("SELECT position FROM ledger.head") < 4000:
            assert process.poll() is None, "it was to be killed before its end"
            await asyncio.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    finally:
        await connection.close()
    assert (await sums(database_url))[0] < count
    again = await asyncio.to_thread(subprocess.run, command, env=environment, capture_output=True, check=False)
    assert again.returncode == 0, again.stderr
    assert await sums(database_url) == (count, count)


async def sums(url: str) -> tuple[int, int]:
    """Earns in the log and their points; the versions of every stream must be without gap."""
    connection = await asyncpg.connect(url)
    try:
        gaps = await connection.fetchval(
            "SELECT count(*) FROM (SELECT stream FROM ledger.events GROUP BY stream HAVING count(*) <> max(version)) AS g"
        )
        assert gaps == 0
        row = await connection.fetchrow(
            "SELECT count(*), sum((convert_from(data, 'UTF8')::jsonb ->> 'amount')::bigint)::bigint FROM ledger.events "
            "WHERE type = 'points.earned.v1'"
        )
        return row[0], row[1]
    finally:
        await connection.close()
