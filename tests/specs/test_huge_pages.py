"""Memory moved to huge pages is the same memory, and the system says that it was moved."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from ledger import huge_pages as module
from ledger.huge_pages import Growth, _private_memory, ask_for_huge_pages, huge_pages

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
    before = _huge_bytes()
    ask_for_huge_pages()
    assert _huge_bytes() >= before + 8 * 2**20, "half a million words are forty megabytes"
    assert kept == [f"account-{number}" for number in range(500_000)]


@pytest.fixture
def asked_of_the_kernel(monkeypatch, tmp_path):
    """A system that has what is written to the folder, and what is asked of it."""
    asked = []
    monkeypatch.setattr(module, "_madvise", lambda: lambda *advice: asked.append(advice))
    monkeypatch.setattr(module, "_SYSTEM", tmp_path)
    monkeypatch.setattr(module, "_MAPS", tmp_path / "maps")
    (tmp_path / "maps").write_text(MAPS)
    return asked


@pytest.mark.parametrize(
    ("allowed", "size", "times"),
    [
        ("always [madvise] never", 2 * 2**20, 2),
        ("[always] madvise never", 2 * 2**20, 2),
        ("always madvise [never]", 2 * 2**20, 0),
        ("always [madvise] never", 512 * 2**20, 0),
        (None, None, 0),
    ],
    ids=["madvise", "always", "never", "pages of 512 MB", "no such thing"],
)
def test_a_system_is_asked_only_if_it_gives_them(asked_of_the_kernel, tmp_path, allowed, size, times):
    if allowed is not None:
        (tmp_path / "enabled").write_text(allowed)
        (tmp_path / "hpage_pmd_size").write_text(f"{size}\n")
    ask_for_huge_pages()
    assert [advice[1:] for advice in asked_of_the_kernel] == [(2**22, 25)] * times


@pytest.mark.parametrize(
    ("looks", "asked"),
    [
        ((100, 100, 109, 105, 110, 110, 120, 121, 121), [100, 110, 121]),
        ((100, 60, 65, 66, 66), [100, 66]),
        ((0, 0, 0), [0, 0, 0]),
    ],
    ids=["grows", "shrinks and grows from there", "nobody knows"],
)
def test_it_is_asked_again_only_when_the_memory_has_grown_by_a_tenth(looks, asked):
    growth, seen = Growth(), []
    for pages in looks:
        if growth.is_due(pages):
            seen.append(pages)
            growth.pages_then = pages
    assert seen == asked


async def test_asking_goes_on_until_the_block_ends(monkeypatch):
    asked = []
    loop, third = asyncio.get_running_loop(), asyncio.Event()

    def ask():
        asked.append(1)
        if len(asked) == 3:
            loop.call_soon_threadsafe(third.set)

    monkeypatch.setattr("ledger.huge_pages._resident_pages", lambda: 0)
    monkeypatch.setattr("ledger.huge_pages.ask_for_huge_pages", ask)
    async with huge_pages(every_seconds=0.001):
        await third.wait()
    await asyncio.sleep(0.02)  # one may have been on its way
    count = len(asked)
    await asyncio.sleep(0.05)
    assert len(asked) <= count + 1, "nobody asks any more, but perhaps a service that runs beside this test"
