"""What the code knows stands in docs/reference/, and what stands there is what the code knows."""

import ast
import importlib.util
import re
import tomllib

import pytest

from api.errors import Forbidden, ReplayTooLong, TooManyRooms
from ledger.errors import LedgerError
from ledger.settings import SETTINGS
from ledger.store.codec import TAGS, UPCASTERS
from projections.live_events import LIVE_EVENTS
from tests.architecture.tree import PACKAGES, ROOT, parsed, python_files

REFERENCE = ROOT / "docs" / "reference"


def _generator():
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = _generator()


def _rows(page: str) -> dict[str, str]:
    """First cell → the others, of every table of the page."""
    text = (REFERENCE / page).read_text()
    found = re.findall(r"^\| `?([^`|]+?)`? \| (.*) \|$", text, re.MULTILINE)
    return {name: rest for name, rest in found if not set(name) <= set("-")}


@pytest.mark.parametrize("page", GENERATOR.PAGES)
def test_a_generated_page_says_what_the_code_says(page):
    assert (REFERENCE / page).read_text() == GENERATOR.PAGES[page](), "stale: run python docs/generate.py"


def test_every_page_is_generated_or_recorded_or_known_to_be_written_by_hand():
    by_hand = {"glossary.md", "dependencies.md", "live-events.md"}
    recorded = {
        file.stem + ".md"
        for file in (ROOT / "docs" / "exchanges").glob("*.toml")
        if 'folder = "how-to"' not in file.read_text()
    }
    assert {page.name for page in REFERENCE.glob("*.md")} == by_hand | recorded | set(GENERATOR.PAGES)


def _codes_in_the_code() -> set[str]:
    """Every `code = "…"` of a class, wherever it is defined: one the generator does not know is found here."""
    found = {LedgerError.code}
    for path in python_files(*PACKAGES):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef):
                found |= {code for statement in node.body for code in _assigned_code(statement)}
    return found


def _assigned_code(statement: ast.stmt) -> list[str]:
    match statement:
        case ast.Assign(targets=[ast.Name(id="code")], value=ast.Constant(value=str(code))):
            return [code]
        case ast.AnnAssign(target=ast.Name(id="code"), value=ast.Constant(value=str(code))) if code:
            return [code]
        case _:
            return []


def test_every_error_code_is_explained_and_no_other():
    assert set(_rows("errors.md")) - {"code"} == _codes_in_the_code() | {"INTERNAL_ERROR"}


def test_no_error_code_is_made_up_on_the_spot():
    """`failure(call, 503, "SOME_CODE", …)` answers a code; it has to be one of those explained."""
    known = set(_rows("errors.md"))
    answered = set()
    for path in python_files("api"):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "failure":
                answered |= {a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)}
    codes = {text for text in answered if re.fullmatch(r"[A-Z_]+", text)}
    assert codes, "none was found"
    assert codes <= known


def test_every_setting_is_explained_and_no_other():
    assert list(_rows("settings.md")) == ["name", *(setting.name for setting in SETTINGS)]


READ_BEFORE_THE_TABLE = {("api/cli/failures.py", "LOG_LEVEL")}
"""A wrong setting is among the failures it explains, so that there may be no settings to ask."""


def test_no_setting_is_read_past_the_table():
    read = {(path, name) for path in python_files(*PACKAGES) for name in _variables_read(path)}
    outside = {(path, name) for path, name in read if path != "ledger/settings.py"}
    names = {setting.name for setting in SETTINGS}
    assert {(path, name) for path, name in outside if name in names} == READ_BEFORE_THE_TABLE


def _variables_read(path: str) -> list[str]:
    """Names in `os.environ[...]`, `os.environ.get(...)` and `os.getenv(...)`."""
    found = []
    for node in ast.walk(parsed(path)):
        match node:
            case ast.Subscript(value=ast.Attribute(attr="environ"), slice=ast.Constant(value=str(name))):
                found.append(name)
            case ast.Call(
                func=ast.Attribute(value=ast.Attribute(attr="environ"), attr="get")
                | ast.Attribute(value=ast.Name(id="os"), attr="getenv"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                found.append(name)
            case _:
                pass
    return found


def test_every_event_is_explained():
    titles = re.findall(r"^## (\S+\.v\d+)$", (REFERENCE / "events.md").read_text(), re.MULTILINE)
    assert titles == list(TAGS)
    assert all(f"`{tag}`" in (REFERENCE / "events.md").read_text() for tag in UPCASTERS)


def test_every_dependency_has_its_line_and_no_other():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    required = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["dev"],
        *project["dependency-groups"]["environment"],
        *project["build-system"]["requires"],
    ]
    names = {re.match(r"[A-Za-z0-9_.-]+", line)[0] for line in required}
    lines = _rows("dependencies.md")
    del lines["package"]
    assert set(lines) == names
    assert [name for name, why in lines.items() if len(why.split()) < 3] == []


HOUSE_WORDS = [
    "earn",
    "spend",
    "expire",
    "grant",
    "deduct",
    "lot",
    "allocation",
    "fund",
    "hold",
    "instruct",
    "confirm",
    "release",
    "refund",
    "dispute",
    "suspense",
    "position",
    "version",
    "checkpoint",
    "seal",
]


def test_every_word_with_one_meaning_is_in_the_glossary():
    lines = _rows("glossary.md")
    assert [word for word in HOUSE_WORDS if word not in lines] == []
    for table in (REFERENCE / "glossary.md").read_text().split("\n## ")[1:]:
        words = re.findall(r"^\| ([^|]+?) \|", table, re.MULTILINE)[2:]
        assert words == sorted(words, key=str.lower), "in the order of the alphabet"


def test_every_live_event_is_explained_and_every_tag_it_comes_from():
    told = {(live.name, tag) for tag, events in LIVE_EVENTS.items() for live in events}
    text = (REFERENCE / "live-events.md").read_text().partition("## Server events")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([a-z-]+)` \| [^|]+ \| ([^|]+) \|", text, re.MULTILINE)
    assert {(name, tag) for name, tags in rows for tag in re.findall(r"`([^`]+)`", tags)} == told


def test_every_refusal_of_a_live_room_is_explained():
    text = (REFERENCE / "live-events.md").read_text()
    said = {code for line in text.splitlines() for code in re.findall(r"^\| `([A-Z_]+)` \|", line)}
    assert said <= set(_rows("errors.md"))
    assert {error.code for error in (TooManyRooms, ReplayTooLong, Forbidden)} <= said
