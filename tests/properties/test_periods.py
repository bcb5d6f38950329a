"""Months and weeks hold the instant they are asked around, and leave no gap between them, in every time zone."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from projections.periods import FIRST, LAST, window_around

ZONES = st.sampled_from(sorted(available_timezones()))
INSTANTS = st.datetimes(FIRST.replace(tzinfo=None), LAST.replace(tzinfo=None), timezones=st.just(UTC))
PERIODS = st.sampled_from(["month", "week"])
# A clock that went from 00:01 back to 23:01 of the day before, which was the last of a month.
TWICE = datetime(2009, 11, 1, 2, 45, tzinfo=UTC)


@given(PERIODS, INSTANTS, ZONES)
@example("month", TWICE, "America/St_Johns")
@example("week", TWICE, "America/St_Johns")
def test_a_period_holds_its_instant_and_the_next_begins_where_it_ends(period, at, zone_name):
    zone = ZoneInfo(zone_name)
    start, end = window_around(period, at, zone)
    assert start <= at < end
    assert window_around(period, start, zone) == (start, end)
    assert window_around(period, end - timedelta(microseconds=1), zone) == (start, end)
    assert window_around(period, end, zone)[0] == end


@pytest.mark.parametrize(
    ("zone", "at", "month"),
    [
        ("UTC", "2026-02-28T23:59:59+00:00", ("2026-02-01T00:00:00+00:00", "2026-03-01T00:00:00+00:00")),
        ("America/New_York", "2026-03-20T00:00:00+00:00", ("2026-03-01T05:00:00+00:00", "2026-04-01T04:00:00+00:00")),
        ("Asia/Kathmandu", "2026-12-31T19:00:00+00:00", ("2026-12-31T18:15:00+00:00", "2027-01-31T18:15:00+00:00")),
    ],
)
def test_months_of_the_calendar(zone, at, month):
    start, end = window_around("month", datetime.fromisoformat(at), ZoneInfo(zone))
    assert (start.isoformat(), end.isoformat()) == month
