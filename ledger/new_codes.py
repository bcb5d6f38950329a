"""Referral codes out of thin air: candidates, of which the ledger takes the first that is free.

Here and not in the domain, which rolls no dice. Read next: `domain/referrals.py`.
"""

import secrets

from ledger.domain.referrals import ALPHABET, CODE_LENGTH


def fresh_codes(number: int = 8) -> tuple[str, ...]:
    """So many random codes. 10^12 are possible: with 10^8 of them taken, eight tries fail once in 10^32."""
    return tuple("".join(secrets.choice(ALPHABET) for _ in range(CODE_LENGTH)) for _ in range(number))
