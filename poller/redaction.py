"""Takes out of every text what must not be shown: the one place that knows secrets and their encodings.

Code that reads a secret registers it. Code that shows a text passes it through here first: a log line, an
error, an excerpt of an answer, a terminal, a page. A text is redacted before it is cut, because half a secret
matches nothing. Passwords in addresses and signatures are known by their form, and fields of the log whose
names sound secret lose their values.

What strangers wrote (job names, messages, answers of receivers, errors of AWS) reaches a terminal through
`printable`. Brackets are markup for rich only, so such texts go to rich as `Text`, which has no markup.
"""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
import threading
from collections import deque
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

REDACTED = "[secret]"
"""What stands where a secret stood."""

EXCERPT_LENGTH = 200
"""Characters of a stranger's text that go into a message."""

_SHORTEST = 6
_LONGEST_WORD = 12
"""From this length on, letters alone count as a secret as well."""
_SHORTEST_URL_PART = 15
_GENERATIONS = 3
_PASSWORD = re.compile(
    r"(?P<before>://[^/\s:@'\"]*:|\bpassword=)(?!\[secret\])(?P<secret>(?<=:)[^@\s/'\"]+(?=@)|(?<==)[^\s&'\"]+)"
)
"""A password in an address or in a string of connection parameters, whatever it is."""
_SIGNATURE = re.compile(r"v1(?:,|%2[Cc])(?:[A-Za-z0-9+/=]|%[0-9A-Fa-f]{2}|\\/){40,}")
"""A receiver may echo the signature of an earlier attempt, which is not registered."""
_SECRET_FIELDS = (
    "secret",
    "password",
    "authorization",
    "signature",
    "credential",
    "session_token",
    "external_id",
)
_SEPARATORS = re.compile(r"""[\s;,"']+|(?<=[A-Za-z0-9_-])=(?=[^=\s;,])""")
"""What separates the parts of a structured value; the padding of base64 separates nothing."""


class _Registered:
    """The registered secrets in every form that they may be written in."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forms: set[str] = set()
        self._rotating: dict[Hashable, deque[frozenset[str]]] = {}
        self._sorted: tuple[str, ...] | None = ()

    def add(self, forms: frozenset[str]) -> None:
        with self._lock:
            if not forms <= self._forms:
                self._forms |= forms
                self._sorted = None

    def rotate(self, owner: Hashable, forms: frozenset[str]) -> None:
        with self._lock:
            self._rotating.setdefault(owner, deque(maxlen=_GENERATIONS)).append(forms)
            self._sorted = None

    def longest_first(self) -> tuple[str, ...]:
        with self._lock:
            if self._sorted is None:
                rotating = (forms for kept in self._rotating.values() for forms in kept)
                self._sorted = _longest_first(self._forms.union(*rotating))
            return self._sorted


_registered = _Registered()


def printable(text: str, *, keep: str = "") -> str:
    """Escape everything in a text that a terminal would act on, as Python writes it; line breaks included.

    Args:
        text: A foreign text.
        keep: Characters that stay as they are, such as the line breaks of a traceback.
    """
    # str.isprintable is false for controls, format characters (bidirectional ones too), and lone surrogates.
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode()
        for char in text
    )


def register_secret(*values: str) -> None:
    """Redact these texts, and their usual encodings, from everything that is shown from now on.

    What is short, or a word such as `poller` or `Bearer`, is redacted only as the password of an address:
    elsewhere it would hide what is not secret.
    """
    _registered.add(_forms(filter(_is_distinctive, values)))


def register_rotating_secret(owner: Hashable, *values: str) -> None:
    """The same for secrets that are replaced again and again; of each owner the last few are remembered."""
    _registered.rotate(owner, _forms(filter(_is_distinctive, values)))


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Replace every secret in a text.

    Args:
        text: What is to be shown.
        secrets: Further secrets besides the registered ones, however short.
    """
    return _redact(text, _known(secrets))


def excerpt(text: str | bytes, secrets: Iterable[str] = (), *, length: int = EXCERPT_LENGTH) -> str:
    """Make what a stranger wrote fit to be shown: secrets redacted, on one line, printable, short.

    Args:
        text: What was read of it; if it ends within a secret, that part is redacted as well.
        secrets: Further secrets besides the registered ones; a receiver may echo what it was sent.
        length: Characters of the result.
    """
    forms = _known(secrets)
    whole = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    shown = _redact_end(_redact(whole, forms).strip(), forms)
    shown = printable(shown[: length + 1])
    return shown if len(shown) <= length else shown[: length - 1] + "…"


