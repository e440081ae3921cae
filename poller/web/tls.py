"""Certificates that change while the server listens: each connection gets those that are on disk by then.

asyncio takes one context when it begins to listen. Loading new files into that one would do for the
certificate, but an authority that was trusted once would be trusted until the end. So what listens is a
context that makes others, again whenever a file has changed, and passes each connection on to the newest.
Unusable files leave the last good ones in force: a certificate and its key rarely change at the same instant.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Self

from poller import logs
from poller.errors import PollerError
from poller.settings.certificates import not_after, server_context

if TYPE_CHECKING:
    from pathlib import Path

    from poller.metrics import Metrics
    from poller.settings.web import TlsSettings

_log = logs.get(__name__)


class CurrentCertificates(ssl.SSLContext):
    """Handshakes with the files as they are now.

    Args:
        settings: Which files.
        metrics: Told when the certificate ends.

    Raises:
        PollerError: They are of no use.
    """

    def __new__(cls, _settings: TlsSettings, _metrics: Metrics) -> Self:
        """Make what asyncio takes for a context; it holds no certificate itself."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, settings: TlsSettings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._seen = self._state()
        try:
            self._current = self._load()
        except ValueError as error:
            raise PollerError(f"web.tls: {error}") from error

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """Begin a handshake; asyncio calls this for each connection."""
        self.refresh()
        return self._current.wrap_bio(*args, **options)

    def refresh(self) -> None:
        """Load the files if they have changed."""
        state = self._state()
        if state == self._seen:
            return
        self._seen = state
        try:
            self._current = self._load()
        except ValueError as error:
            _log.error("web.certificate_unusable", error=str(error), remedy="the one before stays in use")
        else:
            file = self._settings.cert_file
            _log.info("web.certificate_changed", file=str(file), ends=not_after(file).isoformat())

    def _load(self) -> ssl.SSLContext:
        tls = self._settings
        context = server_context(tls.cert_file, tls.key_file, tls.client_ca_file)
        self._metrics.web_certificate.set(not_after(tls.cert_file).timestamp())
        return context

    def _state(self) -> tuple[object, ...]:
        tls = self._settings
        return tuple(_state(path) for path in (tls.cert_file, tls.key_file, tls.client_ca_file) if path)


def _state(path: Path) -> tuple[int, ...] | None:
    """What is another once a file was written or replaced, links followed; `None` while there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
