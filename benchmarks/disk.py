"""How long a flush takes where the data lies, and waiting until it takes as long again as on a disk at rest.

A checkpoint that wrote gigabytes is done when the disk has them, but virtual disks go on writing for many seconds, and each
flush waits for that: what is measured then is what was measured before. Standard library only. Read next: `cluster.py`.
"""

import asyncio
import os
import time
from pathlib import Path
from typing import Final

_BLOCK: Final = bytes(8192)
_LOOK_SECONDS: Final = 1.0
_CALM_LOOKS: Final = 3
_AS_USUAL: Final = 1.5
"""Not much slower than at the beginning: what differs more is somebody writing."""
PATIENCE_SECONDS: Final = 60.0


class Disk:
    """The one below this directory."""

    def __init__(self, root: Path) -> None:
        """Look at it while nobody writes."""
        self._file = root / "flush.tmp"
        self.usual_seconds = self.flush_seconds()

    def flush_seconds(self) -> float:
        """Of 8 kB: what nine of ten flushes need at most, of as many as there are in a second."""
        times: list[float] = []
        descriptor = os.open(self._file, os.O_CREAT | os.O_WRONLY, 0o600)
        try:
            end = time.perf_counter() + _LOOK_SECONDS
            while (begin := time.perf_counter()) < end:
                os.pwrite(descriptor, _BLOCK, 0)
                os.fdatasync(descriptor)
                times.append(time.perf_counter() - begin)
        finally:
            os.close(descriptor)
            self._file.unlink()
        return sorted(times)[len(times) * 9 // 10]

    async def rest(self) -> str:
        """Wait until flushes are as fast as usual, three seconds on end; at most a minute. Says how that went."""
        begin = time.monotonic()
        calm, now = 0, 0.0
        while calm < _CALM_LOOKS and time.monotonic() - begin < PATIENCE_SECONDS:
            now = await asyncio.to_thread(self.flush_seconds)
            calm = calm + 1 if now <= self.usual_seconds * _AS_USUAL else 0
        return (
            f"disk {'at rest' if calm == _CALM_LOOKS else 'not yet at rest'} after {time.monotonic() - begin:.0f} s: nine of ten flushes "
            f"within {now * 1e6:.0f} µs, {self.usual_seconds * 1e6:.0f} before anything was measured"
        )
