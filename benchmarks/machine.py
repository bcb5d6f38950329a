"""What the figures were measured on: the machine, its disk's flush, the PostgreSQL and its settings, the Python."""

import os
import platform
import re
import sys
from pathlib import Path
from typing import Final

import asyncpg

from benchmarks.cluster import Cluster

_SETTINGS: Final = (
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_sync_method",
    "wal_compression",
    "shared_buffers",
    "max_wal_size",
    "checkpoint_timeout",
    "max_connections",
    "jit",
    "data_checksums",
)


async def facts(cluster: Cluster) -> dict[str, str]:
    """Name and value of everything a reader needs to judge the figures."""
    connection = await asyncpg.connect(cluster.urls.database_url)
    try:
        settings = {name: str(await connection.fetchval("SELECT current_setting($1)", name)) for name in _SETTINGS}
    finally:
        await connection.close()
    return {
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "processor": _processor(),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {sys.version.split()[0]}",
        "load before": "/".join(f"{load:.2f}" for load in os.getloadavg()),
        "pg_test_fsync": _flush_times(cluster),
        **{f"postgresql {name}": value for name, value in settings.items()},
    }


def _processor() -> str:
    try:
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def _flush_times(cluster: Cluster) -> str:
    """What one 8 kB write and its flush take, by method, where the data lies."""
    file = cluster.root / "fsync.tmp"
    try:
        said = cluster.run("pg_test_fsync", "-s", "1", "-f", str(file))
    finally:
        file.unlink(missing_ok=True)
    one_write = said.partition("using one 8kB write")[2].partition("Compare")[0]
    times = re.findall(r"(fdatasync|fsync|open_datasync)\s+[\d.]+ ops/sec\s+(\d+) usecs/op", one_write)
    return ", ".join(f"{method} {microseconds} µs" for method, microseconds in times)
