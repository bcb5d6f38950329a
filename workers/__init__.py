"""What runs by itself: the embedded database, the projector, the sweepers, the seals.

May import `ledger` and `projections`, never `api`. Read next: `local_stack.py`, `main.py`.
"""
