"""Jobs work in small portions and rest as long as they worked."""

from workers import pace
from workers.pace import paced


async def test_portions_are_of_so_many_events_and_a_heavy_item_goes_alone(monkeypatch):
    monkeypatch.setattr(pace, "EVENTS_AT_ONCE", 10)
    weights = {"a": 4, "b": 6, "c": 1, "d": 30, "e": 2, "f": 8, "g": 1}
    assert [portion async for portion in paced(weights.items())] == [["a", "b"], ["c"], ["d"], ["e", "f"], ["g"]]
    assert [portion async for portion in paced(())] == []


async def test_it_rests_after_each_portion_as_long_as_that_took(monkeypatch):
    now, rests = 0.0, []

    async def rest(seconds):
        rests.append(seconds)

    monkeypatch.setattr(pace, "EVENTS_AT_ONCE", 1)
    monkeypatch.setattr(pace, "sleep", rest)
    monkeypatch.setattr(pace, "monotonic", lambda: now)
    async for portion in paced((seconds, 1) for seconds in (1, 2, 3)):
        now += portion[0]
    assert rests == [1, 2, 3]
