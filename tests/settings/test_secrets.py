"""Secrets are read from files, and never shown."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from pydantic import TypeAdapter, ValidationError

from poller.settings.secrets import SecretFile, read_secret_file

if TYPE_CHECKING:
    from pathlib import Path

CANARY = "canary-5f1d"


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"s3cret", "s3cret"),
        (b"s3cret\n", "s3cret"),
        (b"s3cret\r\n", "s3cret"),
        (b" a b \n\n", " a b \n"),
        ("gehöim".encode(), "gehöim"),
        (b"x" * 65_536, "x" * 65_536),
    ],
)
def test_a_secret_is_the_files_content_without_one_newline(
    tmp_path: Path, content: bytes, secret: str
) -> None:
    """Only the newline that an editor adds is taken off."""
    path = tmp_path / "secret"
    path.write_bytes(content)
    assert read_secret_file(path) == read_secret_file(str(path)) == secret


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (CANARY.encode() + b"\0", "NUL"),
        (CANARY.encode() + b"\xff", "not UTF-8"),
        (CANARY.encode() * 10_000, "64 KiB"),
    ],
)
def test_what_cannot_be_a_secret_is_refused_without_showing_it(
    tmp_path: Path, content: bytes, words: str
) -> None:
    """The error, and everything chained to it, names the path and not the content."""
    path = tmp_path / "secret"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        read_secret_file(path)
    assert str(path) in str(caught.value)
    assert CANARY not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The error says which path could not be read, and why."""
    path = tmp_path / "nowhere"
    with pytest.raises(ValueError, match=f"cannot read {path}: No such file"):
        read_secret_file(path)


def test_a_directory_is_refused(tmp_path: Path) -> None:
    """A mount point instead of the file below it is a common slip."""
    with pytest.raises(ValueError, match="Is a directory"):
        read_secret_file(tmp_path)


def test_a_pipe_is_refused_instead_of_waiting_for_ever(tmp_path: Path) -> None:
    """Nothing but a regular file is read."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(ValueError, match="not a regular file"):
        read_secret_file(path)


def test_a_path_with_a_nul_character_is_refused() -> None:
    """What no file system knows is a ValueError like the rest."""
    with pytest.raises(ValueError, match="null"):
        read_secret_file("/tmp/a\0b")


def test_a_secret_file_is_checked_when_the_configuration_is_read(tmp_path: Path) -> None:
    """The validator type accepts a readable file and refuses any other."""
    path = tmp_path / "secret"
    adapter: TypeAdapter[Path] = TypeAdapter(SecretFile)
    with pytest.raises(ValidationError, match="cannot read"):
        adapter.validate_python(str(path))
    path.write_text(CANARY)
    assert adapter.validate_python(str(path)) == path
