"""Reads the configuration with the sinks that exist."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel, SecretStr
from sqlalchemy.engine import make_url

from poller.app.overlaps import Overlap, overlaps
from poller.errors import ConfigError
from poller.redaction import register_secret, secret_parts
from poller.settings.certificates import not_after
from poller.settings.loading import load
from poller.settings.schema import configuration
from poller.settings.secrets import exposed_mode, watch_exposed
from poller.settings.store_url import unverified_host
from poller.sinks import registry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from poller.settings.schema import Settings

_SOUNDS_SECRET = re.compile(
    r"(secret|password|passwd|passphrase|token|api_?key|private_?key|credential|authorization|dsn|cookie)"
    r"(?!.*_files?$)",
    re.IGNORECASE,
)
"""Names of settings that hold secrets; those that end in `_file` hold paths."""
_SHORTEST = 6
"""Characters from which on a text in the configuration can be told from other words."""


@dataclass(frozen=True, slots=True)
class Exposed:
    """A file that every user of the machine can read and should not, with its mode: `0644`."""

    event: ClassVar = "secret_file.exposed"
    file: Path
    mode: str
    holds: str = "a secret"

    @property
    def details(self) -> dict[str, str]:
        """What the log tells."""
        remedy = f"chmod 600 {shlex.quote(str(self.file))}"
        return {"file": str(self.file), "mode": self.mode, "remedy": remedy}

    def __str__(self) -> str:
        what = f"holds {self.holds}, and every user of this machine can read it (mode {self.mode})"
        return f"{self.file} {what}; {self.details['remedy']}"


@dataclass(frozen=True, slots=True)
class Expired:
    """A certificate of the web server that has ended."""

    event: ClassVar = "certificate.expired"
    file: Path
    since: datetime

    @property
    def details(self) -> dict[str, str]:
        """What the log tells."""
        remedy = "have it renewed; no reload is needed then"
        return {"file": str(self.file), "since": self.since.isoformat(), "remedy": remedy}

    def __str__(self) -> str:
        return f"{self.file} holds a certificate that ended on {self.since:%Y-%m-%d}; have it renewed"


@dataclass(frozen=True, slots=True)
class Unverified:
    """A database server on a network, whose identity is not checked."""

    event: ClassVar = "store.server_unverified"
    host: str

    @property
    def details(self) -> dict[str, str]:
        """What the log tells."""
        return {"host": self.host, "remedy": "add sslmode=verify-full and sslrootcert=… to store.url"}

    def __str__(self) -> str:
        return (
            f"store.url: nothing verifies that {self.host} is the database server, so the password may go to"
            f" another; {self.details['remedy']}"
        )


def settings_model() -> type[Settings]:
    """The concrete model, with every sink's settings."""
    return configuration(registry.settings_types())


def load_settings(path: Path | None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read a configuration file, or the defaults, and the environment.

    Raises:
        ConfigError: With every problem at once, those of third parties' sinks included.
    """
    return load_with_warnings(path, environ)[0]


def load_with_warnings(
    path: Path | None, environ: Mapping[str, str] = os.environ
) -> tuple[Settings, list[Exposed | Expired | Overlap | Unverified]]:
    """As `load_settings`, and return what is valid and yet a risk.

    Raises:
        ConfigError: As `load_settings`.
    """
    broken = registry.problems()
    try:
        with watch_exposed() as exposed:
            settings = load(path, sink_types=registry.settings_types(), environ=environ)
    except ConfigError as error:
        raise ConfigError([*error.problems, *broken]) from None
    if broken:
        raise ConfigError(broken)
    secrets = set(_secrets(settings))
    register_secret(*secrets)
    found: list[Exposed | Expired | Overlap | Unverified]
    found = [Exposed(file, f"{mode:04o}") for file, mode in exposed.items()]
    found += _readable(settings, path, secrets)
    if host := unverified_host(settings.store.url, environ):
        found.append(Unverified(host))
    return settings, [*found, *_expired(settings), *overlaps(settings)]


def _readable(settings: Settings, path: Path | None, secrets: set[str]) -> Iterator[Exposed]:
    """The configuration, if a secret stands in it, and the files of the database, if all can read them."""
    if path is not None and (mode := exposed_mode(path)) is not None:
        text = path.read_text(errors="replace")
        # Of an address, its password and its telling parts are among the secrets by themselves.
        telling = (secret for secret in secrets if "://" not in secret and len(secret) >= _SHORTEST)
        if any(secret in text for secret in telling):
            yield Exposed(path, f"{mode:04o}")
    database = make_url(settings.store.url.get_secret_value())
    if database.get_backend_name() == "sqlite" and database.database:
        for end in ("", "-wal"):
            file = Path(database.database + end)
            if (mode := exposed_mode(file)) is not None:
                yield Exposed(file, f"{mode:04o}", holds="the names and messages of jobs")


def _expired(settings: Settings) -> Iterator[Expired]:
    tls = settings.web.tls
    if tls is not None and (since := not_after(tls.cert_file)) < datetime.now(UTC):
        yield Expired(tls.cert_file, since)


def _sealed(name: str, value: object) -> object:
    """A setting of a third party's sink counts as a secret if it is called like one."""
    return SecretStr(value) if isinstance(value, str) and _SOUNDS_SECRET.search(name) else value


def _secrets(value: object) -> Iterator[str]:
    """Every secret that stands in the configuration; those in files are concealed when they are read."""
    match value:
        case SecretStr():
            yield from secret_parts(value.get_secret_value())
        case BaseModel():
            for name in type(value).model_fields:
                yield from _secrets(_sealed(name, getattr(value, name)))
        case Mapping():
            for name, item in value.items():
                yield from _secrets(_sealed(str(name), item))
        case tuple() | list():
            for item in value:
                yield from _secrets(item)
        case _:
            return
