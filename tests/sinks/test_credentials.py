"""Secret files and headers: read, checked, never shown."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from poller.sinks.http.credentials import check_header_value, read_header, read_signing_secrets, signing_key
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
    key = bytes(range(25))
    encoded = base64.b64encode(key).decode()
    assert encoded.endswith("=")
    assert signing_key(f"whsec_{encoded}") == signing_key(f"whsec_{encoded.rstrip('=')}") == key


@pytest.mark.parametrize("length", [1, 23])
def test_a_key_that_is_too_short_is_refused(length: int) -> None:
    """Fewer than 24 bytes can be guessed; the message says how to make more, and not the key (fault 80)."""
    encoded = base64.b64encode(b"k" * length).decode()
    with pytest.raises(ValueError, match="at least 24; openssl rand -base64 32") as caught:
        signing_key(f"whsec_{encoded}")
    assert encoded not in str(caught.value)


@pytest.mark.parametrize("left", ["${TOKEN}", "$(TOKEN)", "Bearer ${MY_TOKEN_2}"])
def test_a_name_that_was_to_be_replaced_is_refused(left: str) -> None:
    """What a template has left behind is no header's value (fault 80)."""
    with pytest.raises(ValueError, match="which nothing replaces here"):
        check_header_value(left)
    check_header_value("costs $5 {net} ${}")


def test_a_mark_before_a_secret_is_no_part_of_it(tmp_path: Path) -> None:
    """Some editors put one before UTF-8, and all put a line's end after it (fault 80)."""
    file = tmp_path / "token"
    file.write_bytes(b"\xef\xbb\xbft0ken-1\r\n")
    assert read_header(file) == "t0ken-1"
