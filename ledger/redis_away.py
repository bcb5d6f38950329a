"""Whether it is Redis that does not answer: as `away.py` for the database, and apart from it.

Importing redis takes a quarter of the time in which a command such as `ledger import` starts, and most need none.
"""

from redis.exceptions import RedisError


def is_redis_away(error: BaseException) -> bool:
    """What Redis says, a lost connection, and uvloop's word for one that was lost just now."""
    if isinstance(error, RuntimeError):
        return "closed" in str(error)  # "unable to perform operation on <TCPTransport closed=True ...>"
    return isinstance(error, RedisError | OSError)
