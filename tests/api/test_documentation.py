"""What is served is documented, and what is documented is served, as documented."""

import json
import re
from typing import Any

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from litestar.routes import HTTPRoute
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.routes import ROUTES

EXAMPLES = 3


async def document(api: Any) -> dict[str, Any]:
    answer = await api.http.get("/api/docs/openapi.json")
    assert answer.headers["Content-Type"] == "application/json"
    parsed: dict[str, Any] = answer.json()
    return parsed


def operations(doc: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(method, path, entry) for path, entries in doc["paths"].items() for method, entry in entries.items()]


async def test_the_routes_served_and_the_routes_documented_are_the_same_set(api: Any) -> None:
    served = {
        (method, re.sub(r"\w+(?=})", lambda m: re.sub(r"_(\w)", lambda n: n[1].upper(), m[0]), route.path_format))
        for route in api.app.routes
        if isinstance(route, HTTPRoute)
        for method in route.methods
        if method != "OPTIONS"
    }
    documented = {(method.upper(), path) for method, path, _ in operations(await document(api))}
    assert served == documented
    assert len(served) == len(ROUTES)


async def test_every_operation_has_a_summary_examples_and_its_errors(api: Any) -> None:
    doc = await document(api)
    assert doc["openapi"].startswith("3.1")
    identifiers = [entry["operationId"] for _, _, entry in operations(doc)]
    assert len(set(identifiers)) == len(identifiers)
    for method, path, entry in operations(doc):
        assert entry["summary"], path
        assert entry["tags"], path
        responses = entry["responses"]
        assert "500" in responses, path
        assert "400" in responses, path
        if entry.get("security") != []:
            assert {"401", "403"} <= set(responses), path
            assert entry["x-roles"], path
        if method == "post":
            content = entry["requestBody"]["content"]["application/json"]
            assert content["example"] is not None, path
            # Who signs has no key of their own: the id of the delivery is it.
            signs = "webhook-id" in {parameter["name"] for parameter in entry["parameters"]}
            assert {"413", "415"} | (set() if signs else {"422"}) <= set(responses), path
        for status, response in responses.items():
            for media_type, content in response["content"].items():
                if media_type == "application/json" and path != "/api/docs/openapi.json":
                    assert content["example"], (path, status)


async def test_every_reference_in_the_document_leads_somewhere(api: Any) -> None:
    doc = await document(api)
    for reference in set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(doc))):
        assert reference in doc["components"]["schemas"]


def keys(value: Any, at: str = "") -> set[str]:
    """The path of every key in it."""
    if isinstance(value, dict):
        return {f"{at}.{name}" for name in value}.union(*(keys(part, f"{at}.{name}") for name, part in value.items()))
    return set().union(*(keys(part, at) for part in value)) if isinstance(value, list) else set()


ANSWERS = [(next(iter(route.paths)), route.opt["documented"]) for route in ROUTES if route.opt["documented"].answer]


@pytest.mark.parametrize(("path", "documented"), ANSWERS, ids=[path for path, _ in ANSWERS])
def test_every_example_of_an_answer_has_the_fields_of_the_answer_and_no_other(path: str, documented: Any) -> None:
    example = msgspec.json.encode(documented.answer_example)
    read = msgspec.json.decode(example, type=documented.answer)
    assert keys(json.loads(example)) <= keys(json.loads(msgspec.json.encode(read))), path


AFTER_THE_OTHERS = ("/api/points/redeem", "/api/purchases/{purchaseRequestId}/status", "/api/payment")
"""Their examples need what the others make, in this order."""
MADE_BY_THE_SERVICE = re.compile(r"\{(paymentId|disputeId|suspenseId|letterId|provider)\}|^/api/disputes$")
"""Routes about what has an id of the service's making, or needs it paid: docs/exchanges plays them."""


@pytest.mark.parametrize(
    "documented", [r.opt["documented"] for r in ROUTES if r.opt["documented"].body], ids=lambda d: d.summary
)
def test_every_example_of_a_body_is_read(documented: Any) -> None:
    msgspec.json.decode(msgspec.json.encode(documented.body_example), type=documented.body)


async def test_every_example_of_a_body_is_accepted(api: Any) -> None:
    doc = await document(api)
    for user in ("user-42", "user-7"):
        await api.post("/api/members", {"userId": user, "name": "Ada"})
    await api.post("/api/points/admin/add", {"userId": "user-42", "amount": 1000, "reason": "r"}, "root", "admin")
    posts = {path: entry for method, path, entry in operations(doc) if method == "post"}
    played = [path for path in posts if not MADE_BY_THE_SERVICE.search(path)]
    assert len(played) > 10
    for path in sorted(played, key=lambda path: (path in AFTER_THE_OTHERS and AFTER_THE_OTHERS.index(path) + 1, path)):
        entry = posts[path]
        body = entry["requestBody"]["content"]["application/json"]["example"]
        role = "admin" if "admin" in entry["x-roles"] else entry["x-roles"][0]
        where = path.format(userId="user-42", purchaseRequestId="order-2001")
        answer = await api.post(where, body, "user-42", role)
        assert answer.status_code < 300, answer.text
        await api.post("/api/admin/accounts/user-42/unlock", {"reason": "r"}, "root", "admin")


async def test_the_page_loads_nothing_from_anywhere(api: Any) -> None:
    answer = await api.http.get("/api/docs")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert not re.search(r"<script|<link|<img|<iframe|src=|url\(", answer.text)
    for _, path, entry in operations(await document(api)):
        assert entry["operationId"] in answer.text
        assert path in answer.text


@pytest.mark.filterwarnings("ignore")
async def test_no_request_makes_it_fail_or_answer_what_is_not_documented(api: Any) -> None:
    import asyncio

    doc = await document(api)
    token = api.token("fuzz", "admin")

    def fuzz() -> None:
        schema = schemathesis.openapi.from_dict(doc)
        schema.config.update(base_url=api.base_url)
        for result in schema.get_all_operations():
            operation = result.ok()
            if operation.path == "/metrics":
                continue

            @settings(
                max_examples=EXAMPLES,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @schemathesis_given(operation)
            def run(case: Any) -> None:
                response = case.call(headers={"Authorization": f"Bearer {token}"}, timeout=10)
                assert response.status_code < 500 or response.status_code == 503, response.text
                case.validate_response(
                    response,
                    checks=[status_code_conformance, content_type_conformance, response_schema_conformance],
                )

            run()

    await asyncio.to_thread(fuzz)


def schemathesis_given(operation: Any) -> Any:
    from hypothesis import given

    return given(case=operation.as_strategy())
