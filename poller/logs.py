"""Logging: dotted event names with keys and values, as JSON or for a terminal, on standard error.

Standard output belongs to the `log` sink. Two nets keep secrets out: values that were registered as secret
are struck from every text, and keys that sound secret lose their value. Control characters are escaped, so
that a job's name cannot forge a line.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import structlog

from poller.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, MutableMapping

_STRUCK = "[secret]"
_SHORTEST_SECRET = 6
_LONGEST_WORD = 12
"""From this length on, letters alone count as a secret as well."""
_GENERATIONS = 3
_IN_CONTEXT = re.compile(
    r"(?P<before>://[^/\s:@'\"]*:|\bpassword=)(?!\[secret\])(?P<secret>(?<=:)[^@\s/'\"]+(?=@)|(?<==)[^\s&'\"]+)"
)
"""A password in an address or in a string of connection parameters, whatever it is."""
_TELLING = ("secret", "password", "authorization", "signature", "credential", "session_token", "external_id")

_secrets: set[str] = set()
_rotating: dict[Hashable, deque[frozenset[str]]] = {}
_longest_first: tuple[str, ...] | None = ()
_lock = threading.Lock()


def conceal(values: Iterable[str]) -> None:
    """Strike these texts, and their usual encodings, from everything that is logged from now on.

    What is short, or a word such as `poller` or `Bearer`, is struck only as the password of an address:
    elsewhere it would strike what is no secret.
    """
    global _longest_first  # noqa: PLW0603 - one process has one log
    found = _forms_of(values)
    with _lock:
        if not found <= _secrets:
            _secrets.update(found)
            _longest_first = None


def conceal_rotating(owner: Hashable, values: Iterable[str]) -> None:
    """The same for secrets that are replaced again and again; of each owner the last few are remembered."""
    global _longest_first  # noqa: PLW0603 - one process has one log
    found = _forms_of(values)
    with _lock:
        _rotating.setdefault(owner, deque(maxlen=_GENERATIONS)).append(found)
        _longest_first = None


def strike(text: str) -> str:
    """Remove every registered secret from a text, and the password of every address."""
    global _longest_first  # noqa: PLW0603 - one process has one log
    with _lock:
        if _longest_first is None:
            every = _secrets.union(*(each for kept in _rotating.values() for each in kept))
            _longest_first = tuple(sorted(every, key=len, reverse=True))
        secrets = _longest_first
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, _STRUCK)
    if "password" in text or "://" in text:
        text = _IN_CONTEXT.sub(rf"\g<before>{_STRUCK}", text)
    return text


def _forms_of(values: Iterable[str]) -> frozenset[str]:
    """The values that can be told from words, each also as an exception, an address or a header shows it."""
    return frozenset(
        form
        for value in values
        if _is_telling(value)
        for form in (
            value,
            repr(value)[1:-1],
            json.dumps(value)[1:-1],
            quote(value, safe=""),
            quote_plus(value),
            *_encoded(value),
        )
    )


def _is_telling(value: str) -> bool:
    if len(value) < _SHORTEST_SECRET:
        return False
    is_word = value.isalpha() and (value.islower() or value.isupper() or value.istitle())
    return len(value) >= _LONGEST_WORD or not is_word


def _encoded(value: str) -> Iterator[str]:
    """The value in base64, without what stands at its end for padding or depends on what follows."""
    raw = value.encode("utf-8", "surrogatepass")
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(raw).decode().rstrip("=")
        yield text if len(raw) % 3 == 0 else text[:-1]


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
