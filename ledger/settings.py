"""Every setting of the service: its name, its default, what it means, and what a right value looks like.

`SETTINGS` is the one table; `docs/reference/settings.md` is written from it. Nothing else reads the environment.
May import: the standard library and msgspec. Read next: `api/cli/up.py`, which starts everything with these.
"""

import base64
import binascii
import os
import re
import secrets
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import msgspec

Network = IPv4Network | IPv6Network

JWT_SECRET_MIN_BYTES = 32
_SECRET_FIELDS = frozenset(
    {
        "database_url",
        "database_direct_url",
        "database_migrate_url",
        "database_project_url",
        "redis_url",
        "jwt_secret",
        "webhook_secrets",
    }
)


class SettingsError(Exception):
    """A value that cannot be right. The message is one line, names the setting and never shows a secret."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one process, checked. `None` means: not set."""

    port: int
    host: str
    environment: Literal["development", "production"]
    database_url: str | None
    database_direct_url: str | None
    database_migrate_url: str | None
    database_project_url: str | None
    redis_url: str | None
    data_dir: Path
    jwt_secret: str | None
    jwt_jwks: str | None
    jwt_issuer: str | None
    jwt_audience: str | None
    frontend_url: str
    public_url: str
    trusted_proxies: tuple[Network, ...]
    rate_limit_global: str
    rate_limit_payment: str
    rate_limit_service: str
    webhook_secrets: dict[str, tuple[str, ...]]
    seal_key_file: Path | None
    log_level: str
    processes: int

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read and check all settings. An empty variable counts as absent. Raises `SettingsError`."""
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        for setting in SETTINGS:
            text = environ.get(setting.name, "").strip() or setting.default
            try:
                values[setting.field] = None if text is None else setting.parse(text)
            except ValueError as problem:
                raise SettingsError(f"{setting.name}: {problem}") from None
        _check_together(values)
        return cls(**values)

    @property
    def is_production(self) -> bool:
        return self.environment == "production"

    @property
    def frontend_origin(self) -> str:
        """The origin a browser sends for `FRONTEND_URL`: scheme, host and port, no path."""
        parts = urlsplit(self.frontend_url)
        return f"{parts.scheme}://{parts.netloc}"

    def __repr__(self) -> str:
        """Show what may be logged: secrets and URLs that may carry a password are left out."""
        shown = (f"{f}={getattr(self, f)!r}" for f in self.__struct_fields__ if f not in _SECRET_FIELDS)
        return f"Settings({', '.join(shown)})"


class Setting(msgspec.Struct, frozen=True):
    """One row of the table. `default` is the text a person would write; None means not set."""

    name: str
    field: str
    default: str | None
    meaning: str
    parse: Callable[[str], Any]


def resolve_jwt_secret(settings: Settings) -> str:
    """Return the HS256 secret: `JWT_SECRET`, or in development one generated once into `LEDGER_DATA/jwt_secret`.

    Several processes may ask at the same moment: the file appears whole or not at all, and the first one wins.
    """
    if settings.jwt_secret is not None:
        return settings.jwt_secret
    if settings.is_production:
        raise SettingsError("JWT_SECRET: required here in production; JWT_JWKS verifies tokens but signs none.")
    file = settings.data_dir / "jwt_secret"
    secret = _kept(file, lambda: secrets.token_urlsafe(48))
    if len(secret.encode()) < JWT_SECRET_MIN_BYTES:
        raise SettingsError(
            f"JWT_SECRET: {file} holds less than {JWT_SECRET_MIN_BYTES} bytes; delete it for a new one."
        )
    return secret


SANDBOX: Final = "sandbox"
"""The provider there is in development where none is set up: whoever can read its secret can play one."""


def resolve_webhook_secrets(settings: Settings) -> Mapping[str, tuple[str, ...]]:
    """Return the secrets of each provider: `WEBHOOK_SECRETS`, or in development one for `sandbox`, generated once.

    There is no value of any setting with which a delivery needs no signature.
    """
    if settings.webhook_secrets or settings.is_production:
        return settings.webhook_secrets
    file = settings.data_dir / "webhook_secret"
    return {SANDBOX: (_kept(file, lambda: "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()),)}


def _kept(file: Path, make: Callable[[], str]) -> str:
    """What the file holds; it is made if it is not there, whole or not at all, and the first of several makers wins."""
    if not file.exists():
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = file.with_name(f"{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as out:
            out.write(make())
        try:
            os.link(draft, file)
        except FileExistsError:
            pass  # another process was first; its secret is the secret
        finally:
            draft.unlink()
    return file.read_text(encoding="ascii").strip()


# ── What a right value looks like ────────────────────────────────────────────────────────────────────────────────────
# Each returns the value or raises ValueError with the end of the sentence that `SettingsError` begins.


def _whole_number(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise ValueError(f"{text!r} is not a whole number from {low} to {high}.")
        return int(text)

    return parse


def _one_of(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in allowed:
            raise ValueError(f"{text!r} is not one of {', '.join(allowed)}.")
        return text.lower()

    return parse


def _host(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.:_-]+", text):
        raise ValueError(f"{text!r} is not a host name or address.")
    return text


def _url(*schemes: str) -> Callable[[str], str]:
    """Accept a URL of one of the schemes. It may carry a password, so the message does not repeat it."""

    def parse(text: str) -> str:
        scheme, separator, rest = text.partition("://")
        if scheme not in schemes or not separator or not rest or re.search(r"\s", text):
            raise ValueError(f"not a URL that begins with {' or '.join(s + '://' for s in schemes)}.")
        return text

    return parse


def _web_url(text: str) -> str:
    parts = urlsplit(text)
    try:
        right = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if not right or parts.query or parts.fragment or parts.username is not None or re.search(r"\s", text):
        raise ValueError(f"{text!r} is not an http:// or https:// URL without a query.")
    return text.rstrip("/")


def _path(text: str) -> Path:
    return Path(text).expanduser().absolute()


def _jwt_secret(text: str) -> str:
    if len(text.encode()) < JWT_SECRET_MIN_BYTES:
        raise ValueError(f"{len(text.encode())} bytes, at least {JWT_SECRET_MIN_BYTES} are needed.")
    return text


def _jwks(text: str) -> str:
    if text.startswith(("http://", "https://")):
        return _web_url(text) if "?" not in text else text
    if not Path(text).expanduser().is_file():
        raise ValueError(f"{text!r} is neither an http(s) URL nor a file.")
    return str(_path(text))


def _networks(text: str) -> tuple[Network, ...]:
    networks: list[Network] = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        try:
            networks.append(ip_network(part))
        except ValueError:
            raise ValueError(f"{part!r} is not an address or network such as 10.0.0.0/8.") from None
    return tuple(networks)


def _rate_limit(text: str) -> str:
    """Check the shape of one limit in the notation of the package `limits`, which only `api` imports."""
    shape = r"([0-9]{1,9})\s*(?:/|\s+per\s+)\s*([0-9]{1,4})?\s*(?:second|minute|hour|day|month|year)s?"
    match = re.fullmatch(shape, text)
    if match is None or int(match[1]) == 0 or (match[2] is not None and int(match[2]) == 0):
        raise ValueError(f"{text!r} is not a limit such as 100/15minutes.")
    return text


def _webhook_secrets(text: str) -> dict[str, tuple[str, ...]]:
    """Parse `provider=whsec_…[|whsec_…],provider2=…`. Several secrets of one provider: while one replaces the other."""
    found: dict[str, tuple[str, ...]] = {}
    for number, part in enumerate(filter(None, (p.strip() for p in text.split(","))), start=1):
        provider, separator, keys = part.partition("=")
        if not separator or not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", provider):
            raise ValueError(f"entry {number} is not provider=whsec_….")
        if provider in found:
            raise ValueError(f"provider {provider!r} is there twice; put | between its secrets.")
        found[provider] = tuple(k.strip() for k in keys.split("|"))
        for key in found[provider]:
            try:
                right = key.startswith("whsec_") and base64.b64decode(key.removeprefix("whsec_"), validate=True)
            except binascii.Error:
                right = False
            if not right:
                raise ValueError(f"a secret of provider {provider!r} is not whsec_ followed by base64.")
    return found


def _check_together(values: dict[str, Any]) -> None:
    """What no single value can say: which settings need each other, and which stand in for another."""
    if values["environment"] == "production" and values["jwt_secret"] is None and values["jwt_jwks"] is None:
        raise SettingsError(f"JWT_SECRET: required in production, at least {JWT_SECRET_MIN_BYTES} bytes (or JWT_JWKS).")
    for name in ("DATABASE_DIRECT_URL", "DATABASE_MIGRATE_URL", "DATABASE_PROJECT_URL"):
        field = name.lower()
        if values[field] is None:
            values[field] = values["database_url"]
        elif values["database_url"] is None:
            raise SettingsError(f"{name}: has no meaning without DATABASE_URL.")


# ── The table ────────────────────────────────────────────────────────────────────────────────────────────────────────

_postgres, _redis = _url("postgresql", "postgres"), _url("redis", "rediss", "unix")

SETTINGS: tuple[Setting, ...] = (
    Setting("PORT", "port", "5001", "Port of the HTTP API.", _whole_number(1, 65535)),
    Setting("HOST", "host", "127.0.0.1", "Address the HTTP API listens on.", _host),
    Setting("ENVIRONMENT", "environment", "development", "`development` or `production`; production insists on secrets.",
            _one_of("development", "production")),
    Setting("DATABASE_URL", "database_url", None, "PostgreSQL as the API's role. Absent: an embedded PostgreSQL in "
            "`LEDGER_DATA`.", _postgres),
    Setting("DATABASE_DIRECT_URL", "database_direct_url", None, "The same database without a pooler, for the writer, "
            "LISTEN and advisory locks. Absent: `DATABASE_URL`.", _postgres),
    Setting("DATABASE_MIGRATE_URL", "database_migrate_url", None, "Login of a role that may migrate. Absent: "
            "`DATABASE_URL`.", _postgres),
    Setting("DATABASE_PROJECT_URL", "database_project_url", None, "Login of the role that writes read models. Absent: "
            "`DATABASE_URL`.", _postgres),
    Setting("REDIS_URL", "redis_url", None, "Redis or Valkey for jobs, limits and fan-out. Absent: an embedded Valkey in "
            "`LEDGER_DATA`.", _redis),
    Setting("LEDGER_DATA", "data_dir", ".ledger", "Folder of embedded data and generated keys.", _path),
    Setting("JWT_SECRET", "jwt_secret", None, "Secret of HS256 tokens, at least 32 bytes. Absent in development: "
            "generated once into `LEDGER_DATA`.", _jwt_secret),
    Setting("JWT_JWKS", "jwt_jwks", None, "File or URL of a JWKS; enables RS256, ES256 and EdDSA.", _jwks),
    Setting("JWT_ISSUER", "jwt_issuer", None, "If set, tokens must carry this `iss`.", str),
    Setting("JWT_AUDIENCE", "jwt_audience", None, "If set, tokens must carry this `aud`.", str),
    Setting("FRONTEND_URL", "frontend_url", "http://localhost:3000", "The one origin CORS allows, and where referral links "
            "lead.", _web_url),
    Setting("PUBLIC_URL", "public_url", "http://localhost:5001", "Prefix of referral links.", _web_url),
    Setting("TRUSTED_PROXIES", "trusted_proxies", "", "Addresses and networks, separated by commas, whose "
            "`X-Forwarded-For` is believed.", _networks),
    Setting("RATE_LIMIT_GLOBAL", "rate_limit_global", "100/15minutes", "Requests to `/api/*` per client address.",
            _rate_limit),
    Setting("RATE_LIMIT_PAYMENT", "rate_limit_payment", "30/15minutes", "Requests to `/api/payment/*` per client address.",
            _rate_limit),
    Setting("RATE_LIMIT_SERVICE", "rate_limit_service", "60000/minute", "Requests per user id of the roles service, admin, "
            "finance and resolver.", _rate_limit),
    Setting("WEBHOOK_SECRETS", "webhook_secrets", "", "Signing secrets of the payment providers: "
            "`provider=whsec_…[|whsec_…],provider2=…`. Absent in development: one provider `sandbox` with a secret generated "
            "once into `LEDGER_DATA`.", _webhook_secrets),
    Setting("SEAL_KEY_FILE", "seal_key_file", None, "Ed25519 private key that signs seals. Absent: generated once into "
            "`LEDGER_DATA`.", _path),
    Setting("LOG_LEVEL", "log_level", "info", "`debug`, `info`, `warning`, `error` or `critical`.",
            _one_of("debug", "info", "warning", "error", "critical")),
    Setting("PROCESSES", "processes", "1", "API processes that share the port.", _whole_number(1, 64)),
)  # fmt: skip
