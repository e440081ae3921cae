"""Logging: dotted event names with keys and values, as JSON or for a terminal, on standard error.

Standard output belongs to the `log` sink. Two nets keep secrets out: values that were registered as secret
are struck from every text, and keys that sound secret lose their value. Control characters are escaped, so
that a job's name cannot forge a line.
"""

from __future__ import annotations

import logging
import sys
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import structlog

from poller.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping

_STRUCK = "[secret]"
_SHORTEST_SECRET = 6
_TELLING = ("secret", "password", "authorization", "signature", "credential", "session_token", "external_id")

_secrets: set[str] = set()
_lock = threading.Lock()


def conceal(values: Iterable[str]) -> None:
    """Strike these texts from everything that is logged from now on; very short ones would strike words."""
    known = [value for value in values if len(value) >= _SHORTEST_SECRET]
    with _lock:
        # Also as an exception or an address would show it.
        _secrets.update(form for value in known for form in (value, repr(value)[1:-1], quote(value, safe="")))


def strike(text: str) -> str:
    """Remove every registered secret from a text."""
    with _lock:
        secrets = sorted(_secrets, key=len, reverse=True)
    for secret in secrets:
        text = text.replace(secret, _STRUCK)
    return text


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
    tail: list[structlog.typing.Processor] = [structlog.processors.format_exc_info, redact]
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


def redact(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:  # structlog's processor signature
    """Strike secrets from an event, in keys that sound like one and in values that are one."""
    return {key: _STRUCK if _tells(key) and value else _clean(value) for key, value in event.items()}


def _tells(key: str) -> bool:
    return any(word in key.lower() for word in _TELLING)


def _clean(value: Any) -> Any:
    match value:
        case str():
            return strike(value)
        case dict():
            return {
                strike(str(key)): _STRUCK if _tells(str(key)) and item else _clean(item)
                for key, item in value.items()
            }
        case list() | tuple():
            return [_clean(item) for item in value]
        case None | bool() | int() | float():
            return value
        case _:
            return strike(str(value))


def _escape(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {
        printable(key): _printable(key, value) if isinstance(value, str) else value
        for key, value in event.items()
    }


def _printable(key: str, text: str) -> str:
    # A traceback keeps its lines; it is the only field that may have any.
    kept = "\n" if key == "exception" else ""
    return printable(text, keep=kept)
