"""Sessions and clients: one client for each (access, region, service), made once and shared by threads.

Making sessions and clients is not thread-safe, so it happens under a lock; using a client is. Credentials
of an assumed role refresh themselves: a chained session lasts an hour at most. Endpoints, regions, profiles,
IRSA and Pod Identity are left to the SDK's own rules.
"""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import DeferredRefreshableCredentials

from poller.aws.failures import THROTTLES, translated
from poller.aws.limits import RateLimit
from poller.aws.wire import FIRST_ERROR_STATUS, VerbatimParserFactory
from poller.errors import AwsError, AwsReason, StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from poller.metrics import Metrics

_CONNECT_SECONDS = 5
_READ_SECONDS = 30
_THROTTLED_STATUS = 429


@dataclass(frozen=True, slots=True)
class Access:
    """How a target's account is reached.

    Args:
        profile: A profile of the SDK's shared configuration; `None` for the default chain.
        role_arn: A role to assume with those credentials.
        external_id: Gives what the role's trust policy asks for; called anew at every refresh.
    """

    profile: str | None = None
    role_arn: str | None = None
    external_id: Callable[[], str | None] = field(default=lambda: None, compare=False, repr=False)


class Sessions:
    """Gives out clients.

    Args:
        metrics: Where requests, failures and throttles are counted.
        requests_per_second: The limit for each access and region.
        max_attempts: Of the SDK's standard retry mode, the first included.
        pool_size: Connections of each client.
        stop: Ends waits at the rate limit.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        requests_per_second: float,
        max_attempts: int,
        pool_size: int,
        stop: threading.Event,
    ) -> None:
        self._metrics = metrics
        self._rate = requests_per_second
        self._stop = stop
        self._config = Config(
            retries={"mode": "standard", "total_max_attempts": max_attempts},
            user_agent_appid="bedrock-poller",
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            max_pool_connections=pool_size,
        )
        self._lock = threading.RLock()
        self._sessions: dict[Access, boto3.Session] = {}
        self._clients: dict[tuple[Access, str, str], Any] = {}
        self._limits: dict[tuple[Access, str], RateLimit] = {}

    def region(self, access: Access) -> str | None:
        """The SDK's current region for an access; `AWS_REGION` counts too, as in the other SDKs."""
        with self._lock, translated("finding the current region"):
            found: str | None = self._session(Access(profile=access.profile)).region_name
        return found or os.environ.get("AWS_REGION")

    def client(self, access: Access, region: str, service: str) -> Any:
        """The client for a service.

        Raises:
            AwsError: The profile or region is of no use.
        """
        key = (access, region, service)
        with self._lock:
            if key not in self._clients:
                with translated(f"making a {service} client for {region}"):
                    client = self._session(access).client(service, region_name=region, config=self._config)
                limit = self._limits.setdefault((access, region), RateLimit(self._rate, self._stop))
                client.meta.events.register("before-send", self._before_send(limit))
                client.meta.events.register("response-received", self._response_received)
                self._clients[key] = client
            return self._clients[key]

    def close(self) -> None:
        """Close every client's connections."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def _session(self, access: Access) -> boto3.Session:
        if access not in self._sessions:
            core = botocore.session.Session(profile=access.profile)
            core.register_component("response_parser_factory", VerbatimParserFactory())
            if access.role_arn is not None:
                # Set on the instance: botocore has no public place for credentials that refresh themselves.
                core._credentials = DeferredRefreshableCredentials(  # noqa: SLF001
                    refresh_using=lambda: self._assume(access), method="assume-role"
                )
            self._sessions[access] = boto3.Session(botocore_session=core)
        return self._sessions[access]

    def _assume(self, access: Access) -> dict[str, str]:
        source = Access(profile=access.profile)
        region = self.region(source) or _home_region(str(access.role_arn))
        asked = {"RoleArn": access.role_arn, "RoleSessionName": "bedrock-poller"}
        try:
            external_id = access.external_id()
        except (OSError, ValueError) as error:
            message = f"assuming {access.role_arn}: no external ID: {error}"
            raise AwsError(message, reason=AwsReason.CREDENTIALS) from error
        if external_id is not None:
            asked["ExternalId"] = external_id
        with self._lock:
            sts = self._session(source).client("sts", region_name=region, config=self._config)
        with contextlib.closing(sts):
            granted = sts.assume_role(**asked)["Credentials"]
        return {
            "access_key": granted["AccessKeyId"],
            "secret_key": granted["SecretAccessKey"],
            "token": granted["SessionToken"],
            "expiry_time": granted["Expiration"].isoformat(),
        }

    def _before_send(self, limit: RateLimit) -> Any:
        def handle(event_name: str, **_: Any) -> None:
            limit.wait()
            self._metrics.aws_requests.labels(*_operation(event_name)).inc()

        return handle

    def _response_received(
        self, event_name: str, response_dict: Any, parsed_response: Any, exception: Exception | None, **_: Any
    ) -> None:
        service, operation = _operation(event_name)
        if isinstance(exception, StoppedError):
            return  # raised while waiting for the turn; nothing was sent
        if exception is not None:
            code = type(exception).__name__
        elif response_dict["status_code"] >= FIRST_ERROR_STATUS:
            code = str(parsed_response["Error"].get("Code") or "unknown")
        else:
            return
        # The label stays bounded: a code is a name, never a stranger's text.
        known = code if code.isidentifier() else "unknown"
        self._metrics.aws_failures.labels(service, operation, known).inc()
        status = response_dict["status_code"] if response_dict else None
        if code in THROTTLES or status == _THROTTLED_STATUS:
            self._metrics.aws_throttles.labels(service).inc()


def _operation(event_name: str) -> tuple[str, str]:
    _, service, operation = event_name.split(".", 2)
    return service, operation


def _home_region(role_arn: str) -> str:
    partition = role_arn.split(":", 2)[1]
    return {"aws-us-gov": "us-gov-west-1", "aws-cn": "cn-north-1"}.get(partition, "us-east-1")
