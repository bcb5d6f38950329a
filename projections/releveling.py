"""Which accounts stand on another level than the programme of now gives them, and how far the job is that moves them.

The accounts come from `points`, some thousand a look, in the order of their key: a look reads rows, answers those that
stand wrong, and says where the next one begins. The job's checkpoint is moved by compare-and-set.
Imports `ledger` and asyncpg only. Read next: `../workers/relevel.py`, which does it.
"""

from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from ledger.domain.programme import Programme
from ledger.errors import CorruptionError
from projections.points import POINTS
from projections.projection import Connection, Pool
from projections.read_models import ReadModels

State = Literal["waiting", "running", "done"]

# `width_bucket` counts the thresholds that the lifetime reaches: the place of its level among the active ones.
_LOOK: Final = """
SELECT max(user_id) AS last, count(*) AS seen,
       array_agg(user_id ORDER BY user_id) FILTER (
         WHERE tier <> ($4::integer[])[width_bucket(lifetime, $3::bigint[])]) AS astray
FROM (SELECT user_id, tier, lifetime FROM {main} WHERE user_id > $1 ORDER BY user_id LIMIT $2) AS looked
"""
_COUNT: Final = "SELECT count(*) AS accounts FROM {main}"
_JOB: Final = "SELECT * FROM ledger.releveling WHERE shard = 0"
_BEGIN: Final = """
UPDATE ledger.releveling SET programme_version = $1, since_position = $2, after_user = '', done = 0, total = $3,
  moved = 0, state = 'running', started_at = clock_timestamp(), moved_at = clock_timestamp()
WHERE shard = 0 AND programme_version < $1
"""
_ADVANCE: Final = """
UPDATE ledger.releveling SET after_user = $3, done = done + $4, total = greatest(total, done + $4), moved = moved + $5,
  moved_at = clock_timestamp()
WHERE shard = 0 AND programme_version = $1 AND after_user = $2 AND state = 'running'
"""
# Accounts that were counted and have gone meanwhile (there is no such thing today) would leave it short of its total.
_FINISH: Final = """
UPDATE ledger.releveling SET state = 'done', total = done, moved_at = clock_timestamp()
WHERE shard = 0 AND programme_version = $1 AND after_user = $2 AND state = 'running'
"""


class Releveling(msgspec.Struct, frozen=True, rename="camel"):
    """How far the accounts are put on the levels of a version of the programme: `done` of `total` were looked at.

    `moved` of them stood on another level. `waiting`: the job has not begun with that version yet.
    """

    programme_version: int
    state: State
    done: int
    total: int
    moved: int
    started_at: datetime | None
    updated_at: datetime | None


class Job(msgspec.Struct, frozen=True):
    """The job's checkpoint. `since_position`: the log's position when it began, at which `points` must be to tell."""

    programme_version: int
    since_position: int
    after_user: str
    done: int
    total: int
    moved: int
    finished: bool


class Look(msgspec.Struct, frozen=True):
    """Some accounts in the order of their key: the last of them, how many, and those on another level than theirs."""

    last: str
    seen: int
    astray: list[str]


async def get_releveling(pool: Pool, programme_version: int) -> Releveling:
    """How far the job is with that version, the one in force."""
    row = await _row(pool)
    if row["programme_version"] < programme_version:
        return Releveling(programme_version, "waiting", 0, 0, 0, None, None)
    return Releveling(
        row["programme_version"],
        row["state"],
        row["done"],
        row["total"],
        row["moved"],
        row["started_at"],
        row["moved_at"],
    )


async def get_job(pool: Pool) -> Job:
    """The job as it was left."""
    row = await _row(pool)
    return Job(
        row["programme_version"],
        row["since_position"],
        row["after_user"],
        row["done"],
        row["total"],
        row["moved"],
        row["state"] == "done",
    )


async def begin_job(models: ReadModels, programme_version: int, since_position: int) -> None:
    """Begin with that version, from the first account. Nothing happens if somebody has, or with a later one."""
    found = await models.read(POINTS, _COUNT)
    await models.pool.execute(_BEGIN, programme_version, since_position, found.rows[0]["accounts"])


async def advance_job(pool: Pool, job: Job, look: Look, moved: int) -> bool:
    """The accounts of the look are where they belong. False if somebody else was faster."""
    tag = await pool.execute(_ADVANCE, job.programme_version, job.after_user, look.last, look.seen, moved)
    return bool(tag == "UPDATE 1")


async def finish_job(pool: Pool, job: Job) -> bool:
    """There is no account behind the checkpoint. False if somebody else was faster."""
    return bool(await pool.execute(_FINISH, job.programme_version, job.after_user) == "UPDATE 1")


async def look_for_astray(models: ReadModels, job: Job, programme: Programme, accounts: int) -> Look | None:
    """The next accounts behind the checkpoint, at most so many; None at the end.

    Raises `ReadModelBehind` as long as `points` is before the change of programme: what an account got in between, it
    got under the old levels.
    """
    levels = [level for level in programme.levels if level.is_active]
    found = await models.read(
        POINTS,
        _LOOK,
        job.after_user,
        accounts,
        [level.min_points for level in levels],
        [level.tier for level in levels],
        min_position=job.since_position,
    )
    row = found.rows[0]
    return Look(row["last"], row["seen"], row["astray"] or []) if row["seen"] else None


async def _row(pool: Pool | Connection) -> Any:
    row = await pool.fetchrow(_JOB)
    if row is None:
        raise CorruptionError("ledger.releveling is empty")
    return row
