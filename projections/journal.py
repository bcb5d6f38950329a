"""The journal: one row a posting, with the balance of its account after it. Tables, and what a reader may see of them.

Rows never change, so a cut is a position: what is up to it is the same whenever it is read. The one exception is an
event that waited as a dead letter: until it is applied, nothing is handed out.
Imports `ledger` only. Read next: `journal_page.py`, which folds it; `journal_export.py`, `journal_balances.py`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar, Final

from ledger.errors import JournalIncomplete
from projections.journal_page import ACCOUNTS, POSTINGS, JournalPage
from projections.projection import Page, Table, table_names
from projections.read_models import ReadModels, Snapshot

# The lock on the tables is taken at once: a build that is replaced meanwhile is not dropped under its reader.
_COMPLETE: Final = """
SELECT min(d.position) FROM read_models.dead_letters AS d
WHERE d.name = 'journal' AND d.build = $1 AND d.state = 'parked'
  AND NOT EXISTS (SELECT 1 FROM {main} WHERE false) AND NOT EXISTS (SELECT 1 FROM {accounts} WHERE false)
"""


class Journal:
    """Postings, and the accounts they are made to."""

    name: ClassVar[str] = "journal"
    code_version: ClassVar[int] = 1
    tables: ClassVar[tuple[Table, ...]] = (POSTINGS, ACCOUNTS)
    reads_data: ClassVar[bool] = True
    reads_metadata: ClassVar[bool] = True

    def page(self, build: int) -> Page:
        """An empty page for that build's tables."""
        names = table_names(self, build)
        return JournalPage(names["main"], names["accounts"])


JOURNAL: Final = Journal()


@asynccontextmanager
async def whole_journal(models: ReadModels, *, min_position: int = 0) -> AsyncIterator[Snapshot]:
    """The journal of one moment, every posting in it. `JournalIncomplete` while an event waits to be applied."""
    async with models.snapshot(JOURNAL, min_position=min_position) as seen:
        waiting = await seen.connection.fetchval(_COMPLETE.format_map(seen.tables), seen.build)
        if waiting is not None:
            raise JournalIncomplete(
                f"The event at position {waiting} could not be posted yet: see the dead letters.", 60
            )
        yield seen


def of_account(first: int) -> str:
    """The condition of an account filter: that account, or all of its kind (`member`, `fees`). Two parameters' places."""
    return f"(account = ${first} OR (account >= ${first} || ':' AND account < ${first} || ';'))"
