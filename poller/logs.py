"""Logging: dotted event names with keys and values, as JSON or for a terminal, on standard error.

Standard output belongs to the `log` sink. Every line passes through `poller.redaction`. Control characters
are escaped, so that a job's name cannot forge a line.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import structlog

from poller.redaction import printable, redact_fields

if TYPE_CHECKING:
    from collections.abc import MutableMapping


def get(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of a module."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def configure(*, level: str, form: str) -> None:
    """Set up logging for the process.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        form: `json` or `console`.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    tail: list[structlog.typing.Processor] = [structlog.processors.format_exc_info, _redact]
    renderer: structlog.typing.Processor
    if form == "json":
        renderer = structlog.processors.JSONRenderer(default=str)
    else:
        tail.append(_escape)
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *tail, renderer],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    # Libraries speak from warnings up; at debug level botocore would print credentials' scopes and bodies.
    logging.getLogger("poller").setLevel(level.upper())
    for chatty in ("botocore", "boto3", "urllib3", "uvicorn", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # It warns at every run that a long poll makes it skip, which is how it is meant to be.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    # A refused AssumeRole is reported by the poll; this one would add a traceback each time.
    logging.getLogger("botocore.credentials").setLevel(logging.ERROR)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return redact_fields(event)


def _escape(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {
        printable(key): _printable(key, value) if isinstance(value, str) else value
        for key, value in event.items()
    }


def _printable(key: str, text: str) -> str:
    # A traceback keeps its lines; it is the only field that may have any.
    kept = "\n" if key == "exception" else ""
    return printable(text, keep=kept)
