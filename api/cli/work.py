"""`ledger work`: the worker process.

May import: click, ledger, workers. Read next: `../../workers/main.py`.
"""

import asyncio

import click

from api.cli.connection import find_urls
from ledger.logs import configure_logs
from ledger.settings import Settings
from workers.main import run_worker


@click.command("work")
def command() -> None:
    """Run the worker: jobs that come back by the clock."""
    settings = Settings.from_env()
    configure_logs(settings.log_level)
    urls = find_urls(settings)
    asyncio.run(run_worker(urls.redis_url, urls.api_url, urls.direct_url))
