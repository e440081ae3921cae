"""The components of the program in front of the simulator, and a daemon that runs while something happens."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from poller.app import Components, load_settings
from tests.harness.daemon import environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from poller.app import Daemon
    from poller.simulator import SimulatorServer


@pytest.fixture
def components(
    bedrock: SimulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Components]]:
    """Build the components from settings, in front of the simulator; closed at the end."""
    for name, value in environment(bedrock.url, tmp_path).items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    made: list[Components] = []

    def build(**settings: str) -> Components:
        store = f"sqlite:///{tmp_path}/poller.db"
        environ = environment(bedrock.url, tmp_path, STORE__URL=store, **settings)
        made.append(Components(load_settings(None, environ)))
        return made[-1]

    yield build
    for each in made:
        each.close()


def running(daemon: Daemon, during: Callable[[], Any]) -> None:
    """Run a daemon while something happens in a thread."""

    async def main() -> None:
        task = asyncio.create_task(daemon.run())
        await asyncio.wait_for(daemon.started.wait(), 20)
        try:
            await asyncio.to_thread(during)
        finally:
            daemon.stop()
            await task

    asyncio.run(main())
