"""The composition: settings in, the whole HTTP application out.

    uvicorn → Gate (ids, CORS, token, limits) → lean route, or Litestar → handler or query → envelope
            → Realtime, for everything under /socket.io
            → a lean route at once, if the request comes whole and need not wait: `whole_requests.py`

Read next: `gate.py`, then `routes/points.py`; `realtime.py`.
"""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from litestar import Litestar, Request, Response
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.routes import HTTPRoute
from litestar.types import Receive, Scope, Send

from api.call import call_of
from api.cors import Cors
from api.errors import error_reply
from api.gate import Gate
from api.limits import Limits
from api.openapi import document_of
from api.realtime import Realtime
from api.resources import redis_pool, started
from api.routes import LEAN_ROUTES, ROUTES
from api.security import Tokens, authorize
from ledger.errors import PurchaseNotFound, ReadModelBehind
from ledger.huge_pages import huge_pages
from ledger.settings import Settings
from projections.purchases import get_purchase
from projections.read_model_list import head_position

GC_THRESHOLD: Final = (50_000, 20, 50)
"""Thousands of small objects live for one request; collecting at every 700 of them was the p99."""


class LedgerApi(Litestar):
    """Litestar behind the gate, Socket.IO beside it."""

    gate: Gate
    realtime: Realtime

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """HTTP goes through the gate, which comes back here for ordinary routes; the rest is Litestar's."""
        if scope["type"] != "lifespan" and self.realtime.serves(scope["path"]):
            await self.realtime(scope, receive, send)
        elif scope["type"] == "http":
            await self.gate(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    async def serve_ordinary(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A request that has passed the gate and is of no lean route."""
        await super().__call__(scope, receive, send)


def create_app(settings: Settings, *, lean: bool = True) -> LedgerApi:
    """The application for these settings, whose database and Redis must be reachable when it starts.

    `lean` False serves every route through Litestar: for the test that both ways answer the same.
    """
    if settings.redis_url is None:
        raise ValueError("REDIS_URL must be known by now: the embedded Redis is started before the API.")
    redis = redis_pool(settings.redis_url)

    @asynccontextmanager
    async def lifespan(_app: Litestar) -> AsyncIterator[None]:
        async with started(settings, redis) as resources, app.realtime.running(resources.pool), huge_pages():
            gate.resources = resources
            gc.collect()
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLD)
            try:
                yield
            finally:
                gate.resources = None

    app = LedgerApi(
        ROUTES,
        lifespan=[lifespan],
        guards=[_guard],
        exception_handlers={Exception: _refuse},
        openapi_config=None,
        logging_config=None,
    )
    tokens = Tokens.from_settings(settings)

    async def parties_of(purchase_id: str) -> tuple[str, str] | None:
        if gate.resources is None:
            return None
        models = gate.resources.models
        try:
            try:
                found = await get_purchase(models, purchase_id)
            except PurchaseNotFound:  # it may be registered already, and not read yet
                head = await head_position(gate.resources.pool)
                found = await get_purchase(models, purchase_id, min_position=head)
        except (PurchaseNotFound, ReadModelBehind):
            return None
        return found.value.buyer_id, found.value.seller_id

    app.realtime = Realtime(settings, tokens, parties_of)
    gate = Gate(
        tokens,
        Limits(settings, redis),
        Cors(settings.frontend_origin),
        LEAN_ROUTES if lean else (),
        app.serve_ordinary,
    )
    app.gate = gate
    gate.methods = {route.path_format: route.methods for route in app.routes if isinstance(route, HTTPRoute)}
    app.state.openapi = document_of(app.routes)
    return app


def _guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Every route is closed unless its `opt` opens it; the OPTIONS routes Litestar adds by itself tell nothing."""
    if handler.opt.get("documented") is None and connection.scope["method"] == "OPTIONS":  # type: ignore[typeddict-item]  # HTTP only
        return
    authorize(call_of(connection), handler.opt.get("access", frozenset()))  # type: ignore[arg-type]  # a request here


def _refuse(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Whatever is raised behind Litestar, in the envelope."""
    return error_reply(call_of(request), error).as_response()
