"""The read models: how far each is. Read next: `../../../projections/read_model_list.py`."""

from typing import Any, Final

import msgspec
from litestar import Request, Response, get

from api import examples
from api.call import call_of
from api.documented import Documented, opened_to
from api.envelope import success
from api.queries import Freshness, read_query
from api.reads import wait_for_log
from api.security import ADMIN_OR_FINANCE
from ledger.errors import ReadModelBehind
from projections.read_model_list import ReadModelStatus, list_read_models


class ReadModelsAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """All read models, by name."""

    read_models: list[ReadModelStatus]


@get(
    "/api/admin/read-models",
    opt=opened_to(
        ADMIN_OR_FINANCE,
        Documented(
            summary="The read models: position, lag, state",
            tag="admin",
            query=Freshness,
            answer=ReadModelsAnswer,
            answers={200: "All read models, by name."},
            refusals=(ReadModelBehind,),
            answer_example=examples.READ_MODELS,
        ),
    ),
)
async def read_models(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Of one moment."""
    call = call_of(request)
    query = read_query(call, Freshness)
    await wait_for_log(call, query.min_position)
    answer = ReadModelsAnswer(await list_read_models(call.resources.pool))
    return success(call, "The read models.", answer).as_response()


ROUTES: Final = (read_models,)
