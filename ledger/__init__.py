"""The write side: what may happen.

`domain/` holds the rules as pure functions, `handler.py` the list of use cases, `store/` the log.
Nothing here knows HTTP or a read model. Read next: `handler.py`.
"""
