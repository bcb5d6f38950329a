"""The whole service as a person starts it, for scenarios: `ledger up` in a folder and on a port of its own."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from workers.processes import free_port

READY_SECONDS = 30.0
STOP_SECONDS = 40.0


class RunningLedger:
    """Start, stop, kill and start again; the data stays in the folder."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("DATABASE", "REDIS", "JWT"))},
            "LEDGER_DATA": str(folder),
            "PORT": str(self.port),
            "RATE_LIMIT_SERVICE": "10000000/minute",
            **(environment or {}),
        }
        self.lines: list[str] = []
        self.ready: dict[str, Any] = {}
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> "RunningLedger":
        self.lines = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "api.cli", "up", "--json"],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        is_ready = threading.Event()
        threading.Thread(target=self._listen, args=(self._process, is_ready), daemon=True).start()
        assert is_ready.wait(READY_SECONDS), "".join(self.lines)
        assert self.ready["status"] == "ok", "".join(self.lines)
        return self

    def _listen(self, process: "subprocess.Popen[str]", is_ready: threading.Event) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.lines.append(line)
            if line.startswith('{"status"'):
                self.ready = json.loads(line)
                is_ready.set()

    def stop(self) -> int:
        """As ^C or a service manager does it; the exit status."""
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(STOP_SECONDS)
        self._process = None
        return status

    def kill_everything(self) -> int:
        """SIGKILL to every process of it at once, the database's too; how many there were."""
        assert self._process is not None
        everybody = [self._process.pid, *_descendants(self._process.pid)]
        for pid in everybody:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait()
        self._process = None
        deadline = time.monotonic() + 10
        while any(Path(f"/proc/{pid}/exe").exists() for pid in everybody) and time.monotonic() < deadline:
            time.sleep(0.02)
        return len(everybody)

    def token(self, name: str) -> dict[str, str]:
        """The header of one of the development tokens: admin, service, user, finance."""
        return {"Authorization": f"Bearer {self.ready['tokens'][name]}"}

    def client(self, name: str) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=self.token(name), timeout=10)

    def run(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """A command beside it."""
        return ledger(*arguments, **{**self.environment, **environment})


def ledger(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """`ledger …` with this environment alone."""
    return subprocess.run(
        [sys.executable, "-m", "api.cli", *arguments],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _descendants(pid: int) -> list[int]:
    """Its children and theirs, by the kernel's list."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *_descendants(int(child))]
    except OSError:
        pass  # it has just ended
    return found
