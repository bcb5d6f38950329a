"""Runs the service's processes side by side: their output in one place, restarted when they die, stopped together.

May import: the standard library, msgspec, `ledger.settings`, `workers.processes`.
Read next: `local_stack.py`; `api/cli/up.py` says which processes `ledger up` consists of.
"""

import contextlib
import errno
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import IO

import msgspec

from ledger.settings import SettingsError
from workers.processes import spawn

BACKOFF_FIRST_SECONDS = 0.5
BACKOFF_MAX_SECONDS = 30.0
STEADY_SECONDS = 60.0  # a child that ran this long is healthy: its next failure begins at the first backoff again
GRACE_SECONDS = 30.0
EX_CONFIG = os.EX_CONFIG  # what a child exits with when no restart can help: everything stops
_LINE_MAX_BYTES = 64 * 1024
_ROOM_MAY_COME = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EAGAIN})


class ChildSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One process to keep running. `environment` is added to ours; `pass_fds` are sockets it inherits."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = {}
    pass_fds: tuple[int, ...] = ()


def run(
    commands: list[ChildSpec],
    *,
    tick: Callable[[], None] | None = None,
    out: IO[bytes] | None = None,
) -> int:
    """Run the children until SIGINT or SIGTERM; return 0, or the status of one that exited with `EX_CONFIG`.

    `tick` is called about once a second (reviving the embedded servers, say); what it raises stops everything.
    From the main thread only. A second signal ends the children at once.
    """
    return _Supervisor(commands, out or sys.stdout.buffer).run(tick)


class _Child:
    """One spec and the process that runs it now, if any."""

    def __init__(self, spec: ChildSpec, width: int) -> None:
        self.spec = spec
        self.prefix = f"{spec.name:<{width}} | ".encode()
        self.process: subprocess.Popen[bytes] | None = None
        self.pending = b""
        self.started_at = 0.0
        self.start_at = 0.0
        self.backoff_seconds = BACKOFF_FIRST_SECONDS

    def start(self) -> subprocess.Popen[bytes]:
        self.started_at = time.monotonic()
        self.process = process = spawn(
            self.spec.command,
            death_signal=signal.SIGTERM,
            stdout=subprocess.PIPE,
            # Python would keep the log of a child that writes to a pipe to itself for 8 kB.
            env={**os.environ, "PYTHONUNBUFFERED": "1", **self.spec.environment},
            pass_fds=self.spec.pass_fds,
        )
        return process

    def died(self) -> float:
        """Plan the next start; return the seconds until then."""
        now = time.monotonic()
        if now - self.started_at > STEADY_SECONDS:
            self.backoff_seconds = BACKOFF_FIRST_SECONDS
        wait = self.backoff_seconds
        self.start_at = now + wait
        self.backoff_seconds = min(self.backoff_seconds * 2, BACKOFF_MAX_SECONDS)
        return wait


