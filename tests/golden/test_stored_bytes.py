"""What lies in a log can be read for ever, and is written today as it was written then: byte for byte.

The hash of an event covers these bytes, so that a space more would break every chain.
A new tag gets its file from `python tests/golden/record.py`; nothing rewrites one.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from ledger.store.codec import CATEGORIES, TAGS, UPCASTERS, decode, decode_metadata, encode
from tests.golden.examples import EVENTS, METADATA, STATES

FOLDER = Path(__file__).resolve().parent
NAMES = sorted(file.stem for file in FOLDER.glob("*.json"))
CURRENT = sorted(TAGS)
REPLACED = sorted(UPCASTERS)


def _stored(name: str) -> bytes:
    return (FOLDER / f"{name}.json").read_bytes()


@pytest.mark.parametrize("tag", CURRENT)
def test_an_event_is_written_as_it_always_was(tag):
    assert encode(EVENTS[tag]) == _stored(tag)


@pytest.mark.parametrize("tag", CURRENT)
def test_a_stored_event_is_read_and_written_back_to_the_same_bytes(tag):
    event = decode(tag, _stored(tag))
    assert type(event) is TAGS[tag]
    assert event == EVENTS[tag]
    assert encode(event) == _stored(tag)


@pytest.mark.parametrize("tag", REPLACED or [pytest.param("", marks=pytest.mark.skip(reason="no event has changed"))])
def test_an_event_of_an_older_version_is_read_as_one_of_today(tag):
    assert type(decode(tag, _stored(tag))) in TAGS.values()


@pytest.mark.parametrize("name", METADATA)
def test_metadata_is_read_and_written_as_it_always_was(name):
    assert encode(METADATA[name]) == _stored(name)
    assert decode_metadata(_stored(name)) == METADATA[name]


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_snapshot_is_read_and_written_as_its_schema_says(category):
    name = f"state.{category}.{CATEGORIES[category].schema}"
    assert CATEGORIES[category].encode_state(STATES[name]) == _stored(name)
    assert CATEGORIES[category].decode_state(_stored(name)) == STATES[name]


def test_every_event_metadata_and_snapshot_has_its_file_and_no_file_is_without():
    schemas = [f"state.{name}.{number}" for name, c in CATEGORIES.items() for number in range(1, c.schema + 1)]
    assert sorted([*CURRENT, *REPLACED, *METADATA, *schemas]) == NAMES


def test_a_tag_says_what_and_which_version():
    for tag in (*CURRENT, *REPLACED):
        assert tag.count(".") == 2
        assert tag.rsplit(".v", 1)[1].isdigit()
    assert not set(CURRENT) & set(REPLACED), "a tag is of today or of once, never both"


def _git(*arguments: str) -> bytes:
    return subprocess.run(("git", *arguments), cwd=FOLDER, check=True, capture_output=True).stdout


@pytest.mark.skipif(shutil.which("git") is None, reason="git knows what a file said first")
@pytest.mark.parametrize("name", NAMES)
def test_a_file_says_what_it_said_when_it_was_first_committed(name):
    try:
        born = _git("log", "--diff-filter=A", "--format=%H", "--", f"{name}.json").decode().split()
    except subprocess.CalledProcessError:
        pytest.skip("not a git work tree")
    if not born:
        pytest.skip("not committed yet")
    assert _git("show", f"{born[-1]}:./{name}.json") == _stored(name)
