"""The programme in force, from the log itself: an admin who has replaced it sees it replaced.

No read model: it is one stream, and the index finds its end. Imports `ledger` only.
Read next: `../ledger/domain/programme.py`.
"""

from time import monotonic
from typing import Final

import msgspec

from ledger import ids
from ledger.domain.programme import Programme
from ledger.errors import CorruptionError
from ledger.store import codec
from projections.projection import Pool

REMEMBERED_SECONDS: Final = 1.0

# Every event of the stream says the whole programme, so the last one is all there is to fold.
_LAST: Final = """
SELECT h.position, e.version, e.type, e.data FROM ledger.head h
LEFT JOIN LATERAL (
  SELECT v.version, v.type, v.data FROM ledger.events v WHERE v.stream = $1 ORDER BY v.version DESC LIMIT 1
) AS e ON true
WHERE h.shard = 0
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
    category = codec.category_of(ids.PROGRAMME_STREAM)
    state = category.initial()
    if row["version"] is None:
        return ProgrammeNow(state, 0, row["position"])
    return ProgrammeNow(category.evolve(state, codec.decode(row["type"], row["data"])), row["version"], row["position"])


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
