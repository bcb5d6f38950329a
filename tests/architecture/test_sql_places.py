"""SQL stands in three places only, so that whoever changes a table knows where to look."""

import re

import pytest

from tests.architecture.tree import PACKAGES, python_files, strings

HOMES = ("ledger/store/", "projections/", "migrations/")
SETTING_UP_A_SERVER = {
    ("workers/embedded_postgres.py", "CREATE DATABASE"),
    ("workers/local_stack.py", "ALTER ROLE"),
}
"""What makes the embedded server, before there is a schema to migrate. Nothing of the ledger is read or written."""
STATEMENT = re.compile(
    r"""^\s*(
        SELECT\s+\S | INSERT\s+INTO | UPDATE\s+[\w.]+\s+SET | DELETE\s+FROM | TRUNCATE\s | MERGE\s+INTO | COPY\s+[\w.(]
      | WITH\s+\w+\s+AS | (CREATE|ALTER|DROP)\s+(OR\s+REPLACE\s+)?(TABLE|SCHEMA|DATABASE|ROLE|USER|INDEX|FUNCTION|VIEW|TYPE)
      | GRANT\s+\w+ | REVOKE\s+\w+ | NOTIFY\s+\w | LISTEN\s+\w | LOCK\s+TABLE | SET\s+(LOCAL|SESSION|ROLE)\b
    )""",
    re.VERBOSE | re.IGNORECASE,
)


def _statements(path: str) -> list[tuple[int, str]]:
    return [
        (line, " ".join(text.split()[:2])) for line, text in strings(path) if STATEMENT.match(text) and _is_sql(text)
    ]


def _is_sql(text: str) -> bool:
    """A sentence may begin with these words too, but not in capitals and not with SQL's further ones."""
    return text.split(maxsplit=1)[0].isupper() or re.search(r"\b(from|into|set|values|where)\b", text) is not None


OUTSIDE = [path for path in python_files(*PACKAGES) if not path.startswith(HOMES)]


@pytest.mark.parametrize("path", OUTSIDE)
def test_no_sql_stands_in(path):
    found = [(line, start) for line, start in _statements(path) if (path, start.upper()) not in SETTING_UP_A_SERVER]
    assert found == []


def test_sql_is_recognised_where_it_is():
    store = [start for path in python_files("ledger/store", "projections") for _, start in _statements(path)]
    assert len(store) > 10


def test_no_exception_is_left_over():
    used = {(path, start.upper()) for path in OUTSIDE for _, start in _statements(path)}
    assert used >= SETTING_UP_A_SERVER
