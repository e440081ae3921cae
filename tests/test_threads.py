"""Blocking calls run beside the loop."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref

import pytest

from poller.threads import DaemonThreads
from tests.sinks.samples import in_loop


@in_loop
async def test_results_and_errors_come_back() -> None:
    """A call's result is returned, its exception raised, whatever kind it is."""
    threads = DaemonThreads("t", 2)
    assert await threads.run(lambda: 7) == 7
    for error in (KeyError("k"), SystemExit(3)):
        with pytest.raises(type(error)):
            await threads.run(_raise, error)
    threads.close()


def _raise(error: BaseException) -> None:
    raise error


@in_loop
async def test_no_more_calls_run_at_once_than_there_are_threads() -> None:
    """With one thread, calls run one after the other, in order."""
    threads = DaemonThreads("t", 1)
    ran: list[tuple[int, str]] = []
    await asyncio.gather(
        *(threads.run(lambda i: ran.append((i, threading.current_thread().name)), i) for i in range(20))
    )
    assert ran == [(i, "t") for i in range(20)]
    threads.close()


@in_loop
async def test_a_call_given_up_before_it_began_never_happens() -> None:
    """A cancelled wait drops the call from the queue; the one that runs goes on alone."""
    threads = DaemonThreads("t", 1)
    gate = threading.Event()
    ran: list[str] = []
    blocked = asyncio.create_task(threads.run(gate.wait))
    waiting = asyncio.create_task(threads.run(ran.append, "dropped"))
    await asyncio.sleep(0.01)
    for task in (blocked, waiting):
        task.cancel()
    await asyncio.gather(blocked, waiting, return_exceptions=True)
    gate.set()
    await threads.run(ran.append, "kept")
    assert ran == ["kept"]
    threads.close()


@in_loop
async def test_what_was_given_up_is_not_kept() -> None:
    """However long the thread is stuck, the calls that nobody waits for any more take no memory."""
    threads = DaemonThreads("t", 1)
    gate = threading.Event()
    blocked = asyncio.create_task(threads.run(gate.wait))
    payload = {"large"}
    alive = weakref.ref(payload)
    waiting = asyncio.create_task(threads.run(payload.clear))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.wait([waiting])
    del payload, waiting
    gc.collect()
    assert alive() is None
    gate.set()
    await blocked
    threads.close()


@in_loop
async def test_closing_ends_the_threads_and_refuses_more() -> None:
    """After `close` the threads are gone and a call is a mistake that says so."""
    threads = DaemonThreads("closing", 3)
    await threads.run(lambda: None)
    threads.close()
    threads.close()
    for _ in range(100):
        if not any(thread.name == "closing" for thread in threading.enumerate()):
            break
        await asyncio.sleep(0.01)
    assert not any(thread.name == "closing" for thread in threading.enumerate())
    with pytest.raises(RuntimeError, match="already closed"):
        await threads.run(lambda: None)


def test_a_stuck_call_does_not_hold_up_the_end() -> None:
    """The loop ends while a call still blocks; its thread is no reason to stay."""
    threads = DaemonThreads("stuck", 1)
    gate = threading.Event()

    async def scenario() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(threads.run(gate.wait), 0.05)

    asyncio.run(scenario())
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "stuck")
    threads.close()
    gate.set()
