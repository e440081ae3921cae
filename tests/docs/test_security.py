"""What SECURITY.md says to be shown by a test is the name of a test."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import ROOT

NAMED = sorted(set(re.findall(r"`(tests/[a-z_/]+\.py)::(\w+)`", (ROOT / "SECURITY.md").read_text())))


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_protection_is_shown_by_a_test(file: str, name: str) -> None:
    """A test that is renamed or removed is noticed here."""
    assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE)


def test_every_protection_names_a_test() -> None:
    """Every row of the table does."""
    rows = [line for line in (ROOT / "SECURITY.md").read_text().splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 10
    assert not [row for row in rows if "`tests/" not in row.rpartition(" | ")[2]]
