"""A process of ours that answers a line of JSON with a line of JSON. It ends when its stdin does, so it cannot outlive us.

Standard library and msgspec only.
"""

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")
ANSWER_BYTES_MAX = 2**20


class Child:
    """`python -m <module> <arguments>`, started on first use."""

    def __init__(self, module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        """Nothing is started yet."""
        self._command = [sys.executable, "-m", module, *arguments]
        self._environment = {**os.environ, **(environment or {})}
        self._process: asyncio.subprocess.Process | None = None

    async def ask(self, request: Any, kind: type[T], patience_seconds: float = 600.0) -> T:
        """Its answer. Raises if it ends instead; what it complained of is on our stderr."""
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=self._environment,
                cwd=Path(__file__).parents[1],
                limit=ANSWER_BYTES_MAX,
            )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(msgspec.json.encode(request) + b"\n")
        line = await asyncio.wait_for(process.stdout.readline(), patience_seconds)
        if not line:
            msg = f"{' '.join(self._command[2:3])} ended with status {await process.wait()}"
            raise RuntimeError(msg)
        return msgspec.json.decode(line, type=kind)

    async def stop(self) -> None:
        """Let it end by itself; kill it if it does not."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 20)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        self._process = None
