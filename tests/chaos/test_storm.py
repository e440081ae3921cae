"""A short storm, and a receiver and a disk that behave as badly as they should."""

from __future__ import annotations

import re

import pytest

from tests.harness.daemon import finished


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_short_storm_loses_nothing() -> None:
    """Twelve seconds of everything at once; the verdict is all zeros, and a fresh transition passes.

    Injects fault 1.
    """
    done = finished("storm", "--for", "12s", "--seed", "7")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.fullmatch(
        r"chaos: kills=[0-9]+ faults=[0-9]+ events=[0-9]+ copies=[0-9]+ lost=0 phantom=0 altered=0 "
        r"disordered=0 fresh=[0-9.]+s seed=7",
        done.stdout.splitlines()[-1],
    )
    assert "chaos: 10s of 12s: transitions=" in done.stderr
