"""Reads each service model of the SDK once in a process, not once for every client and simulator."""

from __future__ import annotations

from functools import cache
from typing import Any

from botocore.loaders import JSONFileLoader, Loader


def keep() -> None:
    """Keep what is read from now on."""
    for owner, name in (
        (JSONFileLoader, "load_file"),
        (JSONFileLoader, "exists"),
        (Loader, "list_available_services"),
        (Loader, "list_api_versions"),
    ):
        _keep(owner, name)


def _keep(owner: type, name: str) -> None:
    original = getattr(owner, name)
    if hasattr(original, "kept"):
        return

    # Every loader reads the same folders, so which one asks makes no difference.
    @cache
    def kept(*arguments: Any) -> Any:
        return original(owner(), *arguments)

    def read(_loader: object, *arguments: Any, **named: Any) -> Any:
        return kept(*arguments, *named.values())

    read.kept = True  # type: ignore[attr-defined]  # marks it for the next call
    setattr(owner, name, read)
