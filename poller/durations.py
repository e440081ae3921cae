"""Durations as people write them: `30s`, `2m`, `6h`, `3d`, `1h30m`, `500ms`.

A bare number is refused: `interval: 30` leaves the reader to guess the unit.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
PATTERN = r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h|d))+"
"""What a duration looks like, as a regular expression."""

_WHOLE = re.compile(PATTERN)
_LONGEST = timedelta(days=3650)


def parse_duration(text: str) -> timedelta:
    """Turn `1h30m` into a timedelta.

    Raises:
        ValueError: `text` is no duration, or is longer than ten years.
    """
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration; write a number with a unit, such as 30s, 2m, 6h or 3d")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    if seconds > _LONGEST.total_seconds():
        raise ValueError(f"{text!r} is longer than ten years")
    return timedelta(seconds=seconds)


def parse_moment(text: str, now: datetime) -> datetime:
    """Turn `2026-11-20T10:00:00Z`, or `2h` for two hours ago, into a point in time.

    Args:
        text: ISO 8601 with a zone, or a duration.
        now: The current time, which a duration is subtracted from.

    Raises:
        ValueError: `text` is neither, or names no zone.
    """
    if _WHOLE.fullmatch(text):
        return now - parse_duration(text)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is no time; write one such as 2026-11-20T10:00:00Z, or a duration such as 2h for two "
            "hours ago"
        ) from None
    if found.tzinfo is None:
        raise ValueError(f"{text!r} names no time zone; write one such as 2026-11-20T10:00:00Z")
    return found


def format_duration(duration: timedelta) -> str:
    """Write a duration the way `parse_duration` reads it, with the fewest parts."""
    rest = round(duration.total_seconds() * 1000)
    parts = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
