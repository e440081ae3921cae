"""Notices that the files change from which the AWS SDK takes credentials.

The SDK reads them once and keeps what it found, so a rotation would go unnoticed until a restart. The owner
of an SDK session asks here before each use, and makes a new session after a change.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_FILES = (("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"), ("AWS_CONFIG_FILE", "~/.aws/config"))
"""The SDK's own variables, and where it looks without them."""
_LOOK_SECONDS = 1.0

_State = tuple[tuple[int, int, int] | None, ...]


class CredentialFiles:
    """Watches the shared files of the AWS SDK; safe to use from several threads.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._looked_at = clock()
        self._paths = tuple(os.environ.get(variable) or default for variable, default in _FILES)
        self._state = self._look()

    def changed(self) -> bool:
        """Whether a file was changed, replaced, made or removed since the last call; looks once a second."""
        with self._lock:
            now = self._clock()
            if now - self._looked_at < _LOOK_SECONDS:
                return False
            self._looked_at = now
            before, self._state = self._state, self._look()
            return self._state != before

    def _look(self) -> _State:
        return tuple(map(_state_of, self._paths))


def _state_of(path: str) -> tuple[int, int, int] | None:
    try:
        found = Path(path).expanduser().stat()
    except (OSError, RuntimeError):  # not there, or a user without a home
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
