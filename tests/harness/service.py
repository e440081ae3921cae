"""One AWS on loopback for all tests of a process; each test puts behind it what is to answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poller.simulator import Simulator, SimulatorServer
from poller.simulator.simulator import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from poller.simulator.wire import HttpRequest


class Service:
    """Hands requests to the simulator, or to the canned answers, of the current test."""

    def __init__(self) -> None:
        self.server = SimulatorServer(self)
        self.requests: list[HttpRequest] = []
        self.answer: Callable[[HttpRequest], Answer]
        self.simulate(Simulator())

    @property
    def url(self) -> str:
        """Its endpoint."""
        return self.server.url

    def simulate(self, simulator: Simulator) -> Simulator:
        """Put a simulator behind it, and forget all requests."""
        self.requests.clear()
        self.answer = simulator.handle
        return simulator

    def handle(self, request: HttpRequest) -> Answer:
        """Answer, and remember the request."""
        self.requests.append(request)
        return self.answer(request)

    def can(self, *bodies: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Answer these bodies in turn, the last one for ever."""
        left = list(bodies)

        def answer(_request: HttpRequest) -> Answer:
            body = left.pop(0) if len(left) > 1 else left[0]
            return Answer(status, {"content-type": "application/json"} | dict(headers or {}), body)

        self.answer = answer


def serving() -> Iterator[Service]:
    """Serve until the generator ends."""
    service = Service()
    with service.server:
        yield service
