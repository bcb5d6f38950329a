"""Child processes that die with their parent, and how to recognise one again later.

May import: the standard library and msgspec. Read next: `supervise.py` and `local_stack.py`, which use these.
"""

import ctypes
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import msgspec

_PR_SET_PDEATHSIG = 1
# Loaded here and not after the fork: the child of a threaded process may not take the loader's lock.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class RunAs(msgspec.Struct, frozen=True):
    """Another user to start a child as; only root can ask for one."""

    uid: int
    gid: int


class ProcessMark(msgspec.Struct, frozen=True):
    """A process that can be told from a later one with the same number. `started` is in clock ticks since boot."""

    pid: int
    started: str
    program: str


def spawn(
    command: Sequence[str | Path],
    *,
    death_signal: signal.Signals,
    stdin: bytes | None = None,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    env: Mapping[str, str] | None = None,
    run_as: RunAs | None = None,
    cwd: Path | None = None,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a child in a process group of its own, so that ^C reaches us alone and we stop it in order.

    On Linux the kernel sends it `death_signal` when we are gone, however that happened. The kernel means the *thread*
    that started it, hence the main thread only.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("Start child processes from the main thread: Linux ends them with the thread that did.")
    process = subprocess.Popen(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=stdout,
        stderr=subprocess.STDOUT,
        env=None if env is None else dict(env),
        cwd=cwd,
        pass_fds=pass_fds,
        process_group=0,
        preexec_fn=_die_with_parent(death_signal),  # noqa: PLW1509 - only prctl, from a library that is loaded
        user=None if run_as is None else run_as.uid,
        group=None if run_as is None else run_as.gid,
        extra_groups=None if run_as is None else [],
    )
    if stdin is not None and process.stdin is not None:
        process.stdin.write(stdin)
        process.stdin.close()
    return process


def _die_with_parent(death_signal: signal.Signals) -> Callable[[], None] | None:
    if _LIBC is None:
        return None
    libc, parent = _LIBC, os.getpid()

    def in_child() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(death_signal))
        if os.getppid() != parent:  # it died before we asked to be told
            os._exit(1)

    return in_child


def stop(process: subprocess.Popen[bytes], *steps: tuple[signal.Signals, float]) -> bool:
    """Send each signal in turn and wait its seconds; SIGKILL at last. True if that was not needed."""
    for step, seconds in steps:
        if process.poll() is not None:
            return True
        process.send_signal(step)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
        return True
    process.kill()
    process.wait()
    return False


def mark(pid: int) -> ProcessMark | None:
    """Return the mark of a living process; None if there is none (a zombie does not count)."""
    if sys.platform != "linux":
        return ProcessMark(pid=pid, started="", program="") if _exists(pid) else None
    try:
        # The name in brackets may hold blanks and brackets; everything after the last one is plain.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    if fields[0] in {"Z", "X"}:
        return None
    try:
        program = str(Path(f"/proc/{pid}/exe").readlink()).removesuffix(" (deleted)")
    except OSError:
        program = ""  # another user's
    return ProcessMark(pid=pid, started=fields[19], program=program)


def is_alive(expected: ProcessMark) -> bool:
    """Is this very process alive, not another that got its number?"""
    now = mark(expected.pid)
    return now is not None and now.started == expected.started


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def open_log(file: Path, *, keep: bool) -> IO[bytes]:
    """Open a server's log, to be read by its owner only: it may quote what a statement carried."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | (0 if keep else os.O_TRUNC)
    return os.fdopen(os.open(file, flags, 0o600), "ab")


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free now. Somebody may take it before it is used: callers try again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def write_private(file: Path, content: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all, durably."""
    draft = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(file)
    sync_folder(file.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in the folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
