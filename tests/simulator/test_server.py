"""The server: starts, stops in bounded time, and says clearly when it cannot."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.error import URLError

import pytest
import uvicorn

from poller.errors import PollerError
from poller.simulator import Simulator, SimulatorServer, faults
from poller.simulator import server as server_module
from tests.simulator.raw import authorization

if TYPE_CHECKING:
    from tests.simulator.conftest import Service


def get(url: str) -> int:
    """List once over a new connection; returns the HTTP status."""
    request = urllib.request.Request(f"{url}/async-invoke", headers=authorization())  # noqa: S310 - our own server
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 - our own server
        return int(answer.status)


def test_the_server_stops_and_starts_again() -> None:
    """After stop nobody listens; start again serves the same simulator on the same port."""
    server = SimulatorServer(Simulator())
    server.start()
    port = server.port
    try:
        assert server.url == f"http://127.0.0.1:{port}"
        assert get(server.url) == 200
        server.stop()
        with pytest.raises(URLError):
            get(server.url)
        server.start()
        assert (server.port, get(server.url)) == (port, 200)
    finally:
        server.stop()
        server.stop()


def test_a_taken_port_is_said_clearly() -> None:
    """A port that somebody else has, or that is none, raises our own error with the address in it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PollerError, match=f"cannot listen on 127.0.0.1:{port}"):
            SimulatorServer(Simulator(), port=port).start()
    with pytest.raises(PollerError, match="cannot listen on"):
        SimulatorServer(Simulator(), port=70_000).start()


def test_stopping_does_not_wait_for_slow_answers() -> None:
    """A request that hangs delays the stop by about a second, not by as long as it hangs."""
    simulator = Simulator()
    simulator.faults.add(faults.Latency(seconds=60))
    server = SimulatorServer(simulator)
    server.start()

    def hang() -> None:
        with pytest.raises(OSError, match=r".*"):
            get(server.url)

    thread = threading.Thread(target=hang)
    thread.start()
    while not simulator.requests.count():
        time.sleep(0.01)
    began = time.monotonic()
    server.stop()
    thread.join()
    assert time.monotonic() - began < 4


def test_the_server_can_be_used_from_a_running_loop() -> None:
    """It has a loop of its own, so starting it inside another one neither blocks nor mixes."""

    async def use() -> int:
        with SimulatorServer(Simulator()) as server:
            return await asyncio.to_thread(get, server.url)

    assert asyncio.run(use()) == 200


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_the_server_listens_on_ipv6() -> None:
    """An IPv6 address is bracketed in the URL."""
    try:
        with SimulatorServer(Simulator(), host="::1") as server:
            assert server.url == f"http://[::1]:{server.port}"
            assert get(server.url) == 200
    except PollerError:
        pytest.skip("this machine has no IPv6 loopback")


def test_requests_in_parallel_are_all_answered(simulator: Simulator, service: Service) -> None:
    """Many clients at once get their answers, and each request is noted once."""
    simulator.populate(history=50)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: get(service.url), range(80))) == {200}
    assert simulator.requests.count("ListAsyncInvokes") == 80


def test_answers_are_sent_without_delay() -> None:
    """The listener says that it is TCP, without which asyncio leaves Nagle on and answers take 40 ms."""
    listener = server_module._listen("127.0.0.1", 0)
    with listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_a_server_that_does_not_come_up_is_said_clearly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that takes too long raises our own error and leaves nothing running."""
    monkeypatch.setattr(server_module, "_START_SECONDS", 0.05)
    monkeypatch.setattr(server_module._Server, "startup", uvicorn.Server.startup)  # never says it is ready
    before = threading.active_count()
    with pytest.raises(PollerError, match="did not start"):
        SimulatorServer(Simulator()).start()
    assert threading.active_count() == before
