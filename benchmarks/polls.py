"""Polls with the product's own components, put together as `bedrock-poller once` does."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Self

from benchmarks.processes import environment
from poller.app import Components, load_settings
from poller.app.housekeeping import StoreGauges

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from poller.polling import PollReport

KIND = "model_invocation_job"
_TARGETS = [{"name": "bench", "regions": ["us-east-1"], "kinds": [KIND]}]
_MOST_REQUESTS = 1000
"""A second, the most that can be configured: loopback has no quota to protect."""


def configuration(store: Path, sections: Mapping[str, object], *, lease: str = "15s") -> dict[str, str]:
    """Environment variables that configure one target, a store, and whatever else is given."""
    given = {
        "store": {"url": f"sqlite:///{store}", "lease": lease},
        "targets": _TARGETS,
        "aws": {"requests_per_second": _MOST_REQUESTS},
        "web": {"listen": "127.0.0.1:0"},
        **sections,
    }
    return {f"BEDROCK_POLLER_{name.upper()}": json.dumps(value) for name, value in given.items()}


class Poller:
    """The program in this process, with one target.

    Args:
        url: Where Bedrock is served; every client made from now on in this process goes there.
        store: The store's file; made if it is not there.
        sections: Further sections of the configuration.
    """

    def __init__(self, url: str, store: Path, **sections: object) -> None:
        os.environ |= environment(url)
        self.components = Components(load_settings(None, configuration(store, sections)))
        self.components.open_store()
        (self.target,) = self.components.targets
        self._poller = self.components.poller()
        self._gauges = StoreGauges(self.components.metrics, self.components.snapshot, self.components.outbox)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.components.close()

    def poll(self) -> PollReport:
        """Poll the target once.

        Raises:
            AwsError: It could not be seen whole.
        """
        report = self._poller.poll(self.target)
        if report.failure is not None:
            raise report.failure
        return report

    def refresh(self) -> None:
        """Bring the gauges up to date, as the daemon does after a poll."""
        self._gauges.refresh_jobs(self.components.targets)
        self._gauges.refresh_outbox(self.components.settings.sinks)
