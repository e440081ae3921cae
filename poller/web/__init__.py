"""The web server: metrics and health."""

from poller.web.server import Health, WebServer

__all__ = ["Health", "WebServer"]
