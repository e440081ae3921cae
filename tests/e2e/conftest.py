"""The store of a daemon, on both databases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.postgres import Databases


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without tables, for a daemon to begin with."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/poller.db"
        return
    databases: Databases = request.getfixturevalue("databases")
    url = databases.fresh()
    yield url
    databases.drop(url)
