"""The benchmark itself: that it runs and says what it measured; never how fast."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_small_run_prints_and_writes_every_row(tmp_path: Path) -> None:
    """Each row has ours, the rival and the ratio, and the file names the command that made it."""
    results = tmp_path / "results.md"
    sizes = ["--runs", "1", "--jobs", "1200", "--events", "40"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *sizes, "--output", results],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    rows = done.stdout.splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == [
        "first run over 1,200 jobs / bare boto3 pagination",
        "full scan of 1,200 unchanged jobs / bare boto3 pagination",
        "40 deliveries / bare aiohttp loop",
        "40 deliveries / signing requests loop",
    ]
    assert all(float(row.split("|")[4]) > 0 for row in rows)
    assert f"python -m benchmarks {' '.join(sizes)}" in results.read_text()
    assert done.stdout.strip() in results.read_text()
