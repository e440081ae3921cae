"""The benchmark itself: that it runs and says what it measured; never how fast."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SIZES = [
    "--runs=1",
    "--jobs=1200",
    "--history=2500",
    "--events=40",
    "--cycles=2",
    "--transitions=3",
    "--settle-seconds=1",
    "--idle-seconds=1",
    "--startups=1",
    "--lease=1",
    "--minutes=0.05",
    "--endings=6",
    "--storm=3",
    "--budget-seconds=3",
    "--no-airflow",
]


def rows_of(text: str) -> list[list[str]]:
    """The cells of a Markdown table's rows."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def bench(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run it."""
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_small_run_prints_and_writes_every_row(tmp_path: Path) -> None:
    """Each row has its figures, the counted facts hold, and the file names the command that made it.

    Injects fault 23.
    """
    results = tmp_path / "results.md"
    done = bench(*SIZES, "--output", results)
    assert done.returncode == 0, done.stderr
    rows = rows_of(done.stdout)
    what = [row[0] for row in rows]
    beginnings = [
        "full scan of 1,200 unchanged jobs",
        "first run over 1,200 jobs",
        "calls of a steady cycle, 200 open jobs, history of 1,000",
        "calls of a steady cycle, 200 open jobs, history of 2,500",
        "calls of a steady cycle, 10 open jobs",
        "calls of a steady cycle, 100 open jobs",
        "calls of a steady cycle, 500 open jobs",
        "processor time of a steady cycle",
        "40 events to one webhook",
        "40 events to one webhook",
        "peak memory of a first run over 2,500 jobs",
        "peak memory of a full scan of 2,500 jobs",
        "peak memory of a full scan of 2,500 jobs",
        "jobs tracked by a first run over 2,500 jobs, killed",
        "peak memory of a first run over 2,500 jobs, killed",
        "wall time of a first run over 2,500 jobs, killed",
        "from the list response to the webhook's receiver, to a status that is not the last: p50 of 3",
        "from the list response to the webhook's receiver, to a status that is not the last: p99 of 3",
        "from the list response to the webhook's receiver, to a last one, with a Get for its details: p50",
        "from the list response to the webhook's receiver, to a last one, with a Get for its details: p99",
        "from the end to the webhook's receiver, 6 open batch jobs that end at random over 0.05 minutes, d",
        "from the end to the webhook's receiver, 6 open batch jobs that end at random over 0.05 minutes, d",
        "from the end to the webhook's receiver, 6 open batch jobs that end at random over 0.05 minutes, i",
        "from the end to the webhook's receiver, 6 open batch jobs that end at random over 0.05 minutes, i",
        "calls of Bedrock to the last webhook, 6 open batch jobs that end at random over 0.05 minutes, i",
        "from the end to the webhook's receiver, 3 jobs of each kind ending at once, defaults: async",
        "from the end to the webhook's receiver, 3 jobs of each kind ending at once, defaults: async",
        "from the end to the webhook's receiver, 3 jobs of each kind ending at once, defaults: batch",
        "from the end to the webhook's receiver, 3 jobs of each kind ending at once, defaults: batch",
        "calls an hour, 200 open batch jobs, defaults, from those of 3 s; the budget is 18,000",
        "processor time of an idle daemon",
        "answer to a health probe beside 8 hostile receivers, median",
        "answer to a health probe beside 8 hostile receivers, 99th percentile",
        "start of `bedrock-poller version`",
    ]
    assert len(what) == len(beginnings)
    assert all(text.startswith(beginning) for text, beginning in zip(what, beginnings, strict=True)), (
        "\n".join(what)
    )

    calls = [row[2] for row in rows if row[0].startswith("calls of a steady")]
    assert calls == ["2 (2 to 2)"] * 5
    theirs = [row[4] for row in rows if row[0].startswith("calls of a steady")]
    assert theirs == ["1 (1 to 1)", "3 (3 to 3)", "10 (10 to 10)", "100 (100 to 100)", "500 (500 to 500)"]
    (tracked,) = [row for row in rows if row[0].startswith("jobs tracked")]
    assert tracked[2] == "2,500 (2,500 to 2,500)"
    assert tracked[6:8] == ["exactly 2,500; no event announced (0)", "yes"]

    written = results.read_text()
    assert f"-m benchmarks {' '.join(SIZES)}" in written
    assert done.stdout.strip() in written


@pytest.mark.slow
@pytest.mark.long
def test_groups_can_be_chosen() -> None:
    """`--only` runs the named groups and nothing else, and writes no file unless it is told to."""
    results = ROOT / "benchmarks" / "RESULTS.md"
    before = results.read_bytes() if results.exists() else None
    done = bench("--only", "startup", "--startups", "2")
    assert done.returncode == 0, done.stderr
    assert [row[0] for row in rows_of(done.stdout)] == ["start of `bedrock-poller version`"]
    assert (results.read_bytes() if results.exists() else None) == before


def test_an_unknown_group_is_refused() -> None:
    """A misspelt group is an error that names those there are."""
    done = bench("--only", "speed")
    assert done.returncode == 2
    assert "no such group: speed; there are scans, calls" in done.stderr
