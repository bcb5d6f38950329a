"""Routes of admins, and of finance where nothing is changed. Read next: `events.py`."""
