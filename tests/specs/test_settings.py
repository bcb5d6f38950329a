"""What each setting accepts, and the one line a wrong value stops the start with."""

import base64
import re
import stat
from ipaddress import ip_network
from pathlib import Path

import pytest

from ledger.settings import SETTINGS, Settings, SettingsError, resolve_jwt_secret

SECRET = "s" * 32
WHSEC = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
OTHER = "whsec_" + base64.b64encode(b"another-secret-of-a-provider").decode()


def test_without_any_variable_the_documented_defaults_hold() -> None:
    settings = Settings.from_env({})
    assert (settings.port, settings.host, settings.environment) == (5001, "127.0.0.1", "development")
    assert settings.database_url is settings.database_direct_url is settings.redis_url is settings.jwt_secret is None
    assert settings.data_dir == Path.cwd() / ".ledger"
    assert (settings.frontend_url, settings.public_url) == ("http://localhost:3000", "http://localhost:5001")
    assert (settings.rate_limit_global, settings.rate_limit_payment) == ("100/15minutes", "30/15minutes")
    assert (settings.rate_limit_service, settings.processes) == ("60000/minute", 1)
    assert (settings.trusted_proxies, settings.webhook_secrets) == ((), {})


def test_an_empty_variable_counts_as_absent() -> None:
    assert Settings.from_env(dict.fromkeys((s.name for s in SETTINGS), " ")) == Settings.from_env({})


RIGHT = [
    ("PORT", "8080", "port", 8080),
    ("HOST", "::", "host", "::"),
    ("DATABASE_URL", "postgresql://u:p@db/ledger", "database_url", "postgresql://u:p@db/ledger"),
    ("REDIS_URL", "rediss://cache:6380/2", "redis_url", "rediss://cache:6380/2"),
    ("LEDGER_DATA", "/srv/ledger", "data_dir", Path("/srv/ledger")),
    ("JWT_SECRET", SECRET, "jwt_secret", SECRET),
    ("JWT_JWKS", "https://id.example/jwks.json", "jwt_jwks", "https://id.example/jwks.json"),
    ("FRONTEND_URL", "https://shop.example/", "frontend_url", "https://shop.example"),
    ("TRUSTED_PROXIES", "10.0.0.0/8, ::1", "trusted_proxies", (ip_network("10.0.0.0/8"), ip_network("::1"))),
    ("RATE_LIMIT_GLOBAL", "5 per 2 hours", "rate_limit_global", "5 per 2 hours"),
    ("WEBHOOK_SECRETS", f"pay={WHSEC}|{OTHER},b2={OTHER}", "webhook_secrets", {"pay": (WHSEC, OTHER), "b2": (OTHER,)}),
    ("LOG_LEVEL", "DEBUG", "log_level", "debug"),
    ("PROCESSES", "4", "processes", 4),
]


@pytest.mark.parametrize(("name", "text", "field", "value"), RIGHT, ids=[row[0] for row in RIGHT])
def test_a_right_value_is_taken(name: str, text: str, field: str, value: object) -> None:
    assert getattr(Settings.from_env({name: text}), field) == value


WRONG = [
    ("PORT", "0"),
    ("PORT", "65536"),
    ("PORT", "80.0"),
    ("PORT", "٨٠"),
    ("HOST", "a b"),
    ("ENVIRONMENT", "staging"),
    ("DATABASE_URL", "mysql://db"),
    ("DATABASE_DIRECT_URL", "postgresql://db/without-the-other"),
    ("REDIS_URL", "localhost:6379"),
    ("JWT_SECRET", "short"),
    ("JWT_JWKS", "/no/such/file.json"),
    ("FRONTEND_URL", "shop.example"),
    ("FRONTEND_URL", "https://shop.example/?a=1"),
    ("PUBLIC_URL", "http://host:port"),
    ("TRUSTED_PROXIES", "10.0.0.1/8"),
    ("TRUSTED_PROXIES", "everyone"),
    ("RATE_LIMIT_GLOBAL", "many"),
    ("RATE_LIMIT_PAYMENT", "0/minute"),
    ("RATE_LIMIT_SERVICE", "10/fortnight"),
    ("WEBHOOK_SECRETS", "pay"),
    ("WEBHOOK_SECRETS", "pay=whsec_***"),
    ("WEBHOOK_SECRETS", "pay=whsec_"),
    ("WEBHOOK_SECRETS", f"pay={WHSEC},pay={OTHER}"),
    ("LOG_LEVEL", "loud"),
    ("PROCESSES", "0"),
]


