"""Cells of a CSV that a person opens in a spreadsheet: text that would be read as a formula is made text again.

Standard library only. RFC 4180: comma, CRLF, quotes doubled.
"""

from collections.abc import Iterable
from typing import Final

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_SPECIAL: Final = frozenset(',"\r\n')


def text_cell(text: str) -> str:
    """A cell of somebody's text: never a formula."""
    if text.startswith(_FORMULA):
        text = "'" + text
    if not _SPECIAL.isdisjoint(text):
        text = '"' + text.replace('"', '""') + '"'
    return text


def csv_line(cells: Iterable[str]) -> str:
    """One row of cells that need nothing done any more."""
    return ",".join(cells) + "\r\n"
