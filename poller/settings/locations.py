"""Where each setting stands, so that a problem with it can name the file and line, or the variable.

A location is the path to a setting: `("routes", 1, "sinks", 0)` is written `routes[1].sinks[0]`.
"""

from __future__ import annotations

import json
import re
from typing import TypeAlias

from poller.errors import Problem

Location: TypeAlias = tuple[str | int, ...]

_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
_LONGEST_KEY = 80
_LONGEST = 600


def dotted(location: Location) -> str:
    """Write a location as people do; a key with other characters than a name has is quoted."""
    text = ""
    for part in location:
        if isinstance(part, str) and _PLAIN.fullmatch(part) and len(part) <= _LONGEST_KEY:
            text += f".{part}" if text else part
        else:
            text += f"[{json.dumps(part)[:_LONGEST_KEY]}]"
    return text


class Places:
    """Remembers for each location the file and line, or the environment variable, that it came from."""

    def __init__(self, file: str | None = None) -> None:
        self._file = file
        self._known: dict[Location, tuple[str | None, int | None]] = {}

    def mark(self, location: Location, line: int) -> None:
        """Note the line in the file."""
        self._known[location] = (self._file, line)

    def replace(self, location: Location, variable: str) -> None:
        """Note that an environment variable set this location, and with it all below it."""
        below = len(location)
        self._known = {known: place for known, place in self._known.items() if known[:below] != location}
        self._known[location] = (variable, None)

    def problem(self, location: Location, what: str) -> Problem:
        """Make a problem at a location, with the file and line of it or of the nearest one around it.

        Control characters are escaped, and what is too long for a line of a log is cut.
        """
        around = (location[:length] for length in range(len(location), -1, -1))
        file, line = next((self._known[each] for each in around if each in self._known), (self._file, None))
        if len(what) > _LONGEST:
            what = f"{what[: _LONGEST // 2]} … {what[-_LONGEST // 2 :]}"
        safe = "".join(each if each.isprintable() else repr(each)[1:-1] for each in what)
        return Problem(where=dotted(location), what=safe, file=file, line=line)
