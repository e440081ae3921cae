"""Hands the list and Get responses through as the service's own JSON.

The SDK's parser keeps only the members that its model knows, renders unknown union members in a form of its
own, and gives up a whole page for one unreadable time. For the operations of the declared kinds this parser
leaves the JSON as it is; `Kind.observe` reads what it needs. Errors and every other operation are parsed as
ever.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from botocore.parsers import ResponseParserError, ResponseParserFactory, RestJSONParser

from poller.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping

VERBATIM_SHAPES = frozenset(
    f"{operation}Response"
    for kind in KINDS.values()
    for operation in (kind.list_operation, kind.get_operation)
)
"""The output shapes that are not parsed; a test holds them against botocore's models."""

FIRST_ERROR_STATUS = 300


class VerbatimParser(RestJSONParser):  # type: ignore[misc] # botocore is untyped
    """Parses success responses of the declared kinds as plain JSON."""

    def parse(self, response: Mapping[str, Any], shape: Any) -> Any:
        """Parse a response; `response` holds `body`, `headers` and `status_code`."""
        verbatim = shape is not None and shape.name in VERBATIM_SHAPES
        if not verbatim or response["status_code"] >= FIRST_ERROR_STATUS:
            return super().parse(response, shape)
        try:
            # Python reads NaN and Infinity, which are no JSON and could not be sent on.
            parsed = json.loads(response["body"], parse_constant=str, parse_float=_finite, parse_int=_whole)
        except (ValueError, RecursionError) as error:
            raise ResponseParserError(f"the response's body is not JSON: {error}") from error
        if not isinstance(parsed, dict):
            raise ResponseParserError("the response's body is not a JSON object")
        headers = {key.lower(): value for key, value in response["headers"].items()}
        parsed["ResponseMetadata"] = {
            "RequestId": headers.get("x-amzn-requestid"),
            "HTTPStatusCode": response["status_code"],
            "HTTPHeaders": headers,
        }
        return parsed


def _finite(text: str) -> float | str:
    # 1e999 is JSON, but Python's infinity is not.
    number = float(text)
    return number if math.isfinite(number) else text


def _whole(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:  # thousands of digits, which Python refuses to convert
        return text


class VerbatimParserFactory(ResponseParserFactory):  # type: ignore[misc] # botocore is untyped
    """Gives out `VerbatimParser` for the protocol that Bedrock speaks."""

    def create_parser(self, protocol_name: str) -> Any:
        """Make the parser of one response."""
        if protocol_name == "rest-json":
            return VerbatimParser(**self._defaults)
        return super().create_parser(protocol_name)
