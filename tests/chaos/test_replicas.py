"""A short run with several replicas."""

from __future__ import annotations

import re

import pytest

from tests.harness.daemon import finished


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_three_replicas_lose_nothing_in_a_storm() -> None:
    """Twenty seconds of everything at once; the verdict is all zeros, and a fresh transition passes.

    Injects faults 11, 38, 39 and 40.
    """
    small = ("--targets", "40", "--lease", "3s", "--interval", "3s")
    done = finished("replicas", "--for", "20s", "--seed", "7", *small)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.fullmatch(
        r"chaos-replicas: replicas=3 targets=40 stops=[0-9]+ \(.*\) faults=[0-9]+ events=[0-9]+ "
        r"copies=[0-9]+ lost=0 phantom=0 altered=0 disordered=0 stale=0 robbed=0 late=0 refused=[0-9]+ "
        r"takeovers=[0-9]+ p50=[0-9.]+s p99=[0-9.]+s max=[0-9.]+s lease=3s fresh=[0-9.]+s seed=7",
        done.stdout.splitlines()[-1],
    )
