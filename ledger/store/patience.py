"""A database that does not answer is waited for; the clients are not left waiting with it.

Read next: `committer.py`, whose appends these are.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import structlog

from ledger.store.port import AmbiguousAppendError, AppendBatch, Appended, Store

RESEND_PAUSE_SECONDS: Final = 0.05
CLIENT_PATIENCE_SECONDS: Final = 10.0

T = TypeVar("T")
log = structlog.get_logger(__name__)


class PatientStore:
    """What is asked of a store until it answers, however long that takes."""

    def __init__(self, store: Store, tell_to_repeat: Callable[[], None]) -> None:
        """`tell_to_repeat` tells those who wait to come again, after ten seconds and each second from then on."""
        self._store = store
        self._tell_to_repeat = tell_to_repeat
        self.resent = 0

    async def reconnect(self) -> None:
        """Replace the writing connections. Nothing may be under way on them."""
        await self._patiently(self._store.reconnect())

    async def resend(self, batch: AppendBatch) -> Appended:
        """The same bytes again until the database answers; nothing is decided anew before it does."""
        return await self._patiently(self._resend(batch))

    async def settled(self, append: "asyncio.Future[Appended]") -> None:
        """Wait until an append under way has come to an end, whichever."""
        await self._patiently(asyncio.wait([append]))

    async def _resend(self, batch: AppendBatch) -> Appended:
        while True:
            self.resent += 1
            await self._store.reconnect()
            try:
                return await self._store.append(batch)
            except AmbiguousAppendError as error:
                log.warning("append without an answer", error=str(error))
                await asyncio.sleep(RESEND_PAUSE_SECONDS)

    async def _patiently(self, waiting: Coroutine[Any, Any, T]) -> T:
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle

        def tell() -> None:
            nonlocal timer
            self._tell_to_repeat()
            timer = loop.call_later(1.0, tell)

        timer = loop.call_later(CLIENT_PATIENCE_SECONDS, tell)
        try:
            return await waiting
        finally:
            timer.cancel()
