"""Blocking calls off the loop, in threads of the caller's own.

`asyncio.to_thread` shares one small pool among everybody and is joined at exit: one sink stuck in a full
pipe, a dead resolver or a long poll would hold up the others, the store, and the end of the process. So
whatever may block for long brings its own few daemon threads.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")
_Calls: TypeAlias = "SimpleQueue[_Call | None]"


class DaemonThreads:
    """Up to `count` daemon threads, started as they are needed.

    Args:
        name: What the threads are called in a stack dump.
        count: How many calls run at once; further ones wait.
    """

    def __init__(self, name: str, count: int) -> None:
        self._name = name
        self._count = count
        self._threads: list[Thread] = []
        self._calls: _Calls = SimpleQueue()
        self._closed = False

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` in a thread and wait for its result.

        A canceled wait drops a call that has not begun; one that has begun goes on, its result unread.

        Raises:
            RuntimeError: `close` was called before.
        """
        if self._closed:
            raise RuntimeError(f"{self._name}: already closed")
        future: Future[T] = Future()
        call = _Call(future, partial(function, *args, **kwargs))
        future.add_done_callback(call.forget)
        self._calls.put(call)
        if len(self._threads) < self._count:
            thread = Thread(target=_serve, args=(self._calls,), name=self._name, daemon=True)
            self._threads.append(thread)
            thread.start()
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Let the threads end when their calls do, without waiting for that. Repeating it does no harm."""
        self._closed = True
        while self._threads:
            self._threads.pop()
            self._calls.put(None)


class _Call:
    def __init__(self, future: Future[Any], work: Callable[[], Any]) -> None:
        self.future = future
        self.work: Callable[[], Any] | None = work

    def forget(self, _: Future[Any]) -> None:
        # While a call blocks for hours, the queue behind it must not keep what has long been given up.
        self.work = None


def _serve(calls: _Calls) -> None:
    while (call := calls.get()) is not None:
        future, work = call.future, call.work
        if work is not None and future.set_running_or_notify_cancel():
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - whatever it is belongs to the waiting caller
                future.set_exception(error)
            else:
                future.set_result(result)
                del result
        del call, future, work  # a waiting thread holds on to nothing
