"""Cursors of lists: where a reader stopped, in a form only we read. Lists are ordered by position, which never changes.

Standard library and `ledger.errors` only. Read next: `transactions.py`.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, Generic, Literal, TypeVar

import msgspec

from ledger.errors import InvalidCommand

SortOrder = Literal["asc", "desc"]
Row = TypeVar("Row")


class Slice(msgspec.Struct, Generic[Row], frozen=True):
    """One page of a list. `total` counts all rows that match the filter, `next_cursor` is None on the last page.

    `more` is for a list that is only paged: whether rows follow where there are no cursors to tell.
    """

    rows: list[Row]
    total: int
    page: int
    limit: int
    next_cursor: str | None
    more: bool = False

    @property
    def total_pages(self) -> int:
        """How many pages there are at this limit."""
        return -(-self.total // self.limit)

    @property
    def has_more(self) -> bool:
        """Whether rows follow."""
        return self.more or self.next_cursor is not None

    def meta(self) -> dict[str, Any]:
        """What the envelope's `meta` says about a list that grows."""
        return {"nextCursor": self.next_cursor}


def cursor_after(position: int, order: SortOrder) -> str:
    """The cursor of a reader that has seen everything up to this position, in this order."""
    return urlsafe_b64encode(f"{order}:{position}".encode()).decode().rstrip("=")


def position_of(cursor: str, order: SortOrder) -> int:
    """The position a cursor stands for. A cursor of the other order, or not ours, is refused."""
    try:
        made_for, _, position = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii").partition(":")
        if (
            made_for == order
            and position.isdigit()
            and len(position) < 19
            and cursor_after(int(position), order) == cursor
        ):
            return int(position)
    except ValueError:
        pass
    raise InvalidCommand.field("after", "is not a cursor of this list and sortOrder.")
