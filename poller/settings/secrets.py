"""Secrets that stand in files, as Kubernetes, Docker and systemd mount them.

A file is read through `read_secret_file` each time the secret is used, so that a rotated one takes effect
without a restart; `SecretFile` reads it once while the configuration is checked, so that a wrong path is
found before anything starts. Errors name the path, never what the file holds, and what was read is struck
from every log line from then on.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from poller import logs

_LARGEST = 64 * 1024


def _read(path: Path) -> bytes:
    # Not blocking, because opening a pipe that nobody writes to would wait for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor, not a path
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError(f"{path} is not a regular file; name a file that holds nothing but the secret")
        return file.read(_LARGEST + 1)


def read_secret_file(path: str | Path) -> str:
    """Return what a secret file holds, without the one newline that editors and `echo` leave at its end.

    A relative path starts at the working directory.

    Raises:
        ValueError: The file cannot be read, is empty, holds more than 64 KiB, or is no UTF-8 text. The
            message names the path, never the content.
    """
    path = Path(path)
    try:
        content = _read(path)
    except OSError as error:
        raise ValueError(
            f"cannot read {path}: {error.strerror}; check the path and its permissions"
        ) from error
    if len(content) > _LARGEST:
        raise ValueError(f"{path} holds more than 64 KiB, which is no secret; check the path")
    if b"\0" in content:
        raise ValueError(f"{path} holds a NUL byte, which no secret does; check the path")
    text = content.decode(errors="replace")
    if text.encode() != content:
        # Without the UnicodeDecodeError, which carries the content along.
        raise ValueError(f"{path} is not UTF-8 text; check the path")
    text = text.removesuffix("\n").removesuffix("\r")
    if not text.strip():
        raise ValueError(f"{path} is empty; write the secret into it")
    logs.conceal([text.strip(), *text.split()])
    return text


def _check(path: Path) -> Path:
    read_secret_file(path)
    return path


SecretFile = Annotated[Path, AfterValidator(_check)]
"""The path of a secret file that could be read when the configuration was; read it again at each use."""
