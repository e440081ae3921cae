"""Runs the tests that inject the faults of docs/faults.md, and prints what became of each; `make faults`.

A test says in its docstring which faults it injects, by their numbers.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "faults.md"
_ROW = re.compile(r"^\| (\d+) \| (.+) \|$", re.MULTILINE)
_NAMED = re.compile(r"\bfaults? (\d+(?:, \d+)*(?:,? and \d+)?)")


def faults(page: str) -> dict[int, str]:
    """The faults by their numbers, as the table of a page has them."""
    return {int(number): what for number, what in _ROW.findall(page)}


def injected(source: str) -> Iterator[tuple[str, int]]:
    """The tests of a file that name faults, with each number."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            for numbers in _NAMED.findall(ast.get_docstring(node) or ""):
                for number in re.findall(r"\d+", numbers):
                    yield node.name, int(number)


def tests_by_fault(folder: Path) -> dict[int, list[str]]:
    """The tests that inject each fault, as pytest names them."""
    found = defaultdict(list)
    for path in sorted(folder.rglob("test_*.py")):
        for name, number in injected(path.read_text()):
            found[number].append(f"{path.relative_to(ROOT)}::{name}")
    return found


def outcomes(report: str) -> dict[str, str]:
    """How the tests of a JUnit report ended; the worst case of each test counts."""
    found: dict[str, str] = {}
    for case in ET.fromstring(report).iter("testcase"):  # noqa: S314 - our own pytest has written it
        name = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name', '').partition('[')[0]}"
        bad = any(case.find(kind) is not None for kind in ("failure", "error"))
        skipped = case.find("skipped") is not None
        ended = "FAILED" if bad else "skipped" if skipped else "passed"
        found[name] = max(found.get(name, ended), ended, key=("skipped", "passed", "FAILED").index)
    return found


def table(named: Mapping[int, str], tests: Mapping[int, list[str]], ended: Mapping[str, str]) -> list[str]:
    """A line for each test of each fault."""
    return [
        f"{number:>2}  {ended.get(test, 'NO TEST'):<8}  {what}  {test.removeprefix('tests/')}"
        for number, what in named.items()
        for test in tests.get(number) or ["-"]
    ]


def main() -> int:
    """Run them, and print the table."""
    named, tests = faults(PAGE.read_text()), tests_by_fault(ROOT / "tests")
    chosen = sorted({test for number in named for test in tests.get(number, [])})
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        options = ["-q", "-n", "3", "--dist", "worksteal", f"--junit-xml={report}"]
        done = subprocess.run([sys.executable, "-m", "pytest", *options, *chosen], cwd=ROOT, check=False)
        ended = outcomes(report.read_text())
    missing = [number for number in named if not tests.get(number)]
    failed = sum(outcome == "FAILED" for outcome in ended.values())
    sys.stdout.write("\n".join(table(named, tests, ended)) + "\n")
    sys.stdout.write(
        f"faults={len(named)} tests={len(chosen)} failed={failed}"
        f" without a test: {', '.join(map(str, missing)) or 'none'}\n"
    )
    return int(bool(done.returncode or missing))


if __name__ == "__main__":
    sys.exit(main())
