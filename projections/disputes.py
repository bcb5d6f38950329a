"""Disputes as their parties and resolvers see them. Definition and queries.

Imports `ledger` only. Read next: `disputes_page.py`, which folds them.
"""

from collections.abc import Iterable
from typing import Any, ClassVar, Final

from ledger import ids
from ledger.domain.dispute_events import Status
from ledger.domain.disputes import Dispute, Evidence
from ledger.payment_errors import DisputeNotFound, NotYourDispute
from ledger.payment_views import DisputeView, dispute_view
from projections.audit_trail import COUNTED_AT_MOST
from projections.cursor import Slice, SortOrder
from projections.disputes_page import DISPUTES, EVIDENCE, DisputesPage
from projections.instruction_rows import INSTRUCTIONS, instruction_of
from projections.list_pages import page_of_list, start_of
from projections.projection import Page, Table, table_names
from projections.read_models import Answer, ReadModels


class Disputes:
    """One row a dispute, one a piece of evidence, one an instruction."""

    name: ClassVar[str] = "disputes"
    code_version: ClassVar[int] = 1
    tables: ClassVar[tuple[Table, ...]] = (DISPUTES, EVIDENCE, INSTRUCTIONS)
    reads_data: ClassVar[bool] = True
    reads_metadata: ClassVar[bool] = False

    def page(self, build: int) -> Page:
        """An empty page for that build's tables."""
        names = table_names(self, build)
        return DisputesPage(names["main"], names["evidence"], names["instructions"])


_DISPUTES: Final = Disputes()

# What belongs to a dispute comes along as arrays of rows, so that everything is of one moment.
_WHOLE: Final = """
SELECT d.*,
  ARRAY(SELECT e FROM {evidence} AS e WHERE e.dispute_id = d.dispute_id ORDER BY e.position) AS evidence,
  ARRAY(SELECT i FROM {instructions} AS i
        WHERE i.payment_id = d.payment_id AND (i.dispute_id = d.dispute_id OR i.instruction_id = ANY (d.reserved))
        ORDER BY i.reserved, i.instruction_id) AS instructions
"""
_ONE: Final = _WHOLE + "FROM {main} AS d WHERE d.dispute_id = $1"
# A purchase's parties differ, so a dispute is found by one side alone.
_OF_PARTY: Final = """(
  SELECT * FROM {main} WHERE buyer_id = $4 UNION ALL SELECT * FROM {main} WHERE seller_id = $4
)"""


async def get_dispute(
    models: ReadModels, dispute_id: str, party: str | None = None, *, min_position: int = 0
) -> Answer[DisputeView]:
    """The dispute, for anybody or for that party alone. `DisputeNotFound`, `NotYourDispute`."""
    found = await models.read(
        _DISPUTES, _ONE, dispute_id, min_position=min_position, stream=ids.dispute_stream(dispute_id)
    )
    if not found.rows:
        raise DisputeNotFound(f"No dispute {dispute_id}.")
    row = found.rows[0]
    if party is not None and party not in (row["buyer_id"], row["seller_id"]):
        raise NotYourDispute(f"Dispute {dispute_id} is not yours.")
    return Answer(_view(row), found.position, row["version"], found.meta())


async def list_disputes(
    models: ReadModels,
    party: str | None = None,
    *,
    status: Status | None = None,
    page: int = 1,
    limit: int = 20,
    sort_order: SortOrder = "desc",
    after: str | None = None,
    min_position: int = 0,
) -> Answer[Slice[DisputeView]]:
    """Disputes in the order they were opened: those of a party, or all. `after` as in `list_purchases`."""
    start = start_of(after, sort_order)
    found = await models.read(
        _DISPUTES,
        _list_query(of_party=party is not None, by_status=status is not None, order=sort_order),
        start,
        limit + 1,  # one more tells whether there is a next page
        0 if after is not None else (page - 1) * limit,
        *(value for value in (party, status) if value is not None),
        min_position=min_position,
    )
    return page_of_list(found, _view, ordered_by="opened", page=page, limit=limit, order=sort_order)


def _list_query(*, of_party: bool, by_status: bool, order: SortOrder) -> str:
    """The filters that are given, and no others, so that each finds its index. Built from literals of this file."""
    source = _OF_PARTY if of_party else "{main}"
    where = f"t.status = ${5 if of_party else 4}" if by_status else "true"
    beyond = ">" if order == "asc" else "<"
    return f"""
SELECT n.total, p.*
FROM (
  SELECT count(*) AS total FROM (SELECT 1 FROM {source} AS t WHERE {where} LIMIT {COUNTED_AT_MOST}) AS c
) AS n
LEFT JOIN LATERAL (
  {_WHOLE} FROM (
    SELECT t.* FROM {source} AS t WHERE {where} AND t.opened {beyond} $1
    ORDER BY t.opened {order} LIMIT $2 OFFSET $3
  ) AS d
) AS p ON true
ORDER BY p.opened {order}
"""


def _view(row: Any) -> DisputeView:
    dispute = Dispute(
        row["status"],
        row["purchase_id"],
        row["payment_id"],
        row["buyer_id"],
        row["seller_id"],
        row["category"],
        row["priority"],
        row["reason"],
        row["amount_minor"],
        row["currency"],
        row["resolver_id"],
        row["action"],
        evidence=_evidence(row["evidence"]),
    )
    return dispute_view(row["dispute_id"], dispute, [instruction_of(one) for one in row["instructions"]])


def _evidence(rows: Iterable[Any]) -> tuple[Evidence, ...]:
    return tuple(
        Evidence(row["evidence_id"], row["user_id"], row["role"], row["text"], row["added_at"], row["url"])
        for row in rows
    )
