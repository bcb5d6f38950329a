"""The rules are functions of what they are given: no clock, no chance, and no float near an amount."""

import ast

import pytest

from tests.architecture.tree import parsed, python_files

PURE = python_files(
    "ledger/domain",
    "ledger/money.py",
    "ledger/ids.py",
    "ledger/errors.py",
    "ledger/payment_errors.py",
    "ledger/journal.py",
)
CLOCKS = {"now", "utcnow", "today", "time", "time_ns", "monotonic", "perf_counter", "fromtimestamp", "utcfromtimestamp"}
CHANCE = {"random", "uuid1", "uuid4", "uuid7", "urandom", "token_hex", "token_urlsafe", "randbelow", "getrandbits"}
FORBIDDEN_MODULES = {
    "random",
    "time",
    "secrets",
    "uuid",
    "os",
    "io",
    "logging",
    "asyncio",
    "math",
    "cmath",
    "statistics",
}
FLOATING = {"float", "round", "complex"}


def _offences(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=float() | complex()):
                found.append(f"{node.lineno}: the number {node.value}")
            case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()):
                found.append(f"{node.lineno}: / gives a float; // does not")
            case ast.Name(id=name) if name in FLOATING:
                found.append(f"{node.lineno}: {name}")
            case ast.Call(func=ast.Attribute(attr=name)) if name in CLOCKS | CHANCE:
                found.append(f"{node.lineno}: {name}()")
            case ast.Import(names=names):
                found += [f"{node.lineno}: import {a.name}" for a in names if a.name.split(".")[0] in FORBIDDEN_MODULES]
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in FORBIDDEN_MODULES:
                found.append(f"{node.lineno}: from {module}")
    return found


@pytest.mark.parametrize("path", PURE)
def test_a_rule_asks_no_clock_rolls_no_dice_and_rounds_nothing(path):
    assert _offences(parsed(path)) == []


def test_there_are_rules_to_look_at():
    assert {"ledger/domain/points.py", "ledger/domain/programme.py"} <= set(PURE)


@pytest.mark.parametrize(
    "line",
    [
        "datetime.now(UTC)",
        "date.today()",
        "import time",
        "from random import choice",
        "import os.path",
        "uuid4 = x.uuid4()",
        "a / b",
        "a /= 2",
        "0.5 * a",
        "float(a)",
        "round(a)",
        "x: float = 1",
    ],
)
def test_an_offence_is_seen(line):
    assert len(_offences(ast.parse(line))) >= 1


@pytest.mark.parametrize("line", ["a // b", "Decimal('0.5') * a", "now + timedelta(days=1)", "divmod(a, b)"])
def test_what_is_allowed_is_not_an_offence(line):
    assert _offences(ast.parse(line)) == []
