"""The sweeper: records the expiry of lots past their deadline on accounts that nobody touches.

Who is due comes from the points read model, what expires is decided by the account itself: an account that is swept
twice, or was spent from meanwhile, gets no second event. Late or never changes no balance, only the history's length.
May import: `ledger`, `projections`. Read next: `../ledger/domain/points.py`.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

import msgspec
import uuid_utils

from ledger.decision import Answer, Origin
from ledger.domain.points import ExpireLots
from ledger.handler import ExpiryAnswer, Handler
from ledger.store.codec import Actor
from ledger.store.committer import Committer
from projections.points import list_due_accounts
from projections.read_models import ReadModels

SWEEPER: Final = Actor("sweeper", "service")
PAGE: Final = 500
PAGES_AT_MOST: Final = 200
"""Accounts beyond that wait for the next time by the clock."""
READ_MODEL_SECONDS: Final = 10.0
READ_MODEL_POLL_SECONDS: Final = 0.1


class Swept(msgspec.Struct):
    """What one sweep did."""

    accounts: int = 0
    lots: int = 0
    failed: int = 0


class Sweeper:
    """Sweeps what is due now."""

    def __init__(self, pool: Any, committer: Committer) -> None:
        """The pool reads, the committer appends."""
        self._models = ReadModels(pool)
        self._handler = Handler(committer)

    async def sweep(self) -> Swept:
        """All accounts that are due, a page at a time. One that is refused is counted and left for the next time."""
        swept = Swept()
        position = 0
        for _ in range(PAGES_AT_MOST):
            now = datetime.now(UTC)
            due = await self._due(now, position)
            if not due:
                break
            request = str(uuid_utils.uuid7())
            for outcome in await self._handler.handle_each(
                [(ExpireLots(user), _origin(user, request, now)) for user in due]
            ):
                if isinstance(outcome, Answer) and isinstance(outcome.data, ExpiryAnswer):
                    swept.accounts += 1
                    swept.lots += outcome.data.expired_lots
                    position = max(position, outcome.position)
                else:
                    swept.failed += 1
            if len(due) < PAGE:
                break
        return swept

    async def _due(self, now: datetime, position: int) -> Sequence[str]:
        """The next page, once the read model knows of the last one; none if it does not get there in time."""
        for _ in range(int(READ_MODEL_SECONDS / READ_MODEL_POLL_SECONDS)):
            answer = await list_due_accounts(self._models, now, PAGE)
            if answer.position >= position:
                return answer.value
            await asyncio.sleep(READ_MODEL_POLL_SECONDS)
        return ()


def _origin(user_id: str, request_id: str, now: datetime) -> Origin:
    return Origin(SWEEPER, now, sha256(f"expire {user_id}".encode()).digest(), request_id, request_id)