@pytest.mark.parametrize(("name", "text"), WRONG, ids=[f"{n}={v}" for n, v in WRONG])
def test_a_wrong_value_stops_the_start_with_one_line_that_names_it(name: str, text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_env({name: text})
    assert str(refused.value).startswith(f"{name}: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("JWT_SECRET", "hunter2"),
        ("DATABASE_URL", "mysql://u:hunter2@db"),
        ("REDIS_URL", "hunter2@cache"),
        ("WEBHOOK_SECRETS", "pay=hunter2"),
    ],
)
def test_no_message_repeats_a_secret(name: str, text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_env({name: text})
    assert "hunter2" not in str(refused.value)


def test_printed_settings_show_no_secret() -> None:
    settings = Settings.from_env(
        {"JWT_SECRET": SECRET, "WEBHOOK_SECRETS": f"pay={WHSEC}", "DATABASE_URL": "postgresql://u:hunter2@db/l"}
    )
    for text in (repr(settings), str(settings), f"{settings}"):
        assert SECRET not in text
        assert WHSEC not in text
        assert "hunter2" not in text


def test_production_refuses_to_start_without_a_secret_or_keys() -> None:
    with pytest.raises(SettingsError, match=r"^JWT_SECRET: "):
        Settings.from_env({"ENVIRONMENT": "production"})
    assert Settings.from_env({"ENVIRONMENT": "production", "JWT_SECRET": SECRET}).is_production
    assert Settings.from_env({"ENVIRONMENT": "production", "JWT_JWKS": "https://id.example/k"}).is_production


def test_the_other_database_logins_default_to_the_first() -> None:
    settings = Settings.from_env({"DATABASE_URL": "postgresql://a/l", "DATABASE_PROJECT_URL": "postgresql://b/l"})
    assert settings.database_direct_url == settings.database_migrate_url == "postgresql://a/l"
    assert settings.database_project_url == "postgresql://b/l"


def test_the_cors_origin_is_the_frontend_without_its_path() -> None:
    assert Settings.from_env({"FRONTEND_URL": "https://shop.example:8443/app/"}).frontend_origin == (
        "https://shop.example:8443"
    )


def test_in_development_a_secret_is_generated_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    settings = Settings.from_env({"LEDGER_DATA": str(tmp_path / "data")})
    secret = resolve_jwt_secret(settings)
    assert len(secret) >= 32
    assert resolve_jwt_secret(settings) == secret
    assert stat.S_IMODE((tmp_path / "data" / "jwt_secret").stat().st_mode) == 0o600
    assert [file.name for file in (tmp_path / "data").iterdir()] == ["jwt_secret"]


def test_a_given_secret_is_used_as_it_is(tmp_path: Path) -> None:
    settings = Settings.from_env({"LEDGER_DATA": str(tmp_path), "JWT_SECRET": SECRET})
    assert resolve_jwt_secret(settings) == SECRET
    assert not list(tmp_path.iterdir())


def test_every_field_is_in_the_table_once_and_every_row_has_a_meaning() -> None:
    assert sorted(s.field for s in SETTINGS) == sorted(Settings.__struct_fields__)
    for setting in SETTINGS:
        assert re.fullmatch(r"[A-Z][A-Z_]+", setting.name)
        assert setting.meaning.endswith(".")
