"""Ids of what the ledger opens itself: payments, instructions, disputes. In the order of time, so that indexes grow at one end.

Here and not in the domain, which reads no clock and rolls no dice. Read next: `domain/payments.py`.
"""

from typing import Literal

import uuid_utils

Prefix = Literal["pay", "ins", "dsp", "evd", "dl"]
"""Payment, instruction, dispute, evidence, dead letter (and the money that came with it)."""


def fresh_id(prefix: Prefix) -> str:
    """An id nobody has: the prefix and a UUIDv7."""
    return f"{prefix}_{uuid_utils.uuid7().hex}"
