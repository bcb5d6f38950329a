"""The rows of payments and what goes with them: made page by page, verified, and told again by room."""

from ledger import ids
from projections.live_events import messages_of
from projections.log import read_page
from projections.projection import table_names
from projections.room_events import events_of_room
from projections.verify import verify
from tests.projections.payment_histories import MODELS, folded


async def test_rows_do_not_depend_on_where_pages_are_cut(history, pool):
    async with pool.acquire() as connection:
        events = (await read_page(connection, 0, 100_000, metadata=False)).events
        for projection in MODELS:
            tables = table_names(projection, 1)
            before = {
                table: await connection.fetch(f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables.values()
            }
            assert all(before.values()), "every table holds something"
            for size in (1, 7, len(events)):
                for table in tables.values():
                    await connection.execute(f"TRUNCATE {table}")
                for start in range(0, len(events), size):
                    page = projection.page(1)
                    for event in events[start : start + size]:
                        page.apply(event)
                    await page.flush(connection)
                for table in tables.values():
                    assert await connection.fetch(f"SELECT * FROM {table} ORDER BY 1, 2") == before[table], size


async def test_a_sample_of_streams_is_verified_by_itself(history, pool):
    log = await folded(pool)
    streams = [stream for stream in log.states if ids.category(stream) in ("payment", "purchase", "dispute")][::5]
    damaged = next(stream for stream in streams if ids.category(stream) == "payment")
    payment_id = ids.stream_subject(damaged)
    await pool.execute("UPDATE read_models.rm_payments_v1 SET held = held + 1 WHERE payment_id = $1", payment_id)
    found = [difference for model in MODELS async for difference in verify(pool, model, streams)]
    assert [(one.table, one.key, one.column) for one in found] == [
        ("rm_payments_v1", {"payment_id": payment_id}, "held")
    ]
    assert found[0].position == log.logged[damaged][-1].position


async def test_whoever_comes_back_is_told_what_their_room_missed(history, models, pool):
    log = await folded(pool)
    head = log.events[-1].position
    some_purchase = next(iter(log.of("dispute").values())).purchase_request_id
    rooms = [("buyer", "ann"), ("seller", "sue"), ("request", some_purchase), ("buyer", "nobody")]
    for behind in (False, True):
        if behind:  # the read model stands still while the log goes on: the rest comes from the log's end
            await history.run(40)
            log = await folded(pool)
            head = log.events[-1].position
        for kind, id_ in rooms:
            for after in (0, head // 2, head - 5, head):
                wanted = [
                    event.position
                    for event in log.events
                    if after < event.position and any(f"{kind}-{id_}" in told.rooms for told in messages_of(event))
                ]
                found = await events_of_room(models, kind, id_, after, head, 10_000)
                assert [event.position for event in found] == wanted
                if wanted:
                    assert await events_of_room(models, kind, id_, after, head, len(wanted) - 1) is None
                    up_to = wanted[0]
                    assert [one.position for one in await events_of_room(models, kind, id_, after, up_to, 9)] == [up_to]
