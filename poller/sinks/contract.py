"""The name that sinks of other packages import `Sink` by; it is defined in `poller.sinks.sink`."""

from poller.sinks.sink import SettingsT, Sink

__all__ = ["SettingsT", "Sink"]
