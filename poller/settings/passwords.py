"""The users of the web server: names with bcrypt hashes, and bearer tokens.

Files of users have the form that `htpasswd -B` writes, a name and a hash in each line, and files of tokens a
token in each line, so that the old one holds until everybody has the new one. Both are read again when they
are used. A hash is treated as a secret: its reader can try passwords offline.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, SecretStr

from poller.redaction import register_secret
from poller.settings.secrets import read_secret_file

if TYPE_CHECKING:
    from collections.abc import Collection

_HASH = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}")
_NAME = re.compile(r"[^:\x00-\x1f\x7f]{1,128}")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{16,512}=*")
_LEAST_COST = 4
_MOST_COST = 14
"""About a second of a processor; each more doubles it, for every stranger who tries a password."""


def check_hash(text: str) -> str:
    """Return a usable bcrypt hash unchanged.

    Raises:
        ValueError: It has another form, or takes too long to check. The message does not show it.
    """
    match = _HASH.fullmatch(text)
    if not match:
        raise ValueError(
            "is not a bcrypt hash, which has 60 characters and begins with $2b$ or $2y$; "
            "make one with `htpasswd -nB NAME`"
        )
    if not _LEAST_COST <= int(match[1]) <= _MOST_COST:
        raise ValueError(
            f"has a cost of {int(match[1])}; make a hash with a cost from {_LEAST_COST} to {_MOST_COST}, "
            "such as with `htpasswd -nB -C 10 NAME`"
        )
    return text


def cost(hashed: str) -> str:
    """The two digits of a hash that say how long checking it takes."""
    return hashed[4:6]


def check_name(name: str) -> str:
    """Return a usable name unchanged.

    Raises:
        ValueError: Basic authentication cannot transmit it.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            "a user's name has 1 to 128 characters, and no colon or control character among them"
        )
    return name


def read_users(path: Path) -> dict[str, str]:
    """Read a file of users: the hash of each by the name.

    Raises:
        ValueError: As `read_secret_file`; or a line is of no use, which the message names by its number.
    """
    users: dict[str, str] = {}
    for number, line in enumerate(read_secret_file(path).splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                name, hashed = _user(line.strip(), users)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from None
            users[name] = hashed
    if not users:
        raise ValueError(f"{path} names no user; write one with `htpasswd -B {path} NAME`")
    return users


def _user(line: str, before: Collection[str]) -> tuple[str, str]:
    name, _, hashed = line.partition(":")
    register_secret(hashed)
    if not hashed:
        raise ValueError("holds no NAME:HASH, as `htpasswd -B` writes them")
    if name in before:
        raise ValueError("has the name of a line before; keep one of them")
    return check_name(name), check_hash(hashed)


def read_tokens(path: Path) -> list[str]:
    """Read a file of bearer tokens.

    Raises:
        ValueError: As `read_secret_file`; or one cannot be sent in a header, or could be guessed.
    """
    tokens = read_secret_file(path).split()
    for number, token in enumerate(tokens, start=1):
        if not _TOKEN.fullmatch(token):
            raise ValueError(
                f"{path}: token {number} is invalid; write 16 to 512 letters, digits and any of ._~+/- , "
                "such as `openssl rand -hex 32` makes"
            )
    return tokens


def _hash(value: SecretStr) -> SecretStr:
    check_hash(value.get_secret_value())
    return value


def _users_file(path: Path) -> Path:
    read_users(path)
    return path


def _tokens_file(path: Path) -> Path:
    read_tokens(path)
    return path


UserName = Annotated[str, AfterValidator(check_name)]
"""A name to authenticate with."""

PasswordHash = Annotated[SecretStr, AfterValidator(_hash)]
"""A bcrypt hash, kept out of logs."""

UsersFile = Annotated[Path, AfterValidator(_users_file)]
"""The path of a file of users; read again at each use."""

TokensFile = Annotated[Path, AfterValidator(_tokens_file)]
"""The path of a file of bearer tokens; read again at each use."""
