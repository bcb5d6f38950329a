"""Puts accounts on the levels that the programme of now gives them, after an admin has changed the levels.

Who stands wrong comes from the points read model, what becomes of it is decided by the account itself. A checkpoint is
kept after each page: killed, it goes on there; two at once do nothing twice (one key an account and version of the
programme); when the programme changes again it begins anew with that. May import: `ledger`, `projections`.
Read next: `../ledger/domain/levels.py`, `../projections/releveling.py`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

import msgspec
import structlog
import uuid_utils

from ledger.decision import Answer, Origin
from ledger.domain.levels import RedecideLevels
from ledger.errors import CorruptionError, LedgerError, Unavailable
from ledger.handler import Handler, LevelsAnswer
from ledger.store.codec import Actor
from ledger.store.committer import Committer
from ledger.use_cases.points import relevel_key
from projections.programme import read_programme
from projections.read_models import ReadModels
from projections.releveling import Job, advance_job, begin_job, finish_job, get_job, look_for_astray
from workers.pace import paced

RELEVELER: Final = Actor("releveler", "service")
PAGE: Final = 2000
"""Accounts that are looked at between two checkpoints."""

log = structlog.get_logger("worker")


class Releveler:
    """Moves whoever stands on another level than theirs. One per process."""

    def __init__(self, pool: Any, committer: Committer) -> None:
        """The pool reads and keeps the checkpoint, the committer appends."""
        self._models = ReadModels(pool)
        self._pool = pool
        self._handler = Handler(committer)
        self._at_work = False

    async def relevel(self) -> int:
        """Until all accounts stand where they belong; how many were moved. Nothing to do is two look-ups.

        Returns early where somebody else is at it, or where the read model does not get to the programme in time:
        the next call goes on.
        """
        if self._at_work:
            return 0
        self._at_work = True
        try:
            return await self._relevel()
        except Unavailable as error:
            log.warning("releveling_waits", reason=str(error))
            return 0
        finally:
            self._at_work = False

    async def _relevel(self) -> int:
        moved_here = 0
        while True:
            now = await read_programme(self._pool)
            job = await get_job(self._pool)
            if job.programme_version < now.version:
                await begin_job(self._models, now.version, now.position)
                log.info("releveling_begins", programme_version=now.version)
                continue
            if job.finished:
                return moved_here
            look = await look_for_astray(self._models, job, now.programme, PAGE)
            if look is None:
                if await finish_job(self._pool, job):
                    log.info("releveled", programme_version=now.version, accounts=job.done, moved=job.moved)
                return moved_here
            moved = await self._move(job, look.astray)
            moved_here += moved
            if not await advance_job(self._pool, job, look, moved):
                return moved_here
            if moved:
                log.info(
                    "releveling",
                    programme_version=job.programme_version,
                    done=job.done + look.seen,
                    total=job.total,
                    moved=job.moved + moved,
                )

    async def _move(self, job: Job, user_ids: Sequence[str]) -> int:
        """Give the commands; how many accounts moved. A refusal of one is logged, and does not keep the others.

        Nor does a fault of ours, but it keeps the checkpoint where it is: who stands wrong must not be taken for done.
        """
        moved = 0
        fault: BaseException | None = None
        request = str(uuid_utils.uuid7())
        async for some in paced((user_id, 1) for user_id in user_ids):
            commands = [(RedecideLevels(user_id), _origin(job, user_id, request)) for user_id in some]
            for user_id, outcome in zip(some, await self._handler.handle_each(commands), strict=True):
                if isinstance(outcome, Unavailable | CorruptionError):
                    raise outcome
                if isinstance(outcome, Answer):
                    # A kept answer counts: whoever got it first has not reached the checkpoint.
                    moved += msgspec.convert(outcome.data, LevelsAnswer, from_attributes=True).moved > 0
                else:
                    log.error("level_not_decided", user_id=user_id, error=repr(outcome))
                    if not isinstance(outcome, LedgerError):
                        fault = outcome
        if fault is not None:
            raise fault
        return moved


def _origin(job: Job, user_id: str, request_id: str) -> Origin:
    return Origin(
        RELEVELER,
        datetime.now(UTC),
        sha256(f"relevel {user_id}".encode()).digest(),
        request_id,
        request_id,
        relevel_key(job.programme_version, user_id),
    )
