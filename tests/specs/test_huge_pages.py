"""Memory moved to huge pages is the same memory, and the system says that it was moved."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from ledger.huge_pages import _private_memory, ask_for_huge_pages, huge_pages

SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
MAPS = """\
55d000000000-55d000400000 rw-p 00000000 00:00 0                          [heap]
55d000400000-55d000600000 r--p 00000000 00:00 0
7f0000100000-7f0000700000 rw-p 00000000 00:00 0
7f0000800000-7f0000900000 rw-p 00000000 00:00 0
7f0001000000-7f0001400000 rw-s 00000000 00:01 77                         /dev/zero (deleted)
7f0002000000-7f0002400000 rw-p 00000000 fe:00 99                         /usr/lib/libpython3.11.so
7ffe00000000-7ffe00400000 rw-p 00000000 00:00 0                          [stack]
"""


def test_only_whole_pages_of_private_memory_without_a_file_are_taken():
    assert [(hex(begin), hex(end)) for begin, end in _private_memory(MAPS, 2**21)] == [
        ("0x55d000000000", "0x55d000400000"),
        ("0x7f0000200000", "0x7f0000600000"),
    ]


def _huge_bytes():
    return int(re.findall(r"AnonHugePages:\s+(\d+) kB", Path("/proc/self/smaps_rollup").read_text())[0]) * 1024


@pytest.mark.skipif(
    sys.platform != "linux"
    or not SETTING.exists()
    or "[never]" in SETTING.read_text()
    or tuple(map(int, os.uname().release.split(".")[:2])) < (6, 1),
    reason="this system moves no memory to huge pages when asked",
)
def test_what_was_moved_lies_in_huge_pages_and_is_what_it_was():
    kept = [f"account-{number}" for number in range(500_000)]
    moved = ask_for_huge_pages()
    assert moved >= 8 * 2**20, "half a million words are forty megabytes"
    assert _huge_bytes() >= 8 * 2**20
    assert kept == [f"account-{number}" for number in range(500_000)]


async def test_asking_goes_on_until_the_block_ends(monkeypatch):
    asked = []
    loop, third = asyncio.get_running_loop(), asyncio.Event()

    def ask():
        asked.append(1)
        if len(asked) == 3:
            loop.call_soon_threadsafe(third.set)

    monkeypatch.setattr("ledger.huge_pages.ask_for_huge_pages", ask)
    async with huge_pages(every_seconds=0.001):
        await third.wait()
    count = len(asked)
    await asyncio.sleep(0.01)
    assert len(asked) == count


def test_a_system_without_them_is_left_alone(monkeypatch, tmp_path):
    monkeypatch.setattr("ledger.huge_pages._SIZE", tmp_path / "none")
    assert ask_for_huge_pages() == 0
