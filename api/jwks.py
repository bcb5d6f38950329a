"""The public keys of a JWKS, from a file or a URL: read when first needed, again when a token names an unknown key.

PyJWT and the standard library. Read next: `security.py`.
"""

import asyncio
from pathlib import Path
from time import monotonic
from typing import Any, Final
from urllib.request import Request, urlopen

import jwt
import msgspec
import structlog

from api.errors import InvalidToken
from ledger.errors import Unavailable

ASYMMETRIC: Final = {"RS256": ("RSA", None), "ES256": ("EC", "P-256"), "EdDSA": ("OKP", "Ed25519")}
"""The algorithms a JWKS enables, each with the kind of key and the curve that belong to it."""

FETCH_SECONDS: Final = 5.0
JWKS_BYTES_AT_MOST: Final = 1_048_576
PAUSE_SECONDS: Final = 10.0
"""Between two readings: a flood of tokens with made-up key ids must not become a flood of fetches."""
STALE_SECONDS: Final = 600.0
"""After so long the keys are read again in any case, so that a withdrawn key stops to work."""

log = structlog.get_logger(__name__)


class KeySet:
    """The keys of one JWKS."""

    def __init__(self, location: str) -> None:
        """`location` is an http(s) URL or a path; nothing is read yet."""
        self._location = location
        self._keys: list[dict[str, Any]] | None = None
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def find(self, token: str, algorithm: str) -> Any:
        """The key this token says it is signed with, if it is one for the algorithm. Else `InvalidToken`."""
        kid = jwt.get_unverified_header(token).get("kid")
        if self._keys is None or monotonic() - self._read_at > STALE_SECONDS:
            await self._read()
        key = self._match(kid, algorithm)
        if key is None and monotonic() - self._read_at > PAUSE_SECONDS:
            await self._read()
            key = self._match(kid, algorithm)
        if key is None:
            raise InvalidToken("The token is signed with a key this service does not know.")
        return jwt.PyJWK(key, algorithm).key

    def _match(self, kid: str | None, algorithm: str) -> dict[str, Any] | None:
        kind, curve = ASYMMETRIC[algorithm]
        fitting = [
            key
            for key in self._keys or ()
            if key.get("kty") == kind
            and (curve is None or key.get("crv") == curve)
            and key.get("use", "sig") == "sig"
            and key.get("alg", algorithm) == algorithm
            and (kid is None or key.get("kid") == kid)
        ]
        return fitting[0] if len(fitting) == 1 else None

    async def _read(self) -> None:
        before = self._read_at
        async with self._reading:
            if self._read_at != before:
                return  # another request has just done it
            self._read_at = monotonic()
            try:
                document = msgspec.json.decode(await asyncio.to_thread(_load, self._location))
                self._keys = [key for key in document["keys"] if isinstance(key, dict)]
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.warning("JWKS cannot be read", error=repr(error))
                if self._keys is None:
                    raise Unavailable("The keys that tokens are signed with cannot be read.", 10) from None


def _load(location: str) -> bytes:
    if not location.startswith(("http://", "https://")):
        return Path(location).read_bytes()
    request = Request(location, headers={"Accept": "application/json"})  # noqa: S310  # the scheme is checked above
    with urlopen(request, timeout=FETCH_SECONDS) as answer:  # noqa: S310  # as above
        body: bytes = answer.read(JWKS_BYTES_AT_MOST + 1)
    if len(body) > JWKS_BYTES_AT_MOST:
        raise ValueError("larger than a JWKS may be")
    return body
