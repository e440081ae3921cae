"""What the error codes of AWS services mean: one table for polling, roles, metrics and sinks.

Services disagree on names: the same throttle is `Throttling`, `ThrottledException` or `SlowDown`. The SDK
keeps its own list of what counts as throttling and as transient (`botocore.retries.standard`). A test holds
this table against that list, so that a new release of the SDK cannot leave them apart. The SDK has no list of
codes about credentials; those are the common errors of the AWS query and JSON protocols, and those of S3.
"""

from __future__ import annotations

THROTTLED = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "KMSThrottling",
        "KMSThrottlingException",
        "KmsThrottled",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "Throttled",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)
"""The service asks for fewer requests; the same request succeeds later."""

TRANSIENT = frozenset({"RequestTimeout", "RequestTimeoutException"})
"""The request did not arrive in time; the same request succeeds later, although the status may be a 4xx."""

CREDENTIALS = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSecurity",
        "InvalidSignatureException",
        "InvalidToken",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "NotSignedUp",
        "OptInRequired",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "UnrecognizedClientException",
    }
)
"""The credentials, the signature or the clock behind it are not accepted."""

ACCESS_DENIED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
        "AuthorizationErrorException",
        "KMSAccessDenied",
        "KMSAccessDeniedException",
        "KmsAccessDenied",
        "NotAuthorized",
        "UnauthorizedOperation",
    }
)
"""The credentials are accepted and lack a permission."""

NOT_FOUND = frozenset(
    {
        "AWS.SimpleQueueService.NonExistentQueue",
        "NotFound",
        "NotFoundException",
        "QueueDoesNotExist",
        "ResourceNotFoundException",
    }
)
"""What the request names does not exist."""

UNUSABLE_KEY = frozenset(
    {
        "KMSDisabled",
        "KMSDisabledException",
        "KMSInvalidState",
        "KMSInvalidStateException",
        "KMSNotFound",
        "KMSNotFoundException",
        "KMSOptInRequired",
        "KmsDisabled",
        "KmsInvalidState",
        "KmsNotFound",
        "KmsOptInRequired",
    }
)
"""The key that encrypts the receiver's data cannot be used at present."""

TOO_LARGE = frozenset({"BatchRequestTooLong", "BatchRequestTooLongException", "RequestEntityTooLarge"})
"""The request is larger than the service accepts."""
