"""You can name a file before opening it, it says what it is, and it ends before you are tired."""

import ast
import re

import pytest

from tests.architecture.tree import PACKAGES, ROOT, parsed, python_files, source

FILES = python_files(*PACKAGES)
LONGEST = 350
VAGUE = re.compile(r"(utils?|helpers?|common|base|managers?|services?|misc|tools?|stuff|core|shared|impl)")


def test_there_are_files_to_look_at():
    assert {path.split("/")[0] for path in FILES} >= {"ledger", "projections", "api", "workers"}


@pytest.mark.parametrize("path", FILES)
def test_no_file_is_longer_than_a_person_reads(path):
    assert len(source(path).splitlines()) <= LONGEST


@pytest.mark.parametrize("path", FILES)
def test_no_name_is_vague(path):
    parts = path.removesuffix(".py").split("/")
    assert [part for part in parts if VAGUE.fullmatch(part)] == []


@pytest.mark.parametrize("path", FILES)
def test_a_module_opens_with_what_it_is(path):
    documentation = ast.get_docstring(parsed(path))
    assert documentation, "no docstring"
    first = documentation.split("\n\n")[0]
    assert len(first.split()) >= 3, "a word is no sentence"


@pytest.mark.parametrize("path", FILES)
def test_the_file_to_read_next_exists(path):
    documentation = ast.get_docstring(parsed(path)) or ""
    _, found, pointer = documentation.partition("Read next:")
    if not found:
        return
    named = re.findall(r"`([\w./]+\.(?:py|sql|md|toml))`", pointer)
    folder = (ROOT / path).parent
    places = [folder, folder.parent, ROOT]
    assert named, "it names no file"
    assert [name for name in named if not any((place / name).exists() for place in places)] == []


@pytest.mark.parametrize("path", python_files("tests"))
def test_a_test_file_says_what_it_is_about(path):
    assert ast.get_docstring(parsed(path))
