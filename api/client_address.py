"""The address a request counts for: the peer, or what trusted proxies say stands before them.

Standard library only. Read next: `limits.py`.
"""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from api.call import Call
from ledger.settings import Network

IPV6_PREFIX = 64
"""One household or server has this much of IPv6; a limit per single address would be none."""


class ClientAddress:
    """Finds the address of a call. One per process."""

    def __init__(self, trusted: tuple[Network, ...]) -> None:
        """`trusted` are the networks whose `X-Forwarded-For` is believed."""
        self._trusted = trusted
        self._is_trusted = lru_cache(4096)(self._look_up)

    def of(self, call: Call, peer: str | None) -> str:
        """Without proxies the peer; else the last address of `X-Forwarded-For` that is no trusted proxy."""
        address = peer or "local"
        if self._trusted and self._is_trusted(address):
            given = b",".join(value for name, value in call.raw_headers if name == b"x-forwarded-for")
            for part in reversed(given.decode("latin-1").split(",")):
                hop = part.strip()
                if _parsed(hop) is None:
                    break  # whoever wrote that is not a proxy we know the manners of
                address = hop
                if not self._is_trusted(hop):
                    break
        return network_of(address)

    def _look_up(self, address: str) -> bool:
        parsed = _parsed(address)
        return parsed is not None and any(parsed in network for network in self._trusted)


@lru_cache(4096)
def network_of(address: str) -> str:
    """An IPv4 address as it is, an IPv6 address as its network."""
    parsed = _parsed(address)
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(IPv6Address(int(parsed) >> (128 - IPV6_PREFIX) << (128 - IPV6_PREFIX)))
    return address


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(address)
    except ValueError:
        return None
