"""Importing points from a file: everything is checked before anything is appended, and control totals say what was done.

Each row is a command under a key made of its content, so a killed import goes on when it is run again, and running it
twice changes nothing. Rows open the accounts they need. Appending goes through the committer as every command does.
May import: the standard library, msgspec, `ledger`. Read next: `import_rows.py`, `store/committer.py`.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from heapq import nsmallest
from itertools import islice
from typing import Final

import msgspec

from ledger import ids
from ledger.decision import Answer, ClaimOnce, Decision, Origin, View
from ledger.domain import points
from ledger.errors import AlreadyEarned, CorruptionError, IdempotencyKeyReused, LedgerError
from ledger.import_rows import OPENING, CheckedRows, ImportFile, ImportRefusedError, Problem, Repetitions, Row
from ledger.store.bulk import Bulk, BulkCommitter, BulkWork
from ledger.store.codec import Actor
from ledger.store.known_keys import KnownKey, KnownKeys
from ledger.use_cases.points import earn_claim

IMPORTER: Final = Actor("import", "admin")
OPENING_REASON: Final = "Opening balance"
BATCH: Final = 2000
"""Rows that go into one append, if nobody else appends. Others wait while it is written: some 40 ms."""
PROBLEMS_SHOWN: Final = 100

OnProgress = Callable[[int], None]
"""Told how many bytes of the file (checking) or rows (appending) are done."""


class Total(msgspec.Struct):
    """How many rows, and their points."""

    rows: int = 0
    points: int = 0

    def add(self, amount: int) -> None:
        """One more row."""
        self.rows += 1
        self.points += amount


class FileTotal(msgspec.Struct, rename="camel"):
    """The control total of a file. `already_there` were imported before, from this or another file."""

    sha256: str
    all: Total
    by_source: dict[str, Total]
    already_there: Total


class Imported(msgspec.Struct, rename="camel"):
    """What an import did with a file's rows: `appended`, imported before, or earned before by other means.

    `balance_moved` is how much the balances grew: points already past their deadline count in lifetimes only, and an
    account's overdue lots expire before its new points are added.
    """

    file: FileTotal
    appended: Total
    already_there: Total
    earned_otherwise: Total
    accounts_opened: int = 0
    balance_moved: int = 0


class RowAnswer(msgspec.Struct, frozen=True):
    """What is kept of a row: whether it opened its account, and by how much the balance moved."""

    opened: bool
    moved: int


async def check(file: ImportFile, known_keys: KnownKeys, on_progress: OnProgress, checked: CheckedRows) -> FileTotal:
    """Read the whole file into `checked` and look up what is there already. Raises `ImportRefusedError` with every bad row."""
    total = FileTotal(file.sha256(), Total(), {}, Total())
    problems: list[Problem] = []
    count = 0

    def note(problem: Problem) -> None:
        nonlocal count
        count += 1
        problems.append(problem)
        if len(problems) > 2 * PROBLEMS_SHOWN:
            problems[:] = nsmallest(PROBLEMS_SHOWN, problems)

    def judge(found: Sequence[tuple[Row, KnownKey]]) -> None:
        for row, known in found:
            if known.fingerprint == row.fingerprint:
                total.already_there.add(row.amount)
            else:
                note(Problem(row.line, "was imported before, with other values."))

    repetitions = Repetitions()
    looking: asyncio.Task[list[tuple[Row, KnownKey]]] | None = None
    try:
        for batch in _batches(file.rows()):
            rows: list[Row] = []
            for row in batch:
                if type(row) is Row:  # isinstance of a Struct costs a tenth of reading the row
                    rows.append(row)
                    repetitions.add(row.key, row.line)
                    total.all.add(row.amount)
                    total.by_source.setdefault(row.source, Total()).add(row.amount)
                elif isinstance(row, Problem):
                    note(row)
            if not problems:
                checked.add(rows)
            if looking is not None:
                judge(await looking)
            # The database looks for these keys while the next rows are read.
            looking = asyncio.create_task(_known(known_keys, rows))
            await asyncio.sleep(0)
            on_progress(file.bytes_read)
        if looking is not None:
            judge(await looking)
        for problem in repetitions.found():
            note(problem)
    finally:
        if looking is not None:
            looking.cancel()
            await asyncio.wait([looking])
        repetitions.close()
    if count:
        rows_are = "1 bad row" if count == 1 else f"{count} bad rows"
        raise ImportRefusedError(f"{rows_are}; nothing was imported.", nsmallest(PROBLEMS_SHOWN, problems), count)
    return total


async def append(
    checked: CheckedRows, total: FileTotal, known_keys: KnownKeys, committer: BulkCommitter, on_progress: OnProgress
) -> Imported:
    """Append every row that is not there yet. A row that is refused now stops it; run again, it goes on from there."""
    done = Imported(total, Total(), Total(), Total())
    running: deque[tuple[Sequence[Row], Bulk]] = deque()
    try:
        for batch in checked.batches():
            rows = await _not_yet_there(done, known_keys, batch) if total.already_there.rows else batch
            now = datetime.now(UTC)
            running.append((rows, committer.submit_bulk([_work(row, now, total.sha256) for row in rows])))
            # While the database writes one batch, the next is made ready.
            if len(running) > 1:
                await _conclude(done, running)
                on_progress(done.appended.rows + done.already_there.rows + done.earned_otherwise.rows)
    finally:
        # What was handed over is finished and counted, whatever stops us.
        while running:
            await _conclude(done, running)
    _check_total(done)
    return done


def _batches(rows: Iterator[Row | Problem]) -> Iterator[list[Row | Problem]]:
    while batch := list(islice(rows, BATCH)):
        yield batch


async def _known(known_keys: KnownKeys, rows: Sequence[Row]) -> list[tuple[Row, KnownKey]]:
    found = await known_keys.find(IMPORTER.id, [row.key for row in rows])
    return [(row, found[row.key]) for row in rows if row.key in found] if found else []


async def _not_yet_there(done: Imported, known_keys: KnownKeys, rows: list[Row]) -> list[Row]:
    known = {row.line for row, _ in await _known(known_keys, rows)}
    for row in rows:
        if row.line in known:
            done.already_there.add(row.amount)
    return [row for row in rows if row.line not in known]


async def _conclude(done: Imported, running: deque[tuple[Sequence[Row], Bulk]]) -> None:
    rows, bulk = running.popleft()
    _count(done, rows, await bulk.outcomes())


def _work(row: Row, now: datetime, file_sha256: str) -> BulkWork:
    request_id = file_sha256[:32]
    origin = Origin(IMPORTER, now, row.fingerprint, request_id, request_id, row.key)
    work = BulkWork(origin, partial(_decide, row, now))
    work.needs = (ids.account_stream(row.user_id), ids.PROGRAMME_STREAM)
    return work


def _decide(row: Row, now: datetime, view: View) -> Decision:
    """Open the account if it is not, and add the row's points."""
    stream = ids.account_stream(row.user_id)
    state = view.read(stream)
    balance_before = balance = state.balance
    programme = view.read(ids.PROGRAMME_STREAM)
    opened = [] if state.exists else points.decide_open(points.OpenAccount(row.user_id), state)
    if opened:
        state = points.evolve(points.copy_account(state), opened[0])
    if row.source == OPENING:
        grant = points.GrantPoints(
            row.user_id, row.amount, OPENING_REASON, row.reference or None, row.occurred_at, row.expires_at
        )
        events = points.decide_grant(grant, state, programme, now)
        claims: tuple[ClaimOnce, ...] = ()
    else:
        earn = points.EarnPoints(row.user_id, row.amount, row.source, row.reference, row.occurred_at, row.expires_at)
        events = points.decide_earn(earn, state, programme, now)
        claims = (earn_claim(row.user_id, row.source, row.reference),)
    for event in events:
        balance = getattr(event, "balance", balance)
    moved = RowAnswer(bool(opened), balance - balance_before)
    return Decision(201, moved, ((stream, [*opened, *events] if opened else events),), claims)


