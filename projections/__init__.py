"""The read side: what happened, one file per question. Imports `ledger` only. Read next: `projection.py`."""
