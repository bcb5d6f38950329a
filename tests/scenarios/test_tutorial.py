"""The README's exchange is a script, and the script does what the README shows: once for real, once replayed."""

import os
import subprocess
from pathlib import Path

from tests.scenarios.running_ledger import RunningLedger

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "docs" / "tutorial" / "first-exchange.sh"


def test_the_first_exchange_gives_what_the_readme_shows_and_replays(tmp_path):
    running = RunningLedger(tmp_path / "ledger").start()
    try:
        environment = {**os.environ, **running.environment}
        first, second = (
            subprocess.run([SCRIPT], env=environment, capture_output=True, text=True, check=True, timeout=60).stdout
            for _ in range(2)
        )
    finally:
        running.stop()
    for shown in (
        '"message":"Member registered.","data":{"userId":"alice","name":"Alice","avatar":null,"opened":true}',
        "HTTP/1.1 201 Created",
        "ledger-position: 3",
        '"transaction":{"id":"txn_2","type":"earn","source":"purchase","amount":1280,"balance":1280,',
        '"level":{"name":"silver","tier":2,"minPoints":1000,',
        '"nextLevel":{"name":"gold","tier":3,"minPoints":2500,"pointsToGo":1220}',
    ):
        assert shown in first
        assert shown in second
    assert "idempotent-replayed" not in first
    assert "idempotent-replayed: true" in second
