"""Secrets that stand in files, as Kubernetes, Docker and systemd mount them.

A file is read through `read_secret_file` each time the secret is used, so that a rotated one takes effect
without a restart; `SecretFile` reads it once while the configuration is checked, so that a wrong path is
found before anything starts. Errors name the path, never what the file holds, and what was read is struck
from every log line from then on.

A secret file that every user of the machine can read deserves a warning, and no more: the operator may know
better. Not meant are files that a group may read, which an operator sets up on purpose, and those that
Kubernetes, Docker and systemd mount, which are readable by default inside of a container or unit of our own.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

from poller.redaction import register_secret, secret_parts

if TYPE_CHECKING:
    from collections.abc import Iterator

_LARGEST = 64 * 1024
_PLACEHOLDER = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]{0,63}\}|\$\([A-Za-z_][A-Za-z0-9_]{0,63}\)")
_MOUNTS = (Path("/run/secrets"), Path("/var/run/secrets"), Path("/run/credentials"))

_watched: ContextVar[dict[Path, int] | None] = ContextVar("watched", default=None)


@contextmanager
def watch_exposed() -> Iterator[dict[Path, int]]:
    """Collect the secret files that are read in the block and that every user of the machine can read.

    Yields:
        Each path as it was given, with the permission bits of the file.
    """
    found: dict[Path, int] = {}
    token = _watched.set(found)
    try:
        yield found
    finally:
        _watched.reset(token)


def _note_exposed(path: Path, mode: int) -> None:
    watched = _watched.get()
    if watched is not None and _is_exposed(path, mode):
        watched[path] = stat.S_IMODE(mode)


def exposed_mode(path: Path) -> int | None:
    """The permission bits of a file that every user of the machine can read; `None` if not all can."""
    try:
        mode = path.stat().st_mode
        return stat.S_IMODE(mode) if _is_exposed(path, mode) else None
    except OSError:
        return None


def _is_exposed(path: Path, mode: int) -> bool:
    if not mode & stat.S_IROTH:
        return False
    real = path.resolve()
    # Kubernetes keeps what it mounts in folders such as `..2026_11_20`, behind symbolic links.
    mounted = any(part.startswith("..") for part in real.parts) or any(map(real.is_relative_to, _MOUNTS))
    return not mounted and all(folder.stat().st_mode & stat.S_IXOTH for folder in real.parents)


def _read(path: Path) -> bytes:
    # Not blocking, because opening a pipe without a writer would never end.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor, not a path
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise ValueError(f"{path} is not a regular file; name a file that holds nothing but the secret")
        content = file.read(_LARGEST + 1)
    _note_exposed(path, mode)
    return content


def read_secret_bytes(path: str | Path) -> bytes:
    """Return what a secret file holds, byte by byte; a relative path starts at the working directory.

    Raises:
        ValueError: The file cannot be read, or holds more than 64 KiB. The message names the path, never the
            content.
    """
    path = Path(path)
    try:
        content = _read(path)
    except OSError as error:
        raise ValueError(
            f"cannot read {path}: {error.strerror}; check the path and its permissions"
        ) from error
    if len(content) > _LARGEST:
        raise ValueError(f"{path} holds more than 64 KiB, which is too much for a secret; check the path")
    return content


def read_secret_file(path: str | Path) -> str:
    """Return what a secret file holds, without the one newline that editors and `echo` leave at its end.

    Neither does the mark count that some editors put before UTF-8.

    A relative path starts at the working directory.

    Raises:
        ValueError: The file cannot be read, is empty, holds more than 64 KiB, or is not UTF-8. The
            message names the path, never the content.
    """
    content = read_secret_bytes(path)
    if b"\0" in content:
        raise ValueError(f"{path} holds a NUL byte, which no secret does; check the path")
    text = content.decode(errors="replace")
    if text.encode() != content:
        # Without the UnicodeDecodeError, which carries the content along.
        raise ValueError(f"{path} is not UTF-8 text; check the path")
    text = text.removeprefix("\ufeff").removesuffix("\n").removesuffix("\r")
    if not text.strip():
        raise ValueError(f"{path} is empty; write the secret into it")
    register_secret(*secret_parts(text))
    return text


def refuse_placeholder(text: str) -> None:
    """See that a text holds no name of a variable that was to be replaced, such as `${TOKEN}`.

    Raises:
        ValueError: It does; the message names it, and nothing else of the text.
    """
    found = _PLACEHOLDER.search(text)
    if found is not None:
        raise ValueError(
            f"holds {found[0]}, which nothing replaces here; put the value into a file and name that, or set"
            " the whole by an environment variable (BEDROCK_POLLER_…)"
        )


def _check(path: Path) -> Path:
    read_secret_file(path)
    return path


SecretFile = Annotated[Path, AfterValidator(_check)]
"""The path of a secret file that could be read when the configuration was; read it again at each use."""
