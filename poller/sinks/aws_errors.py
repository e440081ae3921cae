"""What a failed call to an AWS service means for a delivery; shared by every sink that uses the AWS SDK.

Pure. The messages carry the service's words, bounded, but nothing about credentials: the answer to a wrong
signature quotes the signed request with its session token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore import exceptions as aws
from botocore.parsers import ResponseParserError

from poller import aws_codes
from poller.errors import DeliveryError, DeliveryReason
from poller.redaction import excerpt

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOT_ABOUT_THE_EVENT = (
    aws_codes.TRANSIENT | aws_codes.ACCESS_DENIED | aws_codes.NOT_FOUND | aws_codes.UNUSABLE_KEY
)
"""Refusals that a change at the receiver lifts, like 401, 403 and 404 of HTTP: tried for long."""

_CLIENT_ERRORS = 4

# Most specific first: ConnectTimeoutError, ProxyConnectionError and SSLError are all connection errors.
_LIBRARY: tuple[tuple[tuple[type[Exception], ...], DeliveryReason, str], ...] = (
    ((aws.ConnectTimeoutError, aws.ReadTimeoutError), DeliveryReason.TIMEOUT, "no answer in time"),
    ((aws.SSLError,), DeliveryReason.TLS, "no trusted TLS connection"),
    ((aws.EndpointConnectionError, aws.ProxyConnectionError), DeliveryReason.CONNECT, "cannot connect"),
    (
        (
            aws.NoCredentialsError,
            aws.PartialCredentialsError,
            aws.CredentialRetrievalError,
            aws.MetadataRetrievalError,
            aws.TokenRetrievalError,
            aws.NoAuthTokenError,
            aws.SSOError,
            aws.ProfileNotFound,
        ),
        DeliveryReason.CREDENTIALS,
        "no usable AWS credentials",
    ),
    (
        (aws.HTTPClientError, aws.IncompleteReadError, ResponseParserError, LookupError),
        DeliveryReason.RESPONSE,
        "no usable answer",
    ),
)


def from_botocore(error: Exception, service: str) -> DeliveryError:
    """Translate what a call of a boto3 client raised.

    Args:
        error: A `ClientError`, which the service answered, or whatever else the SDK raises where it did not
            get that far: a `BotoCoreError`, mostly.
        service: The service's name, as it is shown.
    """
    if isinstance(error, aws.ClientError):
        answer = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        refused = status // 100 == _CLIENT_ERRORS
        return _from_code(
            str(answer.get("Code", "")), str(answer.get("Message", "")), service, refused=refused
        )
    # botocore has no type of its own for a name that does not resolve.
    if "NameResolutionError" in repr(getattr(error, "kwargs", {}).get("error", "")):
        return DeliveryError(f"{service}: the endpoint's name does not resolve", reason=DeliveryReason.DNS)
    for types, reason, what in _LIBRARY:
        if isinstance(error, types):
            return DeliveryError(f"{service}: {what} ({type(error).__name__})", reason=reason)
    return DeliveryError(f"{service}: {type(error).__name__}", reason=DeliveryReason.SINK)


def from_batch_entry(entry: Mapping[str, Any] | None, service: str) -> DeliveryError:
    """Translate one failed entry of a batch; `None` for one that the answer forgot."""
    if entry is None:
        return DeliveryError(f"{service} did not say what became of it", reason=DeliveryReason.RESPONSE)
    return _from_code(
        str(entry.get("Code", "")),
        str(entry.get("Message", "")),
        service,
        refused=bool(entry.get("SenderFault")),
    )


def _from_code(code: str, message: str, service: str, *, refused: bool) -> DeliveryError:
    said = excerpt(f"{service} answered {code}: {message}")
    if code in aws_codes.THROTTLED:
        return DeliveryError(said, reason=DeliveryReason.RATE_LIMITED)
    if code in aws_codes.CREDENTIALS:
        return DeliveryError(f"{service} answered {code}", reason=DeliveryReason.CREDENTIALS)
    if code in aws_codes.TOO_LARGE:
        return DeliveryError(said, reason=DeliveryReason.TOO_LARGE, permanent=True)
    if refused:
        permanent = code not in _NOT_ABOUT_THE_EVENT
        return DeliveryError(said, reason=DeliveryReason.CLIENT_ERROR, permanent=permanent)
    return DeliveryError(said, reason=DeliveryReason.SERVER_ERROR)
