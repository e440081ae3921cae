"""Sessions and clients: one SDK client for each (profile, region, service), shared by threads and accounts.

A client of the SDK costs a quarter of a megabyte and fifteen milliseconds, and hundreds of accounts in a
dozen regions would need thousands. They differ in nothing but the credentials, so those are chosen when a
request is signed, by the caller. Making sessions and clients is not thread-safe, so it happens under
a lock; using a client is. Credentials of an assumed role refresh themselves: a chained session lasts an hour
at most. Those that the SDK read from a file are read again when the file changes, and all are found again
after the service has refused them. Endpoints, regions, profiles, IRSA and Pod Identity are left to the SDK's
own rules.
"""

from __future__ import annotations

import os
import threading
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
from botocore import xform_name
from botocore.config import Config
from botocore.credentials import Credentials, DeferredRefreshableCredentials

from poller import aws_codes, logs
from poller.aws.failures import translated
from poller.aws.limits import Patience, RateLimit
from poller.aws.wire import FIRST_ERROR_STATUS, VerbatimParserFactory
from poller.credential_files import CredentialFiles
from poller.errors import AwsError, AwsReason, StoppedError
from poller.kinds import KINDS
from poller.redaction import register_rotating_secret
from poller.settings.types import account_of_role

if TYPE_CHECKING:
    from collections.abc import Callable

    from poller.metrics import Metrics

_log = logs.get(__name__)

_CONNECT_SECONDS = 5
_READ_SECONDS = 30
_THROTTLED_STATUS = 429
_REFUSED_SECONDS = 60.0
"""How long credentials that were refused are not looked for again."""
_IDENTITY_SECONDS = 3
"""How long STS may take to connect, and to answer, when it is asked whose credentials these are."""
_LISTINGS = frozenset(kind.list_operation for kind in KINDS.values())
_BEARER_TOKEN = "AWS_BEARER_TOKEN_BEDROCK"  # noqa: S105 - the name of a variable


@dataclass(frozen=True, slots=True)
class AccountAccess:
    """How a target's account is reached.

    Args:
        profile: A profile of the SDK's shared configuration; `None` for the default chain.
        role_arn: A role to assume with those credentials.
        external_id: Gives what the role's trust policy asks for; called at every refresh.
    """

    profile: str | None = None
    role_arn: str | None = None
    external_id: Callable[[], str | None] = field(default=lambda: None, compare=False, repr=False)

    @property
    def role_account(self) -> str | None:
        """The account that the role names; `None` without a role."""
        return None if self.role_arn is None else account_of_role(self.role_arn)


_QUEUES = frozenset({"sqs"})
"""Services whose calls take nothing from the quotas of Bedrock; the caller tries them again itself."""

_SIGNED = Config(auth_scheme_preference="sigv4")
"""Sign with the credentials of the access, whatever token the environment holds."""


class _Call:
    """A call that the present thread makes.

    Args:
        client: Makes it.
        access: On whose behalf.
        patience: How long it may take.
    """

    def __init__(self, client: Client, access: AccountAccess, patience: Patience) -> None:
        self.access = access
        self.patience = patience
        self._client = client

    def note_throttle(self) -> None:
        """Take note that AWS throttles it."""
        self.patience.throttled = True
        self._client.throttled = True


_calling: ContextVar[_Call] = ContextVar("calling")


class Client:
    """Makes the calls of one service in one place.

    Args:
        shared: The SDK's client, which others use as well.
        access: Whose credentials requests are signed with.
    """

    def __init__(self, shared: Any, access: AccountAccess) -> None:
        self.shared = shared
        self.throttled = False
        """Whether AWS has throttled any call, also one that succeeded in the end."""
        self._access = access

    def call(
        self, operation: str, /, *, patience: Patience | None = None, **parameters: Any
    ) -> dict[str, Any]:
        """Call an operation, such as `ListAsyncInvokes`, and return the response.

        Args:
            operation: Its name.
            patience: Nothing is sent any more once it has ended; what was sent is waited for.
            parameters: As the SDK takes them.

        Raises:
            AwsError: The patience has ended.
            Exception: Whatever the SDK raises.
        """
        before = _calling.set(_Call(self, self._access, patience or Patience()))
        try:
            response: dict[str, Any] = getattr(self.shared, xform_name(operation))(**parameters)
        finally:
            _calling.reset(before)
        return response


