"""One PostgreSQL of our own in a folder: find the binaries, make the data once, start, recover, stop.

The data decides: existing data is started with binaries of its own version and as the user that made it, or not at
all; nothing is ever initialised beside it, because an empty ledger that looks alive is worse than a stopped one.
May import: the standard library, msgspec, `workers.postgres_programs`, `workers.processes`.
Read next: `local_stack.py`.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from workers.postgres_programs import (
    ENVIRONMENT,
    Owner,
    StackError,
    as_owner,
    binaries_for,
    choose_owner,
    last_line,
    major_of,
    recorded_owner,
    run,
)
from workers.processes import ProcessMark, free_port, mark, open_log, spawn, stop, sync_folder, write_private

SUPERUSER = "postgres"
DATABASE = "ledger"
START_SECONDS = 60.0  # recovery of 4 GB of WAL on a slow disk fits
STOP_SECONDS = 60.0
SHARED_BUFFERS_MAX_MB = 6 * 1024


class EmbeddedPostgres:
    """The server of one folder. `start` and `stop` from the main thread."""

    def __init__(self, root: Path, password: str, settings: Mapping[str, str]) -> None:
        """`settings` are added to ours and win over them."""
        self._root = root.resolve()
        self._password = password
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def process(self) -> ProcessMark | None:
        return None if self._process is None else mark(self._process.pid)

    def start(self, port: int | None = None) -> None:
        """Start the server, on a free port unless one is named; make its data first if there is none."""
        if self._process is not None:
            self._process.wait()  # it died; until it is buried PostgreSQL takes its number for a living server
            self._process = None
        data = existing_data(self._root)
        if data is None:
            data, owner, binaries = self._initialise()
        else:
            owner = recorded_owner(self._root)
            binaries = binaries_for(owner, (data / "PG_VERSION").read_text(encoding="ascii").strip(), self._root)
        _end_orphan(data)
        for attempt in range(40):
            self.port = port or free_port()
            complaint = self._try_start(owner, binaries, data)
            if complaint is None:
                return
            # The children of a killed postmaster take a moment to notice; a free port may be taken meanwhile.
            if "shared memory block" not in complaint and "Address already in use" not in complaint:
                break
            time.sleep(0.05 * min(attempt + 1, 10))
        raise StackError(f"PostgreSQL did not start ({complaint}); see {self._root / 'postgres.log'}.")

    def stop(self) -> None:
        """End it with a checkpoint; if that takes too long, without one (nothing is lost, the next start recovers)."""
        if self._process is not None:
            stop(self._process, (signal.SIGINT, STOP_SECONDS), (signal.SIGQUIT, 5.0))
            self._process = None

    def _initialise(self) -> tuple[Path, Owner, Path]:
        """Make the data beside its final name and rename it: a crash half-way leaves no data that looks whole."""
        owner, binaries = choose_owner(self._root)
        major = major_of(binaries, owner)
        draft, data = self._root / f"pg{major}.new", self._root / f"pg{major}"
        password_file = self._root / "initdb.password"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        write_private(password_file, self._password.encode())
        if owner.mode == "user" and owner.uid != os.geteuid():
            os.chown(draft, owner.uid, owner.gid)
            os.chown(password_file, owner.uid, owner.gid)
        command: list[str | Path] = [binaries / "initdb", "-D", draft, "-U", SUPERUSER, "--pwfile", password_file]
        command += ["-A", "scram-sha-256", "--data-checksums", "--encoding=UTF8"]
        command += ["--locale=C"]  # the same order of text on every machine, whatever locales it has
        if major >= 17:
            command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        try:
            run(owner, command)
        finally:
            password_file.unlink()
        answer = run(
            owner, [binaries / "postgres", "--single", "-D", draft, "postgres"], f"CREATE DATABASE {DATABASE}\n"
        )
        if "ERROR" in answer or "FATAL" in answer:
            raise StackError(f"PostgreSQL could not make the database: {last_line(answer)}")
        write_private(self._root / "owner.json", msgspec.json.encode(owner))
        draft.rename(data)
        sync_folder(self._root)
        return data, owner, binaries

    def _try_start(self, owner: Owner, binaries: Path, data: Path) -> str | None:
        """Start once and wait until it takes connections. Returns None, or what it complained of."""
        log = self._root / "postgres.log"
        if log.exists() and log.stat().st_size > 10_000_000:
            log.replace(log.with_suffix(".log.1"))
        settings = {**_server_settings(), **self._settings, "port": str(self.port)}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        prefix, run_as = as_owner(owner)
        with open_log(log, keep=True) as out:
            begin = out.tell()
            self._process = spawn(
                [*prefix, binaries / "postgres", "-D", data, *options],
                death_signal=signal.SIGINT,  # fast shutdown
                stdout=out,
                env=ENVIRONMENT,
                run_as=run_as,
                cwd=Path("/"),
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if _is_ready(data, self._process.pid):
                return None
            if self._process.poll() is not None:
                self._process = None
                with log.open("rb") as said:
                    said.seek(begin)
                    return _complaint(said.read().decode(errors="replace"))
            time.sleep(0.01)
        self.stop()
        return f"not ready after {START_SECONDS:.0f} s"


def existing_data(root: Path) -> Path | None:
    """Return the one data folder in `root`, or None. Anything that only looks like one stops the start."""
    found = sorted(p for p in root.glob("pg*") if re.fullmatch(r"pg\d+", p.name))
    if not found:
        return None
    if len(found) > 1:
        raise StackError(f"{root} holds {' and '.join(p.name for p in found)}: keep the one that is the ledger.")
    version = found[0] / "PG_VERSION"
    if not version.is_file():
        raise StackError(f"{found[0]} is no PostgreSQL data (no PG_VERSION); restore it or move it away.")
    if f"pg{version.read_text(encoding='ascii').strip()}" != found[0].name:
        raise StackError(f"{found[0]} is of another version than its name says; nothing is started.")
    return found[0]


# ── The running server ───────────────────────────────────────────────────────────────────────────────────────────────


def _is_ready(data: Path, pid: int) -> bool:
    """Read what the postmaster writes of itself: line 1 its number, line 8 its state."""
    try:
        lines = (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        return int(lines[0]) == pid and lines[7].strip() == "ready"
    except (OSError, IndexError, ValueError):
        return False


def _end_orphan(data: Path) -> None:
    """Deal with what an earlier run left. The caller holds the folder's lock, so no supervisor lives.

    A server that is still there is told to end, and waited for: its last processes too, because PostgreSQL finds them
    through `postmaster.pid`. Only when none is left, and the number in that file is somebody else's by now (another
    program, or a dead process that nobody has buried), is the file deleted: it would stop PostgreSQL for no reason.
    """
    file = data / "postmaster.pid"
    try:
        pid = int(file.read_text(encoding="utf-8").split("\n", 1)[0])
    except (OSError, ValueError):
        return
    if sys.platform != "linux":
        return  # PostgreSQL decides; nothing here tells us whose process it is
    deadline = time.monotonic() + STOP_SECONDS
    while left := _processes_of(data):
        if pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)
        if time.monotonic() > deadline:
            raise StackError(f"an earlier PostgreSQL (process {min(left)}) still runs on {data} and does not stop.")
        time.sleep(0.05)
    if Path(f"/proc/{pid}").exists():
        file.unlink(missing_ok=True)


def _processes_of(data: Path) -> set[int]:
    """Return the living PostgreSQL processes on this data. Each of them has it as its working directory."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # ended meanwhile, or another user's; a zombie has no directory
            if (entry / "cwd").readlink() == data and (entry / "exe").readlink().name.startswith("postgres"):
                found.add(int(entry.name))
    return found


def _server_settings() -> dict[str, str]:
    """What every one of our servers runs with. Durability is PostgreSQL's default and stays so."""
    settings = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "shared_buffers": f"{min(_memory_mb() // 4, SHARED_BUFFERS_MAX_MB)}MB",
        "max_wal_size": "8GB",  # a checkpoint makes each page's next change a whole page in the log: the fewer, the cheaper
        "min_wal_size": "2GB",  # used segments are kept for the next burst: making one anew stalls a commit for 20-30 ms
        "wal_compression": "off",  # pages of random digests hardly shrink: docs/decisions/0005
        "jit": "off",  # short statements: compiling costs more than it saves
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
    if sys.platform == "linux":
        settings["client_connection_check_interval"] = "1s"  # a client that is gone does not keep the head locked
    return settings


def _memory_mb() -> int:
    """Return the memory we may use: the machine's, or what the container is given of it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            memory = min(memory, int(Path(limit).read_text(encoding="ascii")))
    return memory // 1024 // 1024


def _complaint(log: str) -> str:
    """Return what matters of a failed start: the first fatal line, or the last one."""
    lines = [line for line in log.splitlines() if any(word in line for word in ("FATAL:", "PANIC:", "could not bind"))]
    return last_line(lines[0] if lines else log)
