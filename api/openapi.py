"""The OpenAPI 3.1 document, made from the routes that are served: what is not served cannot be documented.

Types come from msgspec's own JSON Schema, so a bound checked is a bound documented. Read next: `routes/docs.py`.
"""

import re
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any, Final

import msgspec
from litestar.routes import BaseRoute, HTTPRoute

from api.documented import Documented
from api.envelope import Failure, Success
from api.errors import (
    BodyTooLarge,
    Forbidden,
    IfMatchRequired,
    InvalidSignature,
    InvalidToken,
    MalformedBody,
    TooManyRequests,
    Unauthorized,
    UnsupportedMediaType,
    status_of,
)
from api.security import Access
from api.webhooks import HEADERS as SIGNED_BY
from ledger.errors import (
    IdempotencyKeyRequired,
    IdempotencyKeyReused,
    InvalidCommand,
    LedgerError,
    Overloaded,
    StaleVersion,
    StoreUnavailable,
)

_SCHEMAS: Final = "#/components/schemas/"
_COMMON_HEADERS: Final = ("X-Request-Id", "X-Correlation-Id")
_WRITE_HEADERS: Final = ("Ledger-Position", "Idempotent-Replayed")
_WRITES: Final = ("POST", "PUT")
_PATH_PARAMETERS: Final[dict[str, Any]] = {
    **{
        name: {"type": "string", "pattern": "^[A-Za-z0-9_.:-]{1,64}$"}
        for name in ("userId", "purchaseRequestId", "paymentId", "disputeId", "suspenseId", "letterId")
    },
    "provider": {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$"},
    "code": {"type": "string", "pattern": "^[A-HJ-NP-Z2-9]{8}$"},
    "position": {"type": "integer", "minimum": 1, "maximum": 2**63 - 1},
}


def document_of(routes: Iterable[BaseRoute]) -> dict[str, Any]:
    """The document of these routes."""
    found = [*_documented(routes)]
    types = {entry for _, _, _, documented, _ in found for entry in (documented.body, documented.answer) if entry}
    _, schemas = msgspec.json.schema_components(
        [Success, Failure, *sorted(types, key=str)], ref_template=_SCHEMAS + "{name}"
    )
    paths: dict[str, dict[str, Any]] = {}
    for method, path, access, documented, key in found:
        paths.setdefault(path, {})[method.lower()] = _operation(method, path, access, documented, key)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Ledger",
            "version": "1",
            "summary": "Points and escrowed payments of a marketplace, as one append-only log of events.",
            "description": "Every JSON answer is an envelope; `error` is a stable code. A POST that appends events takes "
            "an `Idempotency-Key` and replays its first answer for ever. A write answers `Ledger-Position`; a read waits "
            "for it with `minPosition`. HEAD is answered as GET, without its body.",
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": schemas,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _documented(routes: Iterable[BaseRoute]) -> Iterator[tuple[str, str, Access, Documented, str | None]]:
    """Method, path, access, documentation and rule of the key, of every route that is served."""
    for route in routes:
        if not isinstance(route, HTTPRoute):
            continue
        for handler in route.route_handlers:
            documented = handler.opt.get("documented")
            if documented is None:
                continue  # the OPTIONS that Litestar answers for every path
            path = re.sub(r"\{(\w+)(?::\w+)?\}", lambda m: "{" + _camel(m[1]) + "}", route.path_format)
            for method in sorted(handler.http_methods):
                yield method, path, handler.opt["access"], documented, handler.opt.get("key")


def _operation(method: str, path: str, access: Access, documented: Documented, key: str | None) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": method.lower() + "".join(part[:1].upper() + part[1:] for part in re.findall(r"\w+", path)),
        "summary": documented.summary,
        "tags": [documented.tag],
        "parameters": [*_path_parameters(path), *_query_parameters(documented), *_header_parameters(documented, key)],
        "responses": _responses(method, path, access, documented, key),
    }
    if documented.description:
        operation["description"] = documented.description
    if access is None:
        operation["security"] = []
    else:
        operation["x-roles"] = sorted(access)
    if documented.body is not None:
        content = {"schema": {"$ref": _SCHEMAS + documented.body.__name__}, "example": documented.body_example}
        operation["requestBody"] = {"required": documented.body_required, "content": {"application/json": content}}
    return operation


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": _PATH_PARAMETERS[name]}
        for name in re.findall(r"\{(\w+)\}", path)
    ]


