"""Whether a referral code is anybody's: one look at the stream of the code, which has its one event or none.

No read model: the index of the streams answers it, and a link works the moment it is made. Imports `ledger` only.
Read next: `../ledger/domain/referrals.py`.
"""

from typing import Final

from ledger import ids
from ledger.domain.referrals import is_code
from projections.projection import Pool

_IS_GIVEN: Final = "SELECT EXISTS (SELECT FROM ledger.events WHERE stream = $1 AND version = 1)"


async def is_given(pool: Pool, code: str) -> bool:
    """Whether some member has the code, or had it: it leads to them for ever."""
    return is_code(code) and bool(await pool.fetchval(_IS_GIVEN, ids.code_stream(code)))
