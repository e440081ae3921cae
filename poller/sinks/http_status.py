"""What an HTTP answer means for a delivery; shared by every sink that speaks HTTP.

Pure. Three questions decide: did the receiver take the event, is it worth trying again for long, and when.

    2xx                            taken
    3xx                            failure; never followed, since it would send the event to a stranger
    401 403 404                    the way to the receiver, not the event: try again for long
    408 425 429, 5xx, all others   try again for long, not before what Retry-After says
    410                            the receiver is gone for good: park the sink, keep its events
    413                            too large, refused as such: a short schedule, then a dead letter
    every other 4xx                refused as such: a short schedule, then a dead letter

An ingress answers 404 while a rollout leaves it without a backend. A gateway answers 401 or 403 while its
authentication service is down or a token is replaced. None of them judged the event, and all of them pass.
The short schedule is at least five attempts and at least 15 minutes; see `poller.retry`.
"""

from __future__ import annotations

import html
import json
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

from poller.errors import DeliveryError, DeliveryReason

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST_RETRY_AFTER = 4 * 3600.0
"""Seconds; a receiver that asks for more gets this. The same as the default ceiling between two attempts."""

EXCERPT_LENGTH = 200
"""Characters of an answer's body that go into a message."""

REDACTED = "[redacted]"
"""What stands in a message where a secret stood."""

_TEMPORARY = frozenset({401, 403, 404, 408, 425, 429})
_SIGNATURE = re.compile(r"v1(?:,|%2[Cc])(?:[A-Za-z0-9+/=]|%[0-9A-Fa-f]{2}|\\/){40,}")
_SECONDS = re.compile(r"\d+(?:\.\d*)?", re.ASCII)


def is_taken(status: int) -> bool:
    """Whether the receiver took the event: any 2xx."""
    return 200 <= status < 300  # noqa: PLR2004 - the class of success


def classify(
    status: int, *, receiver: str, retry_after: float | None = None, excerpt: str = ""
) -> DeliveryError:
    """Judge an answer that `is_taken` denies, and return the error to raise.

    Args:
        status: The status code.
        receiver: Who answered, as it may be shown: scheme, host and port.
        retry_after: What the answer's Retry-After came to, in seconds.
        excerpt: A part of its body, already fit to be shown; see `excerpt_of`.
    """
    message = f"{receiver} answered {_with_phrase(status)}" + (f": {excerpt}" if excerpt else "")
    if status == HTTPStatus.GONE:
        return DeliveryError(message, reason=DeliveryReason.GONE, park=True)
    if 400 <= status < 500 and status not in _TEMPORARY:  # noqa: PLR2004 - the class of client errors
        too_large = status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        reason = DeliveryReason.TOO_LARGE if too_large else DeliveryReason.CLIENT_ERROR
        return DeliveryError(message, reason=reason, permanent=True)
    return DeliveryError(message, reason=_temporary_reason(status), retry_after=retry_after)


def _with_phrase(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _temporary_reason(status: int) -> DeliveryReason:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return DeliveryReason.RATE_LIMITED
    return {
        3: DeliveryReason.REDIRECT,
        4: DeliveryReason.CLIENT_ERROR,
        5: DeliveryReason.SERVER_ERROR,
    }.get(status // 100, DeliveryReason.RESPONSE)


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Read a Retry-After header: RFC 9110 section 10.2.3, seconds or a date.

    Args:
        value: The header, `None` if there was none.
        now: The time to count a date from, timezone-aware; best the answer's own `Date`, since a receiver
            counts by its own clock.

    Returns:
        Seconds between 0 and `LONGEST_RETRY_AFTER`; `None` for anything that is neither form.
    """
    if value is None:
        return None
    text = value.strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), LONGEST_RETRY_AFTER)
    moment = parse_http_date(text)
    if moment is None:
        return None
    return min(max((moment - now).total_seconds(), 0.0), LONGEST_RETRY_AFTER)


def parse_http_date(value: str | None) -> datetime | None:
    """Read a date in any of the three forms of RFC 9110 section 5.6.7; `None` for anything else."""
    try:
        moment = parsedate_to_datetime(value or "")
        # `asctime` writes no zone, and the RFC says which one is meant.
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError, IndexError, TypeError):
        return None


def excerpt_of(body: bytes, secrets: Iterable[str] = ()) -> str:
    """Make an answer's body fit to be shown: secrets redacted, on one line, printable, short.

    Args:
        body: What was read of it.
        secrets: What must not be shown, as a receiver may echo it.
    """
    text = redact(body.decode("utf-8", "replace"), secrets).strip()[: EXCERPT_LENGTH + 1]
    printable = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return printable if len(printable) <= EXCERPT_LENGTH else printable[: EXCERPT_LENGTH - 1] + "…"


def redact(text: str, secrets: Iterable[str]) -> str:
    """Replace every secret in `text`, also where it stands percent-encoded or escaped for JSON or HTML.

    Signatures are replaced by their form, because a receiver may echo that of an earlier attempt.
    """
    forms = {form for secret in secrets if secret for form in _forms(secret)}
    # Longest first: where one secret is a part of another, none of the longer one is left over.
    for form in sorted(forms, key=lambda form: (-len(form), form)):
        text = text.replace(form, REDACTED)
    return _SIGNATURE.sub(REDACTED, text)


def _forms(secret: str) -> set[str]:
    escaped = json.dumps(secret)[1:-1]
    return {
        secret,
        quote(secret, errors="replace"),
        quote(secret, safe="", errors="replace"),
        quote_plus(secret, errors="replace"),
        html.escape(secret),
        escaped,
        escaped.replace("/", "\\/"),
    }
