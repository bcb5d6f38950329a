"""The documentation: the OpenAPI document, and a page made of it that loads nothing from anywhere.

Read next: `../openapi.py`.
"""

from pathlib import Path
from typing import Any, Final

import msgspec
from jinja2 import Environment, select_autoescape
from litestar import Request, Response, get

from api.call import call_of
from api.documented import Documented, opened_to
from api.queries import Nothing, read_query
from api.security import OPEN

_TEMPLATE: Final = Path(__file__).with_name("docs.html")
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def rendered_page(document: dict[str, Any]) -> bytes:
    """The document as a page for people."""
    environment = Environment(autoescape=select_autoescape(default=True), trim_blocks=True, lstrip_blocks=True)
    environment.filters["pretty"] = lambda value: msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    return environment.from_string(_TEMPLATE.read_text()).render(document=document).encode()


@get(
    "/api/docs",
    opt=opened_to(
        OPEN,
        Documented(
            summary="This documentation, for people",
            tag="operations",
            answers={200: "A page without scripts."},
            media_type="text/html",
            enveloped=False,
        ),
    ),
)
async def docs_page(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Made at the first request and kept."""
    read_query(call_of(request), Nothing)
    state = request.app.state
    if "docs_page" not in state:
        state.docs_page = rendered_page(state.openapi)
    headers = {"content-security-policy": _POLICY}
    return Response(state.docs_page, media_type="text/html", headers=headers)


@get(
    "/api/docs/openapi.json",
    opt=opened_to(
        OPEN,
        Documented(
            summary="This documentation, for programs",
            tag="operations",
            answers={200: "An OpenAPI 3.1 document."},
            enveloped=False,
        ),
    ),
)
async def openapi_document(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Bare: programs that read OpenAPI know no envelope."""
    read_query(call_of(request), Nothing)
    return Response(msgspec.json.encode(request.app.state.openapi), media_type="application/json")


ROUTES: Final = (docs_page, openapi_document)
