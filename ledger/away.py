"""Whether it is the database that does not answer, or what it was asked: one list for all who wait and come again.

asyncpg only. Read next: `store/append.py` and `../projections/advance.py`, two of those, and `redis_away.py`.
"""

from typing import Final

import asyncpg

_UNANSWERED: Final = ("08", "25P03", "25P04", "25006", "40", "53", "55", "57", "58")
"""What a statement is not to blame for: connections, transactions that lasted too long, a server that may only be read,
conflicts, resources, locks, operators, the disk. Beginnings of the codes in PostgreSQL's appendix A."""

_FOR_EVER: Final = ("55P04", "58P01")
"""Of these, what no waiting mends: a new enum value in the same transaction, a file that is missing."""


def is_away(error: BaseException) -> bool:
    """Whether asking again later is right, and nothing about the question is wrong."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return state.startswith(_UNANSWERED) and state not in _FOR_EVER
    if isinstance(error, asyncpg.InternalClientError):
        # What a pool may say that puts back a connection cut in the middle, and not what it says of a type it cannot read.
        return not isinstance(error, asyncpg.ProtocolError)
    return isinstance(error, OSError | asyncpg.InterfaceError)
