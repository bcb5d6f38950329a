"""Calendar months and ISO weeks in a time zone, as the instants they begin and end at.

A day begins at its first instant: where midnight comes twice, the first time; where a clock jumps over it, when it
jumps. Standard library only. Read next: `leaderboard.py`.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

Period = Literal["month", "week"]

FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
LAST: Final = datetime(9999, 1, 1, tzinfo=UTC)
"""Periods are told around instants in [FIRST, LAST): the calendar of every zone reaches a bit further."""


def window_around(period: Period, at: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """The period that holds the instant, half-open, in UTC. The next one begins where it ends."""
    day = _first_day(period, at.astimezone(zone).date())
    start, end = _begin(day, zone), _begin(_next(period, day), zone)
    # A clock set back over midnight shows yesterday's date again: that hour is already of the new period.
    while at >= end:
        day = _next(period, day)
        start, end = end, _begin(_next(period, day), zone)
    return start, end


def _first_day(period: Period, day: date) -> date:
    return day.replace(day=1) if period == "month" else day - timedelta(days=day.weekday())


def _next(period: Period, first: date) -> date:
    if period == "week":
        return first + timedelta(days=7)
    return date(first.year + first.month // 12, first.month % 12 + 1, 1)


def _begin(day: date, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
