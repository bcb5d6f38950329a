"""Tokens signed by somebody else, whose public keys are in a JWKS."""

import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from api.jwks import KeySet
from api.security import Tokens
from ledger.errors import LedgerError

KEYS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
TO_JWK: dict[str, Any] = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}


def public(algorithm: str, **more: str) -> dict[str, Any]:
    return {**json.loads(TO_JWK[algorithm].to_jwk(KEYS[algorithm].public_key())), **more}


def publish(file: Path, keys: list[dict[str, Any]]) -> None:
    file.write_text(json.dumps({"keys": keys}))


def claims(**more: Any) -> dict[str, Any]:
    return {"sub": "user-1", "role": "buyer", "exp": int(time.time()) + 60} | more


@pytest.fixture
def jwks(tmp_path: Path) -> Path:
    file = tmp_path / "jwks.json"
    publish(file, [public(name, kid=f"key-{name}", use="sig") for name in KEYS])
    return file


async def verified(tokens: Tokens, token: str) -> str:
    """The user, or the code of the refusal."""
    try:
        return (await tokens.caller_of(f"Bearer {token}".encode())).id
    except LedgerError as refusal:
        return refusal.code


@pytest.mark.parametrize("algorithm", KEYS)
@pytest.mark.parametrize("kid", [True, False])
async def test_each_algorithm_is_taken_with_its_own_key(jwks: Path, algorithm: str, kid: bool) -> None:
    tokens = Tokens(None, KeySet(str(jwks)), None, None)
    headers = {"kid": f"key-{algorithm}"} if kid else None
    assert await verified(tokens, jwt.encode(claims(), KEYS[algorithm], algorithm, headers)) == "user-1"


async def test_a_public_key_is_no_secret_of_hs256(jwks: Path) -> None:
    pem = (
        KEYS["RS256"]
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    import hashlib
    import hmac
    from base64 import urlsafe_b64encode as b64

    def part(value: bytes) -> bytes:
        return b64(value).rstrip(b"=")

    head = part(json.dumps({"alg": "HS256", "typ": "JWT", "kid": "key-RS256"}).encode())
    text = head + b"." + part(json.dumps(claims(role="admin")).encode())
    forged = (text + b"." + part(hmac.new(pem, text, hashlib.sha256).digest())).decode()
    for secret in (None, "a secret for tests, of more than 32 bytes"):
        assert await verified(Tokens(secret, KeySet(str(jwks)), None, None), forged) == "INVALID_TOKEN"


async def test_without_a_jwks_no_public_key_algorithm_is_taken() -> None:
    tokens = Tokens("a secret for tests, of more than 32 bytes", None, None, None)
    assert await verified(tokens, jwt.encode(claims(), KEYS["ES256"], "ES256")) == "INVALID_TOKEN"


async def test_a_key_that_appears_later_is_found(jwks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.jwks.PAUSE_SECONDS", 0.0)
    tokens = Tokens(None, KeySet(str(jwks)), None, None)
    other = ed25519.Ed25519PrivateKey.generate()
    token = jwt.encode(claims(), other, "EdDSA", {"kid": "new"})
    assert await verified(tokens, token) == "INVALID_TOKEN"
    jwk = {**json.loads(OKPAlgorithm.to_jwk(other.public_key())), "kid": "new"}
    publish(jwks, [public("EdDSA", kid="key-EdDSA"), jwk])
    assert await verified(tokens, token) == "user-1"


async def test_keys_that_cannot_be_read_are_unavailable_not_invalid(tmp_path: Path) -> None:
    tokens = Tokens(None, KeySet(str(tmp_path / "nowhere.json")), None, None)
    assert await verified(tokens, jwt.encode(claims(), KEYS["ES256"], "ES256")) == "UNAVAILABLE"


ISSUED = [
    ({"iss": "https://id.example", "aud": "ledger"}, "user-1"),
    ({"iss": "https://id.example", "aud": ["ledger", "other"]}, "user-1"),
    ({"iss": "https://evil.example", "aud": "ledger"}, "INVALID_TOKEN"),
    ({"iss": "https://id.example", "aud": "other"}, "INVALID_TOKEN"),
    ({"iss": "https://id.example"}, "INVALID_TOKEN"),
    ({"aud": "ledger"}, "INVALID_TOKEN"),
]


@pytest.mark.parametrize(("more", "outcome"), ISSUED)
async def test_issuer_and_audience_are_checked_when_configured(more: dict[str, Any], outcome: str) -> None:
    secret = "a secret for tests, of more than 32 bytes"
    tokens = Tokens(secret, None, "https://id.example", "ledger")
    assert await verified(tokens, jwt.encode(claims(**more), secret, "HS256")) == outcome
    anybodys = Tokens(secret, None, None, None)
    assert await verified(anybodys, jwt.encode(claims(**more), secret, "HS256")) == "user-1"
