"""Publishes events to an SNS topic, up to ten in a request, with attributes that filter policies can match.

The message is the CloudEvents envelope. On a FIFO topic the job is the message group and the event's id the
deduplication id, so that the topic keeps the order per job and drops the copies. Some entries of a request
can fail while others are published; only those are reported as failed. An event larger than the topic takes
goes out without the service's verbatim job, marked `data.truncated`, under the same id.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from pydantic import Field

from poller.credential_files import CredentialFiles
from poller.errors import DeliveryError, DeliveryReason, PartialDeliveryError
from poller.model import EventType
from poller.settings.sinks import SinkSettings
from poller.sinks.aws_errors import from_batch_entry, from_botocore
from poller.sinks.sink import Sink
from poller.sinks.threads import DaemonThreads

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from poller.model import Event

ATTRIBUTES = ("kind", "status", "outcome", "region", "target")
"""The fields of `data` that become message attributes, beside the event's `type`."""

_LONGEST_ATTRIBUTE = 256
_LONGEST_KEY = 128
_LONGEST_SUBJECT = 99
_LONGEST_STATUS = 40
_PRINTABLE = re.compile(r"[^\x20-\x7e]")
_KEY = re.compile(r"[A-Za-z0-9!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]{1,128}")
# What XML 1.0, and therefore SNS, cannot carry: control characters, halves of surrogate pairs, two others.
_UNFIT = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class SnsSettings(SinkSettings):
    """Events as messages of an Amazon SNS topic."""

    type: Literal["sns"] = "sns"
    """Which sink this is."""
    topic_arn: str = Field(
        pattern=r"^arn:aws[a-z0-9-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?$",
        examples=["arn:aws:sns:eu-west-1:111111111111:bedrock-jobs"],
    )
    """The topic. Its region is where requests go; its name ends in `.fifo` if it keeps order."""
    max_message_size: int = Field(default=256 * 1024, ge=1024, le=1024 * 1024)
    """Bytes that a message with its attributes, and a request, may have: the topic's `MaximumMessageSize`."""

    @property
    def region(self) -> str:
        """The topic's region."""
        return self.topic_arn.split(":")[3]

    def permissions(self) -> dict[str, tuple[str, ...]]:
        """The one action that publishing needs."""
        return {"sns:Publish": (self.topic_arn,)}

    @property
    def fifo(self) -> bool:
        """Whether the topic keeps order and drops copies."""
        return self.topic_arn.endswith(".fifo")


@dataclass(frozen=True, slots=True)
class _Entry:
    event_id: str
    fields: Mapping[str, Any]
    size: int


class SnsSink(Sink[SnsSettings]):
    """One message per event, up to ten in a request."""

    settings_type = SnsSettings
    batch_size = 10

    def __init__(self, name: str, settings: SnsSettings) -> None:
        super().__init__(name, settings)
        self._threads = DaemonThreads(f"sink-{name}", settings.concurrency)
        self._lock = Lock()
        self._client: Any = None
        self._files = CredentialFiles()

    async def send(self, events: Sequence[Event]) -> None:
        """Publish the events.

        Raises:
            DeliveryError: The one event of the batch was not published.
            PartialDeliveryError: Some of several were not.
        """
        failures = await self._threads.run(self._publish_all, events)
        if failures and len(events) == 1:
            raise failures[events[0].id]
        if failures:
            raise PartialDeliveryError(failures)

    async def close(self) -> None:
        """Let the threads end and the connections go."""
        self._threads.close()
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _publish_all(self, events: Sequence[Event]) -> dict[str, DeliveryError]:
        failures: dict[str, DeliveryError] = {}
        entries = []
        for event in events:
            entry = _entry(event, self.settings)
            if entry.size > self.settings.max_message_size:
                failures[event.id] = _too_large(entry.size, self.settings.max_message_size)
            else:
                entries.append(entry)
        for request in _requests(entries, self.settings.max_message_size):
            failures.update(self._publish(request))
        return failures

    def _publish(self, entries: Sequence[_Entry]) -> dict[str, DeliveryError]:
        try:
            answer = self._connect().publish_batch(
                TopicArn=self.settings.topic_arn,
                PublishBatchRequestEntries=[
                    {"Id": str(i), **entry.fields} for i, entry in enumerate(entries)
                ],
            )
        except (BotoCoreError, ClientError, ResponseParserError, LookupError, ValueError) as error:
            # The last three: an answer that is not from SNS, and an endpoint that is no URL.
            failure = self._failed(error)
            return dict.fromkeys((entry.event_id for entry in entries), failure)
        published = {entry["Id"] for entry in answer.get("Successful", ())}
        failed = {entry["Id"]: entry for entry in answer.get("Failed", ())}
        return {
            entry.event_id: from_batch_entry(failed.get(str(i)), "SNS")
            for i, entry in enumerate(entries)
            if str(i) not in published
        }

    def _failed(self, error: Exception) -> DeliveryError:
        failure = from_botocore(error, "SNS")
        if failure.reason is DeliveryReason.CREDENTIALS:
            # They may have been replaced where the SDK found them; the next attempt looks again.
            with self._lock:
                self._client = None
        return failure

    def _connect(self) -> Any:
        # Making a client is not thread-safe, using one is.
        with self._lock:
            if self._files.changed():
                self._client = None
            if self._client is None:
                seconds = self.settings.timeout.total_seconds()
                self._client = boto3.Session().client(
                    "sns",
                    region_name=self.settings.region,
                    config=Config(
                        connect_timeout=seconds,
                        read_timeout=seconds,
                        # The worker tries again, durably; an attempt here is one attempt.
                        retries={"total_max_attempts": 1, "mode": "standard"},
                        max_pool_connections=self.settings.concurrency,
                        user_agent_appid="bedrock-poller",
                    ),
                )
            return self._client


