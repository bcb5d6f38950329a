"""The tree of refusals that is drawn is the tree there is."""

import importlib
import inspect
import re

import pytest

from ledger.errors import CorruptionError, LedgerError

BRANCH = re.compile(r"^(?P<indent>[│ ]*)[├└]── (?P<name>\w+)")
MODULES = ["ledger.errors", "ledger.payment_errors", "api.errors"]


def _drawn(text: str) -> dict[str, str]:
    """Child → parent, as drawn."""
    parents: dict[str, str] = {}
    above: list[str] = []
    for line in text.splitlines():
        if line.strip().startswith("LedgerError"):
            above = ["LedgerError"]
        elif found := BRANCH.match(line):
            depth = len(found["indent"]) // 4 + 1
            above = [*above[:depth], found["name"]]
            parents[found["name"]] = above[depth - 1]
    return parents


def _defined(module) -> dict[str, type]:
    errors = (LedgerError, CorruptionError)
    found = inspect.getmembers(module, lambda x: inspect.isclass(x) and issubclass(x, errors))
    return {name: kind for name, kind in found if kind.__module__ == module.__name__ and kind is not LedgerError}


@pytest.mark.parametrize("name", MODULES)
def test_every_refusal_is_drawn_under_its_parent(name):
    module = importlib.import_module(name)
    indented = "\n".join(line.removeprefix("    ") for line in module.__doc__.splitlines())
    drawn = _drawn(indented)
    for child, kind in _defined(module).items():
        assert child in drawn, f"{child} is not drawn"
        if kind is not CorruptionError:
            assert kind.__bases__[0].__name__ == drawn[child]


@pytest.mark.parametrize("name", MODULES)
def test_nothing_is_drawn_that_there_is_not(name):
    module = importlib.import_module(name)
    drawn = _drawn("\n".join(line.removeprefix("    ") for line in module.__doc__.splitlines()))
    assert drawn
    assert [child for child in drawn if not hasattr(module, child)] == []


def test_no_two_refusals_share_a_code():
    kinds: list[type[LedgerError]] = [LedgerError]
    for module in MODULES:
        kinds += [kind for kind in _defined(importlib.import_module(module)).values() if kind is not CorruptionError]
    codes = [kind.code for kind in kinds]
    assert len(set(codes)) == len(codes)
    assert [code for code in codes if not re.fullmatch(r"[A-Z]+(_[A-Z]+)*", code)] == []


def test_a_broken_invariant_is_no_refusal():
    assert not issubclass(CorruptionError, LedgerError)
