"""The HTTP side, thin: one file a noun in `routes/`, no rules, no SQL.

May import projections and ledger; never workers (but `cli.py`). Read next: `app.py`, which composes everything.
"""
