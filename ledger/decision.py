"""What a use case may read, and what it hands to the store: the vocabulary between `handler.py` and `committer.py`.

Read next: `handler.py`.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any, Protocol

import msgspec

from ledger.errors import LedgerError
from ledger.store.codec import Actor
from ledger.store.port import DirectoryRow


class View(Protocol):
    """The states a decision may read. Whatever it reads is checked again when the append holds the head lock."""

    def read(self, stream: str) -> Any:
        """The folded state of the stream; its category's initial state if it is absent. Not to be changed."""

    def version(self, stream: str) -> int:
        """Version of the stream's last event, 0 if it is absent."""

    def is_taken(self, scope: str, value: str) -> bool:
        """Whether a claim is known to be taken. Who is told no and builds on it makes the claim: the append checks it.

        A taken claim stays taken for ever, so that a yes needs no check.
        """


class ClaimOnce(msgspec.Struct, frozen=True, gc=False):
    """A fact that may be true once for ever, and how it is refused if somebody was first."""

    scope: str
    value: str
    refusal: Callable[[], LedgerError]


class Decision(msgspec.Struct, frozen=True, gc=False):
    """What happens: events per stream, in order; the answer's status and data (positions in it are offsets)."""

    status: int
    data: Any
    writes: Sequence[tuple[str, Sequence[msgspec.Struct]]] = ()
    claims: Sequence[ClaimOnce] = ()
    directory: DirectoryRow | None = None


class Origin(msgspec.Struct, frozen=True, gc=False):
    """Where a command comes from: who, when, under which key.

    `fingerprint` is 32 bytes over method, path and body; `key` None means the client sent none (one is made).
    `expected_version` is what `If-Match` named.
    """

    actor: Actor
    now: datetime
    fingerprint: bytes
    request_id: str
    correlation_id: str
    key: str | None = None
    causation_id: str | None = None
    expected_version: int | None = None


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What the client gets: the first outcome of this key, for ever.

    `data` is a Struct when fresh and a dict when replayed; both encode to the same JSON. `position` is that of the
    command's last event (of the head, for a command without events).
    """

    status: int
    data: Any
    position: int
    replayed: bool


Decide = Callable[[View], Decision]


def fingerprint(method: str, path: str, body: bytes) -> bytes:
    """What makes two requests the same: 32 bytes over method, path and exact body."""
    return sha256(_request_line(method, path) + body).digest()


@lru_cache(256)
def _request_line(method: str, path: str) -> bytes:
    return f"{method} {path}\0".encode()
