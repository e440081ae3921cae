"""Clients, credentials and counters."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import botocore.endpoint
import pytest
from moto.server import ThreadedMotoServer

from poller.aws import AccountAccess, JobsApi
from poller.aws.limits import Patience
from poller.aws.sessions import home_region
from poller.credential_files import CredentialFiles
from poller.errors import AwsError, AwsReason, StoppedError
from poller.kinds import ASYNC_INVOKE, MODEL_INVOCATION_JOB
from poller.redaction import redact
from poller.simulator import DEFAULT_REGION, Simulator, faults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from poller.aws import Sessions
    from poller.metrics import Metrics
    from tests.harness.service import Service

    MakeSessions = Callable[..., Sessions]

ROLE = "arn:aws:iam::111111111111:role/bedrock-poller-read"


OWN = AccountAccess()


def listing(sessions: Sessions, access: AccountAccess = OWN, region: str = DEFAULT_REGION) -> int:
    """List the batch jobs, and say how many there are."""
    jobs = JobsApi(sessions.client(access, region, "bedrock"), MODEL_INVOCATION_JOB)
    return sum(len(page.items) for page in jobs.pages(None))


def value(metrics: Metrics, name: str, **labels: str) -> float:
    """A counter, 0 if it has never counted."""
    return metrics.registry.get_sample_value(f"bedrock_poller_{name}", labels) or 0


def requests(metrics: Metrics) -> float:
    """How many list requests were counted."""
    return value(metrics, "aws_api_requests_total", service="bedrock", operation="ListModelInvocationJobs")


def failures(metrics: Metrics, code: str) -> float:
    """How many list requests were counted as failed with a code."""
    return value(
        metrics,
        "aws_api_request_failures_total",
        service="bedrock",
        operation="ListModelInvocationJobs",
        error_code=code,
    )


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK does not wait between its attempts."""
    monkeypatch.setattr(botocore.endpoint, "time", SimpleNamespace(sleep=lambda _: None))


