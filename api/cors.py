"""CORS: one origin, with credentials, and the headers named here; no other origin is told anything.

Standard library only. Read next: `gate.py`.
"""

from typing import Final

from api.call import Call, Header
from api.envelope import Reply

METHODS: Final = b"GET, POST, PUT, PATCH, DELETE, OPTIONS"
REQUEST_HEADERS: Final = b"Content-Type, Authorization, X-Requested-With, Idempotency-Key, If-Match"
EXPOSED_HEADERS: Final = b"Ledger-Position, ETag, Idempotent-Replayed, Retry-After, RateLimit, RateLimit-Policy"
PREFLIGHT_SECONDS: Final = b"600"


class Cors:
    """The rules for one allowed origin."""

    def __init__(self, origin: str) -> None:
        """`origin` is scheme, host and port, as a browser sends it."""
        self._origin = origin.encode()
        self._simple: list[Header] = [
            (b"vary", b"Origin"),
            (b"access-control-allow-origin", self._origin),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-expose-headers", EXPOSED_HEADERS),
        ]
        self._preflight: list[Header] = [
            *self._simple[:3],
            (b"access-control-allow-methods", METHODS),
            (b"access-control-allow-headers", REQUEST_HEADERS),
            (b"access-control-max-age", PREFLIGHT_SECONDS),
        ]

    def answer(self, call: Call) -> Reply | None:
        """The answer to a preflight; else None, and the headers are added to whatever is answered."""
        origin = call.headers.get(b"origin")
        if origin is None:
            call.response_headers.append(self._simple[0])
            return None
        allowed = origin == self._origin
        if call.method == "OPTIONS" and b"access-control-request-method" in call.headers:
            # A browser reads the absence of the headers as a no.
            return Reply(204, b"", list(self._preflight if allowed else self._preflight[:1]))
        call.response_headers.extend(self._simple if allowed else self._simple[:1])
        return None
