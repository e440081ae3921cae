"""Translates the SDK's exceptions into `AwsError`, once, with a reason from a closed set."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from botocore import exceptions as sdk
from botocore.parsers import ResponseParserError

from poller import aws_codes
from poller.errors import AwsError, AwsReason
from poller.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Iterator

_REASONS = {
    **dict.fromkeys(aws_codes.THROTTLED, AwsReason.THROTTLED),
    **dict.fromkeys(aws_codes.CREDENTIALS, AwsReason.CREDENTIALS),
    **dict.fromkeys(aws_codes.ACCESS_DENIED, AwsReason.ACCESS_DENIED),
    **dict.fromkeys(aws_codes.NOT_FOUND, AwsReason.NOT_FOUND),
    "ValidationException": AwsReason.INVALID,
}
_CREDENTIALS = (
    sdk.CredentialRetrievalError,
    sdk.MetadataRetrievalError,
    sdk.NoAuthTokenError,
    sdk.NoCredentialsError,
    sdk.PartialCredentialsError,
    sdk.ProfileNotFound,
    sdk.SSOError,
    sdk.TokenRetrievalError,
    sdk.UnauthorizedSSOTokenError,
)
_LONGEST_MESSAGE = 300


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise `AwsError` for whatever the SDK raises inside.

    Args:
        doing: What was being done, to begin the message with.
    """
    try:
        yield
    except sdk.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        said = redact(str(error.response.get("Error", {}).get("Message", "")))[:_LONGEST_MESSAGE]
        raise AwsError(
            f"{doing}: {code}: {said}", reason=_REASONS.get(code, AwsReason.SERVICE), code=code
        ) from error
    except ResponseParserError as error:
        raise AwsError(f"{doing}: {_first_line(error)}", reason=AwsReason.MALFORMED) from error
    except _CREDENTIALS as error:
        raise AwsError(f"{doing}: {_first_line(error)}", reason=AwsReason.CREDENTIALS) from error
    except (sdk.ParamValidationError, sdk.InvalidRegionError, sdk.NoRegionError) as error:
        raise AwsError(f"{doing}: {_first_line(error)}", reason=AwsReason.INVALID) from error
    except (sdk.BotoCoreError, OSError) as error:
        raise AwsError(f"{doing}: {_first_line(error)}", reason=AwsReason.NETWORK) from error


def _first_line(error: Exception) -> str:
    return redact(str(error).partition("\n")[0])[:_LONGEST_MESSAGE]
