"""Money on the wire: what is read, what is refused, and that every currency has the decimals ISO 4217 gives it."""

import iso4217
import pytest

from ledger.errors import InvalidCommand
from ledger.money import EXPONENTS, MAX_MINOR, Money, MoneyText, format_minor, money_text, parse_minor, parse_money

READ = [
    ("0", "USD", 0, "0.00"),
    ("0.01", "USD", 1, "0.01"),
    ("12.3", "USD", 1230, "12.30"),
    ("12.34", "USD", 1234, "12.34"),
    ("12", "USD", 1200, "12.00"),
    ("500", "JPY", 500, "500"),
    ("0", "JPY", 0, "0"),
    ("1.234", "KWD", 1234, "1.234"),
    ("0.005", "KWD", 5, "0.005"),
    ("1.0001", "CLF", 10001, "1.0001"),
    ("1.000001", "USDT", 1_000_001, "1.000001"),
    ("0.000001", "USDC", 1, "0.000001"),
    ("90071992547409.91", "USD", MAX_MINOR, "90071992547409.91"),
    ("9007199254740991", "JPY", MAX_MINOR, "9007199254740991"),
]


@pytest.mark.parametrize(("text", "currency", "minor", "out"), READ)
def test_a_decimal_string_is_so_many_minor_units(text, currency, minor, out):
    assert parse_minor(text, currency) == minor
    assert format_minor(minor, currency) == out
    assert parse_minor(out, currency) == minor


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "-1", "+1", "1.", ".5", "01", "00", "00.5", "1e3", "1,5", "1 000", "1_000", "0x1", "NaN", "Infinity",
        "1.2.3", " 1", "1 ", "1\n", "１", "١", "1.٢", "1234567890123456789",
    ],
)  # fmt: skip
def test_what_is_no_plain_unsigned_decimal_is_refused(text):
    with pytest.raises(InvalidCommand) as refusal:
        parse_minor(text, "USD")
    assert refusal.value.message == 'amount: must be an unsigned decimal string such as "12.34".'


@pytest.mark.parametrize(
    ("text", "currency", "decimals"),
    [("1.234", "USD", 2), ("1.0", "JPY", 0), ("1.2345", "KWD", 3), ("1.00000", "CLF", 4), ("0.100", "EUR", 2)],
)
def test_more_decimals_than_the_currency_has_are_refused(text, currency, decimals):
    with pytest.raises(InvalidCommand, match=f"^amount: has at most {decimals} decimals in {currency}.$"):
        parse_minor(text, currency)


@pytest.mark.parametrize(("text", "currency"), [("90071992547409.92", "USD"), ("9007199254740992", "JPY")])
def test_an_amount_no_json_number_could_carry_is_refused(text, currency):
    with pytest.raises(InvalidCommand, match="must not pass"):
        parse_minor(text, currency)


@pytest.mark.parametrize("currency", ["", "usd", "US", "XXX", "XAU", "BTC", "USDD"])
def test_a_currency_nobody_knows_is_refused(currency):
    with pytest.raises(InvalidCommand) as refusal:
        parse_money(MoneyText("1", currency))
    assert refusal.value.data[0]["field"] == "price.currency"


def test_what_is_wrong_with_a_price_is_named_where_it_is():
    with pytest.raises(InvalidCommand) as refusal:
        parse_money(MoneyText("x", "USD"))
    assert refusal.value.data[0]["field"] == "price.amount"


def test_money_goes_out_as_it_came_in():
    assert parse_money(MoneyText("3.2", "USD")) == Money(320, "USD")
    assert money_text(320, "USD") == MoneyText("3.20", "USD")


def test_every_currency_has_the_decimals_of_the_standard():
    standard = {currency.code: currency.exponent for currency in iso4217.Currency if currency.exponent is not None}
    assert {**standard, "USDT": 6, "USDC": 6} == EXPONENTS
