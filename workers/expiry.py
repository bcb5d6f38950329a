"""The sweeper: records the expiry of lots past their deadline on accounts that nobody touches.

Who is due comes from the points read model, what expires is decided by the account itself: an account that is swept
twice, or was spent from meanwhile, gets no second event. Late or never changes no balance, only the history's length.
May import: `ledger`, `projections`. Read next: `../ledger/domain/points.py`.
"""

from asyncio import gather
from datetime import UTC, datetime
from hashlib import sha256
from time import monotonic
from typing import Any, Final

import msgspec
import structlog
import uuid_utils

from ledger.decision import Answer, Origin
from ledger.domain.points import ExpireLots
from ledger.errors import Unavailable
from ledger.handler import ExpiryAnswer, Handler
from ledger.store.codec import Actor
from ledger.store.committer import Committer
from projections.points import Due, list_due_accounts
from projections.read_models import ReadModels
from workers.pace import paced

SWEEPER: Final = Actor("sweeper", "service")
PAGE: Final = 1000
"""Lots that are looked at at once."""
SWEEP_SECONDS: Final = 240.0
"""What is due beyond that waits for the next time by the clock."""

log = structlog.get_logger("worker")


class Swept(msgspec.Struct):
    """What one sweep did."""

    accounts: int = 0
    lots: int = 0
    failed: int = 0


class Sweeper:
    """Sweeps what is due now. One per process."""

    def __init__(self, pool: Any, committer: Committer) -> None:
        """The pool reads, the committer appends."""
        self._models = ReadModels(pool)
        self._handler = Handler(committer)
        self._position = 0
        self._at_work = False

    async def sweep(self) -> Swept:
        """All accounts that are due, a page at a time. One that cannot be is logged and left for the next time.

        Nothing at all while a sweep is at work, or before the read model knows of the last one: it would name the
        same accounts again.
        """
        swept = Swept()
        if self._at_work:
            return swept
        self._at_work = True
        try:
            await self._sweep(swept)
        except Unavailable as error:
            log.warning("expiry_waits", reason=str(error))
        finally:
            self._at_work = False
        return swept

    async def _sweep(self, swept: Swept) -> None:
        began, now = monotonic(), datetime.now(UTC)
        page = await list_due_accounts(self._models, now, lots=PAGE)
        if page.position < self._position:
            return
        while page.value.after is not None and monotonic() - began < SWEEP_SECONDS:
            # The next page is looked up while this one is appended.
            page, _ = await gather(
                list_due_accounts(self._models, now, page.value.after, PAGE), self._expire(page.value, swept)
            )

    async def _expire(self, due: Due, swept: Swept) -> None:
        request = str(uuid_utils.uuid7())
        async for users in paced(due.lots.items()):
            now = datetime.now(UTC)
            commands = [(ExpireLots(user), _origin(user, request, now)) for user in users]
            for user, outcome in zip(users, await self._handler.handle_each(commands), strict=True):
                if isinstance(outcome, Answer) and isinstance(outcome.data, ExpiryAnswer):
                    swept.accounts += 1
                    swept.lots += outcome.data.expired_lots
                    self._position = max(self._position, outcome.position)
                elif isinstance(outcome, Unavailable):
                    raise outcome
                else:
                    swept.failed += 1
                    log.warning("lots_not_expired", user_id=user, error=repr(outcome))


def _origin(user_id: str, request_id: str, now: datetime) -> Origin:
    return Origin(SWEEPER, now, sha256(f"expire {user_id}".encode()).digest(), request_id, request_id)
