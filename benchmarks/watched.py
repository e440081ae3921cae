"""Jobs that end at known moments, and those who watch them.

The simulator stands in for Bedrock, in a thread of the process that measures and otherwise sleeps. Each
watcher has an account of its own, told apart by its access key. All accounts hold the same jobs, which end at
the same moments; so all watch at the same time, and the calls of each are counted. A watcher that finds that
a job has ended posts that to one receiver. A delay is the time from the end, by the service's clock, to that.
"""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import requests

from benchmarks import rivals
from benchmarks.deliveries import SECRET
from benchmarks.processes import PROGRAM, environment, running, wait_until
from benchmarks.serving import Arrivals, ask, serving
from poller.kinds import DEFAULT_KINDS, KINDS
from poller.simulator import Simulator, SimulatorServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchmarks.bench import Bench

OURS = "bedrock-poller"
LOOP = "get-loop"
_ENDED = "Completed"
_FIRST_ACCOUNT = 111111111111
_PATIENCE = 60.0
_SETTLE_SECONDS = 3.0


class Watched:
    """The accounts.

    Args:
        url: Where they are served.
        simulator: What serves them.
        receiver: Where endings are posted.
        watchers: The access keys of those who watch.
        jobs: How many open jobs each account has, by kind.
    """

    def __init__(
        self, url: str, simulator: Simulator, receiver: str, watchers: Sequence[str], jobs: Mapping[str, int]
    ) -> None:
        self.url = url
        self.receiver = receiver
        self._simulator = simulator
        self._accounts = _accounts(watchers)
        self.jobs = {
            watcher: [
                simulator.submit(kind, account=account, script=[("InProgress", 0)])
                for kind, count in jobs.items()
                for _ in range(count)
            ]
            for watcher, account in self._accounts.items()
        }
        """The ARNs of each watcher's jobs, in the same order for all."""

    def environment(self, watcher: str, **more: str) -> dict[str, str]:
        """An environment in which every AWS SDK sees this watcher's account."""
        return environment(self.url, AWS_ACCESS_KEY_ID=watcher, **more)

    def end(self, number: int) -> None:
        """Let the job of that number end now, in every account."""
        for arns in self.jobs.values():
            self._simulator.force(arns[number], _ENDED)

    def calls(self, watcher: str, operation: str | None = None) -> int:
        """How many calls this watcher has made, of one operation or of all."""
        return sum(
            request.account == self._accounts[watcher] and operation in {None, request.operation}
            for request in self._simulator.requests
        )

    def delays(self, watcher: str, kind: str | None = None) -> list[float]:
        """Seconds from end to post, of the jobs posted so far; of one kind or of all."""
        came: dict[str, float] = {}
        for arn, status, moment in ask(self.receiver, "arrivals"):
            if status == _ENDED:
                came.setdefault(arn, moment)
        # The receiver notes monotonic time, which all processes of a machine share.
        offset = time.time() - time.monotonic()
        resource = f":{KINDS[kind].resource}/" if kind is not None else ""
        return [
            came[arn] + offset - self._simulator.history(arn)[-1][0].timestamp()
            for arn in self.jobs[watcher]
            if arn in came and resource in arn
        ]

    def calls_until_all_posted(self, watchers: Sequence[str], seconds: float) -> dict[str, int]:
        """Wait until each watcher has posted all of its jobs; returns the calls that each had made by then.

        Raises:
            LateError: One has not after so many seconds.
        """
        calls: dict[str, int] = {}

        def all_posted() -> bool:
            for watcher in set(watchers) - calls.keys():
                if len(self.delays(watcher)) == len(self.jobs[watcher]):
                    calls[watcher] = self.calls(watcher)
            return len(calls) == len(watchers)

        wait_until("the last post", all_posted, seconds)
        return calls


def _accounts(watchers: Sequence[str]) -> dict[str, str]:
    return {watcher: str(_FIRST_ACCOUNT + number) for number, watcher in enumerate(watchers)}


@contextmanager
def watched(watchers: Sequence[str], jobs: Mapping[str, int]) -> Iterator[Watched]:
    """Serve the accounts and the receiver until the end of the block."""
    simulator = Simulator(accounts=_accounts(watchers))
    with SimulatorServer(simulator) as server, serving(Arrivals()) as receiver:
        yield Watched(server.url, simulator, receiver, watchers, jobs)


@contextmanager
def daemon(bench: Bench, place: Watched, watcher: str, **settings: str) -> Iterator[None]:
    """Run the program with defaults and one webhook until the end of the block; begins after its first polls.

    Args:
        bench: Has a place for its store.
        place: The accounts.
        watcher: Whose account it watches.
        settings: Further settings, named as in their environment variables, and further variables.
    """
    hook = {"hook": {"type": "webhook", "url": place.receiver, "secrets": [SECRET]}}
    variables = {
        "BEDROCK_POLLER_SINKS": json.dumps(hook),
        "BEDROCK_POLLER_STORE__URL": f"sqlite:///{bench.new_store()}",
        "BEDROCK_POLLER_WEB__LISTEN": "127.0.0.1:0",
        **settings,
    }
    with running((PROGRAM, "run"), place.environment(watcher, **variables), bench.folder) as program:
        kinds = len(DEFAULT_KINDS)
        program.wait_until("the first polls", lambda: place.calls(watcher) >= kinds, _PATIENCE)
        # What has been listed is recorded by then.
        time.sleep(_SETTLE_SECONDS)
        yield


@contextmanager
def get_loop(place: Watched, may_make: Callable[[], int]) -> Iterator[None]:
    """Run the loop of Gets in a thread until the end of the block.

    Args:
        place: The accounts; it watches that of `LOOP`.
        may_make: How many calls it may have made by now.
    """
    stopped = threading.Event()

    def may_get(made: int) -> bool:
        while made >= may_make():
            if stopped.wait(0.05):
                return False
        return not stopped.is_set()

    def post(arn: str, status: str) -> None:
        requests.post(place.receiver, json={"data": {"job_arn": arn, "status": status}}, timeout=10)

    os.environ |= place.environment(LOOP)
    thread = threading.Thread(target=rivals.get_in_turn, args=(place.jobs[LOOP], may_get, post))
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
