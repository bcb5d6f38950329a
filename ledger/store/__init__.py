"""The log: append, load, read. The only folder that imports `eventsourcing`. Read next: `port.py`."""
