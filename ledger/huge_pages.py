"""Huge pages under the accounts a process keeps in memory: a third of deciding is waiting for memory, much of it for page
tables.

A hundred thousand states lie all over the heap; with pages of 4 KB nearly each is a translation the processor does not
have at hand. Linux moves memory to pages of 2 MB when asked; CPython does not ask. An operator who wants none sets
`transparent_hugepage` to `never`. Standard library only. Read next: `store/cache.py`, whose entries these are.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final

EVERY_SECONDS: Final = 5.0
_SYSTEM: Final = Path("/sys/kernel/mm/transparent_hugepage")
_MAPS: Final = Path("/proc/self/maps")
_STATM: Final = Path("/proc/self/statm")
# Where they are larger (512 MB with some ARM kernels), one touched byte would cost one.
_LARGEST_BYTES: Final = 32 * 2**20
_MADV_COLLAPSE: Final = 25  # since Linux 6.1; only what is there is moved, so that no later page fault waits for 2 MB


class Growth:
    """Whether the memory has grown by a tenth since it was last asked for, or since it was smaller than that."""

    def __init__(self) -> None:
        """Not asked for yet."""
        self.pages_then = 0

    def is_due(self, pages: int) -> bool:
        """With so many pages in use now; 0 where nobody knows."""
        self.pages_then = min(self.pages_then, pages)
        return pages >= self.pages_then + self.pages_then // 10


@asynccontextmanager
async def huge_pages(every_seconds: float = EVERY_SECONDS) -> AsyncIterator[None]:
    """Ask while the block runs, each time the memory has grown by a tenth. Beside the event loop: a page's move takes 0.2 ms."""

    async def keep_asking() -> None:
        growth = Growth()
        while True:
            await asyncio.sleep(every_seconds)
            # Asking lets an event loop beside it wait for 10 to 40 ms, also where all is moved already.
            if not growth.is_due(_resident_pages()):
                continue
            with suppress(RuntimeError, MemoryError):  # no thread to be had, no memory: in a while, perhaps
                await asyncio.to_thread(ask_for_huge_pages)
                growth.pages_then = _resident_pages()

    asking = asyncio.create_task(keep_asking(), name="huge-pages")
    try:
        yield
    finally:
        asking.cancel()
        await asyncio.wait([asking])


def ask_for_huge_pages() -> None:
    """Have what lies in this process's private memory moved to huge pages, where the system has them to give."""
    try:
        allowed = (_SYSTEM / "enabled").read_text(encoding="ascii")
        size = int((_SYSTEM / "hpage_pmd_size").read_text(encoding="ascii"))
        if "[never]" in allowed or size > _LARGEST_BYTES:  # the kernel does not ask for itself: whoever calls wants it
            return
        madvise = _madvise()
        for begin, end in _private_memory(_MAPS.read_text(encoding="utf-8"), size):
            madvise(begin, end - begin, _MADV_COLLAPSE)  # goes on after a page that cannot be moved
    except (OSError, ValueError, ImportError, AttributeError):
        return  # another system, or one that shows less of itself


def _resident_pages() -> int:
    """Pages of memory in use; 0 where the system does not say: then it has grown whenever it is looked at."""
    try:
        return int(_STATM.read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0


@lru_cache(1)
def _madvise() -> Any:
    ctypes = import_module("ctypes")  # not every Python has it
    call = ctypes.CDLL(None).madvise
    call.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return call


def _private_memory(maps: str, size: int) -> Iterator[tuple[int, int]]:
    """The parts of writable memory without a file that are whole huge pages: (begin, end)."""
    for line in maps.splitlines():
        span, rights, _offset, _device, inode, *name = line.split(maxsplit=5)
        if rights == "rw-p" and inode == "0" and (not name or name[0] == "[heap]"):
            begin, end = (int(address, 16) for address in span.split("-"))
            begin, end = -(-begin // size) * size, end // size * size
            if begin < end:
                yield begin, end
