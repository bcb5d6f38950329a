"""The plain SQL that the projector is measured against fills the same tables with the same rows: or the ratio says nothing."""

from benchmarks.catching_up import Ask, answer


async def test_plain_sql_writes_the_same_points_and_transactions_as_the_projector(database_url, ledger):
    await ledger.open("ann", "bob", "cid")
    for user_id, amount in (("ann", 1280), ("bob", 5), ("ann", 2000)):
        await ledger.earn(user_id, amount)
    assert (await answer(database_url, Ask("projector"))).commands == 8
    assert (await answer(database_url, Ask("plain"))).note == "the same rows as the projector's"
