"""The composition root: builds the components from a configuration, starts and stops them."""

from poller.app.configuration import load_settings, settings_model
from poller.app.daemon import Daemon
from poller.app.once import run_once
from poller.app.runtime import Components

__all__ = ["Components", "Daemon", "load_settings", "run_once", "settings_model"]
