"""The list of faults: each has a test that injects it, and the table tells how it ended."""

from __future__ import annotations

from tests import faults as suite


def test_every_fault_of_the_page_is_injected_by_a_test() -> None:
    """And every number that a test names stands on the page."""
    assert set(suite.faults(suite.PAGE.read_text())) == set(suite.tests_by_fault(suite.ROOT / "tests"))


def test_numbers_are_read_from_docstrings() -> None:
    """One, two or several."""
    source = """
def test_a():
    "It is (fault 3)."
async def test_b():
    "Injects faults 4, 15 and 36."
def helper():
    "fault 9"
def test_c(): ...
"""
    assert list(suite.injected(source)) == [("test_a", 3), ("test_b", 4), ("test_b", 15), ("test_b", 36)]


def test_the_worst_case_of_a_test_counts() -> None:
    """A parametrised test has failed if one of its cases has, and a fault without a test says so."""
    report = """<testsuites><testsuite>
    <testcase classname="tests.a.test_x" name="test_one[1]"/>
    <testcase classname="tests.a.test_x" name="test_one[2]"><failure/></testcase>
    <testcase classname="tests.a.test_x" name="test_two"><skipped/></testcase>
    <testcase classname="tests.a.test_x" name="test_three"/>
    </testsuite></testsuites>"""
    ended = suite.outcomes(report)
    named = {1: "bad", 2: "worse", 3: "none"}
    tests = {
        1: ["tests/a/test_x.py::test_one"],
        2: ["tests/a/test_x.py::test_two", "tests/a/test_x.py::test_three"],
    }
    assert [line.split()[:2] for line in suite.table(named, tests, ended)] == [
        ["1", "FAILED"],
        ["2", "skipped"],
        ["2", "passed"],
        ["3", "NO"],
    ]
