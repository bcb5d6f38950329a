"""The state of all read models: for `ledger project status` and the admin's list.

Imports asyncpg only. Read next: `builds.py`.
"""

from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from projections.projection import Pool

_LIST: Final = """
SELECT n.name, h.position AS head, b.build, b.position, b.state, b.code_version,
  extract(epoch FROM clock_timestamp() - e.recorded_at)::float8 AS waiting_seconds,
  (SELECT count(*) FROM read_models.dead_letters d
   WHERE d.name = n.name AND d.build = b.build AND d.state = 'parked') AS dead_letters,
  r.build AS next_build, r.position AS next_position, r.state AS next_state, r.target, r.rate_per_second
FROM (SELECT DISTINCT name FROM read_models.builds) AS n
CROSS JOIN ledger.head AS h
LEFT JOIN read_models.active AS a ON a.name = n.name
LEFT JOIN read_models.builds AS b ON b.name = a.name AND b.build = a.build
LEFT JOIN LATERAL (
  SELECT * FROM read_models.builds AS o WHERE o.name = n.name AND o.purpose = 'rebuild' ORDER BY o.build DESC LIMIT 1
) AS r ON true
LEFT JOIN ledger.events AS e ON e.position = b.position + 1
WHERE h.shard = 0
ORDER BY n.name
"""


class RebuildStatus(msgspec.Struct, frozen=True, rename="camel"):
    """How far the build beside is: progress from 0 to 1, rate in events per second."""

    version: int
    position: int
    progress: float
    rate: float
    eta_seconds: float | None


class ReadModelStatus(msgspec.Struct, frozen=True, rename="camel"):
    """A read model. `version` is the build that answers (0: none yet), `lag_seconds` how long the next event waits."""

    name: str
    version: int
    position: int
    lag_events: int
    lag_seconds: float
    state: str
    dead_letters: int
    rebuild: RebuildStatus | UnsetType = UNSET


async def list_read_models(pool: Pool) -> list[ReadModelStatus]:
    """All read models, by name, of one moment."""
    return [_status(row) for row in await pool.fetch(_LIST)]


async def head_position(pool: Pool) -> int:
    """Position of the last event, 0 for an empty log."""
    position: int = await pool.fetchval("SELECT position FROM ledger.head WHERE shard = 0")
    return position


def _status(row: Any) -> ReadModelStatus:
    position = row["position"] or 0
    return ReadModelStatus(
        row["name"],
        row["build"] or 0,
        position,
        max(row["head"] - position, 0),
        round(max(row["waiting_seconds"] or 0.0, 0.0), 3),
        _state(row["state"], row["next_state"]),
        row["dead_letters"],
        _rebuild(row) if row["next_build"] is not None else UNSET,
    )


def _state(active: str | None, beside: str | None) -> str:
    """What is wrong comes first: stuck, paused, then rebuilding, live."""
    if "stuck" in (active, beside):
        return "stuck"
    if active == "paused" or (active is None and beside == "paused"):
        return "paused"
    return "live" if beside is None else "rebuilding"


def _rebuild(row: Any) -> RebuildStatus:
    position, head, rate = row["next_position"], row["head"], row["rate_per_second"] or 0.0
    moving = rate > 0 and row["next_state"] in ("building", "following")
    return RebuildStatus(
        row["next_build"],
        position,
        round(position / head, 4) if head else 1.0,
        round(rate, 1),
        round((head - position) / rate, 1) if moving else None,
    )
