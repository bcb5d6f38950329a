#!/usr/bin/env bash
# The README's exchange, against a ledger started with `make run`. It may be run again: every answer is replayed.
# PORT and LEDGER_DATA as for `make run`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
base="http://localhost:${PORT:-5001}"

SERVICE=$(.venv/bin/ledger token --user shop --role service)
ALICE=$(.venv/bin/ledger token --user alice --role buyer)

curl -sS "$base/api/members" -H "Authorization: Bearer $SERVICE" \
     -H 'Content-Type: application/json' -H 'Idempotency-Key: register-alice' \
     -d '{"userId": "alice", "name": "Alice"}'
echo

curl -sSi "$base/api/points/earn" -H "Authorization: Bearer $SERVICE" \
     -H 'Content-Type: application/json' -H 'Idempotency-Key: order-1-points' \
     -d '{"userId": "alice", "amount": 1280, "source": "purchase", "reference": "order-1"}' | tee /tmp/first-exchange.$$
echo
position=$(sed -n 's/^ledger-position: \([0-9]*\).*/\1/ip' /tmp/first-exchange.$$)
rm -f /tmp/first-exchange.$$

curl -sS "$base/api/points/my-points?minPosition=$position" -H "Authorization: Bearer $ALICE"
echo
