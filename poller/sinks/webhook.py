"""Posts every event to a URL, signed after Standard Webhooks (https://www.standardwebhooks.com).

The receiver gets the CloudEvents envelope as `application/cloudevents+json`, the event's id as `webhook-id`,
the time of the attempt and a signature with every configured secret, so that a secret can be rotated without
a gap: add the new one, switch the receivers, remove the old one. Without a secret nothing is signed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path  # noqa: TC003 - pydantic reads the annotations when the program runs
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, SecretStr
from standardwebhooks import Webhook

from poller.settings.sinks import checked
from poller.sinks.http.client import HttpClient, RequestHeaders
from poller.sinks.http.credentials import read_signing_secrets, signing_key
from poller.sinks.http.settings import HttpSettings
from poller.sinks.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from poller.model import Event

CONTENT_TYPE = "application/cloudevents+json"
"""The media type of a CloudEvents envelope in structured mode."""


class WebhookSettings(HttpSettings):
    """Events as signed POST requests."""

    type: Literal["webhook"] = "webhook"
    """Which sink this is."""
    secrets: Annotated[list[SecretStr], checked(signing_key)] = Field(default_factory=list)
    """Signing secrets, each `whsec_` and a key in base64."""
    secret_file: Annotated[Path, checked(read_signing_secrets)] | None = None
    """File with signing secrets, one per line, read at every attempt."""
    secret_files: Annotated[list[Path], checked(read_signing_secrets)] = Field(default_factory=list)
    """More files with signing secrets."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that holds signing secrets."""
        return tuple(filter(None, (self.secret_file, *self.secret_files)))

    @property
    def reads_files(self) -> bool:
        """Whether an attempt reads files."""
        return bool(self.files) or super().reads_files


class WebhookSink(Sink[WebhookSettings]):
    """One POST per event."""

    settings_type = WebhookSettings
    parses_strangers = True

    def __init__(self, name: str, settings: WebhookSettings) -> None:
        super().__init__(name, settings)
        self._client = HttpClient(name, settings)
        self._files = settings.files
        self._configured = _Signer(secret.get_secret_value() for secret in settings.secrets)

    async def send(self, events: Sequence[Event]) -> None:
        """Post the event; any 2xx means that the receiver has it.

        Raises:
            DeliveryError: As `HttpClient.post`, or a file of secrets cannot be read.
        """
        (event,) = events
        await self._client.post(event.body, CONTENT_TYPE, partial(self._sign, event))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _sign(self, event: Event) -> RequestHeaders:
        signer = self._configured
        if self._files:
            read = chain.from_iterable(map(read_signing_secrets, self._files))
            signer = _Signer((*signer.secrets, *read))
        now = datetime.now(tz=UTC)
        headers = {"webhook-id": event.id, "webhook-timestamp": str(int(now.timestamp()))}
        signatures = signer.sign(event, now)
        if signatures:
            headers["webhook-signature"] = " ".join(signatures)
        return RequestHeaders(headers, (*signer.secrets, *signer.keys, *signatures))


class _Signer:
    """Signs with every one of some secrets."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self.secrets = tuple(dict.fromkeys(secrets))
        self.keys = tuple(secret.removeprefix("whsec_") for secret in self.secrets)
        self._webhooks = [Webhook(signing_key(secret)) for secret in self.secrets]

    def sign(self, event: Event, now: datetime) -> list[str]:
        body = event.body.decode()
        return [webhook.sign(event.id, now, body) for webhook in self._webhooks]
