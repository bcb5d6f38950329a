"""The command line: what it prints is for pipes, what goes wrong is one line, and its status tells which it was."""

import asyncio
import json
from collections.abc import Iterator

import asyncpg
import httpx
import jwt
import pytest

from tests.scenarios.running_ledger import RunningLedger, ledger

pytestmark = [pytest.mark.slow, pytest.mark.services]

COMMANDS = ("up", "serve", "work", "doctor", "migrate", "token --user u --role admin")


@pytest.fixture(scope="module")
def running(tmp_path_factory) -> Iterator[RunningLedger]:
    service = RunningLedger(tmp_path_factory.mktemp("cli") / "ledger")
    yield service.start()
    service.stop()


def test_help_names_every_command():
    answer = ledger("--help")
    assert answer.returncode == 0
    for name in ("up", "serve", "work", "project", "programme", "migrate", "token", "doctor", "export", "import"):
        assert f"\n  {name} " in answer.stdout


def test_token_prints_a_token_and_nothing_else(tmp_path):
    secret = "an-example-secret-of-enough-bytes-0123456789"
    arguments = ("token", "--user", "u-1", "--role", "admin", "--email", "a@example.org", "--ttl", "2h")
    answer = ledger(*arguments, LEDGER_DATA=str(tmp_path), JWT_SECRET=secret, JWT_ISSUER="shop", JWT_AUDIENCE="ledger")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.count("\n") == 1
    claims = jwt.decode(answer.stdout.strip(), secret, algorithms=["HS256"], audience="ledger", issuer="shop")
    assert (claims["id"], claims["role"], claims["email"]) == ("u-1", "admin", "a@example.org")
    assert claims["exp"] - claims["iat"] == 7200
    assert not any(tmp_path.iterdir()), "a secret that is given is not written anywhere"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("token", "--user", "u"), "Missing option '--role'"),
        (("token", "--user", "u", "--role", "king"), "'king' is not one of"),
        (("token", "--user", "no spaces", "--role", "admin"), "1 to 64 characters"),
        (("token", "--user", "u", "--role", "admin", "--ttl", "soon"), "is not a duration"),
        (("fly",), "No such command 'fly'"),
        (("project", "rebuild", "nonsense"), "'nonsense' is not one of"),
    ],
)
def test_wrong_usage_is_status_2(tmp_path, arguments, said):
    answer = ledger(*arguments, LEDGER_DATA=str(tmp_path))
    assert answer.returncode == 2
    assert said in answer.stderr
    assert answer.stdout == ""


