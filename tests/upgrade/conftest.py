"""Version 0.1.0 of the program, as it was released."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.e2e.conftest import store
from tests.replicas.conftest import scene

__all__ = ["scene", "store"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave PostgreSQL to the long tests; one of them has both versions side by side on it."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        here = item.path.parent == Path(__file__).parent
        if here and callspec is not None and callspec.params.get("store") == "postgresql":
            item.add_marker(pytest.mark.long)


WHEEL = Path(__file__).parents[1] / "data" / "bedrock_poller-0.1.0-py3-none-any.whl"


@pytest.fixture(scope="session")
def old_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder from which `python -m poller` starts version 0.1.0."""
    folder = tmp_path_factory.mktemp("version-0.1.0")
    with zipfile.ZipFile(WHEEL) as wheel:
        wheel.extractall(folder)
    return folder
