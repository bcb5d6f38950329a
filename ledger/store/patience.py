"""A database that does not answer is waited for; the clients are not left waiting with it.

Read next: `committer.py`, whose appends these are.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from ledger.store.port import AmbiguousAppendError, AppendBatch, Appended, Store

RESEND_PAUSE_SECONDS: Final = 0.05
CLIENT_PATIENCE_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 1.0

log = structlog.get_logger(__name__)


class Resending:
    """An append is sent again until the store answers, however long that takes."""

    def __init__(self, store: Store) -> None:
        """Nothing was sent yet."""
        self._store = store
        self.count = 0

    async def resend(self, batch: AppendBatch) -> Appended:
        """The same bytes again until the database answers; nothing is decided anew before it does."""
        while True:
            self.count += 1
            await self._store.reconnect()
            try:
                return await self._store.append(batch)
            except AmbiguousAppendError as error:
                log.warning("append without an answer", error=str(error))
                await asyncio.sleep(RESEND_PAUSE_SECONDS)


class ClientPatience:
    """Tells those who wait to come again when nothing comes of it: after ten seconds, and each second from then on.

    Whatever it is that the store is waited for: an append, a load, the head lock, a connection. It counts its own looks
    and not the time, as a process that was stopped for ten seconds has not asked for ten seconds.
    """

    def __init__(self, progress: Callable[[], int | None], tell_to_repeat: Callable[[], None]) -> None:
        """`progress` is another number whenever something has come of it, and None while nobody waits."""
        self._progress = progress
        self._tell_to_repeat = tell_to_repeat
        self._seen: int | None = None
        self._silent_seconds = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Look from now on, until the end."""
        self._timer = asyncio.get_running_loop().call_later(_look_seconds(), self._look)

    def end(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self.begin()
        progress = self._progress()
        self._silent_seconds = (
            0.0 if progress is None or progress != self._seen else self._silent_seconds + _look_seconds()
        )
        self._seen = progress
        if self._silent_seconds >= CLIENT_PATIENCE_SECONDS:
            self._tell_to_repeat()
            self._silent_seconds -= _LOOK_SECONDS


def _look_seconds() -> float:
    return min(_LOOK_SECONDS, CLIENT_PATIENCE_SECONDS / 10)
