"""What every sink that calls an AWS service shares: client, credentials, batches, partial failures, threads.

A sink for one more service declares its settings, how an event becomes an entry of a request (`entry`), and
which operation takes the entries (`call`). An event above the limit goes out without Bedrock's verbatim job,
marked `data.truncated`, under the same id. Some entries of a request can fail while others are taken; only
those are reported. The worker tries again, durably, so the SDK does not.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from pydantic import Field

from poller.credential_files import CredentialFiles
from poller.errors import DeliveryError, DeliveryReason, PartialDeliveryError
from poller.redaction import register_rotating_secret
from poller.settings.sinks import SinkSettings
from poller.sinks.aws_errors import from_batch_entry, from_botocore
from poller.sinks.sink import Sink
from poller.threads import DaemonThreads

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from poller.model import Event


def arn_of(service: str, region: str | None, resource: str, account: str = "*") -> str:
    """An ARN for a policy, with a `*` for what is not known."""
    own = {"cn": "aws-cn", "us-gov": "aws-us-gov"}
    known = region or "*"
    partition = next((name for start, name in own.items() if known.startswith(f"{start}-")), "aws")
    return f"arn:{partition}:{service}:{known}:{account}:{resource}"


def arn_setting(service: str, name: str, *, example: str) -> Any:
    """A setting that is an ARN of a service; `name` is the pattern of what follows the account there."""
    return Field(
        pattern=rf"^arn:aws[a-z0-9-]*:{service}:[a-z0-9-]+:[0-9]{{12}}:{name}$",
        examples=[f"arn:aws:{service}:eu-west-1:111111111111:{example}"],
    )


class AwsSettings(SinkSettings):
    """What every sink has that sends to one receiver of an AWS service."""

    action: ClassVar[str]
    """The IAM action that sending needs."""

    @property
    @abstractmethod
    def arn(self) -> str:
        """The receiver."""

    @property
    def region(self) -> str | None:
        """The receiver's region, which requests go to; `None` for the SDK's own."""
        return self.arn.split(":")[3]

    @property
    def limit(self) -> int:
        """Bytes of an entry, and of all entries of a request."""
        return 256 * 1024

    def permissions(self) -> dict[str, tuple[str, ...]]:
        """The one action that sending needs, on the one receiver."""
        return {self.action: (self.arn,)}


AwsSettingsT = TypeVar("AwsSettingsT", bound=AwsSettings)

Failed: TypeAlias = "Mapping[str, Mapping[str, Any] | None]"
"""What a service says of each entry that it did not take, by the event's id; `None` if it is silent."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One event as a part of a request: what the operation takes, and how many bytes of it count."""

    event_id: str
    fields: Mapping[str, Any]
    size: int


