"""Jobs work in small portions and rest as long as they worked."""

from time import monotonic

from workers import pace
from workers.pace import paced


async def test_portions_are_of_so_many_events_and_a_heavy_item_goes_alone(monkeypatch):
    monkeypatch.setattr(pace, "EVENTS_AT_ONCE", 10)
    weights = {"a": 4, "b": 6, "c": 1, "d": 30, "e": 2, "f": 8, "g": 1}
    assert [portion async for portion in paced(weights.items())] == [["a", "b"], ["c"], ["d"], ["e", "f"], ["g"]]
    assert [portion async for portion in paced(())] == []


async def test_it_rests_after_each_portion_as_long_as_that_took(monkeypatch):
    rests = []

    async def rest(seconds):
        rests.append(seconds)

    monkeypatch.setattr(pace, "EVENTS_AT_ONCE", 1)
    monkeypatch.setattr(pace, "sleep", rest)
    took = []
    async for number in paced((number, 1) for number in (1, 2, 3)):
        began = monotonic()
        while monotonic() < began + 0.01 * number[0]:
            pass
        took.append(monotonic() - began)
    assert len(rests) == 3
    assert all(work * 0.9 <= rest <= work * 1.5 + 0.005 for work, rest in zip(took, rests, strict=True))
