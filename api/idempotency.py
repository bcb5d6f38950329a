"""`Idempotency-Key`, `If-Match`, and what they answer with.

What makes two requests the same is `ledger.decision.fingerprint`; keeping and replaying is the committer's.
Read next: `commands.py`.
"""

import re
from typing import Final, Literal

from api.call import Call, Header
from ledger.decision import Answer
from ledger.errors import IdempotencyKeyRequired, InvalidCommand, StaleVersion
from ledger.ids import is_visible

KeyRule = Literal["required", "optional"]

_STRONG: Final = re.compile(rb'(")?(0|[1-9][0-9]{0,17})(?(1)")\Z')
"""A version as it stands in an ETag; the quotes may be left away, both."""


def read_key(call: Call, rule: KeyRule) -> str | None:
    """The key without its quotes. Refused: malformed, twice, or missing where it is required."""
    given = call.headers.get(b"idempotency-key")
    if given is None:
        if rule == "required":
            raise IdempotencyKeyRequired("Idempotency-Key is required: 1-255 visible characters, new for each command.")
        return None
    if call.comes_twice(b"idempotency-key"):
        raise InvalidCommand.field("Idempotency-Key", "is given more than once.")
    key = given.decode("latin-1")
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not is_visible(key):
        raise InvalidCommand.field("Idempotency-Key", "must be 1-255 visible ASCII characters, bare or quoted.")
    return key


def read_if_match(call: Call) -> int | None:
    """The version the command insists on; None for no header, and for `*`: every command needs what it is about anyway.

    A weak or foreign tag never matches (RFC 9110, 13.1.1). A list of tags is refused: a stream has one version.
    """
    given = call.headers.get(b"if-match")
    if given is None:
        return None
    if call.comes_twice(b"if-match"):
        raise InvalidCommand.field("If-Match", "is given more than once.")
    if given.strip() == b"*":
        return None
    if b"," in given:
        raise InvalidCommand.field("If-Match", "must be one ETag or *.")
    strong = _STRONG.match(given.strip())
    if strong is None:
        raise StaleVersion(f"If-Match {given.decode('latin-1')[:50]} names no version.")
    return int(strong[2])


def answer_headers(position: int, *, replayed: bool) -> list[Header]:
    """What every write answers in its headers."""
    headers = [(b"ledger-position", b"%d" % position)]
    if replayed:
        headers.append((b"idempotent-replayed", b"true"))
    return headers


def replay_header(answers: list[Answer]) -> bool:
    """Whether a batch is a replay: every item was done before."""
    return bool(answers) and all(answer.replayed for answer in answers)
