"""Hands the list and Get responses through as the service's own JSON.

The SDK's parser keeps only the members that its model knows, renders unknown union members in a form of its
own, and gives up a whole page for one unreadable time. For the operations of the declared kinds this parser
leaves the JSON as it is; `Kind.observe` reads what it needs. Errors and every other operation are parsed as
ever.
"""

from __future__ import annotations

import json
import math
import re
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.parsers import ResponseParserError, ResponseParserFactory, RestJSONParser

from poller.kinds import CUT, DEEPEST, KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping

VERBATIM_SHAPES = frozenset(
    f"{operation}Response"
    for kind in KINDS.values()
    for operation in (kind.list_operation, kind.get_operation)
)
"""The output shapes that are not parsed; a test holds them against botocore's models."""

FIRST_ERROR_STATUS = 300
_DEEPEST = DEEPEST + 10
"""So much can be read, and more than this the kind cuts itself, and says so."""
_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


class VerbatimParser(RestJSONParser):  # type: ignore[misc] # botocore is untyped
    """Parses success responses of the declared kinds as plain JSON."""

    def parse(self, response: Mapping[str, Any], shape: Any) -> Any:
        """Parse a response; `response` holds `body`, `headers` and `status_code`."""
        verbatim = shape is not None and shape.name in VERBATIM_SHAPES
        if not verbatim or response["status_code"] >= FIRST_ERROR_STATUS:
            return super().parse(response, shape)
        try:
            parsed = _loads(response["body"])
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


def _loads(body: bytes) -> Any:
    try:
        return _read(body)
    except RecursionError:
        # One item that is nested without end must not cost the page.
        return _read(_cut(body.decode()))


def _read(text: bytes | str) -> Any:
    # Python reads NaN and Infinity, which are not JSON and could not be sent on.
    load = partial(json.loads, parse_constant=str, parse_float=_finite)
    try:
        return load(text)
    except ValueError:
        # Perhaps a whole number of thousands of digits, which Python refuses to convert. A hook for whole
        # numbers makes every page slower, so only this one gets it.
        return load(text, parse_int=_whole)


def _cut(text: str) -> str:
    """The same JSON, with a text in place of whatever is nested more deeply than can be read."""
    kept, depth, at, begun = [], 0, 0, 0
    for token in _TOKENS.finditer(text):
        mark = token[0]
        if mark in "[{":
            depth += 1
            if depth == _DEEPEST:
                kept.append(text[at : token.start()])
                begun = token.start()
        elif mark in "]}":
            if depth == _DEEPEST:
                kept.append(json.dumps(CUT))
                at = token.end()
            depth -= 1
    return "".join([*kept, text[at if depth < _DEEPEST else begun :]])


def _finite(text: str) -> float | str:
    # 1e999 is JSON, but Python's infinity is not.
    number = float(text)
    return number if math.isfinite(number) else text


def _whole(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        return text


class VerbatimParserFactory(ResponseParserFactory):  # type: ignore[misc] # botocore is untyped
    """Gives out `VerbatimParser` for the protocol that Bedrock speaks."""

    def create_parser(self, protocol_name: str) -> Any:
        """Make the parser of one response."""
        if protocol_name == "rest-json":
            return VerbatimParser(**self._defaults)
        return super().create_parser(protocol_name)