def _query_parameters(documented: Documented) -> list[dict[str, Any]]:
    if documented.query is None:
        return []
    _, components = msgspec.json.schema_components([documented.query], ref_template=_SCHEMAS + "{name}")
    properties = components[documented.query.__name__]["properties"]
    return [
        {"name": name, "in": "query", "required": False, "schema": _without_null(schema)}
        for name, schema in properties.items()
    ]


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter is given or not given; there is no null in a query."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    return kinds[0] if kinds else schema


def _header_parameters(documented: Documented, key: str | None) -> list[dict[str, Any]]:
    headers: list[dict[str, Any]] = [
        {"name": name, "in": "header", "required": False, "schema": {"type": "string", "maxLength": 128}}
        for name in _COMMON_HEADERS
    ]
    if key is not None:
        visible = {"type": "string", "pattern": "^[!-~]{1,255}$"}
        headers.append({"name": "Idempotency-Key", "in": "header", "required": key == "required", "schema": visible})
        version = {"type": "string", "pattern": '^("[0-9]{1,18}"|\\*)$'}
        headers.append({"name": "If-Match", "in": "header", "required": documented.needs_version, "schema": version})
    if InvalidSignature in documented.refusals:
        headers += [
            {"name": name, "in": "header", "required": True, "schema": {"type": "string"}} for name in SIGNED_BY
        ]
    return headers


def _responses(method: str, path: str, access: Access, documented: Documented, key: str | None) -> dict[str, Any]:
    responses = {
        str(status): _done(status, meaning, method, documented) if status < 400 else _refused(status, [meaning])
        for status, meaning in documented.answers.items()
    }
    by_status: dict[int, list[type[LedgerError]]] = {}
    for refusal in _refusals(path, access, documented, key):
        by_status.setdefault(status_of(refusal), []).append(refusal)
    for status, refusals in sorted(by_status.items()):
        responses.setdefault(str(status), _refused(status, sorted({refusal.code for refusal in refusals})))
    responses["500"] = _refused(500, ["INTERNAL_ERROR"])
    return responses


def _refusals(path: str, access: Access, documented: Documented, key: str | None) -> Iterator[type[LedgerError]]:
    yield InvalidCommand  # an unknown query parameter, on every route
    yield from documented.refusals
    if access is not None:
        yield from (Unauthorized, InvalidToken, Forbidden)
        yield StoreUnavailable
    if documented.body is not None:
        yield from (MalformedBody, BodyTooLarge, UnsupportedMediaType, Overloaded)
        if access is not None:
            yield IdempotencyKeyReused
    if key is not None:
        yield StaleVersion
    if documented.needs_version:
        yield IfMatchRequired
    if key == "required":
        yield IdempotencyKeyRequired
    if path.startswith("/api") and path != "/api/health" and not path.startswith("/api/payment/webhooks/"):
        yield TooManyRequests


def _done(status: int, meaning: str, method: str, documented: Documented) -> dict[str, Any]:
    names = [*documented.answer_headers, *(_WRITE_HEADERS if method in _WRITES else ())]
    schema: dict[str, Any] = {"type": "string"}
    example = documented.answer_example
    if documented.media_type == "application/json":
        schema = {"type": "object"}
        if documented.answer is not None:
            (schema,), _ = msgspec.json.schema_components([documented.answer], ref_template=_SCHEMAS + "{name}")
        if documented.enveloped:
            schema = {"allOf": [{"$ref": _SCHEMAS + "Success"}, {"properties": {"data": schema}}]}
            example = _envelope_example(status, meaning, example)
    content: dict[str, Any] = {"schema": schema}
    if example is not None:
        content["example"] = example
    return {
        "description": meaning,
        "headers": {name: {"schema": {"type": "string"}} for name in names},
        "content": {documented.media_type: content} if documented.media_type else {},
    }


def _refused(status: int, codes: list[str]) -> dict[str, Any]:
    example = {
        "success": False,
        "message": "One sentence with the numbers in it.",
        "error": codes[0],
        "statusCode": status,
        "timestamp": "2026-01-31T12:00:00.000Z",
        "path": "/api/…",
        "method": "…",
    }
    schema = {"allOf": [{"$ref": _SCHEMAS + "Failure"}, {"properties": {"error": {"enum": codes}}}]}
    return {
        "description": f"{HTTPStatus(status).phrase}: {', '.join(codes)}",
        "content": {"application/json": {"schema": schema, "example": example}},
    }


def _envelope_example(status: int, message: str, data: Any) -> dict[str, Any]:
    return {
        "success": True,
        "message": message,
        "data": data,
        "statusCode": status,
        "timestamp": "2026-01-31T12:00:00.000Z",
        "path": "/api/…",
        "method": "…",
    }


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
