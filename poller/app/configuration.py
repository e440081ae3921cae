"""Reads the configuration with the sinks and kinds that exist."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel, SecretStr

from poller import logs
from poller.app.overlaps import Overlap, overlaps
from poller.errors import ConfigError
from poller.kinds import KINDS
from poller.settings.certificates import ends
from poller.settings.loading import load
from poller.settings.schema import configuration
from poller.settings.secrets import parts_of, watch_exposed
from poller.sinks import registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from poller.settings.schema import Settings

_SOUNDS_SECRET = re.compile(
    r"(secret|password|passwd|passphrase|token|api_?key|private_?key|credential|authorization|dsn|cookie)"
    r"(?!.*_files?$)",
    re.IGNORECASE,
)
"""Names of settings that hold secrets; those that end in `_file` hold paths."""


@dataclass(frozen=True, slots=True)
class Exposed:
    """A secret file that every user of the machine can read, with its mode: `0644`."""

    event: ClassVar = "secret_file.exposed"
    file: Path
    mode: str

    @property
    def details(self) -> dict[str, str]:
        """What the log tells."""
        remedy = f"chmod 600 {shlex.quote(str(self.file))}"
        return {"file": str(self.file), "mode": self.mode, "remedy": remedy}

    def __str__(self) -> str:
        what = f"holds a secret, and every user of this machine can read it (mode {self.mode})"
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


def statuses() -> dict[str, frozenset[str]]:
    """The statuses of every kind, by its name."""
    return {name: kind.statuses for name, kind in KINDS.items()}


def settings_model() -> type[Settings]:
    """The concrete model, with every sink's settings."""
    return configuration(registry.settings_types(), statuses())


def load_settings(path: Path | None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read a configuration file, or the defaults, and the environment.

    Raises:
        ConfigError: With every problem at once, those of third parties' sinks included.
    """
    return load_with_warnings(path, environ)[0]


def load_with_warnings(
    path: Path | None, environ: Mapping[str, str] = os.environ
) -> tuple[Settings, list[Exposed | Expired | Overlap]]:
    """As `load_settings`, and say what is no mistake and yet a risk.

    Raises:
        ConfigError: As `load_settings`.
    """
    broken = registry.problems()
    try:
        with watch_exposed() as exposed:
            settings = load(path, sink_types=registry.settings_types(), kinds=statuses(), environ=environ)
    except ConfigError as error:
        raise ConfigError([*error.problems, *broken]) from None
    if broken:
        raise ConfigError(broken)
    logs.conceal(_secrets(settings))
    exposures = (Exposed(file, f"{mode:04o}") for file, mode in exposed.items())
    return settings, [*exposures, *_expired(settings), *overlaps(settings)]


def _expired(settings: Settings) -> Iterator[Expired]:
    tls = settings.web.tls
    if tls is not None and (since := ends(tls.cert_file)) < datetime.now(UTC):
        yield Expired(tls.cert_file, since)


def _sealed(name: str, value: object) -> object:
    """A setting of a third party's sink counts as a secret if it is called like one."""
    return SecretStr(value) if isinstance(value, str) and _SOUNDS_SECRET.search(name) else value


def _secrets(value: object) -> Iterator[str]:
    """Every secret that stands in the configuration; those in files are concealed when they are read."""
    match value:
        case SecretStr():
            yield from parts_of(value.get_secret_value())
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
