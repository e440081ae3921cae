"""Holds the coverage of a whole test run against its floors; `make test` runs it after pytest.

The pure modules, the store and the delivery are covered to the last branch by tests of their own; of all
lines together nine tenths are, by these tests and the others, which are followed by the line only.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import coverage

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROOT = Path(__file__).parents[1]
TOTAL_FLOOR = 90.0
HIGH_FLOOR = 100.0
_WHOLE = ("diff", "events", "kinds", "model", "pacing", "plan", "retry", "rules")
_FOLDERS = ("delivery", "store")
HIGH = (
    *(f"poller/{name}.py" for name in _WHOLE),
    *(
        str(path.relative_to(_ROOT))
        for folder in _FOLDERS
        for path in sorted((_ROOT / "poller" / folder).glob("*.py"))
        if path.stat().st_size
    ),
)
_SHOWN = 10
_CONFIG = _ROOT / "pyproject.toml"


def measured(path: str) -> dict[str, Any]:
    """Return coverage.py's JSON report on a data file.

    Raises:
        coverage.CoverageException: There is nothing to report on.
    """
    data = coverage.Coverage(data_file=path, config_file=str(_CONFIG))
    data.load()
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "coverage.json"
        data.json_report(outfile=str(file))
        report: dict[str, Any] = json.loads(file.read_text())
    return report


def lacking(branches: dict[str, Any], lines: dict[str, Any]) -> dict[str, tuple[float, list[int]]]:
    """For each file the share of its lines that ran in either report, in percent, and those that did not.

    The share of all of them together stands under `total`.
    """
    found, ran, all_lines = {}, 0, 0
    for name in sorted(branches.keys() | lines.keys()):
        reports = [report[name] for report in (branches, lines) if name in report]
        executed = {line for report in reports for line in report["executed_lines"]}
        every = executed.union(*(report["missing_lines"] for report in reports))
        ran, all_lines = ran + len(executed), all_lines + len(every)
        found[name] = (100 * len(executed) / max(1, len(every)), sorted(every - executed))
    found["total"] = (100 * ran / all_lines, [])
    return found


def missing(file: dict[str, Any]) -> str:
    """What of a file never ran: `12, 20-23, 15->17`."""
    alone = set(file["missing_lines"])
    branches = [
        f"{start}->{'exit' if end < 0 else end}"
        for start, end in file["missing_branches"]
        if start not in alone and end not in alone
    ]
    return ", ".join([*_stretches(file["missing_lines"]), *branches])


def _stretches(lines: list[int]) -> list[str]:
    found: list[tuple[int, int]] = []
    for line in lines:
        if found and line <= found[-1][1] + 2:  # the line between is mostly a blank one
            found[-1] = (found[-1][0], line)
        else:
            found.append((line, line))
    return [f"{first}-{last}" if last > first else str(first) for first, last in found]


def shortfalls(branches: dict[str, Any], lines: dict[str, tuple[float, list[int]]]) -> list[str]:
    """Say what is below its floor, a sentence each; nothing if all is well."""
    found = []
    for name in HIGH:
        if name not in branches:
            found.append(f"{name} was not measured")
        elif branches[name]["missing_lines"] or branches[name]["missing_branches"]:
            found.append(f"{name} is below {HIGH_FLOOR:.0f} %: {missing(branches[name])}")
    total, _ = lines["total"]
    if total < TOTAL_FLOOR:
        found.append(f"everything together is at {total:.1f} %, below {TOTAL_FLOOR:.0f} %")
    return found


def table(branches: dict[str, Any], lines: dict[str, tuple[float, list[int]]]) -> list[str]:
    """Those with the high floor, the least covered of the others with what is missing, and the total."""

    def line(name: str, share: float, lacking: Sequence[str] = ()) -> str:
        return f"{name:<40} {share:6.1f} %  {', '.join(lacking)}".rstrip()

    high = [
        line(name, branches[name]["summary"]["percent_covered"], ["with branches"])
        for name in HIGH
        if name in branches
    ]
    others = sorted((share, name) for name, (share, missing) in lines.items() if name not in HIGH and missing)
    return [
        *high,
        *(line(name, share, _stretches(lines[name][1])) for share, name in others[:_SHOWN]),
        line("total", lines["total"][0]),
    ]


def main(of_branches: str, of_lines: str) -> int:
    """Print the table and the shortfalls; 1 if there are any.

    Args:
        of_branches: Coverage.py's data file of the tests that were followed by the branch.
        of_lines: That of all others.
    """
    try:
        branches, others = measured(of_branches)["files"], measured(of_lines)["files"]
    except coverage.CoverageException as error:
        sys.stderr.write(f"coverage: {error}; run make test first\n")
        return 1
    lines = lacking(branches, others)
    sys.stdout.write("\n".join(table(branches, lines)) + "\n")
    below = shortfalls(branches, lines)
    sys.stderr.writelines(f"coverage: {problem}\n" for problem in below)
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
