"""How the application is put on the network: uvicorn with uvloop and httptools, on a socket that several may share.

Read next: `app.py`; `cli/serve.py` for who calls this.
"""

import logging
import socket
from functools import partial
from typing import Final

import uvicorn

from api.app import LedgerApi
from api.realtime import MESSAGE_BYTES
from api.whole_requests import WholeRequestsProtocol
from ledger.settings import Settings

BACKLOG: Final = 2048
KEEP_ALIVE_SECONDS: Final = 75
"""Longer than the usual 60 of load balancers: they must be the ones to close, or a request dies with the connection."""
SHUTDOWN_SECONDS: Final = 15


class _WithoutQueries(logging.Filter):
    """Takes the query out of what uvicorn says of a WebSocket: a token may stand in it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let it pass, changed."""
        if "WebSocket" in str(record.msg) and isinstance(record.args, tuple):
            record.args = tuple(arg.partition("?")[0] if isinstance(arg, str) else arg for arg in record.args)
        return True


def server_config(app: LedgerApi, settings: Settings) -> uvicorn.Config:
    """The server of one process.

    Proxy headers are not uvicorn's business: it would believe any of them that comes from this machine.
    """
    logging.getLogger("uvicorn.error").addFilter(_WithoutQueries())
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=partial(WholeRequestsProtocol, app.gate),  # type: ignore[arg-type]  # called like a class, and nothing else
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        ws_max_size=MESSAGE_BYTES,
        ws_per_message_deflate=False,  # a third of a megabyte of state a connection, for messages of some hundred bytes
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )


class Server(uvicorn.Server):
    """uvicorn, which says good-bye to Socket.IO's clients first: it would wait for those that poll, who wait for news."""

    def __init__(self, app: LedgerApi, settings: Settings) -> None:
        """Serves this application."""
        super().__init__(server_config(app, settings))
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's."""
        await self._app.realtime.close_all()
        await super().shutdown(sockets)


def serve(app: LedgerApi, settings: Settings, *, fd: int | None = None) -> None:
    """Serve until told to stop by SIGINT or SIGTERM; with `fd` on a bound socket, which other processes may share.

    Handed on as a socket and not as uvicorn's `fd`, which would take it for a Unix socket and lose the peer's address.
    """
    sockets = None if fd is None else [socket.socket(fileno=fd)]
    Server(app, settings).run(sockets=sockets)
