"""`ledger serve`: one process of the HTTP API.

May import: click, api, ledger, workers. Read next: `../serve.py`, `up.py` for who starts several.
"""

import sys

import click
import msgspec

from api.app import create_app
from api.cli.connection import find_urls
from api.cli.terminal import Failed
from api.serve import serve
from ledger.logs import configure_logs
from ledger.settings import Settings
from workers.supervise import bind_socket


@click.command("serve")
@click.option("--fd", type=int, default=None, hidden=True, help="A listening socket that `ledger up` has bound.")
def command(fd: int | None) -> None:
    """Run one process of the HTTP API until it is told to stop."""
    settings = Settings.from_env()
    configure_logs(settings.log_level, sys.stderr)
    urls = find_urls(settings)
    if not urls.redis_url:
        raise Failed("REDIS_URL is not set, and no Redis of ours runs here.")
    found = msgspec.structs.replace(
        settings, database_url=urls.api_url, database_direct_url=urls.direct_url, redis_url=urls.redis_url
    )
    app = create_app(found)
    serve(app, found, fd=bind_socket(settings.host, settings.port).detach() if fd is None else fd)
