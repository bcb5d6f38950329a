"""The process supervisor: output in one place, restarts, an orderly stop, one port for several processes."""

import errno
import io
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ledger.settings import SettingsError
from workers import supervise
from workers.processes import mark
from workers.supervise import ChildSpec, bind_socket, bind_sockets, run

SUPERVISOR = """
import sys
from workers.processes import mark
from workers.supervise import ChildSpec, run
sys.exit(run([ChildSpec(name="api", command=(sys.executable, "-c", sys.argv[1])),
              ChildSpec(name="work", command=(sys.executable, "-c", sys.argv[1]))]))
"""

WAITS = "import os, time; print('here', os.getpid()); time.sleep(60)"


def child(name: str, code: str, **more: object) -> ChildSpec:
    return ChildSpec(name=name, command=(sys.executable, "-c", code), **more)  # type: ignore[arg-type]  # passed on as they came


def supervised(code: str) -> tuple[subprocess.Popen[str], list[int]]:
    """Start two children under a supervisor; return it and their process numbers."""
    process = subprocess.Popen([sys.executable, "-c", SUPERVISOR, code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(2)]
    assert sorted(line.partition("|")[0].strip() for line in lines) == ["api", "work"]
    return process, [int(line.split()[-1]) for line in lines]


def wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 10
    while any(mark(pid) is not None for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_every_child_and_the_supervisor_ends_well(number: signal.Signals) -> None:
    process, pids = supervised(WAITS)
    process.send_signal(number)
    assert process.wait(10) == 0
    wait_until_gone(pids)


def test_children_die_with_a_killed_supervisor() -> None:
    process, pids = supervised(WAITS)
    process.kill()
    process.wait()
    wait_until_gone(pids)


def test_a_second_signal_kills_a_child_that_will_not_end() -> None:
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + WAITS
    process, pids = supervised(code)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    wait_until_gone(pids)


def test_a_child_that_dies_is_started_again(tmp_path: Path) -> None:
    """The first run dies; the second says what only a configuration error says, which ends the supervisor."""
    code = f"""
import os, sys
from pathlib import Path
seen = Path({str(tmp_path / "seen")!r})
if not seen.exists():
    seen.touch()
    print("first", end="")
    sys.exit(3)
print("second")
sys.exit(os.EX_CONFIG)
"""
    out = io.BytesIO()
    assert run([child("api", code)], out=out) == os.EX_CONFIG
    lines = out.getvalue().decode().splitlines()
    assert lines[0] == "api | first"
    assert "status 3" in lines[1]
    assert lines[2] == "api | second"


def test_what_the_tick_raises_stops_everything() -> None:
    def fail() -> None:
        raise RuntimeError("the database is gone")

    out = io.BytesIO()
    with pytest.raises(RuntimeError, match="database"):
        run([child("api", WAITS)], tick=fail, out=out)
    wait_until_gone([int(out.getvalue().split()[-1])])


def test_a_child_inherits_the_bound_socket() -> None:
    code = "import os, socket; s = socket.socket(fileno=int(os.environ['FD'])); c, _ = s.accept(); c.send(b'hello'); "
    with bind_socket("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
        spec = child(
            "api",
            code + "raise SystemExit(os.EX_CONFIG)",
            pass_fds=(bound.fileno(),),
            environment={"FD": str(bound.fileno())},
        )
        with socket.create_connection(("127.0.0.1", port)) as client:
            assert run([spec], out=io.BytesIO()) == os.EX_CONFIG
            assert client.recv(10) == b"hello"


def test_several_processes_get_sockets_on_one_port_and_a_second_service_does_not() -> None:
    ours = bind_sockets("127.0.0.1", 0, 3)
    port = ours[0].getsockname()[1]
    assert {bound.getsockname()[1] for bound in ours} == {port}
    for count in (1, 2):
        with pytest.raises(SettingsError, match=rf"^PORT: .*{port}"):
            bind_sockets("127.0.0.1", port, count)
    for bound in ours:
        bound.close()


class Full(io.BytesIO):
    """A file on a disk that is full until there is room, or a terminal that has gone."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self.refused = 0

    def write(self, data: Any) -> int:
        if self.refused < 3:
            self.refused += 1
            raise OSError(self.number, os.strerror(self.number))
        return super().write(data)


@pytest.mark.parametrize(("number", "goes_on"), [(errno.ENOSPC, True), (errno.EIO, False)])
def test_output_that_cannot_be_written_stops_nobody(number: int, *, goes_on: bool) -> None:
    code = "import os, sys, time; [print(n) or time.sleep(0.02) for n in range(20)]; sys.exit(os.EX_CONFIG)"
    out = Full(number)
    assert run([child("api", code)], out=out) == os.EX_CONFIG
    assert out.refused == (3 if goes_on else 1)
    assert (b"api | 19" in out.getvalue()) == goes_on


def test_a_child_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    refused, start = [], supervise.spawn

    def no_room_once(*given: Any, **options: Any) -> Any:
        if not refused:
            refused.append(1)
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return start(*given, **options)

    monkeypatch.setattr(supervise, "spawn", no_room_once)
    out = io.BytesIO()
    assert run([child("api", "import os, sys; sys.exit(os.EX_CONFIG)")], out=out) == os.EX_CONFIG
    assert b"api did not start ([Errno 11] Resource temporarily unavailable); again in" in out.getvalue()
