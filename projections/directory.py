"""Names for user ids. They live in the directory and never in events, so that a member can be forgotten.

Imports asyncpg only. Read next: `points.py`.
"""

from collections.abc import Iterable

import msgspec

from projections.projection import Pool


class Name(msgspec.Struct, frozen=True, rename="camel"):
    """What a member is called."""

    name: str
    avatar: str | None


async def get_names(pool: Pool, user_ids: Iterable[str]) -> dict[str, Name]:
    """Names by user id, in one query. Unknown and forgotten members are left out."""
    wanted = sorted(set(user_ids))
    if not wanted:
        return {}
    rows = await pool.fetch("SELECT user_id, name, avatar FROM ledger.directory WHERE user_id = ANY ($1)", wanted)
    return {row["user_id"]: Name(row["name"], row["avatar"]) for row in rows}
