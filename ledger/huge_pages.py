"""Huge pages under the accounts a process keeps in memory: a third of deciding is waiting for memory, much of it for page
tables.

A hundred thousand states lie all over the heap; with pages of 4 KB nearly each is a translation the processor does not
have at hand. Linux gives 2 MB pages to whoever asks (`transparent_hugepage` set to `madvise` or `always`); CPython does not.
An operator who wants none sets it to `never`. Standard library only. Read next: `store/cache.py`, whose entries these are.
"""

import asyncio
import ctypes
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

EVERY_SECONDS: Final = 5.0
_SIZE: Final = Path("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")
_MAPS: Final = Path("/proc/self/maps")
_MADV_HUGEPAGE: Final = 14
_MADV_COLLAPSE: Final = 25  # since Linux 6.1; on an older one the kernel's own thread gets there in a few minutes


@asynccontextmanager
async def huge_pages(every_seconds: float = EVERY_SECONDS) -> AsyncIterator[None]:
    """Ask again and again while the block runs, as the heap grows. Beside the event loop: a page's move takes 0.2 ms."""

    async def keep_asking() -> None:
        while True:
            await asyncio.sleep(every_seconds)
            await asyncio.to_thread(ask_for_huge_pages)

    asking = asyncio.create_task(keep_asking(), name="huge-pages")
    try:
        yield
    finally:
        asking.cancel()
        await asyncio.wait([asking])


def ask_for_huge_pages() -> int:
    """Have this process's private memory moved to huge pages, and what it gets later put there.

    Answers how many bytes lie in them now; 0 where the system has none to give. Nothing else ever comes of it.
    """
    if sys.platform != "linux":
        return 0
    try:
        size = int(_SIZE.read_text(encoding="ascii"))
        ranges = list(_private_memory(_MAPS.read_text(encoding="utf-8"), size))
        madvise = ctypes.CDLL(None).madvise
    except (OSError, ValueError, AttributeError):
        return 0
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    moved = 0
    for begin, end in ranges:
        if madvise(begin, end - begin, _MADV_HUGEPAGE) == 0:
            moved += sum(size for page in range(begin, end, size) if madvise(page, size, _MADV_COLLAPSE) == 0)
    return moved


def _private_memory(maps: str, size: int) -> Iterator[tuple[int, int]]:
    """The parts of writable memory without a file that are whole huge pages: (begin, end)."""
    for line in maps.splitlines():
        span, rights, _offset, _device, inode, *name = line.split(maxsplit=5)
        if rights == "rw-p" and inode == "0" and (not name or name[0] == "[heap]"):
            begin, end = (int(address, 16) for address in span.split("-"))
            begin, end = -(-begin // size) * size, end // size * size
            if begin < end:
                yield begin, end
