"""Secrets are read from files, and never shown."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydantic import TypeAdapter, ValidationError

from poller.settings import secrets
from poller.settings.secrets import SecretFile, read_secret_file, watch_exposed

if TYPE_CHECKING:
    from collections.abc import Iterator

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


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user of the machine can look into."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def exposed(path: Path) -> list[int]:
    """The modes of the exposed files among one."""
    with watch_exposed() as found:
        read_secret_file(path)
    assert set(found) <= {path}
    return list(found.values())


@pytest.mark.parametrize(
    ("mode", "noted"), [(0o600, False), (0o400, False), (0o640, False), (0o644, True), (0o604, True)]
)
def test_a_secret_that_every_user_can_read_is_noted(public: Path, mode: int, noted: bool) -> None:
    """With its mode; a group that may read it was given that right on purpose."""
    path = public / "secret"
    path.write_text(CANARY)
    path.chmod(mode)
    assert exposed(path) == ([mode] if noted else [])


def test_a_secret_in_a_folder_that_is_closed_is_not_exposed(public: Path) -> None:
    """Whatever its own mode is: nobody else gets there."""
    inner = public / "inner"
    inner.mkdir()
    path = inner / "secret"
    path.write_text(CANARY)
    path.chmod(0o644)
    assert exposed(path) == [0o644]
    inner.chmod(0o700)
    assert exposed(path) == []


def test_what_kubernetes_and_docker_mount_is_not_noted(public: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such files can be read by all by default, in a container where there is nobody else."""
    data = public / "..2026_11_20_10_00_00.123"
    data.mkdir()
    (data / "secret").write_text(CANARY)
    (data / "secret").chmod(0o644)
    (public / "..data").symlink_to(data.name)
    (public / "secret").symlink_to("..data/secret")
    assert exposed(public / "secret") == []
    other = public / "other"
    other.write_text(CANARY)
    other.chmod(0o444)
    assert exposed(other) == [0o444]
    monkeypatch.setattr(secrets, "_MOUNTS", (public,))
    assert exposed(other) == []
