"""`ledger up`: the whole service on this machine with one command, as `make run` starts it.

Embedded PostgreSQL and Redis unless the settings name others, migrations, then the API's processes, the projector and
the worker under one supervisor. May import: click, ledger, workers. Read next: `../../workers/supervise.py`.
"""

import asyncio
import shutil
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import timedelta
from socket import socket
from typing import Any, Final
from urllib.parse import urlsplit

import click
import msgspec

from api.cli.terminal import Failed, json_option
from api.cli.token import make_token
from ledger.settings import Settings, resolve_webhook_secrets
from ledger.store.migrate import migrate
from workers.local_stack import LocalStack, StackUrls, set_role_passwords
from workers.supervise import ChildSpec, bind_sockets, run

READY_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.05
TOKEN_TTL: Final = timedelta(days=1)
PEOPLE: Final = (("admin", "admin"), ("service", "service"), ("user", "buyer"), ("finance", "finance"))
"""Development tokens that are printed: user id (and what it is called), role."""


class Ready(msgspec.Struct, frozen=True, rename="camel"):
    """What is printed when the service answers. Tokens only in development."""

    status: str
    ready_seconds: float
    api: str
    docs: str
    health: str
    database: str
    redis: str
    webhooks: str
    tokens: dict[str, str]


@click.command("up")
@json_option
def command(as_json: bool) -> None:
    """Start everything on this machine, and keep it running until ^C."""
    started = time.monotonic()
    settings = Settings.from_env()
    # Until the supervisor listens to signals itself: end as on ^C, the servers first.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    sockets = bind_sockets(settings.host, settings.port, settings.processes)
    with LocalStack() as stack:
        urls = stack.start(settings)
        if stack.is_attached:
            raise Failed(
                f"another `ledger up` runs in {settings.data_dir}; stop it, or set LEDGER_DATA to another folder."
            )
        asyncio.run(_prepare(urls))
        tokens = {} if settings.is_production else _tokens(settings)
        threading.Thread(target=_announce, args=(settings, urls, tokens, started, as_json), daemon=True).start()
        status = run(_children(settings, urls, sockets), tick=lambda: _revive(stack))
    sys.exit(status)


async def _prepare(urls: StackUrls) -> None:
    await migrate(urls.database_url)
    await set_role_passwords(urls)


def _revive(stack: LocalStack) -> None:
    for name in stack.revive():
        click.echo(f"ledger: {name} had died and runs again.", err=True)


def _tokens(settings: Settings) -> dict[str, str]:
    return {name: make_token(settings, name, role, ttl=TOKEN_TTL) for name, role in PEOPLE}


def _children(settings: Settings, urls: StackUrls, sockets: Sequence[socket]) -> list[ChildSpec]:
    environment = urls.environment()
    shared = {} if len(sockets) == 1 else _metrics_of_several(settings)
    api = [
        ChildSpec(
            name="api" if len(sockets) == 1 else f"api-{number}",
            command=_ledger("serve", "--fd", str(listening.fileno())),
            environment={**environment, **shared},
            pass_fds=(listening.fileno(),),
        )
        for number, listening in enumerate(sockets, 1)
    ]
    return [
        *api,
        ChildSpec(name="projector", command=_ledger("project", "run"), environment=environment),
        ChildSpec(name="worker", command=_ledger("work"), environment=environment),
    ]


def _ledger(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "api.cli", *arguments)


def _metrics_of_several(settings: Settings) -> dict[str, str]:
    """Where several API processes add up their metrics: emptied at each start, as prometheus-client asks for."""
    folder = settings.data_dir / "metrics"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return {"PROMETHEUS_MULTIPROC_DIR": str(folder)}


# ── Telling when it is ready ─────────────────────────────────────────────────────────────────────────────────────────


def _announce(settings: Settings, urls: StackUrls, tokens: dict[str, str], started: float, as_json: bool) -> None:
    """Wait in a thread of its own until the API is healthy, then print where everything is, in one write."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # noqa: S104  # asked, not bound
    base = f"http://{host}:{settings.port}"
    status = _wait_until_healthy(f"{base}/api/health")
    ready = Ready(
        status,
        round(time.monotonic() - started, 2),
        f"{base}/api",
        f"{base}/api/docs",
        f"{base}/api/health",
        _shown(urls.api_url, settings.data_dir if urls.embedded_database else None),
        _shown(urls.redis_url, settings.data_dir if urls.embedded_redis else None),
        _webhooks(settings),
        tokens,
    )
    text = msgspec.json.encode(ready) + b"\n" if as_json else _page(ready).encode()
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()


def _wait_until_healthy(url: str) -> str:
    """The status it ends up with: ok, or what it was when patience ended."""
    status = "not answering"
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        health = _ask(url)
        status = health.get("status", status)
        if status == "ok" and health.get("readModels"):
            return "ok"
        time.sleep(POLL_SECONDS)
    return status


def _ask(url: str) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310  # our own address
            body = answer.read()
    except urllib.error.HTTPError as error:
        body = error.read()
    except OSError:
        return {}
    try:
        data = msgspec.json.decode(body)["data"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return {}
    return data if isinstance(data, dict) else {}


def _shown(url: str, folder: object) -> str:
    """Where a server is, without login; and where its data is, if it is ours."""
    parts = urlsplit(url)
    where = f"{parts.hostname}:{parts.port}{parts.path}"
    return where if folder is None else f"{where} (embedded, data in {folder})"


def _webhooks(settings: Settings) -> str:
    """Whose deliveries are taken, and where the secret lies if it was made here."""
    providers = ", ".join(sorted(resolve_webhook_secrets(settings)))
    if settings.webhook_secrets or not providers:
        return providers or "no provider is set up: WEBHOOK_SECRETS"
    return f"provider {providers}, secret in {settings.data_dir / 'webhook_secret'}"


def _page(ready: Ready) -> str:
    head = (
        f"The ledger is ready ({ready.ready_seconds} s)."
        if ready.status == "ok"
        else f"The ledger is {ready.status}; {ready.health} says why."
    )
    lines = ["", head, ""]
    lines += [
        f"  API         {ready.api}",
        f"  API docs    {ready.docs}",
        f"  Health      {ready.health}",
        f"  PostgreSQL  {ready.database}",
        f"  Redis       {ready.redis}",
        f"  Webhooks    {ready.webhooks}",
    ]
    if ready.tokens:
        lines += ["", "Development tokens, valid for a day (`ledger token --user U --role R` makes others):", ""]
        lines += [f"  {name:<10} {token}" for name, token in ready.tokens.items()]
    return "\n".join([*lines, "", ""])
