"""A list of the points that a process has passed, in a shared file that survives SIGKILL.

The file is mapped, so that noting a point costs a memory copy, needs no room on a disk that is full, and is
not subject to a limit on the size of files. The numbers go on where the process before it was killed.
"""

from __future__ import annotations

import mmap
import struct
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path

_SLOT = 64
_SLOTS = 16_384
_NUMBER = struct.Struct("<Q")


class Trace:
    """The points passed so far, by number from 1, and how often a fault has acted.

    Args:
        path: The file; made if there is none.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(_SLOT * _SLOTS))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._map.close()

    def __len__(self) -> int:
        return self._number(0)

    @property
    def fired(self) -> int:
        """How often a fault has acted."""
        return self._number(1)

    @property
    def names(self) -> list[str]:
        """The points passed, as far as there is room for their names."""
        count = min(len(self), _SLOTS - 1)
        raw = (self._map[_SLOT * index : _SLOT * (index + 1)] for index in range(1, count + 1))
        return [name.rstrip(b"\0").decode("ascii", "replace") for name in raw]

    def note(self, name: str) -> int:
        """Append a point, and return its number."""
        with self._lock:
            number = len(self) + 1
            if number < _SLOTS:
                start = _SLOT * number
                self._map[start : start + _SLOT] = name.encode("ascii", "replace")[:_SLOT].ljust(_SLOT, b"\0")
            self._map[0:8] = _NUMBER.pack(number)
            return number

    def fire(self) -> None:
        """Count that a fault has acted."""
        with self._lock:
            self._map[8:16] = _NUMBER.pack(self.fired + 1)

    def _number(self, place: int) -> int:
        found: int = _NUMBER.unpack_from(self._map, place * _NUMBER.size)[0]
        return found
