"""What `make bench` runs: the service against a floor in PL/pgSQL, on one PostgreSQL of its own. Start at `__main__.py`."""
