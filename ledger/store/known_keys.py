"""Which idempotency keys of a caller were used before: for asking about thousands at once, ahead of an append.

Only a look: what it does not find may be there a moment later, and the append decides. asyncpg only.
Read next: `append.py`.
"""

from collections.abc import Sequence
from typing import Any, Final

import asyncpg
import msgspec

from ledger.store.work import digest_of

_FIND: Final = "SELECT key, fingerprint, answer FROM ledger.commands WHERE digest = ANY ($2::bigint[]) AND NOT collides AND caller = $1"
_SETTINGS: Final = {
    "application_name": "ledger-known-keys",
    # A plan made while the table was small would read it from end to end for as long as the connection lives.
    "enable_seqscan": "off",
    "jit": "off",
}


class KnownKey(msgspec.Struct, frozen=True, gc=False):
    """The fingerprint of the request that used the key, and its kept answer: JSON of (status, data)."""

    fingerprint: bytes
    answer: bytes


class KnownKeys:
    """Looks on a connection of its own."""

    def __init__(self, connection: "asyncpg.Connection[Any]") -> None:
        """Use `open`."""
        self._connection = connection

    @classmethod
    async def open(cls, dsn: str, *, role: str | None = "ledger_api") -> "KnownKeys":
        """Connect; `role` as for `PostgresStore`."""
        session = {**_SETTINGS, **({"role": role} if role else {})}
        return cls(await asyncpg.connect(dsn, server_settings=session))

    async def close(self) -> None:
        """Let go of the connection."""
        await self._connection.close()

    async def find(self, caller: str, keys: Sequence[str]) -> dict[str, KnownKey]:
        """Those of the keys that were used before."""
        rows = await self._connection.fetch(_FIND, caller, [digest_of(caller, key) for key in keys])
        asked = set(keys)
        return {row["key"]: KnownKey(row["fingerprint"], row["answer"]) for row in rows if row["key"] in asked}
