"""The programme in force, from the log itself: an admin who has replaced it sees it replaced.

No read model: it is one stream, and the index finds its end. Imports `ledger` only.
Read next: `../ledger/domain/programme.py`.
"""

from time import monotonic
from typing import Any, Final

import msgspec

from ledger import ids
from ledger.domain.programme import DEFAULT_PROGRAMME, Programme, evolve
from ledger.errors import CorruptionError
from ledger.store import codec
from projections.projection import Connection, Pool

REMEMBERED_SECONDS: Final = 1.0

# Every event of the stream says the whole programme, so the last one is all there is to fold.
_LAST: Final = """
SELECT h.position, e.version, e.type, e.data FROM ledger.head h
LEFT JOIN LATERAL (
  SELECT v.version, v.type, v.data FROM ledger.events v WHERE v.stream = $1 ORDER BY v.version DESC LIMIT 1
) AS e ON true
WHERE h.shard = 0
"""


_LAST_BY: Final = """
SELECT v.version, v.type, v.data FROM ledger.events v WHERE v.stream = $1 AND v.position <= $2 ORDER BY v.version DESC
LIMIT 1
"""


class ProgrammeNow(msgspec.Struct, frozen=True):
    """The programme, the version of its stream (0: the defaults, nobody replaced them), and the log's position then."""

    programme: Programme
    version: int
    position: int


async def read_programme(pool: Pool) -> ProgrammeNow:
    """As of now."""
    row = await pool.fetchrow(_LAST, ids.PROGRAMME_STREAM)
    if row is None:
        raise CorruptionError("the log has no head")
    if row["version"] is None:
        return ProgrammeNow(DEFAULT_PROGRAMME, 0, row["position"])
    return ProgrammeNow(_folded(row), row["version"], row["position"])


async def programme_at(connection: Connection, position: int) -> Programme:
    """As it was at that position of the log."""
    row = await connection.fetchrow(_LAST_BY, ids.PROGRAMME_STREAM, position)
    return DEFAULT_PROGRAMME if row is None else _folded(row)


def _folded(row: Any) -> Programme:
    return evolve(DEFAULT_PROGRAMME, codec.decode(row["type"], row["data"]))


class Programmes:
    """The programme for reads that come by the thousand: at most a second old, never older than asked for.

    One per process.
    """

    def __init__(self, pool: Pool) -> None:
        """Nothing is read before it is needed."""
        self._pool = pool
        self._known: ProgrammeNow | None = None
        self._read_at = 0.0

    async def current(self, min_position: int = 0) -> Programme:
        """The programme at that position or later."""
        known = self._known
        if known is None or known.position < min_position or monotonic() - self._read_at > REMEMBERED_SECONDS:
            read_at = monotonic()
            known = await read_programme(self._pool)
            self._known, self._read_at = known, read_at
        return known.programme
