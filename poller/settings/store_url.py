"""The address of the database: which ones are accepted, where the default one lies, how it is shown.

An address may carry a password, so the setting is a `SecretStr`; what logs and pages may show is `displayed`.
"""

from __future__ import annotations

import os
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, SecretStr, WithJsonSchema
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from poller.settings.secrets import refuse_placeholder

if TYPE_CHECKING:
    from collections.abc import Mapping

_ACCEPTED = ("sqlite", "postgresql", "postgresql+psycopg")
_FORMS = "sqlite:////absolute/path.db or postgresql://user@host/database"


def default_url(environ: Mapping[str, str]) -> SecretStr:
    """Where the SQLite file lies if nothing is configured.

    In systemd's `$STATE_DIRECTORY`, else in `$XDG_STATE_HOME/bedrock-poller`, else in
    `~/.local/state/bedrock-poller`.

    Raises:
        ValueError: There is no home directory to fall back on.
    """
    given = environ.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return SecretStr(f"sqlite:///{Path(given) / 'poller.db'}")
    # The XDG specification has relative paths ignored.
    state = environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(state):  # noqa: PTH117 - an empty text is not a path
        home = Path(environ.get("HOME") or "~").expanduser()
        state = str(home / ".local" / "state")
    if not os.path.isabs(state):  # noqa: PTH117 - the same
        raise ValueError(f"has no default, because there is no home directory; set it, such as {_FORMS}")
    return SecretStr(f"sqlite:///{Path(state) / 'bedrock-poller' / 'poller.db'}")


def displayed(url: SecretStr) -> str:
    """Return the address without its password and its options, for logs and pages."""
    return make_url(url.get_secret_value()).set(query={}).render_as_string(hide_password=True)


def unverified_host(url: SecretStr, environ: Mapping[str, str]) -> str | None:
    """The host of a database server on a network whose identity is not verified; `None` if there is none.

    Without `sslmode=verify-full`, an attacker between the program and the server can read the password.
    """
    parsed = make_url(url.get_secret_value())
    query = {name: value if isinstance(value, str) else value[-1] for name, value in parsed.query.items()}
    host = query.get("host") or parsed.host or environ.get("PGHOST", "")
    if parsed.get_backend_name() == "sqlite" or not host or host.startswith(("/", "@")):
        return None
    mode = query.get("sslmode") or environ.get("PGSSLMODE", "")
    return None if mode == "verify-full" or _is_local(host) else host


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def has_password(url: str) -> bool:
    """Whether an address holds a password; not if it cannot be read as one."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return False
    return parsed.password is not None or "password" in parsed.query


def refuse_password(url: SecretStr) -> None:
    """See that an address leaves the password to a file.

    Raises:
        ValueError: It names a file, or has a password itself.
    """
    parsed = make_url(url.get_secret_value())
    if parsed.get_backend_name() == "sqlite":
        raise ValueError("is for PostgreSQL, and url names a SQLite file; remove it")
    if has_password(url.get_secret_value()):
        raise ValueError("is set, and url has a password as well; keep one of them")


def _check(url: SecretStr) -> SecretStr:
    text = url.get_secret_value()
    refuse_placeholder(text)
    scheme = text.partition("://")[0]
    if scheme not in _ACCEPTED:
        raise ValueError(f"is not the address of a supported database; write {_FORMS}")
    try:
        database = make_url(text).database
    except (ArgumentError, ValueError):
        database = None
        malformed = True
    else:
        malformed = False
    # Outside of the `except`, because the parser's own error quotes parts of the address.
    if malformed:
        raise ValueError(
            f"cannot be read as an address; write {_FORMS}, and %-encode special characters in the password"
        )
    if scheme == "sqlite" and database in (None, "", ":memory:"):
        raise ValueError("names no file, and a database in memory forgets; write sqlite:////absolute/path.db")
    return url


StoreUrl = Annotated[
    SecretStr,
    AfterValidator(_check),
    WithJsonSchema(
        {
            "type": "string",
            "format": "password",
            "writeOnly": True,
            "pattern": r"^(sqlite|postgresql(\+psycopg)?)://",
        }
    ),
]
"""The address of a supported database, kept out of logs because it may carry a password."""
