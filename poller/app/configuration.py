"""Reads the configuration with the sinks and kinds that exist."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from poller.kinds import KINDS
from poller.settings.loading import load
from poller.settings.schema import configuration
from poller.sinks import registry

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from poller.settings.schema import Settings


def statuses() -> dict[str, frozenset[str]]:
    """The statuses of every kind, by its name."""
    return {name: kind.statuses for name, kind in KINDS.items()}


def settings_model() -> type[Settings]:
    """The concrete model, with every sink's settings."""
    return configuration(registry.settings_types(), statuses())


def load_settings(path: Path | None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read a configuration file, or the defaults, and the environment.

    Raises:
        ConfigError: With every problem at once.
    """
    return load(path, sink_types=registry.settings_types(), kinds=statuses(), environ=environ)
