"""The operations that submit, stop, get and list jobs, for every declared kind.

Each takes a validated request and returns the JSON it answers with, or raises one of the errors its model
declares. Who calls, from which region, and which page of a listing it is, comes along as a `Call`.
"""

from __future__ import annotations

import json
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from poller.kinds import KINDS
from poller.simulator import faults as f
from poller.simulator import listing
from poller.simulator.lifecycles import DEFAULT_TIMEOUT_HOURS, LIFE_CYCLES, Entry, stopping
from poller.simulator.wire import Router, load_operations
from poller.simulator.world import Submission

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from poller.kinds import Kind
    from poller.simulator.jobs import SimJob
    from poller.simulator.wire import ApiError, Operation
    from poller.simulator.world import World

    Json = dict[str, Any]

_INVALID_TOKEN = "The provided nextToken is invalid."  # noqa: S105 - a pagination token's error, no secret
JOB_PARAMETERS = frozenset(kind.get_parameter for kind in KINDS.values())
"""The parameters by which requests name a job."""


@cache
def router() -> Router:
    """Return the operations of all kinds on one port; their paths do not overlap."""
    return Router(
        operation
        for kind in KINDS.values()
        for operation in load_operations(
            kind.service,
            kind.operations,
            "seconds" if LIFE_CYCLES[kind.name].whole_seconds else "milliseconds",
        )
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
        self._handlers: dict[str, Callable[[Operation, f.Call, Json], Any]] = {}
        for kind in KINDS.values():
            self._handlers[kind.submit_operation] = partial(self._submit, kind)
            self._handlers[kind.get_operation] = partial(self._get, kind)
            self._handlers[kind.list_operation] = partial(self._list, kind)
            if kind.stop_operation is not None:
                self._handlers[kind.stop_operation] = partial(self._stop, kind)

    def run(self, operation: Operation, call: f.Call, request: Json) -> Any:
        """Return what the operation answers.

        Raises:
            ApiError: It refuses.
        """
        return self._handlers[operation.name](operation, call, request)

    def _submit(self, kind: Kind, operation: Operation, call: f.Call, request: Json) -> Json:
        shelf = self._world.store.shelf(call.account, call.region, kind)
        token, fingerprint = request.get("clientRequestToken"), _fingerprint(request)
        if token is not None and token in shelf.tokens:
            known, arn = shelf.tokens[token]
            if known != fingerprint:
                message = f"The client request token {token} was used before with different parameters."
                raise operation.error("ConflictException", message)
            return operation.write({kind.arn[0]: arn})
        submission = Submission(
            model=request[kind.submit_model],
            name=request[kind.name_path[0]] if kind.name_path is not None else None,
            token=token,
            timeout_hours=request.get("timeoutDurationInHours", DEFAULT_TIMEOUT_HOURS),
            request=request,
        )
        job = self._world.submit(kind, call.account, call.region, call.now, submission)
        if token is not None:
            shelf.tokens[token] = (fingerprint, job.arn)
        return operation.write({kind.arn[0]: job.arn})

    def _get(self, kind: Kind, operation: Operation, call: f.Call, request: Json) -> Any:
        job = self._find(kind, operation, call, request)
        item = operation.write(job.shown(call.now, operation.output.members, listed=False))
        shown = self._faults.show(call, job.arn, item | dict(job.fields), listing=False)
        if not shown:
            raise _not_found(kind, operation)
        return shown[0]

    def _stop(self, kind: Kind, operation: Operation, call: f.Call, request: Json) -> Json:
        job = self._find(kind, operation, call, request)
        status = job.entry(call.now).status
        if job.terminal(status):
            message = f"The {kind.noun} is in status {status} and can not be stopped."
            raise operation.error("ValidationException", message)
        if status != "Stopping":
            ends = call.now + stopping(self._world.seed, job.arn, self._world.speed)
            job.move(call.now, Entry(call.now, "Stopping"), Entry(ends, "Stopped"))
        return {}

    def _find(self, kind: Kind, operation: Operation, call: f.Call, request: Json) -> SimJob:
        """Return a job of the caller's account and region, by ARN or id, once it has been submitted."""
        identifier: str = request[kind.get_parameter]
        jobs = self._world.store.shelf(call.account, call.region, kind).jobs
        job = jobs.get(identifier)
        if job is None and not identifier.startswith("arn:"):
            job = next((job for arn, job in jobs.items() if arn.endswith(f"/{identifier}")), None)
        if job is None or job.entries[0].at > call.now:
            raise _not_found(kind, operation)
        return job

    def _list(self, kind: Kind, operation: Operation, call: f.Call, request: Json) -> Json:
        key = kind.list_key
        filters = listing.Filters.of(kind, request)
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
        members = operation.output.members[key].member.members
        listed = [job.shown(call.now, members, listed=True) for job in page.jobs]
        items = operation.write({key: listed})[key]
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


def _not_found(kind: Kind, operation: Operation) -> ApiError:
    """Return the error for an unknown job, by whichever of the declared codes the operation has."""
    (code,) = kind.gone.keys() & operation.error_codes
    return operation.error(code, f"The provided {kind.noun} was not found.")


def _fingerprint(request: Mapping[str, Any]) -> str:
    """Return what is equal in two requests with one token that are the same request."""
    members = {name: value for name, value in request.items() if name != "clientRequestToken"}
    return json.dumps(members, sort_keys=True)
