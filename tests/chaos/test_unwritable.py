"""A store that cannot be written (faults 4 and 5): not ready, nothing sent, and all is well afterwards."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.chaos.disk import limit, make_room
from tests.chaos.points import Mode, Plan
from tests.chaos.stage import LOG, Stage, eventually
from tests.chaos.trace import Trace
from tests.harness.daemon import Daemon
from tests.harness.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

HOOK = "hook"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A receiver, a log and a simulator with two jobs."""
    with Stage(1, tmp_path, [Receiver(name=HOOK)], owed=lambda _: (HOOK, LOG)) as stage:
        stage.simulator.submit_async(script=[("InProgress", 0)])
        stage.simulator.submit_batch(script=[("InProgress", 0)])
        stage.baseline()
        yield stage


def ready(daemon: Daemon) -> int:
    """The status of `/-/ready`."""
    return daemon.ask("/-/ready")[0]


def follow(
    stage: Stage, begin: Callable[[int], None], end: Callable[[int], None], environ: dict[str, str]
) -> None:
    """Run the daemon; break its store, mint, see that nothing is sent; mend it, and see that all is."""
    with Daemon(stage.outputs, environ) as daemon:
        eventually(stage.baselined, "no baseline")
        eventually(lambda: ready(daemon) == 200, "not ready")
        begin(daemon.process.pid)
        eventually(lambda: ready(daemon) == 503, "ready though the store takes no write")
        asked = stage.simulator.requests.count()
        arn = stage.simulator.submit_batch(script=[("Submitted", 0), ("Failed", 0)])
        eventually(
            lambda: stage.simulator.requests.count() > asked or daemon.log("poll.failed"), "no poll tried"
        )
        assert stage.copies() == []
        assert ready(daemon) == 503
        end(daemon.process.pid)
        eventually(lambda: ready(daemon) == 200, "not ready again")
        eventually(lambda: stage.arrived(arn, "Failed"), "nothing sent afterwards")
        assert daemon.terminate() == 0
    assert stage.sound() == "ok"
    verdict = stage.evidence().verdict(fresh=0.0)
    assert verdict.clean, verdict.violations.all


@pytest.mark.long
def test_commits_that_fail_for_good(stage: Stage) -> None:
    """Every commit fails until it no longer does (fault 5)."""
    ended = stage.outputs / "ended"
    ended.touch()
    plan = Plan(
        stage.outputs / "trace", Mode.ERROR_FOR_GOOD, number=first(stage, "before commit"), ended=ended
    )
    follow(
        stage,
        lambda _: ended.unlink(),
        lambda _: ended.touch(),
        {**stage.environ(), **plan.environ()},
    )


def first(stage: Stage, kind: str) -> int:
    """The number of a point of some kind: the first one of a program that starts on an empty store."""
    plan = Plan(stage.outputs / "rehearsal")
    environ = {**stage.environ(STORE__URL=f"sqlite:///{stage.outputs}/rehearsal.db"), **plan.environ()}
    folder = stage.outputs / "rehearsal-output"
    folder.mkdir()
    with Daemon(folder, environ, "migrate") as migrating:
        assert migrating.process.wait(60) == 0
    with Trace(plan.trace) as trace:
        return next(number for number, name in enumerate(trace.names, 1) if name.startswith(f"{kind}:"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs prlimit")
def test_files_that_may_not_grow(stage: Stage) -> None:
    """The kernel refuses to let the log of the store grow, as on a full disk (fault 4)."""
    follow(
        stage,
        lambda pid: limit(stage.folder, pid),
        lambda pid: make_room(stage.folder, pid),
        stage.environ(),
    )
