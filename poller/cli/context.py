"""What every command gets from the global options."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from poller.settings.schema import Settings
    from poller.store import Database


@dataclass(frozen=True, slots=True)
class Context:
    """The global options.

    Args:
        config: The configuration file.
        level: The log level, if given.
        form: The log format, if given.
    """

    config: Path | None = None
    level: str | None = None
    form: str | None = None

    def settings(self, *, starting: bool = False) -> Settings:
        """Read the configuration and set up logging by it.

        Args:
            starting: Also log what is valid and yet a risk.

        Raises:
            ConfigError: With every problem at once.
        """
        from poller import logs
        from poller.app.configuration import load_with_warnings

        settings, risks = load_with_warnings(self.config)
        self.logging(settings.log.level, settings.log.format)
        for each in risks if starting else ():
            logs.get(__name__).warning(each.event, **each.details)
        return settings

    def logging(self, level: str = "info", form: str | None = None) -> None:
        """Set up logging; the options go before what is given."""
        from poller import logs

        fallback = "console" if sys.stderr.isatty() else "json"
        logs.configure(level=self.level or level, form=self.form or form or fallback)


def store_of(settings: Settings) -> closing[Database]:
    """The configured store, for a `with` block, which closes it at its end.

    Raises:
        StoreError: It cannot be opened.
    """
    from poller.store import Database

    return closing(Database.configured(settings.store))
