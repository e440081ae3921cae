"""Durations are read and written the same way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.times import format_duration, parse_duration, parse_moment


@given(st.integers(min_value=0, max_value=3650 * 86_400_000))
def test_what_is_formatted_parses_to_the_same(milliseconds: int) -> None:
    """Every duration up to ten years, to the millisecond, survives being written and read."""
    duration = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("2m", 120), ("1h30m", 5400), ("3d", 259_200), ("1.5h", 5400), ("0s", 0)],
)
def test_durations_are_numbers_with_units(text: str, seconds: float) -> None:
    """Each unit, combinations and fractions are understood."""
    assert parse_duration(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "30", "s", "-1s", "1w", "1 s", "1s ", "٣s", "1e3s", "30s,"])
def test_other_texts_are_no_durations(text: str) -> None:
    """A number without a unit and anything unknown is refused with examples of what is right."""
    with pytest.raises(ValueError, match="such as 30s, 2m, 6h or 3d"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["3651d", "9" * 400 + "d"])
def test_a_duration_longer_than_ten_years_is_refused(text: str) -> None:
    """A slip of the finger does not switch something off for good."""
    with pytest.raises(ValueError, match="longer than ten years"):
        parse_duration(text)


def test_a_duration_is_written_with_the_fewest_parts() -> None:
    """Units that do not occur are left out."""
    assert format_duration(timedelta(days=1, seconds=61, milliseconds=5)) == "1d1m1s5ms"
    assert format_duration(timedelta(0)) == "0s"


NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2h", datetime(2026, 11, 20, 10, 0, tzinfo=UTC)),
        ("2026-11-20T10:00:00Z", datetime(2026, 11, 20, 10, 0, tzinfo=UTC)),
        ("2026-11-20T10:00:00.5+02:00", datetime(2026, 11, 20, 8, 0, 0, 500_000, tzinfo=UTC)),
    ],
)
def test_a_moment_is_a_time_with_a_zone_or_a_duration_ago(text: str, moment: datetime) -> None:
    """Both of which people paste and type."""
    assert parse_moment(text, NOW) == moment


@pytest.mark.parametrize(
    ("text", "says"),
    [("yesterday", "is not a time"), ("2026-11-20T10:00:00", "no time zone"), ("2026-11-20", "no time zone")],
)
def test_other_texts_are_no_moments(text: str, says: str) -> None:
    """A time without a zone means another hour to everybody."""
    with pytest.raises(ValueError, match=says):
        parse_moment(text, NOW)
