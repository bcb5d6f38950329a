"""The source files of this repository, read once: what the architecture tests look at."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("ledger", "projections", "api", "workers", "migrations")


def python_files(*folders: str) -> list[str]:
    """Paths from the root, of these folders or files (those that exist)."""
    found: set[Path] = set()
    for folder in folders:
        place = ROOT / folder
        found |= {place} if place.suffix == ".py" and place.exists() else set(place.rglob("*.py"))
    return sorted(str(path.relative_to(ROOT)) for path in found if "__pycache__" not in path.parts)


@cache
def source(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@cache
def parsed(path: str) -> ast.Module:
    return ast.parse(source(path))


def strings(path: str) -> Iterator[tuple[int, str]]:
    """Line and text of every string that is no docstring; of an f-string its fixed parts."""
    tree = parsed(path)
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.lineno, node.value
