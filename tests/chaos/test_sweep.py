"""A part of the sweep: some points of every mode, each with a verdict of zeros (faults 1, 4, 5, 6, 9)."""

from __future__ import annotations

import pytest

from tests.harness.daemon import finished

HALVES = {"once": ("kill", "disk-full"), "run": ("error-once", "error-for-good")}


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("program", HALVES)
def test_every_mode_at_some_points(program: str) -> None:
    """The program dies or fails at points of every phase, and nothing is lost, made up or altered.

    Injects faults 1 and 5.
    """
    modes = HALVES[program]
    points = ("--first", "30", "--stride", "150", "--most", "400")
    done = finished("sweep", "--program", program, "--modes", *modes, *points)
    assert done.returncode == 0, done.stdout + done.stderr
    for mode in modes:
        verdict = f"mode={mode} points=3 runs=3 lost=0 phantom=0 altered=0 disordered=0 failed=0 "
        assert verdict in done.stdout, done.stdout