def test_an_sdk_client_is_made_once_for_each_region_and_service(make_sessions: MakeSessions) -> None:
    """Every thread and every account gets the same one; another region or service has another."""
    sessions = make_sessions()
    first = sessions.client(AccountAccess(), "us-east-1", "bedrock").shared
    found: list[Any] = []

    def get(number: int) -> None:
        access = AccountAccess(role_arn=f"arn:aws:iam::{number:012}:role/reader")
        found.append(sessions.client(access, "us-east-1", "bedrock").shared)

    threads = [threading.Thread(target=get, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(client is first for client in found)
    assert sessions.client(AccountAccess(), "eu-west-1", "bedrock").shared is not first
    assert sessions.client(AccountAccess(), "us-east-1", "bedrock-runtime").shared is not first


def test_requests_say_who_sends_them(
    make_sessions: MakeSessions, simulator: Simulator, service: Service
) -> None:
    """The application's id is in the user agent, so that the account's owner finds it in CloudTrail."""
    listing(make_sessions())
    assert "app/bedrock-poller" in service.requests[0].headers["user-agent"]


def test_every_attempt_is_counted(
    make_sessions: MakeSessions, simulator: Simulator, metrics: Metrics, impatient: None
) -> None:
    """Retries of the SDK are requests too; throttles are counted as such and as failures."""
    simulator.faults.add(faults.Throttle(times=2), faults.Fail(times=1))
    assert listing(make_sessions(max_attempts=5)) == 0
    assert simulator.requests.count() == requests(metrics) == 4
    assert failures(metrics, "ThrottlingException") == 2
    assert failures(metrics, "InternalServerException") == 1
    assert value(metrics, "aws_api_throttles_total", service="bedrock") == 2


def test_a_failure_on_the_way_is_counted_under_its_own_name(
    make_sessions: MakeSessions, simulator: Simulator, metrics: Metrics, impatient: None
) -> None:
    """What never became an answer has the name of the SDK's exception."""
    simulator.faults.add(faults.Reset(times=1))
    listing(make_sessions(max_attempts=2))
    assert requests(metrics) == 2
    assert failures(metrics, "ConnectionClosedError") == 1
    assert value(metrics, "aws_api_throttles_total", service="bedrock") == 0


def test_a_stranger_s_error_code_is_no_label(
    make_sessions: MakeSessions, simulator: Simulator, metrics: Metrics
) -> None:
    """Labels stay bounded: what is no name is counted as unknown, a 429 as a throttle whatever it says."""
    simulator.faults.add(faults.Fail(code="<b>no name</b>", status=429))
    with pytest.raises(AwsError):
        listing(make_sessions())
    assert failures(metrics, "unknown") == 1
    assert value(metrics, "aws_api_throttles_total", service="bedrock") == 1


def test_the_attempts_are_limited(make_sessions: MakeSessions, simulator: Simulator, impatient: None) -> None:
    """The setting counts the first one."""
    simulator.faults.add(faults.Throttle())
    with pytest.raises(AwsError) as caught:
        listing(make_sessions(max_attempts=3))
    assert caught.value.reason is AwsReason.THROTTLED
    assert simulator.requests.count() == 3


def test_the_rate_is_shared_by_the_services_of_a_place_only(
    make_sessions: MakeSessions, simulator: Simulator, stop: threading.Event
) -> None:
    """Both services of one access and region take turns; another region has turns of its own."""
    sessions = make_sessions(requests_per_second=0.001)
    listing(sessions)
    listing(sessions, region="eu-west-1")
    runtime = JobsApi(sessions.client(AccountAccess(), DEFAULT_REGION, "bedrock-runtime"), ASYNC_INVOKE)
    threading.Timer(0.05, stop.set).start()
    with pytest.raises(StoppedError):
        next(runtime.pages(None))


def test_a_stop_ends_the_wait_and_counts_as_nothing(
    make_sessions: MakeSessions, simulator: Simulator, stop: threading.Event, metrics: Metrics
) -> None:
    """A request that was never sent is neither a request nor a failure, and the SDK does not retry it."""
    sessions = make_sessions(requests_per_second=0.001, max_attempts=5)
    listing(sessions)
    threading.Timer(0.05, stop.set).start()
    with pytest.raises(StoppedError):
        listing(sessions)
    assert simulator.requests.count() == requests(metrics) == 1
    assert failures(metrics, "StoppedError") == 0
    assert failures(metrics, "unknown") == 0


def test_a_call_is_not_tried_again_after_its_patience(
    make_sessions: MakeSessions, simulator: Simulator, metrics: Metrics, impatient: None
) -> None:
    """Throttled, it waits for its next turn at the rate limit and is then given up; no request is sent."""
    sessions = make_sessions(requests_per_second=0.001, max_attempts=5)
    simulator.faults.add(faults.Throttle())
    jobs = JobsApi(sessions.client(OWN, DEFAULT_REGION, "bedrock"), MODEL_INVOCATION_JOB)
    arn = MODEL_INVOCATION_JOB.make_arn("abcdefghwxyz", account="123456789012", region=DEFAULT_REGION)
    with pytest.raises(AwsError, match=r"given up after 0.05 s: throttled") as caught:
        jobs.get(arn, Patience(0.05))
    assert caught.value.reason is AwsReason.THROTTLED
    assert jobs.throttled
    labels = {"service": "bedrock", "operation": "GetModelInvocationJob"}
    assert simulator.requests.count() == value(metrics, "aws_api_requests_total", **labels) == 1
    assert value(metrics, "aws_api_request_failures_total", **labels, error_code="AwsError") == 0


def test_a_listing_goes_before_the_gets_that_wait(make_sessions: MakeSessions, simulator: Simulator) -> None:
    """It has the next turn at the rate limit, though forty of them stand there for ever."""
    sessions = make_sessions(requests_per_second=10)
    listing(sessions)
    (limit,) = sessions._limits.values()
    for _ in range(40):
        limit.join(listing=False)
    for _ in range(10):
        simulator.submit_batch(script=[("InProgress", 0)])
    assert listing(sessions) == 10


def test_what_cannot_become_a_client_has_a_reason(make_sessions: MakeSessions) -> None:
    """A profile that is not there, and a region that is none."""
    sessions = make_sessions()
    for access, region, reason in (
        (AccountAccess(profile="nobody"), "us-east-1", AwsReason.CREDENTIALS),
        (AccountAccess(), "not a region!", AwsReason.INVALID),
    ):
        with pytest.raises(AwsError) as caught:
            sessions.client(access, region, "bedrock")
        assert caught.value.reason is reason
    with pytest.raises(AwsError):
        sessions.region(AccountAccess(profile="nobody"))


def test_the_current_region_is_the_sdk_s(
    make_sessions: MakeSessions, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`AWS_DEFAULT_REGION` and a profile's region first, then `AWS_REGION`; a role changes nothing."""
    assert make_sessions().region(AccountAccess()) is None
    environment.setenv("AWS_REGION", "eu-north-1")
    assert make_sessions().region(AccountAccess(role_arn=ROLE)) == "eu-north-1"
    environment.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert make_sessions().region(AccountAccess()) == "eu-west-1"
    config = tmp_path / "config"
    config.write_text("[profile p]\nregion = ap-south-1\n")
    environment.setenv("AWS_CONFIG_FILE", str(config))
    environment.delenv("AWS_DEFAULT_REGION")
    assert make_sessions().region(AccountAccess(profile="p")) == "ap-south-1"


def test_each_partition_has_a_home(make_sessions: MakeSessions, environment: pytest.MonkeyPatch) -> None:
    """Where Organizations is asked, and STS if there is no current region; a role tells it, or a region."""
    assert home_region("aws") == "us-east-1"
    assert home_region("aws-us-gov") == "us-gov-west-1"
    assert home_region("aws-cn") == "cn-northwest-1"
    sessions = make_sessions()
    for partition in ("aws", "aws-us-gov", "aws-cn"):
        assert (
            sessions.partition(AccountAccess(role_arn=ROLE.replace(":aws:", f":{partition}:"))) == partition
        )
    assert sessions.partition(AccountAccess()) == "aws"
    environment.setenv("AWS_REGION", "cn-north-1")
    assert sessions.partition(AccountAccess()) == "aws-cn"


def test_the_regions_of_a_partition_are_those_the_sdk_knows(make_sessions: MakeSessions) -> None:
    """None is known for China; an unknown partition has none."""
    sessions = make_sessions()
    assert {"us-east-1", "eu-central-1"} <= set(sessions.regions("aws"))
    assert set(sessions.regions("aws-us-gov")) == {"us-gov-east-1", "us-gov-west-1"}
    assert sessions.regions("aws-cn") == ()
    assert sessions.regions("aws-moon") == ()


def test_the_external_id_is_no_part_of_an_access_s_identity() -> None:
    """Two accesses to one role share a session, and neither shows how the id is had."""
    one, two = (
        AccountAccess(role_arn=ROLE, external_id=lambda: "a"),
        AccountAccess(role_arn=ROLE, external_id=lambda: "b"),
    )
    assert one == two
    assert hash(one) == hash(two)
    assert "external_id" not in repr(one)
    assert AccountAccess().external_id() is None


class Sts:
    """A real STS of moto's, and what it is asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def watch(self, sessions: Sessions) -> Sessions:
        """Note every AssumeRole that these sessions send."""

        def note(params: dict[str, Any], **_: Any) -> None:
            self.asked.append(dict(params))

        sessions._source(None).events.register("provide-client-params.sts.AssumeRole", note)
        return sessions


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """The URL of a moto server."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def sts(moto: str, environment: pytest.MonkeyPatch) -> Sts:
    """Where roles are assumed."""
    environment.setenv("AWS_ENDPOINT_URL_STS", moto)
    return Sts()


def credentials_of(sessions: Sessions, access: AccountAccess) -> Any:
    """The credentials that a role's clients share."""
    return sessions.credentials(access)


def keys_used(service: Service) -> list[str]:
    """The access key that each request was signed with."""
    return [
        request.headers["authorization"].split("Credential=")[1].split("/")[0] for request in service.requests
    ]


def test_a_role_is_assumed_with_its_external_id(
    make_sessions: MakeSessions, simulator: Simulator, service: Service, sts: Sts
) -> None:
    """Once for many calls and both services; requests carry the temporary credentials."""
    sessions = sts.watch(make_sessions())
    access = AccountAccess(role_arn=ROLE, external_id=lambda: "xid-1")
    listing(sessions, access)
    listing(sessions, access)
    list(JobsApi(sessions.client(access, DEFAULT_REGION, "bedrock-runtime"), ASYNC_INVOKE).pages(None))
    assert sts.asked == [{"RoleArn": ROLE, "RoleSessionName": "bedrock-poller", "ExternalId": "xid-1"}]
    assert len(set(keys_used(service))) == 1
    assert keys_used(service)[0].startswith("ASIA")
    assert all(request.headers["x-amz-security-token"] for request in service.requests)


def test_calls_at_once_are_each_signed_for_their_own_account(
    make_sessions: MakeSessions, simulator: Simulator, service: Service, sts: Sts
) -> None:
    """Threads that share a client never sign with each other's credentials, nor wait for their turns."""
    sessions = make_sessions(requests_per_second=1000)
    accesses = [AccountAccess(role_arn=f"arn:aws:iam::{number:012}:role/reader") for number in range(1, 9)]
    used: dict[str, str] = {}

    def list_ten_times(access: AccountAccess) -> None:
        for _ in range(10):
            listing(sessions, access)
        used[sessions.credentials(access).get_frozen_credentials().access_key] = str(access.role_arn)

    threads = [threading.Thread(target=list_ten_times, args=[access]) for access in accesses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(used) == 8
    assert Counter(keys_used(service)) == dict.fromkeys(used, 10)


def test_a_role_without_an_external_id_is_asked_for_without_one(
    make_sessions: MakeSessions, simulator: Simulator, service: Service, sts: Sts
) -> None:
    """And an access without a role uses the credentials it has."""
    sessions = sts.watch(make_sessions())
    listing(sessions, AccountAccess(role_arn=ROLE))
    assert sts.asked == [{"RoleArn": ROLE, "RoleSessionName": "bedrock-poller"}]
    service.requests.clear()
    listing(sessions)
    assert keys_used(service) == ["AKIDDEFAULT"]
    assert len(sts.asked) == 1


def test_credentials_that_run_out_are_refreshed_with_the_file_s_new_external_id(
    make_sessions: MakeSessions,
    simulator: Simulator,
    service: Service,
    sts: Sts,
    tmp_path: Path,
) -> None:
    """An hour later the role is assumed anew, and the external id is read again for it (fault 24)."""
    file = tmp_path / "external_id"
    file.write_text("before")
    access = AccountAccess(role_arn=ROLE, external_id=file.read_text)
    sessions = sts.watch(make_sessions())
    listing(sessions, access)
    file.write_text("after")
    listing(sessions, access)
    assert [asked["ExternalId"] for asked in sts.asked] == ["before"]
    credentials_of(sessions, access)._time_fetcher = lambda: datetime.now(UTC) + timedelta(minutes=59)
    listing(sessions, access)
    assert [asked["ExternalId"] for asked in sts.asked] == ["before", "after"]
    first, second, third = keys_used(service)
    assert first == second != third


def test_hundreds_of_roles_are_assumed_by_one_client(
    make_sessions: MakeSessions, simulator: Simulator, service: Service, sts: Sts
) -> None:
    """To make a client for each costs tens of milliseconds; a closed one is made anew."""
    sessions = make_sessions()
    for number in range(1, 4):
        listing(sessions, AccountAccess(role_arn=f"arn:aws:iam::{number:012}:role/reader"))
    assert len(set(keys_used(service))) == 3
    assert len(sessions._granting) == 1
    sessions.close()
    assert sessions._granting == {}
    listing(sessions, AccountAccess(role_arn=ROLE))
    assert len(set(keys_used(service))) == 4


def test_requests_say_who_makes_them(
    make_sessions: MakeSessions, simulator: Simulator, service: Service
) -> None:
    """The SDK's own description of itself, and the program's name, the same in every request."""
    sessions = make_sessions()
    listing(sessions)
    list(
        JobsApi(sessions.client(AccountAccess(), DEFAULT_REGION, "bedrock-runtime"), ASYNC_INVOKE).pages(None)
    )
    (agent,) = {request.headers["user-agent"] for request in service.requests}
    assert agent.startswith("Boto3/")
    assert "Botocore#" in agent
    assert "app/bedrock-poller" in agent


def test_an_external_id_that_cannot_be_read_is_a_credentials_failure(
    make_sessions: MakeSessions, simulator: Simulator, sts: Sts, tmp_path: Path
) -> None:
    """The message names the role and the file; the next poll tries again."""
    file = tmp_path / "external_id"
    access = AccountAccess(role_arn=ROLE, external_id=file.read_text)
    sessions = make_sessions()
    with pytest.raises(AwsError, match="external_id") as caught:
        listing(sessions, access)
    assert caught.value.reason is AwsReason.CREDENTIALS
    assert ROLE in str(caught.value)
    file.write_text("there")
    assert listing(sessions, access) == 0


def test_a_role_that_may_not_be_assumed_is_access_denied(
    make_sessions: MakeSessions, service: Service
) -> None:
    """What STS says is kept, no connection stays open, and other accesses go on."""
    sessions = make_sessions()
    error = b"<Error><Code>AccessDenied</Code><Message>not sts:AssumeRole</Message></Error>"
    service.can(b"<ErrorResponse>" + error + b"</ErrorResponse>", status=403)
    with pytest.raises(AwsError, match="sts:AssumeRole") as caught:
        listing(sessions, AccountAccess(role_arn=ROLE))
    assert (caught.value.reason, caught.value.code) == (AwsReason.ACCESS_DENIED, "AccessDenied")
    service.answer = Simulator().handle
    assert listing(sessions) == 0


def test_closing_closes_every_client(make_sessions: MakeSessions, simulator: Simulator) -> None:
    """Closing twice does no harm, and a client asked for afterwards is a new one."""
    sessions = make_sessions()
    first = sessions.client(AccountAccess(), DEFAULT_REGION, "bedrock").shared
    sessions.close()
    sessions.close()
    assert sessions.client(AccountAccess(), DEFAULT_REGION, "bedrock").shared is not first


def test_the_account_is_that_of_the_role_or_the_one_that_sts_names(
    make_sessions: MakeSessions, sts: Sts
) -> None:
    """A role's ARN needs no call; for other credentials STS is asked once."""
    sessions = make_sessions()
    asked: list[int] = []
    sessions._source(None).events.register(
        "provide-client-params.sts.GetCallerIdentity", lambda **_: asked.append(1)
    )
    assert sessions.account(AccountAccess(role_arn=ROLE)) == "111111111111"
    assert asked == []
    assert sessions.account(AccountAccess()) == sessions.account(AccountAccess()) == "123456789012"
    assert asked == [1]


def test_an_sts_that_does_not_answer_is_a_failure(
    make_sessions: MakeSessions, environment: pytest.MonkeyPatch
) -> None:
    """The error says what was asked for."""
    environment.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9")
    with pytest.raises(AwsError, match="asking STS for the account") as caught:
        make_sessions().account(AccountAccess())
    assert caught.value.reason is AwsReason.NETWORK


@pytest.mark.parametrize("token", ["a-token", "", " "])
def test_a_bearer_token_is_used_only_where_no_credential_is_configured(
    make_sessions: MakeSessions, environment: pytest.MonkeyPatch, token: str
) -> None:
    """A role and a profile go first, and an empty token is none; STS knows no token (fault 50)."""
    environment.setenv("AWS_BEARER_TOKEN_BEDROCK", token)
    sessions = make_sessions()
    assert sessions.uses_bearer_token(AccountAccess()) == bool(token.strip())
    assert not sessions.uses_bearer_token(AccountAccess(profile="p"))
    assert not sessions.uses_bearer_token(AccountAccess(role_arn=ROLE))
    if token.strip():
        assert sessions.account(AccountAccess()) is None


@pytest.mark.parametrize(
    "ambient",
    [
        {"AWS_BEARER_TOKEN_BEDROCK": "t"},
        {"AWS_BEARER_TOKEN_BEDROCK": ""},
        {"AWS_BEARER_TOKEN_BEDROCK": "t", "AWS_AUTH_SCHEME_PREFERENCE": "httpBearerAuth"},
        {"AWS_ACCESS_KEY_ID": "AKIDAMBIENT", "AWS_SECRET_ACCESS_KEY": "x", "AWS_SESSION_TOKEN": "y"},
        {"AWS_WEB_IDENTITY_TOKEN_FILE": "/dev/null", "AWS_ROLE_ARN": ROLE, "AWS_ACCESS_KEY_ID": ""},
        {"AWS_PROFILE": "other"},
        {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:9/"},
    ],
    ids="+".join,
)
def test_no_credential_of_the_environment_overrides_a_profile(
    make_sessions: MakeSessions,
    service: Service,
    environment: pytest.MonkeyPatch,
    tmp_path: Path,
    ambient: dict[str, str],
) -> None:
    """Requests of a target with a profile are signed with the key of that profile (fault 50)."""
    service.simulate(Simulator())
    file = tmp_path / "credentials"
    file.write_text(
        "[mine]\naws_access_key_id = AKIDMINE\naws_secret_access_key = s\n"
        "[other]\naws_access_key_id = AKIDOTHER\naws_secret_access_key = s\n"
    )
    environment.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    for name, value in ambient.items():
        environment.setenv(name, value)
    sessions = make_sessions()
    access = AccountAccess(profile="mine")
    listing(sessions, access)
    list(JobsApi(sessions.client(access, DEFAULT_REGION, "bedrock-runtime"), ASYNC_INVOKE).pages(None))
    assert keys_used(service) == ["AKIDMINE"] * 2


def write_key(path: Path, key: str) -> None:
    """A file of credentials, as whoever rotates them replaces it."""
    new = path.with_suffix(".new")
    new.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = secret-of-{key}\n")
    new.replace(path)


@pytest.fixture
def shared_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shared credentials file, with a first key."""
    path = tmp_path / "credentials"
    write_key(path, "AKIAFIRST")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    return path


def signed_with(service: Service) -> str:
    """The key of the last request."""
    return service.requests[-1].headers["authorization"].partition("Credential=")[2].partition("/")[0]


def test_a_file_of_credentials_that_was_replaced_is_read_again(
    make_sessions: MakeSessions, service: Service, shared_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next request after a second is signed with the new key, without a reload (fault 69)."""
    now = [0.0]
    monkeypatch.setattr("poller.aws.sessions.CredentialFiles", lambda: CredentialFiles(lambda: now[0]))
    sessions = make_sessions()
    listing(sessions)
    write_key(shared_file, "AKIASECOND")
    listing(sessions)
    assert signed_with(service) == "AKIAFIRST"
    now[0] += 1.5
    listing(sessions)
    assert signed_with(service) == "AKIASECOND"
    shared_file.unlink()
    now[0] += 1.5
    with pytest.raises(AwsError) as caught:
        listing(sessions)
    assert caught.value.reason is AwsReason.CREDENTIALS


@pytest.mark.parametrize("code", ["ExpiredTokenException", "UnrecognizedClientException", "RequestExpired"])
def test_credentials_that_were_refused_are_found_again(
    make_sessions: MakeSessions,
    service: Service,
    shared_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
) -> None:
    """A file that shows no change, as on some volumes, is read again after a refusal (fault 69)."""
    monkeypatch.setattr(CredentialFiles, "changed", lambda _: False)
    sessions = make_sessions()
    accepted = service.answer
    for key in ("AKIASECOND", "AKIATHIRD"):
        service.can(b'{"message":"no"}', status=403, headers={"x-amzn-errortype": code})
        write_key(shared_file, key)
        listing_fails(sessions)
        service.answer = accepted
        listing(sessions)
        # Once a minute: a region that refuses everything does not cost every credential at every poll.
        assert signed_with(service) == "AKIASECOND"


def listing_fails(sessions: Sessions) -> None:
    """List, and be refused for the credentials."""
    with pytest.raises(AwsError) as caught:
        listing(sessions)
    assert caught.value.reason is AwsReason.CREDENTIALS


def test_credentials_are_struck_from_what_a_service_echoes(
    make_sessions: MakeSessions, service: Service, shared_file: Path
) -> None:
    """What an endpoint repeats of them reaches no log (fault 67)."""
    sessions = make_sessions()
    listing(sessions)
    assert redact("denied: secret-of-AKIAFIRST") == "denied: [secret]"
