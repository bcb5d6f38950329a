"""The hash of an event, formula v1. It lies in every log and bundle: a changed value here breaks every proof there is.

The literal values were made with `printf` and `sha256sum`, without this code.
"""

from hashlib import sha256

import pytest

from ledger.audit.chain import GENESIS, PREFIX, event_hash

FIRST = {
    "previous": bytes(32),
    "stream": "account-u-1",
    "version": 1,
    "event_type": "points.account-opened.v1",
    "metadata": b"{}",
    "data": b'{"userId":"u-1"}',
}
FIRST_HASH = "a1f27377ff7d945f2172b3f0eb6b82f1bd14199c72f0605ff5b21cb419b7f2e8"
SECOND = {
    "previous": bytes.fromhex(FIRST_HASH),
    "stream": "account-u-1",
    "version": 2,
    "event_type": "points.account-locked.v1",
    "metadata": '{"k":"é"}\n'.encode(),
    "data": b"",
}
SECOND_HASH = "5f1c207168e95fdd204913acba44f7d4a030cdbaf2d6001b3397403152a0afea"


def test_the_prefix_is_the_version_of_the_formula():
    assert PREFIX == b"ledger-event-v1\0"


def test_a_chain_begins_with_zeros():
    assert bytes(32) == GENESIS


@pytest.mark.parametrize(
    ("fields", "expected"), [(FIRST, FIRST_HASH), (SECOND, SECOND_HASH)], ids=["the first event", "the second event"]
)
def test_the_hash_of(fields, expected):
    assert event_hash(**fields).hex() == expected


def _by_the_book(previous, stream, version, event_type, metadata, data):
    """The formula as the documents write it, in the plainest way."""
    text = b"ledger-event-v1" + bytes(1) + previous
    for field in (stream.encode("utf-8"), version.to_bytes(8, "big"), event_type.encode("ascii"), metadata, data):
        text += len(field).to_bytes(8, "big") + field
    return sha256(text).digest()


@pytest.mark.parametrize(
    "change",
    [
        {"previous": bytes([1] * 32)},
        {"stream": "account-u-2"},
        {"version": 2},
        {"version": 2**40},
        {"event_type": "points.account-opened.v2"},
        {"metadata": b"{ }"},
        {"data": b'{"userId":"u-2"}'},
        {"stream": "account-ü"},
        {"data": bytes(range(256)) * 300},
    ],
    ids=lambda change: ", ".join(f"{k} of {len(v) if isinstance(v, bytes) else v}" for k, v in change.items()),
)
def test_every_field_changes_the_hash_as_the_book_says(change):
    fields = FIRST | change
    assert event_hash(**fields) == _by_the_book(**fields)
    assert event_hash(**fields).hex() != FIRST_HASH


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"metadata": b"ab", "data": b"c"}, {"metadata": b"a", "data": b"bc"}),
        ({"event_type": "ab", "metadata": b"c"}, {"event_type": "a", "metadata": b"bc"}),
        ({"metadata": b"", "data": b"x"}, {"metadata": b"x", "data": b""}),
    ],
    ids=["metadata and data", "type and metadata", "an empty field"],
)
def test_bytes_that_move_over_a_border_change_the_hash(left, right):
    assert event_hash(**(FIRST | left)) != event_hash(**(FIRST | right))
