"""The levels change under twenty members: who is moved, by which events, and nobody else.

The worker of the running ledger moves them by its clock; its progress says when it has. Read next: `year_over_http.py`,
`hand_kept_book.py`, which says what should come of it.
"""

import time
from typing import Any

from tests.scenarios.hand_kept_book import Level, Move
from tests.scenarios.year_over_http import PROGRAMME, Year

CROSSED, LEFT = "points.level-crossed.v1", "points.level-left.v1"
LIFETIME_GROWS_BY = {"points.earned.v1", "points.granted.v1"}
JOB = "releveler"
JOB_SECONDS = 30.0
LOOK_SECONDS = 0.1


def change_the_levels(year: Year, *, up: bool) -> None:
    """Levels as lively as the members' points allow; then wait until the worker has moved whom the book says."""
    levels = _levels_that_move(year, up=up)
    least = {name: points for name, _, points in levels}
    shown = year.request("GET", PROGRAMME, "root", "admin").json()["data"]["levels"]
    version = year.replace_programme(levels=[level | {"minPoints": least[level["name"]]} for level in shown])
    moved = year.book.change_levels(levels)
    assert 0 < len(moved) < len(year.book.people), "nobody is moved, or nobody is left alone"
    _check_shown(year)  # reads show it at once, also before the job
    done = _wait_for_the_job(year, version)
    everybody = len(year.book.people)
    assert (done["done"], done["total"], done["moved"]) == (everybody, everybody, len(moved)), (done, moved)
    _check_shown(year)
    _check_what_the_job_did(year)


def _levels_that_move(year: Year, *, up: bool) -> list[Level]:
    """Whatever the dice said, somebody is moved by two levels, and somebody is left alone.

    Up: who has most reaches the highest level, to the point; a third of the members reach the one below, most of them
    from the first; who has least stays. Down: who has most, and so had reached the highest, is short of the two highest by
    one point and by two. No level gets harder on the way up, nor easier on the way down.
    """
    have = sorted({person.lifetime for person in year.book.people.values() if person.lifetime})
    assert len(have) >= 4, "the year was too quiet"
    begin, *above = year.book.levels
    third, most = max(2, len(have) // 3), have[-1]
    wanted = (have[1], have[third], most) if up else (have[third] + 1, most + 1, most + 2)
    return [
        begin,
        *(
            (name, tier, min(least, points) if up else max(least, points))
            for (name, tier, least), points in zip(above, wanted, strict=True)
        ),
    ]


def _wait_for_the_job(year: Year, version: int) -> Any:
    """What it says of itself at the end. From then on reads wait for all that it has written."""
    deadline = time.monotonic() + JOB_SECONDS
    while True:
        said = year.request("GET", PROGRAMME, "root", "admin").json()["meta"]["releveling"]
        assert said["programmeVersion"] == version, said
        if said["state"] == "done":
            break
        assert time.monotonic() < deadline, said
        time.sleep(LOOK_SECONDS)
    # Asked again: the position of an answer is older than the progress it tells.
    year.position = year.request("GET", PROGRAMME, "root", "admin").headers["Ledger-Position"]
    return said


# ── what the service says of it ───────────────────────────────────────────────────────────────────────────────────


def _check_shown(year: Year) -> None:
    for user in year.book.people:
        points = year.read("/api/points/my-points", user, "buyer")["data"]
        level, ahead = year.book.level(user)
        assert points["level"]["name"] == level, (user, points, level)
        assert ahead == (points["nextLevel"] and (points["nextLevel"]["name"], points["nextLevel"]["pointsToGo"]))
    shown = year.read("/api/points/levels", "m00", "buyer")["data"]["levels"]
    assert [(level["name"], level["tier"], level["minPoints"]) for level in shown] == year.book.levels


def _check_what_the_job_did(year: Year) -> None:
    """All that it wrote since the ledger began, by account: one event a level up, one down, nothing on other accounts."""
    found: dict[str, list[Any]] = {}
    for event in year.all_of("/api/admin/events", "events", "shop", "service", actor=JOB):
        found.setdefault(event["stream"], []).append(_said(event))
    moves = {
        f"account-{user}": [_wanted(move) for move in person.moves if move.by_change]
        for user, person in year.book.people.items()
    }
    wrong = {
        stream: (found.get(stream, []), moves.get(stream, []))
        for stream in found.keys() | moves.keys()
        if found.get(stream, []) != moves.get(stream, [])
    }
    assert not wrong, f"account: (what the job did, what it should have done): {wrong}"


def check_level_events(year: Year, user: str) -> None:
    """Each level event at the right lifetime, in order; the account, folded from its events, stands where it should."""
    lifetime, level, moves = 0, year.book.levels[0][0], []
    for event in year.all_of("/api/admin/events", "events", "shop", "service", stream=f"account-{user}"):
        if event["type"] in LIFETIME_GROWS_BY:
            lifetime += event["data"]["amount"]
        elif event["type"] in {CROSSED, LEFT}:
            assert event["data"]["lifetime"] == lifetime, event
            level = event["data"]["level" if event["type"] == CROSSED else "nowLevel"]
            moves.append(_said(event))
    person = year.book.people[user]
    assert moves == [_wanted(move) for move in person.moves], (user, moves, person.moves)
    assert (lifetime, level) == (person.lifetime, year.book.level(user)[0]), (user, lifetime, level)


def check_levels_were_lively(year: Year) -> None:
    """The dice brought about what is to be seen: several levels at once, both ways, and a level reached once more."""
    everybody = [person.moves for person in year.book.people.values()]
    at_once = [len([move for move in moves if move.by_change and move.kind == "crossed"]) for moves in everybody]
    assert max(at_once) > 1, "nobody crossed two levels by one change"
    falls = [move for moves in everybody for move in moves if move.kind == "left"]
    tiers = {name: tier for name, tier, _ in year.book.levels}
    assert any(tiers[move.left or ""] - move.to[1] > 1 for move in falls), "nobody fell by two levels"
    falls_and_own = [[move.kind for move in moves if move.kind == "left" or not move.by_change] for moves in everybody]
    again = [kinds for kinds in falls_and_own if "left" in kinds and kinds[-1] == "crossed"]
    assert again, "nobody reached a level once more"


def _said(event: Any) -> tuple[Any, ...]:
    data, by_job = event["data"], event["actor"]["id"] == JOB
    if event["type"] == CROSSED:
        return "crossed", (data["level"], data["tier"], data["minPoints"]), data["lifetime"], by_job
    assert event["type"] == LEFT, event
    return "left", data["level"], (data["nowLevel"], data["nowTier"]), data["lifetime"], by_job


def _wanted(move: Move) -> tuple[Any, ...]:
    if move.kind == "crossed":
        return move.kind, move.to, move.lifetime, move.by_change
    return move.kind, move.left, move.to[:2], move.lifetime, move.by_change