class _Supervisor:
    def __init__(self, commands: Sequence[ChildSpec], out: IO[bytes]) -> None:
        width = max((len(spec.name) for spec in commands), default=0)
        self._children = [_Child(spec, width) for spec in commands]
        self._out: IO[bytes] | None = out
        self._own_prefix = f"{'ledger':<{width}} | ".encode()
        self._selector = selectors.DefaultSelector()
        self._signals = 0
        self._status = 0

    def run(self, tick: Callable[[], None] | None) -> int:
        with self._listening():
            try:
                ticked_at = time.monotonic()
                while not self._signals and self._status == 0:
                    self._start_due()
                    self._pump(0.2)
                    self._reap()
                    if tick is not None and time.monotonic() - ticked_at >= 1.0:
                        tick()
                        ticked_at = time.monotonic()
            finally:
                self._stop_all()
        return self._status

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        """Count signals instead of being interrupted, and let them wake the selector."""

        def count(_number: int, _frame: FrameType | None) -> None:
            self._signals += 1

        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_read, False)
        os.set_blocking(wake_write, False)
        self._selector.register(wake_read, selectors.EVENT_READ, None)
        previous_wakeup = signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        previous = {number: signal.signal(number, count) for number in (signal.SIGINT, signal.SIGTERM)}
        # Not counted, only heard: a child that ends is seen at once.
        previous[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(previous_wakeup)
            self._selector.close()
            os.close(wake_read)
            os.close(wake_write)

    def _start_due(self) -> None:
        for child in self._children:
            if child.process is None and time.monotonic() >= child.start_at:
                try:
                    stdout = child.start().stdout
                except OSError as problem:  # no room for another process, now
                    self._say(f"{child.spec.name} did not start ({problem}); again in {child.died():.1f} s.")
                    continue
                if stdout is not None:
                    os.set_blocking(stdout.fileno(), False)
                    self._selector.register(stdout, selectors.EVENT_READ, child)

    def _reap(self) -> None:
        for child in self._children:
            if child.process is None or child.process.poll() is None:
                continue
            status = child.process.returncode
            self._forget(child)
            if status == EX_CONFIG:
                self._say(f"{child.spec.name} cannot run as it is set up; stopping.")
                self._status = EX_CONFIG
                return
            wait = child.died()
            self._say(f"{child.spec.name} ended ({_meaning(status)}); again in {wait:.1f} s.")

    def _forget(self, child: _Child) -> None:
        """Write the rest of what a dead child said, and let go of it."""
        stdout = child.process.stdout if child.process is not None else None
        if stdout is not None and not stdout.closed:
            while self._read(child, stdout):
                pass
            self._close(child, stdout)
        child.process = None

    def _pump(self, seconds: float) -> None:
        """Wait for output, a signal or the time; write what came, line by line."""
        for key, _ in self._selector.select(seconds):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    os.read(key.fd, 4096)
            elif isinstance(key.data, _Child) and not isinstance(key.fileobj, int):
                stdout = key.data.process.stdout if key.data.process is not None else None
                if stdout is not None and self._read(key.data, stdout) is None:
                    self._close(key.data, stdout)

    def _read(self, child: _Child, stdout: IO[bytes]) -> bool | None:
        """Read once. True: there was something; False: nothing now; None: the end."""
        try:
            chunk = os.read(stdout.fileno(), 65536)
        except BlockingIOError:
            return False
        if not chunk:
            return None
        *lines, child.pending = (child.pending + chunk).split(b"\n")
        if len(child.pending) > _LINE_MAX_BYTES:
            lines.append(child.pending)
            child.pending = b""
        self._write(b"".join(child.prefix + line + b"\n" for line in lines))
        return True

    def _close(self, child: _Child, stdout: IO[bytes]) -> None:
        if child.pending:
            self._write(child.prefix + child.pending + b"\n")
            child.pending = b""
        with contextlib.suppress(KeyError):
            self._selector.unregister(stdout)
        stdout.close()

    def _stop_all(self) -> None:
        """SIGTERM to all at once, their output still shown; SIGKILL after the grace, or at another signal."""
        seen = self._signals
        self._signal_all(signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        while self._running():
            if time.monotonic() > deadline or self._signals > seen:
                self._say("not all ended in time; killing the rest.")
                self._signal_all(signal.SIGKILL)
                break
            self._pump(0.1)
        for child in self._children:
            if child.process is not None:
                child.process.wait()
                self._forget(child)

    def _signal_all(self, number: signal.Signals) -> None:
        for child in self._running():
            if child.process is not None:
                child.process.send_signal(number)

    def _running(self) -> list[_Child]:
        return [c for c in self._children if c.process is not None and c.process.poll() is None]

    def _say(self, text: str) -> None:
        self._write(self._own_prefix + text.encode() + b"\n")

    def _write(self, data: bytes) -> None:
        """Write, unless whoever read our output has gone: the service goes on without a reader, and on a full disk."""
        if self._out is None or not data:
            return
        try:
            self._out.write(data)
            self._out.flush()
        except (OSError, ValueError) as problem:
            if getattr(problem, "errno", None) not in _ROOM_MAY_COME:
                self._out = None


def _meaning(status: int) -> str:
    if status >= 0:
        return f"status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


# ── The port ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def bind_socket(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Bind and listen, inheritable: connections wait while the API starts or is started again, none is refused.

    `shared` lets several sockets of ours listen on the port, and the kernel spread connections over them.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(address)
        bound.listen(2048)
    except OSError as problem:
        bound.close()
        name = "HOST" if problem.errno == errno.EADDRNOTAVAIL else "PORT"
        raise SettingsError(f"{name}: cannot listen on {host} port {port} ({problem.strerror}).") from problem
    bound.set_inheritable(True)
    return bound


def bind_sockets(host: str, port: int, count: int) -> list[socket.socket]:
    """Bind one socket a process, all on the same port. One shared socket would give a burst to whoever wakes first."""
    first = bind_socket(host, port)
    if count == 1:
        return [first]
    # Sharing lets two services of the same user take one port unnoticed, so the port was first taken alone.
    port = first.getsockname()[1]
    first.close()
    return [bind_socket(host, port, shared=True) for _ in range(count)]
