"""The simulated Bedrock: requests in, answers out, and the controls for tests.

`Simulator.handle` takes a plain HTTP request and returns a plain answer, so that everything but sockets can
be tried without a server. One lock guards all state; controls can be used from any thread.
"""

from __future__ import annotations

import json
import re
import threading
from collections import deque
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from poller.kinds import ASYNC_INVOKE, DEFAULT_KINDS, KINDS, MODEL_INVOCATION_JOB
from poller.simulator import faults as f
from poller.simulator.jobs import to_datetime, to_ms
from poller.simulator.listing import page_number
from poller.simulator.operations import JOB_PARAMETERS, Operations, router
from poller.simulator.seeding import Dice
from poller.simulator.validation import validate
from poller.simulator.wire import ApiError
from poller.simulator.world import SPREAD, Flow, Submission, World, populate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from poller.simulator.jobs import JobState
    from poller.simulator.wire import HttpRequest, Operation
    from poller.simulator.world import Workload

DEFAULT_ACCOUNT = "123456789012"
DEFAULT_REGION = "us-east-1"
_LOG_SIZE = 100_000
_CREDENTIAL = re.compile(
    r"AWS4-HMAC-SHA256 .*?Credential=([^/,\s]+)/(\d{8})/([a-z0-9-]+)/([^/,\s]+)/aws4_request\b"
)

_STS_ANSWER = """<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<GetCallerIdentityResult><Arn>arn:aws:iam::{account}:user/simulated</Arn><UserId>{key}</UserId>
<Account>{account}</Account></GetCallerIdentityResult>
<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></GetCallerIdentityResponse>"""
_STS_ERROR = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>{code}</Code><Message>{message}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"""


@dataclass(frozen=True, slots=True)
class Received:
    """One request, as it came in; `parameters` has what could be read of it, times as datetimes."""

    operation: str
    region: str
    account: str
    parameters: Mapping[str, Any]
    at: datetime


@dataclass(frozen=True, slots=True)
class Answer:
    """What to send back, and how to spoil it.

    Args:
        delay: Seconds to wait first.
        keep: Announce the body, send only this many bytes of it and close; `None` sends it all.
        reset: Reset the connection; nothing is sent before that but what `keep` says.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    delay: float = 0.0
    keep: int | None = None
    reset: bool = False


