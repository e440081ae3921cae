"""Every failure this program can name, in one tree.

    PollerError
    ├── ConfigError               the configuration or the command line is wrong (exit code 2)
    ├── StoreError                the database
    │   ├── SchemaError           its schema is missing, half-way, or newer than this program
    │   ├── CorruptStoreError     the file is not a sound database
    │   ├── LostStoreError        the file was deleted or replaced while it was open
    │   └── LeaseLostError        another replica holds the lease; nothing was written
    ├── AwsError                  a call to AWS, with the reason that labels metrics
    │   └── IncompleteScanError   a listing ended early; what it showed is true, what it lacks is not
    ├── ItemError                 one item of a listing cannot be understood; it is quarantined
    ├── MessageError              a message of a queue of wake-ups cannot be understood; it is deleted
    ├── WakeError                 the poll that a wake-up asked for has failed, or did not come
    ├── StoppedError              work given up because the process is shutting down
    └── DeliveryError             a sink did not take an event
        └── PartialDeliveryError  a sink took some events of a batch

Exceptions of the libraries below are translated where they are met, with `raise … from`. Messages never
contain a secret: whatever raises keeps credentials, signatures and secret file contents out of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class PollerError(Exception):
    """The root: anything this program raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the configuration.

    Args:
        where: The dotted key, such as `sinks.ops.url`; empty for the file as a whole.
        what: What is wrong and what would be right, in one sentence.
        file: The file it stands in, or the environment variable's name.
        line: Its line in the file, from 1; `None` where there is no line.
    """

    where: str
    what: str
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line) if part is not None)
        return ": ".join(part for part in (place, self.where, self.what) if part)


class ConfigError(PollerError):
    """The configuration is wrong; `problems` holds everything found, not just the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class StoreError(PollerError):
    """The database could not do what was asked; the transaction left no trace."""


class SchemaError(StoreError):
    """The database's schema is not the one this program works with."""


class CorruptStoreError(StoreError):
    """The database file is damaged or is not a database."""


class LostStoreError(StoreError):
    """The database file was deleted or replaced while it was open; what is written to it would be lost."""


class LeaseLostError(StoreError):
    """The lease on a target or delivery went to another replica; nothing was written."""


class AwsReason(StrEnum):
    """Why a call to AWS failed; the closed set behind the `reason` label of `poll_failures_total`."""

    ACCESS_DENIED = "access_denied"
    CREDENTIALS = "credentials"
    THROTTLED = "throttled"
    NOT_FOUND = "not_found"
    INVALID = "invalid"
    SERVICE = "service"
    NETWORK = "network"
    MALFORMED = "malformed"
    INCOMPLETE = "incomplete"


class AwsError(PollerError):
    """A call to AWS failed, after the SDK's own retries.

    Args:
        message: What failed, without request contents.
        reason: The closed-set reason.
        code: The service's own error code, such as `ThrottlingException`; empty where there was no answer.
    """

    def __init__(self, message: str, *, reason: AwsReason, code: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.code = code


class IncompleteScanError(AwsError):
    """A listing ended before its end: a loop of tokens, an expired token, a failed page."""

    def __init__(self, message: str, *, reason: AwsReason = AwsReason.INCOMPLETE, code: str = "") -> None:
        super().__init__(message, reason=reason, code=code)


class ItemError(PollerError):
    """One item cannot be understood.

    Args:
        message: What is wrong with it.
        reason: A closed-set word: `type`, `arn` or `status`.
        arn: The job, where it is known.
    """

    def __init__(self, message: str, *, reason: str, arn: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.arn = arn


class MessageError(PollerError):
    """A message of a queue of wake-ups cannot be understood; says why, without quoting it."""


class WakeError(PollerError):
    """The poll that a wake-up asked for has failed."""


class StoppedError(PollerError):
    """Work was given up because the process is shutting down; nothing was lost."""


class DeliveryReason(StrEnum):
    """Why a delivery failed; the closed set behind the `reason` label of `delivery_failures_total`."""

    TIMEOUT = "timeout"
    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    PROXY = "proxy"
    BLOCKED_ADDRESS = "blocked_address"
    RESPONSE = "response"
    REDIRECT = "redirect"
    RATE_LIMITED = "rate_limited"
    CLIENT_ERROR = "client_error"
    SERVER_ERROR = "server_error"
    GONE = "gone"
    TOO_LARGE = "too_large"
    CREDENTIALS = "credentials"
    SINK = "sink"


class RefusalReason(StrEnum):
    """Why the web server refused a request; the closed set behind `web_auth_failures_total`."""

    MISSING = "missing"
    """Nothing to authenticate with."""
    MALFORMED = "malformed"
    """Something that cannot be read, or of another scheme."""
    WRONG = "wrong"
    """No such user, password or token."""
    BUSY = "busy"
    """Too many passwords to check at once; it was not looked at."""
    UNREADABLE = "unreadable"
    """The file to hold it against cannot be used any more."""


class WakeUpResult(StrEnum):
    """What came of a message of a queue, for `wake_ups_total`; a later one counts rather than an earlier."""

    TEST = "test"
    """It asks for nothing: a test message of S3, or the removal of an object."""
    GARBAGE = "garbage"
    """It cannot be understood."""
    UNMATCHED = "unmatched"
    """It is about no job or place that is polled here."""
    COALESCED = "coalesced"
    """The poll that another message caused counts for it too."""
    POLLED = "polled"
    """It caused a poll, which has committed."""
    UNCONFIRMED = "unconfirmed"
    """Several polls have not shown what it says."""
    FAILED = "failed"
    """The poll or the store failed, so the message comes again."""


class DeliveryError(PollerError):
    """A sink did not take an event.

    Args:
        message: What the receiver said or what went wrong; safe to log, no secret, bounded in length.
        reason: The closed-set reason.
        permanent: The receiver refused the event as such: a short schedule of attempts, then a dead letter.
        retry_after: Seconds the receiver asked to be left alone, already checked; `None` if it did not ask.
        park: The receiver said it is gone for good: stop sending to this sink, keep its events.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: DeliveryReason,
        permanent: bool = False,
        retry_after: float | None = None,
        park: bool = False,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.permanent = permanent
        self.retry_after = retry_after
        self.park = park


class PartialDeliveryError(DeliveryError):
    """A sink took some events of a batch; `failures` maps the id of each other event to its error."""

    def __init__(self, failures: Mapping[str, DeliveryError]) -> None:
        super().__init__(f"{len(failures)} of a batch failed", reason=DeliveryReason.SINK)
        self.failures = dict(failures)
