"""Prints one line for each check: what it promises, how it ended, and what it counted.

These checks use the tools that users would use, fetch them if need be, and so are no part of `make test`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PROMISE = "promise"
_FIGURE = "figure"
_WORDS = {"passed": "ok", "failed": "FAILED", "skipped": "skipped"}


@pytest.fixture
def said(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Adds a figure to the line of a check: `said("14 alerts, 28 tests")`."""

    def add(figure: str) -> None:
        request.node.user_properties.append((_FIGURE, figure))

    return add


def pytest_itemcollected(item: pytest.Item) -> None:
    """Note what a test promises, so that its report has it in whichever process it ran."""
    function = getattr(item, "function", None)
    text = (getattr(function, "__doc__", None) or item.name).strip().splitlines()[0]
    callspec = getattr(item, "callspec", None)
    promise = f"{text} [{callspec.id}]" if callspec else text
    item.user_properties.append((_PROMISE, promise))


def pytest_report_teststatus(report: pytest.TestReport | pytest.CollectReport) -> tuple[str, str, str] | None:
    """Leave out the dots: each test has a line of its own."""
    if isinstance(report, pytest.TestReport) and _last(report):
        return report.outcome, "", ""
    return None


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Print the lines, in the order in which the checks ended."""
    # As they are all printed together, they can be read even if a tool was talkative.
    ended = [
        report
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and _last(report)
    ]
    for report in sorted(ended, key=lambda report: report.start):
        properties = list(report.user_properties)
        promise = next((str(value) for name, value in properties if name == _PROMISE), report.nodeid)
        figures = ", ".join(str(value) for name, value in properties if name == _FIGURE)
        word = _WORDS[report.outcome]
        terminalreporter.write_line(f"{word:<7} {promise}" + (f" ({figures})" if figures else ""))
    yield


def _last(report: pytest.TestReport) -> bool:
    """Whether this report tells how the test ended."""
    return report.when == "call" or report.outcome != "passed"
