"""The page of the architecture, held against what the program does and what it consists of."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import poller
from poller.app import Components, load_settings, run_once
from tests.docs.pages import ROOT
from tests.harness.daemon import environment
from tests.harness.receiver import SECRET, Receiver

if TYPE_CHECKING:
    from types import FrameType

    from poller.simulator import Simulator, SimulatorServer

PAGE = (ROOT / "docs" / "architecture.md").read_text()
PACKAGE = Path(poller.__file__).parent


class Trace:
    """The calls of the package's functions, in any thread."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        """Take note of a call."""
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(f"{PACKAGE}/"):
            self.calls.append((file.removeprefix(f"{PACKAGE}/"), frame.f_code.co_qualname))


@pytest.fixture
def calls(
    simulator: Simulator, bedrock: SimulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[str, str]]:
    """What is called from the listing of a new job on, until its event is delivered, by first call."""
    with Receiver() as receiver:
        settings = {
            "POLL__FIRST_SCAN": "emit",
            "STORE__URL": f"sqlite:///{tmp_path}/poller.db",
            "TARGETS": json.dumps([{"name": "prod", "kinds": ["model_invocation_job"]}]),
            "SINKS": json.dumps({"ops": {"type": "webhook", "url": receiver.url, "secrets": [SECRET]}}),
        }
        environ = environment(bedrock.url, tmp_path, **settings)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        simulator.submit_batch(script=[("InProgress", 0)])
        components = Components(load_settings(None, environ))
        trace, before = Trace(), sys.getprofile()
        threading.setprofile(trace)
        sys.setprofile(trace)
        try:
            outcome = asyncio.run(run_once(components))
        finally:
            threading.setprofile(None)
            sys.setprofile(before)
            components.close()
    assert (outcome.events, outcome.pending) == (1, {})
    listed = trace.calls.index(("aws/api.py", "JobsApi._page"))
    return [*dict.fromkeys(trace.calls[listed:])]


def test_a_job_and_a_delivery_walk_as_the_page_says(calls: list[tuple[str, str]]) -> None:
    """Every function of the two walks is called, in the order of the page."""
    for walk in ("item", "delivery"):
        (block,) = re.findall(rf"<!-- {walk} -->\n\n```text\n(.*?)```", PAGE, re.DOTALL)
        steps = [tuple(line.split()) for line in block.splitlines()]
        assert [step for step in steps if step not in calls] == []
        assert steps == sorted(steps, key=calls.index)


def test_every_layer_is_on_the_page() -> None:
    """The table of layers names every module and package of the program."""
    table = PAGE[PAGE.index("| layer |") : PAGE.index("The decisions are pure")]
    named = {
        name
        for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }
    modules = {path.stem for path in PACKAGE.glob("[!_]*.py")}
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert named == modules | packages