@pytest.mark.parametrize(
    ("command", "setting", "value", "said"),
    [
        *((command, "PORT", "x", "PORT: 'x' is not a whole number from 1 to 65535.") for command in COMMANDS),
        ("up", "JWT_SECRET", "short", "JWT_SECRET: 5 bytes, at least 32 are needed."),
        ("up", "ENVIRONMENT", "production", "JWT_SECRET: required in production, at least 32 bytes (or JWT_JWKS)."),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_line_that_names_it(tmp_path, command, setting, value, said):
    answer = ledger(*command.split(), LEDGER_DATA=str(tmp_path), **{setting: value})
    assert answer.returncode == 78
    assert answer.stderr == f"ledger: {said}\n"


@pytest.mark.parametrize(
    "arguments", [("migrate",), ("project", "status"), ("programme", "show"), ("serve",), ("work",)]
)
def test_where_nothing_runs_one_line_says_what_to_do(tmp_path, arguments):
    answer = ledger(*arguments, LEDGER_DATA=str(tmp_path))
    assert answer.returncode == 1
    assert answer.stderr == f"ledger: no ledger runs in {tmp_path}: start `ledger up`, or set DATABASE_URL.\n"


@pytest.mark.parametrize("arguments", [("migrate",), ("project", "status"), ("programme", "show"), ("work",)])
def test_a_database_that_is_away_is_one_line(tmp_path, arguments):
    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    answer = ledger(*arguments, LEDGER_DATA=str(tmp_path), DATABASE_URL=nowhere, REDIS_URL="redis://127.0.0.1:1/0")
    assert answer.returncode == 1
    assert answer.stderr.count("\n") == 1
    assert "127.0.0.1" in answer.stderr
    assert "Traceback" not in answer.stdout + answer.stderr


def test_doctor_finds_nothing_wrong_with_what_up_has_started(running):
    answer = running.run("doctor", "--json")
    report = json.loads(answer.stdout)
    assert report["ok"], [check for check in report["checks"] if not check["ok"]]
    assert answer.returncode == 0
    names = [check["name"] for check in report["checks"]]
    for name in (
        "JWT secret",
        "durable settings",
        "migrations",
        "service role",
        "append-only triggers",
        "partitions",
        "clock",
        "no pooler on the direct URL",
        "LISTEN",
        "read models",
        "Redis",
        "disk space",
    ):
        assert name in names


async def test_doctor_names_what_is_wrong_and_how_to_mend_it(running, database_url):
    """A superuser's login, a secret anybody guesses, a trigger and a setting somebody has switched off, no Redis."""
    admin = await asyncpg.connect(database_url)
    partition = await admin.fetchval("SELECT name FROM ledger.partitions ORDER BY lower_position LIMIT 1")
    await admin.execute(f"ALTER TABLE ledger.{partition} DISABLE TRIGGER keep_all")
    await admin.execute(
        f"ALTER DATABASE {await admin.fetchval('SELECT current_database()')} SET synchronous_commit = off"
    )
    await admin.execute("UPDATE ledger.head SET position = 60000000")
    await admin.close()
    environment = {"DATABASE_URL": database_url, "REDIS_URL": "redis://127.0.0.1:1/0", "JWT_SECRET": "a" * 40}
    answer = await asyncio.to_thread(running.run, "doctor", "--json", **environment)
    wrong = {check["name"]: check for check in json.loads(answer.stdout)["checks"] if not check["ok"]}
    assert answer.returncode == 1
    assert wrong["JWT secret"]["found"] == "40 characters, only 1 different"
    assert wrong["service role"]["fix"].startswith("let the service log in as ledger_api in DATABASE_URL")
    assert wrong["append-only triggers"]["found"] == f"{partition} can be changed"
    assert wrong["durable settings"]["fix"] == "set synchronous_commit = on in postgresql.conf"
    assert wrong["partitions"]["found"] == "2 ahead of the head"
    assert {"read models", "Redis"} <= set(wrong)
    assert all(check["fix"] for check in wrong.values())


def test_doctor_for_people_puts_a_tick_or_a_cross_before_each_line(running):
    lines = running.run("doctor").stdout.splitlines()
    assert lines
    assert all(line.startswith("✓ ") for line in lines)


def test_status_lists_every_read_model(running):
    status = json.loads(running.run("project", "status", "--json").stdout)
    assert set(status["liveEvents"]) == {"position", "lagEvents", "lagSeconds"}
    models = status["readModels"]
    assert {model["name"] for model in models} >= {"points", "transactions", "audit_trail"}
    assert {model["state"] for model in models} == {"live"}


def test_status_says_how_far_live_events_are_sent(running):
    said = running.run("project", "status").stdout
    assert "Live events are sent up to position" in said


def test_migrate_has_nothing_left_to_do(running):
    answer = running.run("migrate", "--json")
    assert json.loads(answer.stdout)["applied"] == []


def test_import_goes_into_the_running_ledger_and_a_read_model_is_verified(running, tmp_path):
    file = tmp_path / "points.csv"
    file.write_text("userId,amount\nann,500\nbob,20\n")
    answer = running.run("import", "--opening", "--json", str(file))
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["balanceMoved"] == 520
    again = running.run("import", "--opening", "--json", str(file))
    assert json.loads(again.stdout)["alreadyThere"] == {"rows": 2, "points": 520}
    verified = running.run("project", "verify", "points")
    assert (verified.returncode, verified.stdout) == (0, "points is what the log says.\n")


def test_a_refused_import_lists_lines_and_has_status_1(running, tmp_path):
    file = tmp_path / "points.csv"
    file.write_text("userId,amount\nann,0\n")
    answer = running.run("import", "--opening", str(file))
    assert answer.returncode == 1
    assert answer.stderr.splitlines() == [
        "line 2: amount: 0 is not from 1 to 9007199254740991.",
        "ledger: 1 bad row; nothing was imported.",
    ]


def test_the_exported_journal_is_the_same_bytes_as_over_http(running, tmp_path):
    file = tmp_path / "journal.csv"
    done = running.run("export", "--output", str(file), "--json")
    assert done.returncode == 0, done.stderr
    token = running.run("token", "--user", "fin", "--role", "finance").stdout.strip()
    answer = httpx.get(
        f"{running.url}/api/ledger/export",
        params={"uptoPosition": json.loads(done.stdout)["position"]},
        headers={"Authorization": f"Bearer {token}"},
    )
    assert (answer.status_code, answer.content) == (200, file.read_bytes())


def test_an_export_that_fails_leaves_no_file(running, tmp_path):
    file = tmp_path / "journal.csv"
    failed = running.run("export", "--output", str(file), "--upto-position", "999999999")
    assert failed.returncode == 1
    assert "not yet at 999999999" in failed.stderr
    assert list(tmp_path.iterdir()) == []
