"""Who is asking: bearer tokens, the roles, and who may use which route.

A route says who may use it in its `opt`: `opt={"access": SERVICE_OR_ADMIN}`; one that says nothing is closed to
everybody. Read next: `jwks.py` for public keys, `gate.py` for where this is called.
"""

from collections.abc import Mapping
from time import time
from typing import Any, Final

import jwt
import msgspec

from api.call import Call, Caller
from api.errors import Forbidden, InvalidToken, Unauthorized
from api.jwks import ASYMMETRIC, KeySet
from ledger.ids import is_id
from ledger.settings import Settings, resolve_jwt_secret
from ledger.store.codec import Actor

Access = frozenset[str] | None

ROLES: Final = frozenset({"buyer", "seller", "admin", "resolver", "service", "finance"})
LIMITED_BY_USER: Final = frozenset({"service", "admin", "finance", "resolver"})
"""These roles have a rate limit of their own, per user id; all others share the one of their address."""

OPEN: Final[Access] = None
"""Opened by name to anyone, with or without a token."""
SIGNED_IN: Final[Access] = ROLES
ADMIN: Final[Access] = frozenset({"admin"})
SERVICE: Final[Access] = frozenset({"service"})
SERVICE_OR_ADMIN: Final[Access] = frozenset({"service", "admin"})
SERVICE_ADMIN_RESOLVER: Final[Access] = frozenset({"service", "admin", "resolver"})
ADMIN_OR_RESOLVER: Final[Access] = frozenset({"admin", "resolver"})
NOT_FINANCE: Final[Access] = ROLES - {"finance"}
"""Whoever may be a party of a purchase or steer its money: finance reads everything and changes nothing."""
ADMIN_OR_FINANCE: Final[Access] = frozenset({"admin", "finance"})
BACK_OFFICE: Final[Access] = frozenset({"service", "admin", "finance"})

SEE_ALL: Final = frozenset({"service", "admin", "finance", "resolver"})
"""These roles see every purchase, payment and dispute; all others those they buy or sell in."""

TOKEN_BYTES_AT_MOST: Final = 8192
REMEMBERED_AT_MOST: Final = 20_000
REMEMBERED_SECONDS: Final = 300
"""A verified token is not verified again for so long: a key withdrawn from the JWKS must stop to work one day."""

_CLAIMS_OF_ID: Final = ("id", "userId", "_id", "sub")


class _Verified(msgspec.Struct, frozen=True, gc=False):
    caller: Caller
    until: float


class Tokens:
    """Verifies tokens and remembers the verified ones. One per process."""

    def __init__(self, secret: str | None, keys: KeySet | None, issuer: str | None, audience: str | None) -> None:
        """HS256 goes by `secret` alone, RS256, ES256 and EdDSA by `keys` alone: no key serves two kinds."""
        self._secret = secret
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._options: dict[str, Any] = {
            "require": ["exp"],
            "verify_aud": audience is not None,
            # `iat` informs; a clock a second ahead of ours is no reason to refuse.
            "verify_iat": False,
        }
        self._verified: dict[bytes, _Verified] = {}

    @classmethod
    def from_settings(cls, settings: Settings) -> "Tokens":
        """The secret is made in development; in production there may be keys only."""
        without_secret = settings.is_production and settings.jwt_secret is None
        return cls(
            None if without_secret else resolve_jwt_secret(settings),
            KeySet(settings.jwt_jwks) if settings.jwt_jwks else None,
            settings.jwt_issuer,
            settings.jwt_audience,
        )

    def remembered(self, authorization: bytes) -> Caller | None:
        """The caller of a header that was verified before and has not expired since."""
        known = self._verified.get(authorization)
        return known.caller if known is not None and known.until > time() else None

    async def caller_of(self, authorization: bytes | None) -> Caller:
        """The caller an `Authorization` header proves, or `Unauthorized`."""
        if authorization is None:
            raise Unauthorized("This needs an Authorization header with a bearer token.")
        scheme, _, credentials = authorization.strip().partition(b" ")
        if scheme.lower() != b"bearer" or not credentials or len(authorization) > TOKEN_BYTES_AT_MOST:
            raise InvalidToken("Authorization must be Bearer and one token of at most 8192 bytes.")
        claims = await self._claims(credentials.strip().decode("latin-1"))
        caller = _caller(claims)
        if len(self._verified) >= REMEMBERED_AT_MOST:
            self._verified = {}  # rare, and each costs one verification again
        until = min(float(claims["exp"]), time() + REMEMBERED_SECONDS)
        self._verified[authorization] = _Verified(caller, until)
        return caller

    async def _claims(self, token: str) -> Mapping[str, Any]:
        try:
            algorithm = jwt.get_unverified_header(token).get("alg")
            if algorithm == "HS256" and self._secret is not None:
                key: Any = self._secret
            elif algorithm in ASYMMETRIC and self._keys is not None:
                key = await self._keys.find(token, algorithm)
            else:
                raise InvalidToken("The token's algorithm is not one this service takes.")
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                options=self._options,  # type: ignore[arg-type]  # a TypedDict there, the same keys here
                issuer=self._issuer,
                audience=self._audience,
            )
        except jwt.ExpiredSignatureError:
            raise InvalidToken("The token has expired.") from None
        except jwt.PyJWTError:
            raise InvalidToken("The token is not valid.") from None
        else:
            return claims


def authorize(call: Call, access: Access) -> None:
    """Let the call in, or raise `Unauthorized` or `Forbidden`."""
    if access is None:
        return
    if call.caller is None:
        raise call.refusal or Unauthorized("This needs a token.")
    if call.caller.role not in access:
        raise Forbidden(f"The role {call.caller.role} may not do this; {', '.join(sorted(access)) or 'nobody'} may.")


def _caller(claims: Mapping[str, Any]) -> Caller:
    """The user the claims name; the first claim that is there decides the id."""
    user_id = next((claims[name] for name in _CLAIMS_OF_ID if claims.get(name) is not None), None)
    role, email = claims.get("role"), claims.get("email")
    if not isinstance(user_id, str) or not is_id(user_id):
        raise InvalidToken("The token names no user: id, userId, _id or sub must be 1-64 of A-Z a-z 0-9 _ . : -.")
    if not isinstance(role, str) or role not in ROLES:
        raise InvalidToken(f"The token's role must be one of {', '.join(sorted(ROLES))}.")
    return Caller(user_id, email if isinstance(email, str) else None, role, Actor(user_id, role))


def party_of(call: Call) -> str | None:
    """Whose purchases, payments and disputes the caller may see, by user id; None: everybody's."""
    caller = call.signed_in
    return None if caller.role in SEE_ALL else caller.id