def redact_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Redact the values of a record at any depth, and every value whose name sounds secret."""
    return {
        redact(str(name)): REDACTED if _sounds_secret(str(name)) and value else _redact_value(value)
        for name, value in fields.items()
    }


def secret_parts(secret: str) -> Iterator[str]:
    """A secret, and what of it is one by itself and might be shown alone: a token, a password, a key.

    `Token token="…"`, `a=…; b=…` and `id,…` are taken apart, and credentials in base64 as in `Basic …` are
    decoded. Of a receiver's address, parts count from a length on that words rarely have.
    """
    for word in dict.fromkeys((secret.strip(), *secret.split(), *_SEPARATORS.split(secret))):
        yield word
        yield word.removeprefix("whsec_")
        yield from _credentials(word)
        if "://" not in word:
            continue
        try:
            url = urlsplit(word)
            yield unquote(url.password or "")
            yield url.password or ""
        except ValueError:  # not an address after all
            continue
        if url.scheme in {"http", "https"}:
            behind = word.partition("://")[2].partition("/")[2]
            for part in (behind, url.username or "", *re.split(r"[/?&=#]", behind)):
                if len(part) >= _SHORTEST_URL_PART:
                    yield part
                    yield unquote(part)


def _credentials(word: str) -> Iterator[str]:
    """What `user:password` holds, plain or in base64; a value of a longer kind than a name and a password."""
    try:
        decoded = base64.b64decode(word + "=" * (-len(word) % 4), validate=True).decode()
    except (binascii.Error, ValueError):
        decoded = ""
    if decoded.isprintable() and ":" in decoded:
        yield decoded
        word = decoded
    if ":" in word and "://" not in word:
        yield word.partition(":")[2]


def _known(secrets: Iterable[str]) -> Sequence[str]:
    registered = _registered.longest_first()
    further = _forms(filter(None, secrets))
    return _longest_first(further.union(registered)) if further else registered


def _longest_first(forms: Iterable[str]) -> tuple[str, ...]:
    # Where one secret is a part of another, nothing of the longer one is left over.
    return tuple(sorted(forms, key=lambda form: (-len(form), form)))


def _redact(text: str, forms: Iterable[str]) -> str:
    for form in forms:
        if form in text:
            text = text.replace(form, REDACTED)
    if "password" in text or "://" in text:
        text = _PASSWORD.sub(rf"\g<before>{REDACTED}", text)
    return _SIGNATURE.sub(REDACTED, text) if "v1" in text else text


def _redact_end(text: str, forms: Iterable[str]) -> str:
    """Redact the beginning of a secret at the end of a text, which may have been cut there."""
    begun = max(
        (
            length
            for form in forms
            for length in range(_SHORTEST, min(len(form), len(text) + 1))
            if form[length - 1] == text[-1] and text.endswith(form[:length])
        ),
        default=0,
    )
    return text[: len(text) - begun] + REDACTED if begun else text


def _redact_value(value: Any) -> Any:
    match value:
        case str():
            return redact(value)
        case dict():
            return redact_fields(value)
        case list() | tuple():
            return [_redact_value(item) for item in value]
        case None | bool() | int() | float():
            return value
        case _:
            return redact(str(value))


def _sounds_secret(name: str) -> bool:
    return any(word in name.lower() for word in _SECRET_FIELDS)


def _is_distinctive(value: str) -> bool:
    if len(value) < _SHORTEST:
        return False
    is_word = value.isalpha() and (value.islower() or value.isupper() or value.istitle())
    return len(value) >= _LONGEST_WORD or not is_word


def _forms(values: Iterable[str]) -> frozenset[str]:
    """The values as they are, and as an exception, JSON, an address, a page or a header shows them."""
    return frozenset(form for value in values for form in _forms_of(value))


def _forms_of(value: str) -> Iterator[str]:
    escaped = json.dumps(value)[1:-1]
    yield from (value, repr(value)[1:-1], escaped, escaped.replace("/", "\\/"), html.escape(value))
    yield from (quote(value, safe=safe, errors="replace") for safe in ("", "/"))
    yield quote_plus(value, errors="replace")
    if len(value) < _SHORTEST:
        return
    raw = value.encode("utf-8", "surrogatepass")
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        # Without what stands at its end for padding or depends on what follows.
        text = encode(raw).decode().rstrip("=")
        yield text if len(raw) % 3 == 0 else text[:-1]
