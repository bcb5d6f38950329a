"""Money: whole minor units of a currency, and the decimal strings it travels as.

`{"amount": "12.34", "currency": "USD"}` is 1234 minor units; a currency has as many decimals as ISO 4217 gives it.
Integers only, no float anywhere. Standard library and msgspec only. Read next: `domain/purchases.py`.
"""

import re
from typing import Final

import msgspec

from ledger.errors import InvalidCommand

MAX_MINOR: Final = 2**53 - 1
"""Largest amount, in minor units: what a JSON number carries exactly in every language."""

_DECIMALS: Final = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: (
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW "
        "CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF "
        "IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK "
        "MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP "
        "SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG "
        "YER ZAR ZMW ZWG"
    ),
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
    6: "USDC USDT",
}
EXPONENTS: Final = {code: decimals for decimals, codes in _DECIMALS.items() for code in codes.split()}
"""Currency → its decimals: ISO 4217 without precious metals and test codes, and two stablecoins."""

_PLAIN: Final = re.compile(r"(0|[1-9][0-9]{0,15})(?:\.([0-9]{1,6}))?")


class Money(msgspec.Struct, frozen=True):
    """So many minor units of a currency."""

    minor: int
    currency: str


class MoneyText(msgspec.Struct, frozen=True):
    """Money on the wire: a decimal string with exactly the currency's decimals."""

    amount: str
    currency: str


def decimals_of(currency: str, field: str = "currency") -> int:
    """How many decimals the currency has. Refused: a code nobody knows."""
    try:
        return EXPONENTS[currency]
    except KeyError:
        raise InvalidCommand.field(field, "must be the ISO 4217 code of a currency, USDT or USDC.") from None


def unit_of(currency: str) -> int:
    """How many minor units are one whole unit: 100 of a dollar, 1 of a yen."""
    return int("1" + "0" * EXPONENTS[currency])


def parse_minor(amount: str, currency: str, field: str = "amount") -> int:
    """Minor units of an unsigned plain decimal string with at most the currency's decimals."""
    decimals = decimals_of(currency)
    found = _PLAIN.fullmatch(amount)
    if found is None:
        raise InvalidCommand.field(field, 'must be an unsigned decimal string such as "12.34".')
    fraction = found[2] or ""
    if len(fraction) > decimals:
        raise InvalidCommand.field(field, f"has at most {decimals} decimals in {currency}.")
    minor = int(found[1] + fraction.ljust(decimals, "0"))
    if minor > MAX_MINOR:
        raise InvalidCommand.field(field, f"must not pass {format_minor(MAX_MINOR, currency)}.")
    return minor


def format_minor(minor: int, currency: str) -> str:
    """The decimal string of so many minor units, with exactly the currency's decimals."""
    decimals = EXPONENTS[currency]
    digits = str(minor).zfill(decimals + 1)
    return f"{digits[:-decimals]}.{digits[-decimals:]}" if decimals else digits


def money_text(minor: int, currency: str) -> MoneyText:
    """Money as it goes out."""
    return MoneyText(format_minor(minor, currency), currency)


def parse_money(text: MoneyText, field: str = "price") -> Money:
    """Money as it came in; what is wrong with it is named under `field`."""
    decimals_of(text.currency, f"{field}.currency")
    return Money(parse_minor(text.amount, text.currency, f"{field}.amount"), text.currency)