def _count(done: Imported, rows: Sequence[Row], outcomes: Sequence[Answer | BaseException]) -> None:
    """Add a batch to the totals. Raises `ImportRefusedError` for the first row that was refused."""
    refused: tuple[Row, LedgerError] | None = None
    for row, outcome in zip(rows, outcomes, strict=True):
        if type(outcome) is Answer:
            answer = outcome.data
            if outcome.replayed:
                done.already_there.add(row.amount)
                continue
            done.appended.add(row.amount)
            done.accounts_opened += answer.opened
            done.balance_moved += answer.moved
        elif isinstance(outcome, AlreadyEarned):
            done.earned_otherwise.add(row.amount)
        elif isinstance(outcome, LedgerError):
            refused = refused or (row, outcome)
        elif isinstance(outcome, BaseException):
            raise outcome
    if refused is not None:
        row, error = refused
        how = "was imported before, with other values." if isinstance(error, IdempotencyKeyReused) else error.message
        raise ImportRefusedError(f"stopped at line {row.line}: {how} Run it again to go on with the rest.")


def _check_total(done: Imported) -> None:
    """Every row and every point of the file is accounted for."""
    parts = (done.appended, done.already_there, done.earned_otherwise)
    rows, amount = sum(part.rows for part in parts), sum(part.points for part in parts)
    if (rows, amount) != (done.file.all.rows, done.file.all.points):
        msg = f"the file holds {done.file.all.rows} rows of {done.file.all.points} points, accounted for are {rows} of {amount}"
        raise CorruptionError(msg)
