"""Folded streams kept in memory: the most recently used ones, in two dicts that take turns.

Evicting from one dict with `pop(next(iter(d)))` is quadratic over time; here the older half is dropped at once.
Standard library only. Read next: `committer.py`.
"""

from typing import Any


class Entry:
    """A stream as of its last event: version (0: absent), that event's hash, the folded state, and how it is folded."""

    __slots__ = ("category", "hash", "state", "version")

    def __init__(self, version: int, last_hash: bytes, state: Any, category: Any) -> None:
        """Nothing is copied."""
        self.version = version
        self.hash = last_hash
        self.state = state
        self.category = category


class StreamCache:
    """At most `limit` entries, of which the most recently used half survives a turn."""

    def __init__(self, limit: int) -> None:
        """`limit` counts streams."""
        self._half = max(1, limit // 2)
        self._young: dict[str, Entry] = {}
        self._old: dict[str, Entry] = {}

    def __len__(self) -> int:
        """How many streams are kept."""
        return len(self._young) + len(self._old)

    def get(self, stream: str) -> Entry | None:
        """The entry, made young again; None if it is not here."""
        entry = self._young.get(stream)
        if entry is None and self._old:
            entry = self._old.pop(stream, None)
            if entry is not None:
                self.put(stream, entry)
        return entry

    def put(self, stream: str, entry: Entry) -> None:
        """Keep the entry in place of any other of that stream."""
        if self._old:
            self._old.pop(stream, None)
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
            # The one just turned over may be among the old ones.
            self._old.pop(stream, None)
        self._young[stream] = entry

    def drop(self, stream: str) -> None:
        """Forget the stream; it is loaded again when it is next needed."""
        self._young.pop(stream, None)
        self._old.pop(stream, None)

    def clear(self) -> None:
        """Forget everything."""
        self._young = {}
        self._old = {}


class Layer(dict[str, Entry]):
    """An overlay on an overlay: reads fall through, writes stay above until they are merged down."""

    def __init__(self, below: dict[str, Entry]) -> None:
        super().__init__()
        self._below = below

    def get(self, key: str, default: Any = None) -> Any:
        entry = super().get(key)
        return self._below.get(key, default) if entry is None else entry
