"""A shop's page and the ledger as they are run: two API processes on one port, a browser's socket, an earn."""

import pytest

from tests.api.live_client import listening
from tests.scenarios.running_ledger import RunningLedger

pytestmark = pytest.mark.slow


async def test_a_member_sees_points_arrive_while_the_page_is_open(tmp_path):
    ledger = RunningLedger(tmp_path, {"PROCESSES": "2"}).start()
    try:
        token = ledger.ready["tokens"]["user"]
        async with listening(ledger.url, token) as one, listening(ledger.url, token) as other:
            for page in (one, other):
                assert await page.join("user", "user", after=0) == {"ok": True}
            with ledger.client("service") as shop:
                ada = {"userId": "user", "name": "Ada"}
                assert shop.post("/api/members", json=ada, headers={"Idempotency-Key": "ada"}).status_code == 201
                earn = {"userId": "user", "amount": 1280, "source": "bonus", "reference": "welcome"}
                earned = shop.post("/api/points/earn", json=earn, headers={"Idempotency-Key": "welcome"})
            position = int(earned.headers["Ledger-Position"])
            for page in (one, other):
                level = await page.until(position, "level-up")
                assert level["data"]["level"]["name"] == "silver"
                assert page.positions == [position - 1, position]
    finally:
        assert ledger.stop() == 0
