"""What must hold for every parser of what strangers send: a result, or an error of the declared type.

Each property takes one input. The tests try a fixed set of inputs; `make fuzz` tries new ones for some time.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.parsers import ResponseParserError
from hypothesis import strategies as st
from pydantic import ValidationError

from poller.app.configuration import settings_model
from poller.aws.wire import VerbatimParserFactory
from poller.delivery import attempt
from poller.diff import diff
from poller.errors import ConfigError, DeliveryError, ItemError, MessageError
from poller.events import job_event
from poller.kinds import KINDS
from poller.model import Event, Target
from poller.redaction import printable, redact, secret_parts
from poller.rules import Threshold
from poller.settings.loading import load
from poller.settings.schema import StoreSettings
from poller.settings.secrets import read_secret_file
from poller.settings.store_url import unverified_host
from poller.sinks import registry
from poller.sinks.http.address_guard import is_allowed
from poller.sinks.http.credentials import read_header, read_signing_secrets
from poller.sinks.http.status import parse_retry_after
from poller.store import OpenOutput
from poller.times import parse_duration, parse_moment
from poller.wake_ups.messages import AboutJob, AboutObject, subjects
from poller.wake_ups.outputs import writers
from poller.web.api import SELECTABLE, parse_query
from tests.sinks.samples import EVENT, SECRET, opened, raw_server, read_request, webhook

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.strategies import SearchStrategy

NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)
LARGEST_SECONDS = 30.0
"""How long one input may take; a parser that takes longer hangs."""


@dataclass(frozen=True, slots=True)
class Property:
    """What must hold for one parser.

    Args:
        inputs: What a stranger may send.
        holds: Called with one input; raises if the property does not hold.
        weight: Inputs that the tests try; slow properties have fewer.
    """

    inputs: SearchStrategy[Any]
    holds: Callable[[Any], None]
    weight: int = 300


_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
_times = st.sampled_from(["9999-12-31T23:59:59Z", "2026-11-20T10:00:00.5Z", "0", "-1", "1e400", "Fri, 99"])
_json = st.recursive(
    _scalars | _times,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)
_FIELDS = (
    "status",
    "submitTime",
    "lastModifiedTime",
    "endTime",
    "jobExpirationTime",
    "jobName",
    "modelId",
    "modelArn",
    "message",
    "failureMessage",
    "clientRequestToken",
    "inputDataConfig",
    "outputDataConfig",
    "totalRecordCount",
    "processedRecordCount",
    "successRecordCount",
    "errorRecordCount",
)
_ids = st.sampled_from(["abcdefghwxyz", "000000000000", "ABCDEFGHWXYZ", "short", ""])


def _item(kind: str, identifier: str, fields: dict[str, Any]) -> dict[str, Any]:
    declared = KINDS[kind]
    arn = declared.make_arn(identifier, account="123456789012", region="us-east-1")
    return {declared.arn[0]: arn, **fields}


_items = _json | st.builds(
    _item,
    st.sampled_from(sorted(KINDS)),
    _ids,
    st.dictionaries(st.sampled_from(_FIELDS), _json | st.sampled_from(["Completed", "InProgress", "New"])),
)


def item_becomes_events(item: Any) -> None:
    """An item of a list becomes a job and its event, or an `ItemError`; its event can be read again."""
    for kind in KINDS.values():
        try:
            job = kind.observe(item, NOW)
        except ItemError:
            continue
        target = Target("fuzz", "us-east-1", kind.name, account_id="123456789012")
        for change in diff({}, [job], is_news=lambda _: True):
            assert change.event_type is not None
            event = job_event(change, change.event_type, target, NOW)
            assert Event.from_body(event.body).id == event.id


def response_is_parsed(body: bytes) -> None:
    """The body of an answer of AWS is JSON, or a `ResponseParserError`."""
    parser = VerbatimParserFactory().create_parser("rest-json")
    with suppress(ResponseParserError):
        parser.parse({"status_code": 200, "headers": {}, "body": body}, None)


def message_is_read(body: str) -> None:
    """A message of a queue becomes subjects that the store can hold, or a `MessageError`."""
    outputs = [OpenOutput("arn:x/000000000001", uri, "t") for uri in ("s3://abc", "s3://abc/d/", "", "s3:/")]
    with suppress(MessageError):
        for subject in subjects(body):
            if isinstance(subject, AboutObject):
                writers(subject, outputs)
            elif isinstance(subject, AboutJob):
                assert (subject.status or "x").encode()
                assert len(subject.arn.encode()) <= 300
            else:
                assert subject.account_id.isdigit()


def _write(content: bytes) -> Path:
    with tempfile.NamedTemporaryFile(prefix="fuzz-", delete=False) as file:
        file.write(content)
    return Path(file.name)


def configuration_is_read(content: bytes) -> None:
    """A file becomes settings, or a `ConfigError`."""
    path = _write(content)
    try:
        with suppress(ConfigError):
            load(path, sink_types=registry.settings_types(), environ={"HOME": "/"})
    finally:
        path.unlink()


def secret_file_is_read(content: bytes) -> None:
    """A file of secrets becomes a text, or a `ValueError` that names the file and shows nothing else."""
    path = _write(content)
    try:
        for read in (read_secret_file, read_signing_secrets, read_header):
            said = _refusal(lambda read=read: read(path))  # type: ignore[misc] # the loop's own
            assert said is None or str(path) in said
    finally:
        path.unlink()


def _refusal(parse: Callable[[], object]) -> str | None:
    """The message of the `ValueError` that a parser raises; `None` if it raises none."""
    try:
        parse()
    except ValueError as error:
        return str(error)
    return None


def secret_is_taken_apart(text: str) -> None:
    """A secret is struck from a log line that holds it, unless it is a word or short."""
    list(secret_parts(text))
    redact(text)
    printable(text)


def answer_is_judged(answer: bytes) -> None:
    """Whatever a receiver answers, the event is taken, or there is a `DeliveryError`."""

    async def main() -> None:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(answer)
            await writer.drain()

        async with (
            raw_server(talk) as port,
            opened(webhook(f"http://127.0.0.1:{port}", secrets=[SECRET], timeout="2s")) as sink,
            asyncio.timeout(LARGEST_SECONDS),
        ):
            for failure in (await attempt(sink, [EVENT])).values():
                assert isinstance(failure, DeliveryError)
                assert len(str(failure)) < 2000

    asyncio.run(main())


def address_is_judged(text: str) -> None:
    """An address may be dialed or not; what is none may not."""
    assert is_allowed(text) in {True, False}
    parse_retry_after(text, NOW)
    for url in (text, f"http://{text}", f"https://{text}:443/x"):
        with suppress(ValidationError):
            webhook(url)
    for store in (text, f"postgresql://{text}", f"sqlite:///{text}"):
        with suppress(ValidationError):
            unverified_host(StoreSettings.model_validate({"url": store}).url, {})


def query_is_judged(query: list[tuple[str, str]]) -> None:
    """A query of the API is a selection, or a `ValueError` that fits into an answer."""
    for selectable in SELECTABLE.values():
        said = _refusal(lambda selectable=selectable: parse_query(query, selectable))  # type: ignore[misc]
        assert said is None or len(json.dumps(said)) < 5000
        if said is None:
            assert 1 <= parse_query(query, selectable).limit <= 1000


def setting_is_read(text: str) -> None:
    """A duration, a moment and a comparison are read, or are a `ValueError`."""
    for read in (parse_duration, lambda given: parse_moment(given, NOW), Threshold.parse):
        with suppress(ValueError):
            read(text)


_keys = st.sampled_from([*settings_model().model_fields, "type", "url", "name", "regions", "<<", "&a", "*a"])
_yaml = st.recursive(
    st.sampled_from(
        ["30s", "1", "true", "null", "log", "webhook", "sns", "us-east-1", "!!str x", "*a", "&a b"]
    )
    | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda each: f"[{', '.join(each)}]")
        | st.dictionaries(_keys, inner, max_size=3).map(
            lambda each: "{" + ", ".join(f"{key}: {value}" for key, value in each.items()) + "}"
        )
    ),
    max_leaves=12,
).map(str.encode)
_status_lines = st.integers(0, 999).map(lambda status: f"HTTP/1.1 {status} x\r\n".encode())
_head_lines = st.lists(
    st.sampled_from(
        [
            b"content-length: 5\r\n",
            b"content-length: -1\r\n",
            b"content-length: 99999999999999999999\r\n",
            b"transfer-encoding: chunked\r\n",
            b"retry-after: 5\r\n",
            b"retry-after: 1e999\r\n",
            b"retry-after: Fri, 31 Dec 9999 23:59:59 GMT\r\n",
            b"date: now\r\n",
            b"content-encoding: gzip\r\n",
            b"connection: upgrade\r\nupgrade: x\r\n",
        ]
    )
    | st.binary(max_size=20),
    max_size=4,
).map(b"".join)
_answers = st.binary(max_size=200) | st.builds(
    lambda line, head, body: line + head + b"\r\n" + body, _status_lines, _head_lines, st.binary(max_size=60)
)
_addresses = st.text(max_size=40) | st.ip_addresses().map(str) | st.from_regex(r"[0-9a-fx.:%\[\]/@-]{1,45}")
_names = st.sampled_from(["limit", "status", "arn", "job_arn", "id", "x"]) | st.text(max_size=10)

_places = st.sampled_from(
    ["123456789012", "us-east-1", "aws.bedrock", "aws.s3", "aws:s3", "Notification", ""]
)
_names_of_events = st.sampled_from(
    ["Batch Inference Job State Change", "Model Customization Job State Change", "Object Created", "x"]
)
_records = st.fixed_dictionaries(
    {"eventSource": _places, "eventName": st.sampled_from(["ObjectCreated:Put", "ObjectRemoved:Delete", 1])},
    optional={"s3": _json},
)
_events = st.fixed_dictionaries(
    {},
    optional={
        "source": _places | _json,
        "detail-type": _names_of_events | _json,
        "account": _places | _json,
        "region": _places | _json,
        "Type": _places,
        "Message": _json.map(json.dumps) | _json,
        "Records": st.lists(_records | _json, max_size=4) | _json,
        "detail": _json
        | st.dictionaries(
            st.sampled_from(["batchJobArn", "jobArn", "status", "jobStatus", "bucket", "object"]),
            _json
            | _ids.map(
                lambda each: KINDS["model_invocation_job"].make_arn(each, account="1" * 12, region="r")
            ),
        ),
    },
)

PROPERTIES: dict[str, Property] = {
    "list items": Property(_items, item_becomes_events),
    "answers of AWS": Property(
        st.binary(max_size=300) | _json.map(lambda value: json.dumps(value).encode()), response_is_parsed
    ),
    "YAML": Property(st.binary(max_size=200) | _yaml, configuration_is_read, weight=120),
    "secret files": Property(st.binary(max_size=200), secret_file_is_read),
    "secrets": Property(st.text(max_size=80), secret_is_taken_apart),
    "HTTP answers": Property(_answers, answer_is_judged, weight=120),
    "addresses": Property(_addresses, address_is_judged),
    "API queries": Property(
        st.lists(st.tuples(_names, st.text(max_size=20) | st.integers().map(str)), max_size=4),
        query_is_judged,
    ),
    "wake-ups": Property(
        _events.map(json.dumps) | _json.map(json.dumps) | st.text(max_size=60), message_is_read
    ),
    "settings": Property(
        st.text(max_size=20) | st.from_regex(r"[0-9.]{1,30}(ms|s|m|h|d|%)?"), setting_is_read
    ),
}
"""By the name of what is parsed. Every property is named in tests/chaos/README.md."""
