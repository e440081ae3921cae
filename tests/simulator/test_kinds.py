"""Every declared kind is served: submitted, listed, got and stopped, by its declaration alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from botocore import xform_name
from botocore.exceptions import ClientError

from poller.kinds import KINDS, Kind
from poller.simulator.lifecycles import DEFAULT_TIMEOUT_HOURS, LIFE_CYCLES, plan_life
from poller.simulator.operations import router
from tests.simulator.raw import call
from tests.simulator.shapes import violations

if TYPE_CHECKING:
    from collections.abc import Callable

    from poller.simulator import Simulator
    from tests.simulator.conftest import Clock

every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


class Caller:
    """Calls the operations of a kind through boto3."""

    def __init__(self, client: Any, kind: Kind) -> None:
        self.client = client
        self.kind = kind

    def submit(self, **more: Any) -> str:
        """Submit a job with the request of a made-up one; returns its ARN."""
        kind, cycle = self.kind, LIFE_CYCLES[self.kind.name]
        request = cycle.request("nightly", "s3://bucket", "arn:aws:iam::123456789012:role/batch")
        accepted = self.client.meta.service_model.operation_model(kind.submit_operation).input_shape.members
        named = {} if kind.name_path is None else {kind.name_path[0]: "nightly"}
        members = {**request, **named, kind.submit_model: cycle.models[0], **more}
        if "modelInput" in accepted:
            members["modelInput"] = {"prompt": "x"}
        arn: str = self._call(kind.submit_operation, **members)[kind.arn[0]]
        return arn

    def get(self, arn: str) -> Any:
        """What Get answers."""
        return self._call(self.kind.get_operation, **{self.kind.get_parameter: arn})

    def stop(self, arn: str) -> None:
        """Stop a job."""
        assert self.kind.stop_operation is not None
        self._call(self.kind.stop_operation, **{self.kind.get_parameter: arn})

    def listed(self, **filters: Any) -> list[Any]:
        """What the list shows."""
        items: list[Any] = self._call(self.kind.list_operation, **filters)[self.kind.list_key]
        return items

    def _call(self, operation: str, **members: Any) -> Any:
        return getattr(self.client, xform_name(operation))(**members)


@pytest.fixture
def caller(kind: Kind, simulator: Simulator, clients: Callable[..., Any]) -> Caller:
    """A caller of the kind's operations."""
    return Caller(clients(kind.service), kind)


def test_every_kind_has_a_life_cycle() -> None:
    """Neither more nor fewer."""
    assert LIFE_CYCLES.keys() == KINDS.keys()


@every_kind
def test_a_life_has_declared_statuses_only_and_ends(kind: Kind) -> None:
    """It begins open, keeps to the declaration's order, and ends once; every outcome but a stop may come."""
    ends = set()
    for number in range(400):
        model = LIFE_CYCLES[kind.name].models[0]
        life = plan_life(
            kind,
            seed=1,
            arn=f"arn-{number}",
            model=model,
            timeout_hours=DEFAULT_TIMEOUT_HOURS,
            speed=1.0,
        )
        statuses = [entry.status for entry in life.entries]
        assert statuses[-1] in kind.outcomes
        assert set(statuses[:-1]) <= set(kind.open_statuses)
        ranks = [kind.ranks[status] for status in statuses]
        assert ranks == sorted(ranks)
        ends.add(statuses[-1])
    assert ends | {"Stopped"} == kind.outcomes.keys() | {"Stopped"}


@every_kind
def test_a_submitted_job_is_listed_and_got(kind: Kind, caller: Caller, clock: Clock) -> None:
    """boto3 accepts both answers, and the declaration reads the same job off both."""
    arn = caller.submit()
    clock.tick(1)
    (item,) = caller.listed(**{kind.before_parameter: clock.now})
    assert caller.listed(**{kind.since_parameter: clock.now}) == []
    got = caller.get(arn)
    for found in (item, got):
        assert found[kind.arn[0]] == arn
        assert found[kind.status[0]] == kind.open_statuses[0]
    assert not kind.details_only & item.keys()
    assert kind.details_only & got.keys() or not kind.details_only
    assert caller.listed(statusEquals="Completed") == []


@every_kind
def test_a_client_request_token_submits_once(kind: Kind, caller: Caller, simulator: Simulator) -> None:
    """The same request again answers the same ARN."""
    assert caller.submit(clientRequestToken="token-1") == caller.submit(clientRequestToken="token-1")
    assert len(simulator.jobs()) == 1


@every_kind
def test_an_unknown_job_is_refused_by_a_declared_code(kind: Kind, caller: Caller) -> None:
    """And in words by which the declaration knows that the job is gone."""
    with pytest.raises(ClientError) as caught:
        caller.get(kind.make_arn("abcdefghwxyz", account="123456789012", region="us-east-1"))
    error = caught.value.response["Error"]
    assert kind.is_gone(error["Code"], error["Message"])


@every_kind
def test_a_stopped_job_can_be_stopped_once(kind: Kind, caller: Caller, clock: Clock) -> None:
    """It is Stopping, then Stopped without an end time, and then refuses; some kinds have no stop."""
    if kind.stop_operation is None:
        assert "Stopped" not in kind.statuses
        return
    arn = caller.submit()
    caller.stop(arn)
    assert caller.get(arn)[kind.status[0]] == "Stopping"
    clock.tick(61)
    stopped = caller.get(arn)
    assert stopped[kind.status[0]] == "Stopped"
    assert kind.ended_at is None or kind.ended_at[0] not in stopped
    with pytest.raises(ClientError, match="can not be stopped"):
        caller.stop(arn)


@every_kind
def test_every_body_conforms_to_the_model_in_every_status(kind: Kind, simulator: Simulator) -> None:
    """Made-up jobs show known members only, all required ones, and the same in the list as in the Get."""
    for status in sorted(kind.statuses):
        simulator.submit(kind.name, script=[(status, 0)])
    simulator.populate(history=20, kinds=[kind.name])
    requests = router().operations
    path = "/".join(requests[kind.list_operation].segments)
    _, _, page = call(simulator, "GET", path, "maxResults=1000")
    assert violations(kind.service, kind.list_operation, page) == []
    for item in page[kind.list_key]:
        *before, _ = requests[kind.get_operation].segments
        got = call(simulator, "GET", "/".join((*before, quote(item[kind.arn[0]], safe=""))))[2]
        assert violations(kind.service, kind.get_operation, got) == []
        assert [name for name in item.keys() & got.keys() if item[name] != got[name]] == []
