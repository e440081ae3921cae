"""Secrets and headers that an operator configures for a receiver: read, checked, and kept out of messages.

What stands in a file is read again at every attempt, so that a rotation reaches the retries that already
wait. The same checks run when the configuration is read, so that a wrong file is found before any event.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING

from poller.settings.secrets import read_secret_file, refuse_placeholder

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_PREFIX = "whsec_"
SHORTEST_KEY = 24
"""Bytes of a key, as the specification of Standard Webhooks asks for."""
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_UNFIT = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")

# What the request is made of, and what belongs to one hop: a configured value would contradict the body, the
# signature or the connection.
_RESERVED = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_RESERVED_PREFIX = "webhook-"


def signing_key(secret: str) -> bytes:
    """Decode a Standard Webhooks secret: `whsec_` and the key in base64.

    Raises:
        ValueError: It has another form; the message does not show it.
    """
    if not secret.startswith(_PREFIX):
        raise ValueError(f"a signing secret starts with {_PREFIX}, followed by the key in base64")
    encoded = secret.removeprefix(_PREFIX).rstrip("=")
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"what follows {_PREFIX} in a signing secret is not base64") from None
    if not key:
        raise ValueError(f"nothing follows {_PREFIX} in a signing secret")
    if len(key) < SHORTEST_KEY:
        raise ValueError(
            f"the key of a signing secret has {len(key)} bytes, and needs at least {SHORTEST_KEY};"
            " openssl rand -base64 32 makes one"
        )
    return key


def read_signing_secrets(path: Path) -> list[str]:
    """Read a file of signing secrets, one a line; the old and the new one while a rotation lasts.

    Raises:
        ValueError: As `read_secret_file` and `signing_key`, naming the file.
    """
    secrets = read_secret_file(path).split()
    for secret in secrets:
        try:
            signing_key(secret)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    return secrets


def read_header(path: Path) -> str:
    """Read a file that holds a header's value.

    Raises:
        ValueError: As `read_secret_file` and `check_header_value`, naming the file.
    """
    value = read_secret_file(path).strip()
    try:
        check_header_value(value)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return value


def check_header_value(value: str) -> None:
    """Refuse a value that could end the header or start another, or that cannot be encoded.

    Raises:
        ValueError: It holds a control character or half of a pair; the message does not show the value.
    """
    if _UNFIT.search(value):
        raise ValueError("a header's value must hold no line break, NUL or other control character")
    refuse_placeholder(value)


def check_header_names(names: Iterable[str]) -> None:
    """Refuse names that are invalid, belong to the request itself, or are given twice.

    Raises:
        ValueError: Naming the header.
    """
    seen = set()
    for name in names:
        lower = name.lower()
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a header")
        if lower in _RESERVED or lower.startswith(_RESERVED_PREFIX):
            raise ValueError(f"the header {name!r} is set by the sink itself and cannot be configured")
        if lower in seen:
            raise ValueError(f"the header {name!r} is configured twice")
        seen.add(lower)
