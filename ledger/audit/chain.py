r"""The hash chain of a stream: each event's hash covers the one before and everything it says.

Formula v1: `SHA-256("ledger-event-v1\0" ‖ previous hash ‖ fields)`, each field preceded by its length as 8 bytes,
big endian: stream, version (8 bytes, big endian), type, metadata, data. Position and recording time are not in it:
they are given under the head lock, after the hash. Pure, standard library only.
"""

from functools import lru_cache
from hashlib import sha256
from struct import Struct
from typing import Final

PREFIX: Final = b"ledger-event-v1\0"
GENESIS: Final = bytes(32)
"""What the first event of a stream has for a previous hash."""

_pack = Struct(">Q").pack
_pack_two = Struct(">QQ").pack


@lru_cache(1024)
def _type_field(event_type: str) -> bytes:
    kind = event_type.encode()
    return _pack(len(kind)) + kind


def event_hash(previous: bytes, stream: str, version: int, event_type: str, metadata: bytes, data: bytes) -> bytes:
    """The 32-byte hash of an event, given that of the event before it in the stream (`GENESIS` for the first)."""
    name = stream.encode()
    return sha256(
        b"".join(
            (
                PREFIX,
                previous,
                _pack(len(name)),
                name,
                _pack_two(8, version),
                _type_field(event_type),
                _pack(len(metadata)),
                metadata,
                _pack(len(data)),
                data,
            )
        )
    ).digest()
