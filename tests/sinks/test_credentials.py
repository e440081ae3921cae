"""Secret files and headers: read, checked, never shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from poller.sinks.credentials import read_header, read_signing_secrets, signing_key
from tests.sinks.samples import OTHER_SECRET, SECRET

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_may_hold_several_signing_secrets(tmp_path: Path) -> None:
    """One a line, with blank lines and spaces as editors leave them."""
    file = tmp_path / "secret"
    file.write_text(f"\n {SECRET} \r\n\n{OTHER_SECRET}\n")
    assert read_signing_secrets(file) == [SECRET, OTHER_SECRET]


def test_a_file_with_one_wrong_secret_is_refused(tmp_path: Path) -> None:
    """A wrong line is an error, not a line that is skipped; it is not shown."""
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\nc4nary\n")
    with pytest.raises(ValueError, match="starts with whsec_") as caught:
        read_signing_secrets(file)
    assert str(file) in str(caught.value)
    assert "c4nary" not in str(caught.value)


def test_a_header_file_with_two_lines_is_refused(tmp_path: Path) -> None:
    """What could start another header is refused, naming the file."""
    file = tmp_path / "token"
    file.write_text("c4nary\nx-other: 1")
    with pytest.raises(ValueError, match="no line break") as caught:
        read_header(file)
    assert str(file) in str(caught.value)
    assert "c4nary" not in str(caught.value)


def test_a_secret_may_lack_its_padding() -> None:
    """Base64 is taken with and without the equals signs at its end."""
    assert signing_key("whsec_YWI=") == signing_key("whsec_YWI") == b"ab"
