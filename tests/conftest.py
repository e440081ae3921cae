"""A simulated Bedrock on a free port, for whoever needs one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from poller.simulator import Simulator, SimulatorServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def bedrock() -> Iterator[SimulatorServer]:
    """A server with an empty simulator."""
    with SimulatorServer(Simulator(seed=3)) as server:
        yield server


@pytest.fixture
def simulator(bedrock: SimulatorServer) -> Simulator:
    """The simulator behind it."""
    assert isinstance(bedrock.simulator, Simulator)
    return bedrock.simulator