class AwsSink(Sink[AwsSettingsT]):
    """Sends events to one AWS service, as many in a request as its limits allow."""

    batch_size = 10

    service: ClassVar[str]
    """The service as the SDK calls it, such as `sns`."""

    def __init__(self, name: str, settings: AwsSettingsT) -> None:
        super().__init__(name, settings)
        self._shown_as = self.service.upper()
        self._threads = DaemonThreads(f"sink-{name}", settings.concurrency)
        self._lock = Lock()
        self._client: Any = None
        self._credentials: Any = None
        self._registered = ""
        self._files = CredentialFiles()

    @abstractmethod
    def entry(self, event: Event, body: str) -> Entry:
        """Make an event an entry of a request.

        Args:
            event: The event.
            body: What to send of it: its own body, or less if that is too large.
        """

    @abstractmethod
    def call(self, client: Any, entries: Sequence[Entry]) -> Failed:
        """Make one request; see `numbered` and `failed_by_number` where entries have an `Id`."""

    async def send(self, events: Sequence[Event]) -> None:
        """Send the events.

        Raises:
            DeliveryError: The one event of the batch was not taken.
            PartialDeliveryError: Some of several were not.
        """
        failures = await self._threads.run(self._send_all, events)
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

    def _send_all(self, events: Sequence[Event]) -> dict[str, DeliveryError]:
        limit = self.settings.limit
        entries = [self._fitted(event, limit) for event in events]
        failures = {
            entry.event_id: DeliveryError(
                f"the event has {entry.size} bytes even without the job's own fields; the limit is {limit}",
                reason=DeliveryReason.TOO_LARGE,
                permanent=True,
            )
            for entry in entries
            if entry.size > limit
        }
        for request in _requests((entry for entry in entries if entry.size <= limit), limit):
            failures.update(self._send_request(request))
        return failures

    def _fitted(self, event: Event, limit: int) -> Entry:
        entry = self.entry(event, event.body.decode("ascii"))
        return entry if entry.size <= limit else self.entry(event, without_job(event.body))

    def _send_request(self, entries: Sequence[Entry]) -> dict[str, DeliveryError]:
        try:
            failed = self.call(self._connect(), entries)
        except (BotoCoreError, ClientError, ResponseParserError, LookupError, ValueError) as error:
            # The last three: an answer that is not from the service, and an endpoint that is not a URL.
            failure = from_botocore(error, self._shown_as)
            if failure.reason is DeliveryReason.CREDENTIALS:
                # They may have been replaced where the SDK found them; the next attempt looks again.
                with self._lock:
                    self._client = None
            return dict.fromkeys((entry.event_id for entry in entries), failure)
        return {event_id: from_batch_entry(said, self._shown_as) for event_id, said in failed.items()}

    def _connect(self) -> Any:
        # Making a client is not thread-safe, using one is.
        with self._lock:
            if self._files.changed():
                self._client = None
            if self._client is None:
                seconds = self.settings.timeout.total_seconds()
                session = boto3.Session()
                self._credentials = session.get_credentials()
                self._client = session.client(
                    self.service,
                    region_name=self.settings.region,
                    config=Config(
                        connect_timeout=seconds,
                        read_timeout=seconds,
                        retries={"total_max_attempts": 1, "mode": "standard"},
                        max_pool_connections=self.settings.concurrency,
                        user_agent_appid="bedrock-poller",
                    ),
                )
            self._register_credentials()
            return self._client

    def _register_credentials(self) -> None:
        """See that nothing shows what requests are signed with: a service may repeat it."""
        frozen = self._credentials.get_frozen_credentials() if self._credentials is not None else None
        if frozen is not None and frozen.secret_key != self._registered:
            self._registered = frozen.secret_key
            register_rotating_secret(f"sink {self.name}", frozen.secret_key, frozen.token or "")


def without_job(body: bytes) -> str:
    """Take the service's verbatim job out of an envelope and mark it; everything else stays.

    The result is the same on every attempt.
    """
    envelope = json.loads(body)
    envelope["data"]["job"] = None
    envelope["data"]["truncated"] = True
    return json.dumps(envelope, separators=(",", ":"), ensure_ascii=True)


def numbered(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """The fields of entries, each with its number as the `Id` that the answer names it by."""
    return [{"Id": str(number), **entry.fields} for number, entry in enumerate(entries)]


def failed_by_number(answer: Mapping[str, Any], entries: Sequence[Entry]) -> Failed:
    """What an answer with `Successful` and `Failed` says of the `numbered` entries that were not taken."""
    taken = {entry["Id"] for entry in answer.get("Successful", ())}
    failed = {entry["Id"]: entry for entry in answer.get("Failed", ())}
    return {
        entry.event_id: failed.get(str(number))
        for number, entry in enumerate(entries)
        if str(number) not in taken
    }


def failed_in_order(results: Sequence[Mapping[str, Any]], entries: Sequence[Entry], *, taken: str) -> Failed:
    """What a list of results, one for each entry in their order, says of those that were not taken.

    Args:
        results: The service's.
        entries: What was sent.
        taken: The member that only the result of an entry has that was taken.
    """
    found = [*results, *[{}] * (len(entries) - len(results))]
    return {
        entry.event_id: _refusal(result)
        for entry, result in zip(entries, found, strict=False)
        if taken not in result
    }


def _refusal(result: Mapping[str, Any]) -> Mapping[str, Any] | None:
    code = result.get("ErrorCode")
    return {"Code": code, "Message": result.get("ErrorMessage", "")} if code else None


def _requests(entries: Iterable[Entry], limit: int) -> Iterator[list[Entry]]:
    """Split entries into requests that stay within the limit, in order."""
    request: list[Entry] = []
    for entry in entries:
        if request and entry.size + sum(each.size for each in request) > limit:
            yield request
            request = []
        request.append(entry)
    if request:
        yield request
