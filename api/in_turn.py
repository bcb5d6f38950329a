"""Work that comes in large pieces, in turn: so much of it at once as keeps the committer busy, and no more.

Sixty-four batches taken apart at once are six thousand commands that wait: each is colder in memory when its turn comes,
and a tenth of the rate is gone. A batch that waits as the bytes it came in costs nothing. Standard library only.
Read next: `routes/batch.py`.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from ledger.errors import Overloaded

PATIENCE_SECONDS: Final = 10.0
"""As long as the committer lets anybody wait for a database that is away."""


class InTurn:
    """Pieces by their size. First come, first served; one alone is never too large."""

    def __init__(self, at_once: int, waiting_at_most: int) -> None:
        """Both count the same as the sizes do: bytes."""
        self._at_once = at_once
        self._waiting_at_most = waiting_at_most
        self._busy = 0
        self._waiting = 0
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def turn(self, size: int) -> AsyncIterator[None]:
        """Wait for it, and hold it. Raises `Overloaded` if too much waits already."""
        if self._queue or (self._busy and self._busy + size > self._at_once):
            await self._wait(size)
        else:
            self._busy += size
        try:
            yield
        finally:
            self._busy -= size
            self._admit()

    async def _wait(self, size: int) -> None:
        if self._waiting + size > self._waiting_at_most:
            raise Overloaded(f"{self._waiting} bytes of batches are waiting.")
        admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((size, admitted))
        self._waiting += size
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await admitted
        except TimeoutError:
            self._give_up(size, admitted)
            raise Overloaded(
                f"The batches before this one were not done within {PATIENCE_SECONDS:g} seconds."
            ) from None
        except asyncio.CancelledError:
            self._give_up(size, admitted)
            raise

    def _give_up(self, size: int, admitted: "asyncio.Future[None]") -> None:
        if not admitted.cancelled():  # it was its turn already
            self._busy -= size
        elif (size, admitted) in self._queue:
            self._queue.remove((size, admitted))
            self._waiting -= size
        self._admit()

    def _admit(self) -> None:
        while self._queue:
            size, admitted = self._queue[0]
            if not admitted.cancelled():  # one that is has given up just now
                if self._busy and self._busy + size > self._at_once:
                    return
                self._busy += size
                admitted.set_result(None)
            self._queue.popleft()
            self._waiting -= size