class _CallersCredentials(Credentials):  # type: ignore[misc] # botocore has no types
    """The caller's credentials, frozen at the moment when a request is signed."""

    def __init__(self, freeze: Callable[[AccountAccess], Any]) -> None:
        super().__init__("", "", method="bedrock-poller")
        self._freeze = freeze

    def get_frozen_credentials(self) -> Any:
        return self._freeze(_calling.get().access)


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
        self._files = CredentialFiles()
        self._shown: dict[AccountAccess, str] = {}
        self._refused_until: dict[AccountAccess, float] = {}
        self._loader: Any = None
        self._sources: dict[str | None, boto3.Session] = {}
        self._callers: dict[str | None, boto3.Session] = {}
        self._credentials: dict[AccountAccess, Any] = {}
        self._clients: dict[tuple[str | None, str, str, bool], Any] = {}
        self._accounts: dict[AccountAccess, str] = {}
        self._granting: dict[tuple[str | None, str], Any] = {}
        self._limits: dict[tuple[AccountAccess, str], RateLimit] = {}

    def region(self, access: AccountAccess) -> str | None:
        """The SDK's current region for an access; `AWS_REGION` counts too, as in the other SDKs."""
        with self._lock, translated("finding the current region"):
            found: str | None = self._source(access.profile).region_name
        return found or os.environ.get("AWS_REGION")

    def partition(self, access: AccountAccess) -> str:
        """The partition of a role, or else of the current region; `aws` if there is neither."""
        if access.role_arn is not None:
            return access.role_arn.split(":", 2)[1]
        region = self.region(access)
        with self._lock, translated("finding the partition"):
            return self._source(access.profile).get_partition_for_region(region) if region else "aws"

    def regions(self, partition: str) -> tuple[str, ...]:
        """The regions of a partition that have Bedrock's control plane, as far as this SDK's release knows.

        Fewer have its runtime, and not every account has enabled all of them.
        """
        with self._lock, translated("finding the regions"):
            found = self._source(None).get_available_regions("bedrock", partition_name=partition)
        return tuple(found)

    @staticmethod
    def uses_bearer_token(access: AccountAccess) -> bool:
        """Whether requests carry the bearer token of the environment instead of a signature.

        The SDK prefers that token to every credential, an empty one too. Here a configured role or profile
        goes first, and an empty token counts as none.
        """
        ambient = access.role_arn is None and access.profile is None
        return ambient and bool(os.environ.get(_BEARER_TOKEN, "").strip())

    def account(self, access: AccountAccess) -> str | None:
        """The account that an access leads to: that of its role, or else the one that STS names, asked once.

        Returns:
            The account ID; `None` for a bearer token, which STS does not know.

        Raises:
            AwsError: STS does not say.
        """
        if access.role_account is not None:
            return access.role_account
        if self.uses_bearer_token(access):
            return None
        if access not in self._accounts:
            region = self.region(access) or home_region(self.partition(access))
            with translated("asking STS for the account"), self._lock:
                config = Config(
                    connect_timeout=_IDENTITY_SECONDS,
                    read_timeout=_IDENTITY_SECONDS,
                    retries={"mode": "standard", "total_max_attempts": 2},
                    user_agent_appid="bedrock-poller",
                )
                client = self._source(access.profile).client("sts", region_name=region, config=config)
            try:
                with translated("asking STS for the account"):
                    self._accounts[access] = str(client.get_caller_identity()["Account"])
            finally:
                client.close()
        return self._accounts[access]

    def client(self, access: AccountAccess, region: str, service: str) -> Client:
        """The client for a service.

        Raises:
            AwsError: The profile or region is of no use.
        """
        bearer = self.uses_bearer_token(access)
        key = (access.profile, region, service, bearer)
        with self._lock:
            if key not in self._clients:
                with translated(f"making a {service} client for {region}"):
                    client = self._made(self._caller(access.profile), service, region, bearer=bearer)
                limited = service not in _QUEUES
                client.meta.events.register("before-send", self._before_send(region, limited=limited))
                client.meta.events.register("response-received", self._response_received)
                self._clients[key] = client
            return Client(self._clients[key], access)

    def close(self) -> None:
        """Close every client's connections."""
        with self._lock:
            for client in (*self._clients.values(), *self._granting.values()):
                client.close()
            self._clients.clear()
            self._granting.clear()

    def _made(self, session: boto3.Session, service: str, region: str, *, bearer: bool = False) -> Any:
        """A new client of the SDK."""
        config = self._config if bearer else self._config.merge(_SIGNED)
        if service in _QUEUES:
            config = config.merge(Config(retries={"mode": "standard", "total_max_attempts": 1}))
        client = session.client(service, region_name=region, config=config)
        if self._config.user_agent is None:
            # Left to itself, the SDK builds the same text again, twice for each request.
            named = Config(user_agent=client.meta.config.user_agent)
            self._config = self._config.merge(named)
            client.close()
            client = session.client(service, region_name=region, config=config.merge(named))
        return client

    def _source(self, profile: str | None) -> boto3.Session:
        """The session of a profile, with the credentials that the SDK finds for it."""
        if profile not in self._sources:
            core = botocore.session.Session(profile=profile)
            # What it has read of the services' descriptions is by far the largest part of a session.
            if self._loader is None:
                self._loader = core.get_component("data_loader")
            core.register_component("data_loader", self._loader)
            self._sources[profile] = boto3.Session(botocore_session=core)
        return self._sources[profile]

    def _caller(self, profile: str | None) -> boto3.Session:
        """The session whose clients sign with the caller's credentials."""
        if profile not in self._callers:
            self._source(profile)
            core = botocore.session.Session(profile=profile)
            core.register_component("data_loader", self._loader)
            core.register_component("response_parser_factory", VerbatimParserFactory())
            # Set on the instance: botocore has no public place for credentials that are not fixed.
            core._credentials = _CallersCredentials(self._freeze)  # noqa: SLF001
            self._callers[profile] = boto3.Session(botocore_session=core)
        return self._callers[profile]

    def credentials(self, access: AccountAccess) -> Any:
        """The credentials that requests of an access are signed with; `None` if the SDK finds none."""
        with self._lock:
            if self._files.changed():
                _log.info("credentials.files_changed")
                self._forget_sources()
            if access.role_arn is None:
                return self._source(access.profile).get_credentials()
            if access not in self._credentials:
                self._credentials[access] = DeferredRefreshableCredentials(
                    refresh_using=lambda: self._assume(access), method="assume-role"
                )
            return self._credentials[access]

    def _freeze(self, access: AccountAccess) -> Any:
        """The credentials to sign a request with; they are struck from whatever is logged."""
        credentials = self.credentials(access)
        # The SDK says itself that there are none.
        if credentials is None:
            return None
        frozen = credentials.get_frozen_credentials()
        if self._shown.get(access) != frozen.secret_key:
            self._shown[access] = frozen.secret_key
            register_rotating_secret(access, frozen.secret_key, frozen.token or "")
        return frozen

    def _forget_sources(self) -> None:
        """Let the SDK find every credential again that it was not granted for a role."""
        self._sources.clear()
        for client in self._granting.values():
            client.close()
        self._granting.clear()

    def _refused(self, access: AccountAccess) -> None:
        """Find the credentials of an access again, which the service has not accepted; once a minute at most.

        A region that an account has not enabled refuses every call, however good the credentials are.
        """
        now = time.monotonic()
        with self._lock:
            if now < self._refused_until.get(access, 0.0):
                return
            self._refused_until[access] = now + _REFUSED_SECONDS
            self._credentials.pop(access, None)
            self._forget_sources()

    def _assume(self, access: AccountAccess) -> dict[str, str]:
        source = AccountAccess(profile=access.profile)
        region = self.region(source) or home_region(self.partition(access))
        asked = {"RoleArn": access.role_arn, "RoleSessionName": "bedrock-poller"}
        try:
            external_id = access.external_id()
        except (OSError, ValueError) as error:
            message = f"assuming {access.role_arn}: no external ID: {error}"
            raise AwsError(message, reason=AwsReason.CREDENTIALS) from error
        if external_id is not None:
            asked["ExternalId"] = external_id
        granted = self._grants(source.profile, region).assume_role(**asked)["Credentials"]
        return {
            "access_key": granted["AccessKeyId"],
            "secret_key": granted["SecretAccessKey"],
            "token": granted["SessionToken"],
            "expiry_time": granted["Expiration"].isoformat(),
        }

    def _grants(self, profile: str | None, region: str) -> Any:
        """The client that assumes roles with the credentials of a profile; hundreds of accounts share it."""
        with self._lock:
            if (profile, region) not in self._granting:
                self._granting[profile, region] = self._made(self._source(profile), "sts", region)
            return self._granting[profile, region]

    def _before_send(self, region: str, *, limited: bool) -> Any:
        def handle(event_name: str, **_: Any) -> None:
            service, operation = _operation(event_name)
            if limited:
                call = _calling.get()
                limit = self._limit(call.access, region)
                limit.wait(listing=operation in _LISTINGS, patience=call.patience)
                call.patience.begin()
            self._metrics.aws_requests.labels(service, operation).inc()

        return handle

    def _limit(self, access: AccountAccess, region: str) -> RateLimit:
        with self._lock:
            key = (access, region)
            if key not in self._limits:
                self._limits[key] = RateLimit(self._rate, self._stop)
            return self._limits[key]

    def _response_received(
        self, event_name: str, response_dict: Any, parsed_response: Any, exception: Exception | None, **_: Any
    ) -> None:
        service, operation = _operation(event_name)
        if isinstance(exception, StoppedError | AwsError):
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
        if code in aws_codes.CREDENTIALS:
            self._refused(_calling.get().access)
        if code in aws_codes.THROTTLED or status == _THROTTLED_STATUS:
            self._metrics.aws_throttles.labels(service).inc()
            _calling.get().note_throttle()


def _operation(event_name: str) -> tuple[str, str]:
    _, service, operation = event_name.split(".", 2)
    return service, operation


def home_region(partition: str) -> str:
    """Where a partition's services are that have no region, such as Organizations."""
    return {"aws-us-gov": "us-gov-west-1", "aws-cn": "cn-northwest-1"}.get(partition, "us-east-1")
