"""The table says what was measured, and whether each bar is met."""

from __future__ import annotations

import pytest

from benchmarks.table import HEAD, Bar, Figures, Row, percentile, table


def test_a_row_shows_medians_spread_and_ratio() -> None:
    """Ours over the rival's, by their medians, with the least and the most beside them."""
    row = Row("scan", "s", Figures([1.0, 1.5, 1.25]), "boto3", Figures([10, 12.5, 14]), most=0.15)
    assert row.cells() == [
        "scan",
        "s",
        "1.25 (1 to 1.50)",
        "boto3",
        "12.5 (10 to 14)",
        "0.1 ours/rival",
        "ratio ≤ 0.15",
        "yes",
        "-",
    ]


def test_a_missed_bar_is_printed() -> None:
    """It says NO, and is no error."""
    row = Row("scan", "s", Figures([2]), "boto3", Figures([10]), most=0.15)
    assert row.cells()[-2] == "NO"


@pytest.mark.parametrize(
    ("row", "text", "met"),
    [
        (Row("", "", Figures([2]), "", Figures([500]), inverse=True, least=100), "ratio ≥ 100", True),
        (Row("", "", Figures([2]), "", Figures([500]), least=100), "ratio ≥ 100", False),
        (Row("", "", Figures([150, 190, 999]), limit=200), "ours ≤ 200", True),
        (Row("", "", Figures([5, 5]), exactly=5), "exactly 5", True),
        (Row("", "", Figures([5, 4, 5]), exactly=5), "exactly 5", False),
        (
            Row("", "", Figures([3]), limit=3, further=Bar("the same", met=False)),
            "ours ≤ 3; the same",
            False,
        ),
        (
            Row("", "", Figures([3]), "", Figures([0]), most=1),
            "ratio ≤ 1",
            False,
        ),
    ],
)
def test_a_bar_is_met_or_not(row: Row, text: str, met: bool) -> None:
    """Every condition of a row has to hold."""
    assert row.bar == Bar(text, met)


def test_a_row_without_a_bar_or_a_rival_says_so() -> None:
    """Nothing is made up for it."""
    row = Row("wait", "ms", Figures([1]), floor="one POST", floor_figures=Figures([0.25, 0.5, 0.75]))
    assert row.bar is None
    assert row.cells()[3:] == ["-", "-", "-", "-", "-", "one POST: 0.500"]


def test_a_pooled_figure_stands_for_its_runs() -> None:
    """A percentile of everything is shown with the range of the runs'."""
    assert str(Figures([1, 2, 9], middle=7)) == "7 (1 to 9)"


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1, 100), (0, 1)])
def test_percentiles_are_values_that_occurred(share: float, value: int) -> None:
    """The smallest value that so many do not exceed."""
    assert percentile(range(1, 101), share) == value


def test_percentiles_of_few_values() -> None:
    """The 99th of five is the largest."""
    assert percentile([3, 1, 2, 5, 4], 0.99) == 5
    assert percentile([3, 1, 2, 5, 4], 0.5) == 3


def test_the_table_is_markdown() -> None:
    """A head, a rule, and a line for each row, of as many cells."""
    lines = table([Row("a", "s", Figures([1])), Row("b", "MB", Figures([1234.5]))]).splitlines()
    assert len(lines) == 4
    assert {line.count("|") for line in lines} == {len(HEAD) + 1}
    assert lines[3].startswith("| b | MB | 1,234 (1,234 to 1,234) |")