class RequestLog:
    """The last requests, oldest first."""

    def __init__(self) -> None:
        self._entries: deque[Received] = deque(maxlen=_LOG_SIZE)

    def __iter__(self) -> Iterator[Received]:
        return iter(tuple(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def append(self, entry: Received) -> None:
        """Note a request."""
        self._entries.append(entry)

    def count(self, operation: str | None = None, region: str | None = None) -> int:
        """How many requests came, of one operation or in one region if given."""
        return sum(operation in {None, entry.operation} and region in {None, entry.region} for entry in self)

    def clear(self) -> None:
        """Forget them."""
        self._entries.clear()


@dataclass(slots=True)
class _Exchange:
    """One request on its way through `handle`."""

    request_id: str
    now: int
    operation: str = ""
    region: str = ""
    account: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)


class Simulator:
    """A Bedrock to try things against.

    Args:
        seed: Decides everything that is made up.
        speed: How many times faster than the real service jobs live; can be set later for new jobs.
        clock: The time, aware; the simulator knows no other.
        accounts: Which account an access key id belongs to; others belong to 123456789012.
        page_size: Jobs on a page of a listing that does not ask for a number.
        workload: What each region is busy with from its first request on; `None` leaves regions empty.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        speed: float = 1.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        accounts: Mapping[str, str] | None = None,
        page_size: int = 100,
        workload: Workload | None = None,
    ) -> None:
        self.faults = f.Faults(seed)
        self.requests = RequestLog()
        self._clock = clock
        self._accounts = dict(accounts or {})
        self._workload = workload
        self._flows: dict[tuple[str, str], Flow] = {}
        self._world = World(seed, speed)
        self._operations = Operations(self._world, self.faults, page_size)
        self._router = router()
        self._lock = threading.RLock()
        self._answered = 0

    @property
    def speed(self) -> float:
        """How many times faster than the real service jobs live that are submitted from now on."""
        return self._world.speed

    @speed.setter
    def speed(self, speed: float) -> None:
        self._world.speed = speed

    # Controls for tests.

    def submit(
        self,
        kind: str,
        *,
        region: str = DEFAULT_REGION,
        account: str = DEFAULT_ACCOUNT,
        submitted_at: datetime | None = None,
        **known: Any,
    ) -> str:
        """Submit a job without a request.

        Args:
            kind: The name of its kind.
            region: Its region.
            account: Its account.
            submitted_at: When, in the past or the future; now by default.
            known: What else is known of it, as the arguments of `Submission`.

        Returns:
            Its ARN.
        """
        submission = Submission(**known)
        with self._lock:
            at = self._now() if submitted_at is None else to_ms(submitted_at)
            return self._world.submit(KINDS[kind], account, region, at, submission).arn

    def submit_async(self, **known: Any) -> str:
        """Submit an asynchronous invocation, with the arguments of `submit`."""
        return self.submit(ASYNC_INVOKE.name, **known)

    def submit_batch(self, **known: Any) -> str:
        """Submit a batch inference job, with the arguments of `submit`."""
        return self.submit(MODEL_INVOCATION_JOB.name, **known)

    def populate(
        self,
        *,
        jobs: int = 0,
        history: int = 0,
        region: str = DEFAULT_REGION,
        account: str = DEFAULT_ACCOUNT,
        spread: float = SPREAD,
        kinds: Sequence[str] = DEFAULT_KINDS,
    ) -> list[str]:
        """Make up `jobs` jobs submitted over the next `spread` seconds, and `history` jobs that have ended.

        Returns:
            Their ARNs, those of the past first.
        """
        with self._lock:
            made = populate(
                self._world,
                account,
                region,
                self._now(),
                jobs=jobs,
                history=history,
                spread=spread,
                kinds=kinds,
            )
        return [job.arn for job in made]

    def advance(self, arn: str) -> str:
        """Move a job to its next planned status now; returns that status.

        Raises:
            KeyError: There is no such job.
            ValueError: Nothing lies ahead of it.
        """
        with self._lock:
            return self._world.store.find(arn).advance(self._now())

    def force(self, arn: str, status: str, *, message: str | None = None) -> None:
        """Move a job to any status now, to stay there.

        Raises:
            KeyError: There is no such job.
        """
        with self._lock:
            job = self._world.store.find(arn)
            job.message = message or job.message
            job.force(self._now(), status)

    def jobs(self, *, region: str | None = None, account: str | None = None) -> list[JobState]:
        """The truth about every job submitted so far, by account, region, kind and submission."""
        with self._lock:
            now = self._now()
            for (busy_account, busy_region), flow in self._flows.items():
                if region in {None, busy_region} and account in {None, busy_account}:
                    flow.catch_up(now)
            return [
                job.state(now)
                for job in self._world.store.all()
                if region in {None, job.region}
                and account in {None, job.account}
                and job.entries[0].at <= now
            ]

    def job(self, arn: str) -> JobState:
        """The truth about one job.

        Raises:
            KeyError: There is no such job.
        """
        with self._lock:
            return self._world.store.find(arn).state(self._now())

    def history(self, arn: str) -> list[tuple[datetime, str]]:
        """Every status a job has entered, with the time.

        Raises:
            KeyError: There is no such job.
        """
        with self._lock:
            entered = self._world.store.find(arn).entered(self._now())
        return [(to_datetime(entry.at), entry.status) for entry in entered]

    # Requests.

    def handle(self, request: HttpRequest) -> Answer:
        """Answer one request; never raises for anything a request contains."""
        with self._lock:
            self._answered += 1
            exchange = _Exchange(Dice(self._world.seed, "request", self._answered).uuid(), self._now())
            try:
                return self._identity(request, exchange) or self._answer(request, exchange)
            except ApiError as error:
                return _error(exchange, error)

    def _identity(self, request: HttpRequest, exchange: _Exchange) -> Answer | None:
        """Answer a request that is for STS, which speaks its query protocol; `None` if it is not."""
        if not _is_for_sts(request):
            return None
        headers = _headers(exchange, "text/xml")
        request_id = exchange.request_id
        try:
            access_key, account, _ = self._identify(request, service="sts")
            _check_sts_action(request)
        except ApiError as error:
            said = _STS_ERROR.format(code=error.code, message=escape(error.message), request_id=request_id)
            return Answer(error.status, headers, said.encode())
        said = _STS_ANSWER.format(account=account, key=escape(access_key), request_id=request_id)
        return Answer(200, headers, said.encode())

    def _answer(self, request: HttpRequest, exchange: _Exchange) -> Answer:
        operation, labels = self._router.route(request)
        exchange.operation = operation.name
        _, exchange.account, exchange.region = self._identify(request)
        refusal: ApiError | None = None
        try:
            exchange.parameters = operation.parse(labels, request)
            validate(operation.input, exchange.parameters)
        except ApiError as error:
            refusal = error
        self.requests.append(_received(operation, exchange))
        self._catch_up(exchange)
        call = f.Call(
            operation=operation.name,
            region=exchange.region,
            account=exchange.account,
            page=page_number(exchange.parameters.get("nextToken")),
            now=exchange.now,
            arn=next((value for name, value in exchange.parameters.items() if name in JOB_PARAMETERS), None),
        )
        delay = sum(fault.seconds for fault, _ in self.faults.acting(call, f.Latency))
        for fault, _ in self.faults.acting(call, f.Fail, f.Reset, f.Garbage):
            return _spoilt(exchange, fault, delay)
        if refusal is None:
            try:
                members = self._operations.run(operation, call, exchange.parameters)
            except ApiError as error:
                refusal = error
        if refusal is not None:
            return _error(exchange, refusal, delay)
        answer = Answer(operation.success, _headers(exchange), f.unfold(json.dumps(members).encode()), delay)
        for cut, _ in self.faults.acting(call, f.CutBody):
            return replace(answer, keep=cut.keep, reset=cut.reset)
        return answer

    def _identify(self, request: HttpRequest, service: str = "bedrock") -> tuple[str, str, str]:
        """Access key, account and region that a request is signed for; the signature is not checked."""
        authorization = request.headers.get("authorization", "")
        if not authorization:
            raise ApiError("MissingAuthenticationTokenException", "Missing Authentication Token", 403)
        credential = _CREDENTIAL.match(authorization)
        if credential is None:
            message = "Authorization header requires a 'Credential' parameter with a full scope."
            raise ApiError("IncompleteSignatureException", message, 403)
        access_key, _, region, signed_for = credential.groups()
        if signed_for != service:
            message = f"Credential should be scoped to correct service: '{service}'."
            raise ApiError("InvalidSignatureException", message, 403)
        return access_key, self._accounts.get(access_key, DEFAULT_ACCOUNT), region

    def _catch_up(self, exchange: _Exchange) -> None:
        if self._workload is None:
            return
        place = (exchange.account, exchange.region)
        if place not in self._flows:
            self._flows[place] = Flow(self._workload, self._world, *place, exchange.now)
        self._flows[place].catch_up(exchange.now)

    def _now(self) -> int:
        return to_ms(self._clock())


def _is_for_sts(request: HttpRequest) -> bool:
    """Whether a request is for STS: its form is posted to the root, where Bedrock has no operation."""
    return request.method == "POST" and request.path == "/"


def _check_sts_action(request: HttpRequest) -> None:
    action = parse_qs(request.body.decode("latin-1")).get("Action", [""])[0]
    if action != "GetCallerIdentity":
        raise ApiError("InvalidAction", f"Could not find operation {action[:100]} for version 2011-06-15")


def _received(operation: Operation, exchange: _Exchange) -> Received:
    parameters = {
        name: to_datetime(value) if operation.input.members[name].type_name == "timestamp" else value
        for name, value in exchange.parameters.items()
    }
    return Received(operation.name, exchange.region, exchange.account, parameters, to_datetime(exchange.now))


def _headers(exchange: _Exchange, content_type: str = "application/json") -> dict[str, str]:
    return {
        "content-type": content_type,
        "date": format_datetime(to_datetime(exchange.now), usegmt=True),
        "x-amzn-requestid": exchange.request_id,
    }


def _error(exchange: _Exchange, error: ApiError, delay: float = 0.0) -> Answer:
    headers = _headers(exchange) | {"x-amzn-errortype": error.code}
    return Answer(error.status, headers, json.dumps({"message": error.message}).encode(), delay)


def _spoilt(exchange: _Exchange, fault: f.Fault, delay: float) -> Answer:
    if isinstance(fault, f.Fail):
        return _error(exchange, ApiError(fault.code, fault.message, fault.status), delay)
    if isinstance(fault, f.Garbage):
        return Answer(fault.status, _headers(exchange, fault.content_type), fault.body, delay)
    return Answer(500, {}, b"", delay, reset=True)
