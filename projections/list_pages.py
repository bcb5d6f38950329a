"""One page of a list that grows: where reading begins, and the slice that is answered, with the cursor that leads on.

A query of such a list answers one row more than is asked for, each with the `total`, and one empty row if there is none.
Imports `ledger` only. Read next: `purchases.py`, whose list is one.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from projections.cursor import Slice, SortOrder, cursor_after, position_of
from projections.read_models import Answer, Rows

View = TypeVar("View")


def start_of(after: str | None, order: SortOrder) -> int:
    """The position beyond which the page begins: where the cursor stopped, or before everything."""
    if after is not None:
        return position_of(after, order)
    return 0 if order == "asc" else 2**63 - 1


def page_of_list(
    found: Rows, view: Callable[[Any], View], *, ordered_by: str, page: int, limit: int, order: SortOrder
) -> Answer[Slice[View]]:
    """The rows as `view` shows them. `ordered_by` names the column of positions, which no row leaves empty."""
    rows = [row for row in found.rows[:limit] if row[ordered_by] is not None]
    cursor = cursor_after(rows[-1][ordered_by], order) if len(found.rows) > limit else None
    answer = Slice([view(row) for row in rows], found.rows[0]["total"], page, limit, cursor)
    return Answer(answer, found.position, 0, {**found.meta(), **answer.meta()})
