"""Sinks to configure in tests, and short ways to load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest
from pydantic import Field, SecretStr, field_validator

from poller.errors import ConfigError
from poller.settings.loading import load
from poller.settings.secrets import SecretFile
from poller.settings.sinks import SinkSettings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from poller.errors import Problem
    from poller.settings.schema import Settings


class Log(SinkSettings):
    """A sink without settings of its own."""

    type: Literal["log"]


class Hook(SinkSettings):
    """A sink with secrets, one of whose validators is careless."""

    type: Literal["webhook"]
    url: str
    """Where to post. This is the second sentence."""
    verify: bool = True
    secret: SecretStr | None = None
    secret_file: SecretFile | None = None
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    mixed: list[int] | int = 1
    code: str = Field(default="A1", pattern="^[A-Z][0-9]$", examples=["A1"])

    @field_validator("secret")
    @classmethod
    def _careless(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith("good"):
            raise ValueError(f"cannot use {value.get_secret_value()!r}")
        return value


SINKS: Mapping[str, type[SinkSettings]] = {"log": Log, "webhook": Hook}


def load_file(path: Path | None, **environ: str) -> Settings:
    """Load a file with the test's sinks; the environment is a home and what is given."""
    return load(path, sink_types=SINKS, environ={"HOME": "/home/poller", **environ})


def load_text(directory: Path, text: str, **environ: str) -> Settings:
    """Load a configuration given as text."""
    path = directory / "config.yaml"
    path.write_text(text)
    return load_file(path, **environ)


def problems_of(path: Path | None, **environ: str) -> tuple[Problem, ...]:
    """What is wrong with a file."""
    with pytest.raises(ConfigError) as caught:
        load_file(path, **environ)
    return caught.value.problems


def problems_in(directory: Path, text: str, **environ: str) -> tuple[Problem, ...]:
    """What is wrong with a configuration given as text."""
    path = directory / "config.yaml"
    path.write_text(text)
    return problems_of(path, **environ)
