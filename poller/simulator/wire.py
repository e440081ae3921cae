"""The protocol, driven by botocore's own service models.

Routes, where each member of a request travels, and how a response is written (restJson1) all come from the
models that the AWS SDKs are generated from; nothing about an operation is written down here a second time.
`validation` holds a parsed request against the same models.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from botocore.loaders import Loader
from botocore.model import ServiceModel

from poller.errors import PollerError
from poller.simulator.jobs import to_datetime, to_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_ISO_8601 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_JSON_TYPES: dict[str, Any] = {
    "structure": dict,
    "map": dict,
    "list": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "long": int,
    "float": (int, float),
    "double": (int, float),
}


class ApiError(PollerError):
    """An answer other than success, as the simulated service gives it.

    Args:
        code: The error's name, such as `ValidationException`.
        message: What the service says.
        status: The HTTP status.
    """

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What arrived: the path still percent-encoded, header names in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""


class Operation:
    """One operation of one service's model.

    Args:
        model: botocore's `OperationModel`.
        timespec: The precision of this service's timestamps, as `datetime.isoformat` names it.
    """

    def __init__(self, model: Any, timespec: str) -> None:
        self.name: str = model.name
        self.method: str = model.http["method"]
        self.segments: tuple[str, ...] = tuple(model.http["requestUri"].split("/"))
        self.success: int = model.http["responseCode"]
        self.input: Any = model.input_shape
        self.output: Any = model.output_shape
        self._statuses = {
            error.name: error.metadata["error"]["httpStatusCode"] for error in model.error_shapes
        }
        self._write = _writer(self.output, timespec)

    @property
    def error_codes(self) -> frozenset[str]:
        """The errors that the model declares for this operation."""
        return frozenset(self._statuses)

    def match(self, method: str, segments: tuple[str, ...]) -> dict[str, str] | None:
        """The decoded labels of a path, or `None` if it is another operation's."""
        if method != self.method or len(segments) != len(self.segments):
            return None
        labels = {}
        for ours, theirs in zip(self.segments, segments, strict=True):
            if ours.startswith("{") and theirs:
                labels[ours.strip("{}")] = unquote(theirs)
            elif ours != theirs:
                return None
        return labels

    def error(self, code: str, message: str) -> ApiError:
        """One of the errors that the model declares for this operation, with its HTTP status."""
        return ApiError(code, message, self._statuses[code])

    def parse(self, labels: Mapping[str, str], request: HttpRequest) -> dict[str, Any]:
        """The members of a request, each from where the model says it travels.

        Timestamps become milliseconds. Members that the model does not know are ignored, as the service does.

        Raises:
            ApiError: `SerializationException` for what is not of the member's type.
        """
        query: dict[str, str] = {}
        text: str | None
        for name, text in parse_qsl(request.query, keep_blank_values=True):
            query.setdefault(name, text)
        members = self.input.members
        in_body = any("location" not in shape.serialization for shape in members.values())
        body = _json_object(request.body) if in_body else {}
        parsed = {}
        for name, shape in members.items():
            location = shape.serialization.get("location")
            if location is None:
                if body.get(name) is not None:
                    parsed[name] = _from_json(shape, body[name])
                continue
            source = labels if location == "uri" else query
            text = source.get(shape.serialization["name"])
            if text is not None:
                parsed[name] = _from_text(shape, text)
        return parsed

    def write(self, members: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON object of a response.

        Times are milliseconds in `members`; members that are `None` are left out.

        Raises:
            KeyError: A member that the model does not have.
        """
        written: dict[str, Any] = self._write(members)
        return written


class Router:
    """Finds the operation a request means."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self.operations = {operation.name: operation for operation in operations}

    def route(self, request: HttpRequest) -> tuple[Operation, dict[str, str]]:
        """The operation and its path labels.

        Raises:
            ApiError: `UnknownOperationException`.
        """
        segments = tuple(request.path.split("/"))
        for operation in self.operations.values():
            labels = operation.match(request.method, segments)
            if labels is not None:
                return operation, labels
        raise ApiError(
            "UnknownOperationException", "The requested operation is not recognized by the service.", 404
        )


def load_operations(service: str, names: Iterable[str], timespec: str) -> list[Operation]:
    """Operations of one service, from the model that ships with botocore."""
    model = _service_model(service)
    return [Operation(model.operation_model(name), timespec) for name in names]


@cache
def _service_model(service: str) -> Any:
    return ServiceModel(Loader().load_service_model(service, "service-2"), service)


def _json_object(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ApiError("SerializationException", "The request body is not valid JSON.") from error
    if not isinstance(document, dict):
        raise ApiError("SerializationException", "The request body is not a JSON object.")
    return document


def _from_text(shape: Any, text: str) -> Any:
    if shape.type_name == "timestamp":
        if not _ISO_8601.fullmatch(text):
            raise _unreadable("timestamp", text)
        try:
            return to_ms(datetime.fromisoformat(text))
        except (ValueError, OverflowError) as error:
            raise _unreadable("timestamp", text) from error
    if shape.type_name == "integer":
        if not re.fullmatch(r"-?\d{1,18}", text, re.ASCII):
            raise _unreadable("integer", text)
        return int(text)
    return text


def _from_json(shape: Any, value: Any) -> Any:
    """A body member as its type, without the nulls and the members that the model does not know."""
    if getattr(shape, "is_document_type", False):
        return value
    expected = _JSON_TYPES[shape.type_name]
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        raise _unreadable(shape.type_name, json.dumps(value)[:100])
    if shape.type_name == "structure":
        return {
            name: _from_json(member, value[name])
            for name, member in shape.members.items()
            if value.get(name) is not None
        }
    if shape.type_name == "list":
        return [_from_json(shape.member, item) for item in value]
    return value


def _unreadable(expected: str, text: str) -> ApiError:
    return ApiError("SerializationException", f"{text} can not be converted to {expected}")


def _writer(shape: Any, timespec: str) -> Callable[[Any], Any]:
    """Compile a shape into the function that writes its values; listings of 100,000 jobs go through it."""
    if shape.type_name == "structure":
        writers = {name: _writer(member, timespec) for name, member in shape.members.items()}
        return lambda members: {
            name: writers[name](value) for name, value in members.items() if value is not None
        }
    if shape.type_name == "list":
        item = _writer(shape.member, timespec)
        return lambda values: [item(value) for value in values]
    if shape.type_name == "timestamp":
        return lambda ms: to_datetime(ms).isoformat(timespec=timespec)[:-6] + "Z"
    return lambda value: value
