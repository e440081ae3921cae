"""The web server: metrics, health, the status page and the API."""

from poller.web.server import Health, WebServer

__all__ = ["Health", "WebServer"]
