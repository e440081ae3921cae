"""Times and durations, as people and services write them.

A duration is `30s`, `2m`, `6h`, `3d`, `1h30m` or `500ms`. A bare number is refused: `interval: 30` leaves the
reader to guess the unit.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
PATTERN = r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h|d))+"
"""What a duration looks like, as a regular expression."""

_WHOLE = re.compile(PATTERN)
_LONGEST = timedelta(days=3650)
_FIRST_YEAR = 1970


def parse_duration(text: str) -> timedelta:
    """Turn `1h30m` into a timedelta.

    Raises:
        ValueError: `text` is not a duration, or is longer than ten years.
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
            f"{text!r} is not a time; write one such as 2026-11-20T10:00:00Z, or a duration such as 2h for "
            "two hours ago"
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


def iso(moment: datetime | None) -> str | None:
    """Write a time as RFC 3339 in UTC with milliseconds: `2026-11-20T10:00:00.123Z`."""
    if moment is None:
        return None
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def parse_time(value: Any) -> datetime | None:
    """Read a time in any form that botocore accepts: ISO 8601, seconds since the epoch, RFC 822.

    A time without a zone is taken as UTC. The result is `None` for a value that is not a time or lies outside
    the years 1970 to 9999: one absurd time must not cost the job that carries it.
    """
    if value is None:
        return None
    try:
        # The form that the service sends, and the only one whose cost counts.
        usual = type(value) is str and value[-1:] == "Z" and value[4:5] == "-"
        moment = datetime.fromisoformat(value) if usual else _moment(value)
        if moment.tzinfo is not UTC:
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return moment if moment.year >= _FIRST_YEAR else None


def _moment(value: Any) -> datetime:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return datetime.fromtimestamp(value, UTC)
    if not isinstance(value, str):
        raise ValueError("not a time")  # noqa: TRY004 - the caller treats every unusable value alike
    # Digits without hyphens are seconds first, as for botocore, and only then a date in ISO's basic format.
    for parse in (_from_iso, _from_epoch) if value[4:5] == "-" else (_from_epoch, _from_iso):
        try:
            return parse(value)
        except ValueError:
            continue
    if value.upper().endswith((" AM", " PM")):
        raise ValueError("a twelve-hour clock, whose half RFC 822's parser would take for a zone")
    return parsedate_to_datetime(value)


def _from_iso(text: str) -> datetime:
    return datetime.fromisoformat(text if text.endswith("Z") else text.upper())


def _from_epoch(text: str) -> datetime:
    return datetime.fromtimestamp(float(text), UTC)