def _entry(event: Event, settings: SnsSettings) -> _Entry:
    attributes = {
        name: {"DataType": "String", "StringValue": value}
        for name in ("type", *ATTRIBUTES)
        if (value := _attribute(event.type if name == "type" else event.data.get(name)))
    }
    subject = subject_of(event)
    overhead = len(subject) + sum(
        len(name) + len("String") + len(a["StringValue"].encode()) for name, a in attributes.items()
    )
    body = event.body
    if len(body) + overhead > settings.max_message_size:
        body = thinned(body)
    fields: dict[str, Any] = {
        "Message": body.decode("ascii"),
        "Subject": subject,
        "MessageAttributes": attributes,
    }
    if settings.fifo:
        fields["MessageGroupId"] = _key(event.job_arn)
        fields["MessageDeduplicationId"] = _key(event.id)
    return _Entry(event.id, fields, len(body) + overhead)


def subject_of(event: Event) -> str:
    """The subject of an e-mail: the job and what became of it, in the printable ASCII that SNS takes."""
    data = event.data
    status = "disappeared" if event.type == EventType.DISAPPEARED else data.get("status")
    job, status = (
        _PRINTABLE.sub("?", str(each)).strip()
        for each in (data.get("job_name") or data.get("job_id"), status)
    )
    end = f" {status[:_LONGEST_STATUS]} (bedrock-poller)"
    return f"{job[: _LONGEST_SUBJECT - len(end)]}{end}".strip()


def thinned(body: bytes) -> bytes:
    """Take the service's verbatim job out of an envelope and mark it; everything else stays.

    The result is the same on every attempt.
    """
    envelope = json.loads(body)
    envelope["data"]["job"] = None
    envelope["data"]["truncated"] = True
    return json.dumps(envelope, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def _requests(entries: Sequence[_Entry], limit: int) -> list[list[_Entry]]:
    """Split entries into requests that stay below the limit, in order."""
    requests: list[list[_Entry]] = []
    room = 0
    for entry in entries:
        if entry.size > room:
            requests.append([])
            room = limit
        requests[-1].append(entry)
        room -= entry.size
    return requests


def _attribute(value: object) -> str:
    return "" if value is None else _UNFIT.sub("\ufffd", str(value))[:_LONGEST_ATTRIBUTE]


def _key(text: str) -> str:
    """Fit a name to what a FIFO topic takes as a key: unchanged if it can be, a digest otherwise."""
    return text if _KEY.fullmatch(text) else hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _too_large(size: int, limit: int) -> DeliveryError:
    return DeliveryError(
        f"the event has {size} bytes even without the job's own fields; the topic takes {limit}",
        reason=DeliveryReason.TOO_LARGE,
        permanent=True,
    )
