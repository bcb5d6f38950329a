"""Every request that docs/reference shows was sent and is answered as shown, and every route of a page is shown on it."""

import importlib.util
import re
from pathlib import Path

import httpx
import pytest
from standardwebhooks import Webhook

from tests.scenarios.running_ledger import RunningLedger

pytestmark = [pytest.mark.slow, pytest.mark.services]

ROOT = Path(__file__).resolve().parents[2]
TAGS = {"points", "members", "purchases", "payments", "disputes"}
"""Routes with these tags are for the platform's developers: none goes without an example."""


def _recorder():
    spec = importlib.util.spec_from_file_location("docs_record", ROOT / "docs" / "record.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RECORDER = _recorder()


@pytest.fixture(scope="module", params=RECORDER.names())
def page(request, tmp_path_factory):
    """A page, what was answered to it by a ledger of its own, and what is served there."""
    read = RECORDER.load(request.param)
    running = RunningLedger(tmp_path_factory.mktemp(request.param) / "ledger", RECORDER.ENVIRONMENT).start()
    try:
        played = RECORDER.play(read, running.url)
        served = httpx.get(running.url + "/api/docs/openapi.json").json()["paths"]
    finally:
        running.stop()
    return request.param, read, played, served


def test_every_exchange_is_answered_as_it_is_shown(page):
    name, read, played, _ = page
    shown = RECORDER.file_of(name).read_text()
    assert RECORDER.render(read, played) == shown, "answered otherwise: run python docs/record.py"


def test_every_route_the_page_covers_is_shown_with_a_request_that_is_done(page):
    _, read, played, _ = page
    done = [f"{one.method} {one.path}" for one in played if one.status < 400 and not one.exchange.quiet]
    for route in read.covers:
        pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(route))
        assert any(re.fullmatch(pattern, asked) for asked in done), f"{route} has no example"


def test_no_page_covers_a_route_that_is_not_served(page):
    _, read, _, served = page
    assert set(read.covers) <= {f"{method.upper()} {path}" for path, methods in served.items() for method in methods}


def test_a_webhook_is_signed_as_the_provider_signs_it_and_shown_without_its_signature():
    shown = RECORDER._Shown(RECORDER.SHOWN_START)
    body = '{"type": "payment.confirmed"}'
    headers = RECORDER.signed("evt-1", body, shown)
    provider = Webhook(RECORDER.ENVIRONMENT["WEBHOOK_SECRETS"].removeprefix("acme="))
    assert provider.verify(body, headers) == {"type": "payment.confirmed"}
    lines = shown.request("POST", "/api/payment/webhooks/acme", "", headers, body).splitlines()
    assert lines[1:4] == ["webhook-id: evt-1", "webhook-timestamp: 1769860800", "webhook-signature: v1,…"]


def test_no_route_goes_without_an_example(page):
    _, _, _, served = page
    covered = {route for name in RECORDER.names() for route in RECORDER.load(name).covers}
    wanted = {
        f"{method.upper()} {path}"
        for path, methods in served.items()
        for method, operation in methods.items()
        if TAGS & set(operation["tags"])
    }
    assert wanted
    assert wanted <= covered
