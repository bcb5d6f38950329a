"""Whoever silences a check says which one and why, on the same line."""

import re

import pytest

from tests.architecture.tree import PACKAGES, ROOT, python_files, source

FILES = python_files(*PACKAGES, "tests", "benchmarks", "docs")
SUPPRESSION = re.compile(r"#\s*(?:(?:ruff:\s*)?noqa|type:\s*ignore|mypy:)(?P<rest>.*)")
RIGHT = re.compile(r"(?::\s*[A-Z]+[0-9]+(?:,\s*[A-Z]+[0-9]+)*|\[[a-z-]+(?:,\s*[a-z-]+)*\])\s*(?:#|-|—).*\w{3}")


def _problem(line: str) -> str | None:
    found = SUPPRESSION.search(line)
    return None if found is None or RIGHT.match(found["rest"]) else line.strip()


@pytest.mark.parametrize("path", [path for path in FILES if path != "tests/architecture/test_suppressions.py"])
def test_every_silenced_check_is_named_and_has_its_reason(path):
    lines = enumerate(source(path).splitlines(), start=1)
    assert [f"{number}: {problem}" for number, line in lines if (problem := _problem(line))] == []


WRONG = [
    "x = 1  # noqa",
    "x = 1  # noqa: S101",
    "x = 1  # type: ignore",
    "x  # type: ignore[misc]",
    "# ruff: noqa",
    "# noqa: A1  #",
]
FINE = ["x  # noqa: S101  # why not", "x  # type: ignore[misc]  # as above", "x  # noqa: A1, B2 - a reason", "x = 1"]


@pytest.mark.parametrize("line", WRONG)
def test_silence_without_a_reason_is_seen(line):
    assert _problem(line)


@pytest.mark.parametrize("line", FINE)
def test_silence_with_a_reason_is_let_be(line):
    assert _problem(line) is None


def test_every_rule_that_is_off_for_all_has_its_reason():
    text = (ROOT / "pyproject.toml").read_text()
    rules = re.findall(r'^ {4}"([A-Z]+[0-9]*)",(.*)$', text, re.MULTILINE)
    rules += re.findall(r'^".*" = \["([A-Z]+[0-9]*)"\](.*)$', text, re.MULTILINE)
    assert len(rules) > 20, "the rules that are off were not found"
    assert [rule for rule, rest in rules if not re.match(r"\s*# \w.*\w", rest)] == []


def test_every_exception_from_types_has_its_reason():
    text = (ROOT / "pyproject.toml").read_text()
    blocks = re.findall(r"\[\[tool\.mypy\.overrides\]\]\n(.*)", text)
    assert blocks
    assert [line for line in blocks if not line.startswith("# ")] == []
