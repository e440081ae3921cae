"""Holds the coverage of a whole test run against its floors; `make test` runs it after pytest.

The pure modules, the store and the delivery are covered to the last branch, everything together to nine
tenths. What subprocesses have left behind is combined with pytest's own data first.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import coverage

_ROOT = Path(__file__).parents[1]
TOTAL_FLOOR = 90.0
HIGH_FLOOR = 100.0
_WHOLE = ("diff", "envelope", "kinds", "model", "plan", "rules", "schedule")
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


def measured() -> dict[str, Any]:
    """Combine the data files, and return coverage.py's JSON report.

    Raises:
        coverage.CoverageException: There is nothing to report on.
    """
    data = coverage.Coverage(config_file=str(_CONFIG))
    data.load()
    data.combine(strict=False)
    data.save()
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "coverage.json"
        data.json_report(outfile=str(file))
        report: dict[str, Any] = json.loads(file.read_text())
    return report


def missing(file: dict[str, Any]) -> str:
    """What of a file never ran: `12, 20-23, 15->17`."""
    lines = [
        f"{first}-{last}" if last > first else str(first) for first, last in _stretches(file["missing_lines"])
    ]
    alone = set(file["missing_lines"])
    branches = [
        f"{start}->{'exit' if end < 0 else end}"
        for start, end in file["missing_branches"]
        if start not in alone and end not in alone
    ]
    return ", ".join([*lines, *branches])


def _stretches(lines: list[int]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for line in lines:
        if found and line <= found[-1][1] + 2:  # the line between is mostly a blank one
            found[-1] = (found[-1][0], line)
        else:
            found.append((line, line))
    return found


def shortfalls(report: dict[str, Any]) -> list[str]:
    """Say what is below its floor, a sentence each; nothing if all is well."""
    files = report["files"]
    found = []
    for name in HIGH:
        if name not in files:
            found.append(f"{name} was not measured")
        elif files[name]["missing_lines"] or files[name]["missing_branches"]:
            found.append(f"{name} is below {HIGH_FLOOR:.0f} %: {missing(files[name])}")
    total = report["totals"]["percent_covered"]
    if total < TOTAL_FLOOR:
        found.append(f"everything together is at {total:.1f} %, below {TOTAL_FLOOR:.0f} %")
    return found


def table(report: dict[str, Any]) -> list[str]:
    """Those with the high floor, the least covered of the others with what is missing, and the total."""
    files = report["files"]

    def line(name: str, share: float, lacking: str = "") -> str:
        return f"{name:<40} {share:6.1f} %  {lacking}".rstrip()

    def share(name: str) -> float:
        return float(files[name]["summary"]["percent_covered"])

    others = sorted((name for name in files if name not in HIGH and share(name) < HIGH_FLOOR), key=share)
    return [
        *(line(name, share(name)) for name in HIGH if name in files),
        *(line(name, share(name), missing(files[name])) for name in others[:_SHOWN]),
        line("total", report["totals"]["percent_covered"]),
    ]


def main() -> int:
    """Print the table and the shortfalls; 1 if there are any."""
    try:
        report = measured()
    except coverage.CoverageException as error:
        sys.stderr.write(f"coverage: {error}; run pytest with --cov first\n")
        return 1
    sys.stdout.write("\n".join(table(report)) + "\n")
    below = shortfalls(report)
    sys.stderr.writelines(f"coverage: {problem}\n" for problem in below)
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main())
