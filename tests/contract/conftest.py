"""The logging of the process stays as it was."""

from __future__ import annotations

from tests.cli.conftest import unlogged

__all__ = ["unlogged"]
