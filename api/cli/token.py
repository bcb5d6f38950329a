"""`ledger token`: a signed token for a user and a role, printed and nothing else.

May import: click, pyjwt, ledger. Read next: `../security.py`, which verifies them.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click
import jwt

from ledger import ids
from ledger.settings import Settings, resolve_jwt_secret

ROLES: Final = ("buyer", "seller", "admin", "resolver", "service", "finance")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def make_token(
    settings: Settings, user_id: str, role: str, *, email: str | None = None, ttl: timedelta = timedelta(hours=1)
) -> str:
    """An HS256 token with our secret, carrying what the API checks. Raises `SettingsError` without a secret."""
    now = datetime.now(UTC)
    claims: dict[str, Any] = {"id": user_id, "role": role, "iat": now, "exp": now + ttl}
    if email is not None:
        claims["email"] = email
    if settings.jwt_issuer is not None:
        claims["iss"] = settings.jwt_issuer
    if settings.jwt_audience is not None:
        claims["aud"] = settings.jwt_audience
    return jwt.encode(claims, resolve_jwt_secret(settings), algorithm="HS256")


def _duration(_context: click.Context, _parameter: click.Parameter, text: str) -> timedelta:
    """A whole number and its unit: 90s, 30m, 1h, 7d."""
    match = re.fullmatch(r"([1-9][0-9]{0,5})([smhd])", text)
    if match is None:
        raise click.BadParameter(f"{text!r} is not a duration such as 90s, 30m, 1h or 7d.")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


@click.command("token")
@click.option("--user", "user_id", required=True, help="The user's id.")
@click.option("--role", required=True, type=click.Choice(ROLES), help="What the user may do.")
@click.option("--email", default=None, help="The user's address, if it is to be in the token.")
@click.option(
    "--ttl", default="1h", callback=_duration, show_default=True, help="How long it is valid: 90s, 30m, 1h, 7d."
)
def command(user_id: str, role: str, email: str | None, ttl: timedelta) -> None:
    """Print a signed token, and nothing else."""
    if not ids.is_id(user_id):
        raise click.BadParameter("1 to 64 characters of A-Za-z0-9_.:- are needed.", param_hint="--user")
    click.echo(make_token(Settings.from_env(), user_id, role, email=email, ttl=ttl))
