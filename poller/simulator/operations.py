"""The seven operations.

Each takes a validated request and returns the JSON it answers with, or raises one of the errors its model
declares. Who calls, from which region, and which page of a listing it is, comes along as a `Call`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from poller.simulator import faults as f
from poller.simulator import listing, views
from poller.simulator.lifecycles import (
    ASYNC_INVOKE,
    DEFAULT_TIMEOUT_HOURS,
    MODEL_INVOCATION_JOB,
    Entry,
    stopping,
)
from poller.simulator.wire import Router, load_operations
from poller.simulator.world import Submission

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from poller.simulator.jobs import SimJob
    from poller.simulator.wire import Operation
    from poller.simulator.world import World

    Json = dict[str, Any]
    View = Callable[[SimJob, int], Json]

_INVALID_TOKEN = "The provided nextToken is invalid."  # noqa: S105 - a pagination token's error, no secret
_UNKNOWN_ASYNC = "The provided async invocation was not found."
_UNKNOWN_BATCH = "The provided batch inference job was not found."


def router() -> Router:
    """The operations of both services on one port; their paths do not overlap."""
    return Router(
        [
            *load_operations(
                "bedrock-runtime", ("StartAsyncInvoke", "GetAsyncInvoke", "ListAsyncInvokes"), "seconds"
            ),
            *load_operations(
                "bedrock",
                (
                    "CreateModelInvocationJob",
                    "GetModelInvocationJob",
                    "ListModelInvocationJobs",
                    "StopModelInvocationJob",
                ),
                "milliseconds",
            ),
        ]
    )


class Operations:
    """Runs operations on a world.

    Args:
        world: The jobs.
        faults: What is to go wrong inside an answer; the faults instead of an answer are not acted on here.
        page_size: Jobs on a page of a listing that does not ask for a number.
    """

    def __init__(self, world: World, faults: f.Faults, page_size: int) -> None:
        self._world = world
        self._faults = faults
        self._page_size = page_size
        self._tokens = listing.Tokens(world.seed)
        self._handlers: dict[str, Callable[[Operation, f.Call, Json], Any]] = {
            "StartAsyncInvoke": self._start_async,
            "GetAsyncInvoke": self._get_async,
            "ListAsyncInvokes": self._list_async,
            "CreateModelInvocationJob": self._create_batch,
            "GetModelInvocationJob": self._get_batch,
            "ListModelInvocationJobs": self._list_batch,
            "StopModelInvocationJob": self._stop_batch,
        }

    def run(self, operation: Operation, call: f.Call, request: Json) -> Any:
        """What the operation answers.

        Raises:
            ApiError: It refuses.
        """
        return self._handlers[operation.name](operation, call, request)

    def _start_async(self, operation: Operation, call: f.Call, request: Json) -> Json:
        submission = Submission(
            model=request["modelId"], token=request.get("clientRequestToken"), request=request
        )
        return operation.write({"invocationArn": self._submit(operation, call, ASYNC_INVOKE, submission)})

    def _create_batch(self, operation: Operation, call: f.Call, request: Json) -> Json:
        submission = Submission(
            model=request["modelId"],
            name=request["jobName"],
            token=request.get("clientRequestToken"),
            timeout_hours=request.get("timeoutDurationInHours", DEFAULT_TIMEOUT_HOURS),
            request=request,
        )
        return operation.write({"jobArn": self._submit(operation, call, MODEL_INVOCATION_JOB, submission)})

    def _submit(self, operation: Operation, call: f.Call, kind: str, submission: Submission) -> str:
        shelf = self._world.store.shelf(call.account, call.region, kind)
        token, fingerprint = submission.token, _fingerprint(submission.request or {})
        if token is not None and token in shelf.tokens:
            known, arn = shelf.tokens[token]
            if known != fingerprint:
                message = f"The client request token {token} was used before with different parameters."
                raise operation.error("ConflictException", message)
            return arn
        job = self._world.submit(kind, call.account, call.region, call.now, submission)
        if token is not None:
            shelf.tokens[token] = (fingerprint, job.arn)
        return job.arn

    def _get_async(self, operation: Operation, call: f.Call, request: Json) -> Any:
        job = self._find(call, ASYNC_INVOKE, request["invocationArn"])
        shown = self._shown(operation, call, job, views.async_invocation)
        if not shown:
            raise operation.error("ValidationException", _UNKNOWN_ASYNC)
        return shown[0]

    def _get_batch(self, operation: Operation, call: f.Call, request: Json) -> Any:
        job = self._find(call, MODEL_INVOCATION_JOB, request["jobIdentifier"])
        shown = self._shown(operation, call, job, views.batch_details)
        if not shown:
            raise operation.error("ResourceNotFoundException", _UNKNOWN_BATCH)
        return shown[0]

    def _stop_batch(self, operation: Operation, call: f.Call, request: Json) -> Json:
        job = self._find(call, MODEL_INVOCATION_JOB, request["jobIdentifier"])
        if job is None:
            raise operation.error("ResourceNotFoundException", _UNKNOWN_BATCH)
        status = job.entry(call.now).status
        if job.terminal(status):
            message = f"The batch inference job is in status {status} and can not be stopped."
            raise operation.error("ValidationException", message)
        if status != "Stopping":
            ends = call.now + stopping(self._world.seed, job.arn, self._world.speed)
            job.move(call.now, Entry(call.now, "Stopping"), Entry(ends, "Stopped"))
        return {}

    def _find(self, call: f.Call, kind: str, identifier: str) -> SimJob | None:
        """A job of the caller's account and region, by ARN or id, once it has been submitted."""
        jobs = self._world.store.shelf(call.account, call.region, kind).jobs
        job = jobs.get(identifier)
        if job is None and not identifier.startswith("arn:"):
            job = next((job for arn, job in jobs.items() if arn.endswith(f"/{identifier}")), None)
        return job if job is not None and job.entries[0].at <= call.now else None

    def _shown(self, operation: Operation, call: f.Call, job: SimJob | None, view: View) -> list[Any]:
        if job is None:
            return []
        item = operation.write(view(job, call.now))
        return self._faults.show(call, job.arn, item | dict(job.fields), listing=False)

    def _list_async(self, operation: Operation, call: f.Call, request: Json) -> Json:
        return self._list(operation, call, request, ASYNC_INVOKE, views.async_invocation)

    def _list_batch(self, operation: Operation, call: f.Call, request: Json) -> Json:
        return self._list(operation, call, request, MODEL_INVOCATION_JOB, views.batch_summary)

    def _list(self, operation: Operation, call: f.Call, request: Json, kind: str, view: View) -> Json:
        key = next(name for name, shape in operation.output.members.items() if shape.type_name == "list")
        filters = listing.Filters.of(request)
        scope = (call.operation, call.account, call.region, filters)
        token = request.get("nextToken")
        try:
            place = listing.Place() if token is None else self._tokens.read(scope, token)
        except listing.TokenError as error:
            raise operation.error("ValidationException", _INVALID_TOKEN) from error
        if token is not None:
            for expired, _ in self._faults.acting(call, f.ExpiredToken):
                raise operation.error("ValidationException", expired.message)
        if any(True for _ in self._faults.acting(call, f.EmptyListing)):
            return {key: []}
        size = request.get("maxResults", self._page_size)
        for short, _ in self._faults.acting(call, f.ShortPages):
            size = min(size, short.size)
        shelf = self._world.store.shelf(call.account, call.region, kind)
        page = listing.page(shelf, filters, place, size, call.now)
        items = operation.write({key: [view(job, call.now) for job in page.jobs]})[key]
        shown: list[Any] = []
        for job, item in zip(page.jobs, items, strict=True):
            shown += self._faults.show(call, job.arn, item | job.fields, listing=True)
        answer: Json = {key: shown}
        following = self._next_token(call, scope, token, page)
        if following is not None:
            answer["nextToken"] = following
        return answer

    def _next_token(
        self, call: f.Call, scope: tuple[object, ...], token: str | None, page: listing.Page
    ) -> str | None:
        fresh = self._tokens.mint(scope, page.next)
        for cyclic, armed in self._faults.acting(call, f.CyclicTokens):
            ring = armed.tokens.setdefault(scope, [])
            position = ring.index(token) + 1 if token in ring else 0
            if position == len(ring) and position < cyclic.length:
                ring.append(fresh)
            return ring[position % len(ring)]
        for _ in self._faults.acting(call, f.EndlessTokens):
            return fresh
        return fresh if page.more else None


def _fingerprint(request: Mapping[str, Any]) -> str:
    """What must be equal for two requests with one token to be the same request."""
    members = {name: value for name, value in request.items() if name != "clientRequestToken"}
    return json.dumps(members, sort_keys=True)
