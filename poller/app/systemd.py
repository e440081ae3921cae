"""Tells systemd how the daemon is: READY, RELOADING, STOPPING, STATUS and WATCHDOG over `$NOTIFY_SOCKET`.

Without that variable nothing is sent. The protocol is that of sd_notify(3); the watchdog's interval is what
`WatchdogSec=` in the unit says, handed over in `$WATCHDOG_USEC`.
"""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

from poller import logs

if TYPE_CHECKING:
    from collections.abc import Mapping

_log = logs.get(__name__)

_MICROSECONDS = 1e6


class SystemdNotifier:
    """The service manager, if there is one.

    Args:
        environ: The environment that it left.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        name = environ.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the NUL of Linux's abstract names.
        self._address = f"\0{name[1:]}" if name.startswith("@") else name
        self._unheard = False
        meant_for = environ.get("WATCHDOG_PID", "")
        period = environ.get("WATCHDOG_USEC", "")
        concerned = bool(self._address) and meant_for in ("", str(os.getpid()))
        self.watchdog = int(period) / _MICROSECONDS if concerned and period.isdecimal() else 0.0
        """Seconds without a sign of life after which systemd restarts the process; 0 for never."""

    def ready(self, status: str) -> None:
        """The daemon works, after a start or a reload."""
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """A reload has begun; `ready` ends it."""
        now = time.clock_gettime(time.CLOCK_MONOTONIC)
        self._send("RELOADING=1", f"MONOTONIC_USEC={int(now * _MICROSECONDS)}", "STATUS=reloading")

    def stopping(self) -> None:
        """The daemon is about to end."""
        self._send("STOPPING=1", "STATUS=finishing what is under way")

    def status(self, text: str) -> None:
        """What `systemctl status` shows."""
        self._send(f"STATUS={text}")

    def alive(self) -> None:
        """Everything makes progress."""
        self._send("WATCHDOG=1")

    def _send(self, *assignments: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                # A manager that is busy must not hold up the loop.
                channel.setblocking(False)
                channel.sendto("\n".join(assignments).encode(), self._address)
        except OSError as error:
            if not self._unheard:
                _log.warning("supervisor.unreachable", socket=self._address, error=error.strerror)
            self._unheard = True
        else:
            self._unheard = False
