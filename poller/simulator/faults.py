"""What a test can make the simulator do wrong.

A fault is a frozen description, limited by operation, region, page of a listing and number of times. It is
armed with `simulator.faults.add(...)` from any thread and takes effect from the next request on. Every fault
that matches a request acts, in the order they were added; the first that answers in the service's place wins.

    simulator.faults.add(Throttle(operation="ListAsyncInvokes", times=3))
    with simulator.faults.active(CutBody(keep=100)):
        ...
"""

from __future__ import annotations

import copy
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from poller.simulator.seeding import Dice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Json = dict[str, Any]

F = TypeVar("F", bound="Fault")


@dataclass(frozen=True, slots=True)
class Call:
    """What a request is, as far as faults tell requests apart."""

    operation: str
    region: str
    account: str
    page: int
    now: int
    arn: str | None = None
    """The job that a Get asks for."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fault:
    """What all faults have in common; a fault is itself and equal to no other.

    Args:
        operation: Only this operation, such as `ListAsyncInvokes`; `None` for all.
        region: Only this region.
        account: Only this account.
        page: Only this page of a listing, from 1; other operations have only page 1.
        times: How often it acts before it is spent; `None` forever.
        probability: The chance that it acts on a request that it matches, drawn from the simulator's seed.
    """

    operation: str | None = None
    region: str | None = None
    account: str | None = None
    page: int | None = None
    times: int | None = None
    probability: float = 1.0

    def matches(self, call: Call) -> bool:
        """Whether this is a request that the fault is for."""
        return (
            self.operation in {None, call.operation}
            and self.region in {None, call.region}
            and self.account in {None, call.account}
            and self.page in {None, call.page}
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OfGets(Fault):
    """What can be limited to the Gets of one job.

    Args:
        arn: Only Gets of this job.
    """

    arn: str | None = None

    def matches(self, call: Call) -> bool:
        """Whether this is a request that the fault is for, also by the job."""
        return Fault.matches(self, call) and self.arn in {None, call.arn}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fail(OfGets):
    """Answer with an error; by default the service's own 500."""

    code: str = "InternalServerException"
    status: int = 500
    message: str = "An internal server error occurred. Retry your request."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Throttle(Fail):
    """Answer ThrottlingException."""

    code: str = "ThrottlingException"
    status: int = 429
    message: str = "Too many requests, please wait before trying again."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RateLimit(Throttle):
    """Throttle what exceeds a rate, by a token bucket and the simulator's clock.

    Args:
        per_second: Requests a second in the long run.
        burst: Requests at once.
    """

    per_second: float = 10.0
    burst: int = 10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AccessDenied(Fail):
    """Answer AccessDeniedException."""

    code: str = "AccessDeniedException"
    status: int = 403
    message: str = "User is not authorized to perform this action because no identity-based policy allows it."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Latency(OfGets):
    """Answer late, by this many seconds of real time."""

    seconds: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reset(Fault):
    """Reset the connection instead of answering; the request has had no effect."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CutBody(Fault):
    """Announce the whole body, send the first `keep` bytes, then close the connection or reset it."""

    keep: int = 10
    reset: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Garbage(Fault):
    """Answer something that is not JSON, as a proxy in between would."""

    body: bytes = b"<html><body>Bad Gateway</body></html>"
    status: int = 200
    content_type: str = "text/html"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExpiredToken(Fault):
    """Refuse the token of a listing that goes on (from page 2) as expired."""

    message: str = "The provided nextToken has expired."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CyclicTokens(Fault):
    """Hand out the first `length` tokens of a listing over and over: 1 repeats one token, 2 goes a-b-a."""

    length: int = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EndlessTokens(Fault):
    """Always give a fresh token; after the last job the pages are empty."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ShortPages(Fault):
    """Show at most `size` jobs a page, whatever was asked for; 0 gives an empty page that goes on."""

    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EmptyListing(Fault):
    """Show no job and no token."""


@dataclass(frozen=True, slots=True, eq=False)
class Change(Fault):
    """Change a job in responses of list and Get.

    Args:
        change: Gets a copy of the job's JSON object and returns what to show: the same changed, anything else
            (a malformed item), or `None` to hide the job (a Get then answers as for an unknown one).
        arn: Only this job. Each job changed counts for `times`.
    """

    change: Callable[[Json], Any]
    arn: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nest(Fault):
    """Show a job with a field of lists in lists.

    Args:
        arn: Only this job.
        levels: How many.
    """

    arn: str | None = None
    levels: int = 20_000


_NESTED = re.compile(rb'"<nested ([0-9]+)>"')


def unfold(body: bytes) -> bytes:
    """Write the lists of `Nest` into an answer; no writer of JSON would."""
    return _NESTED.sub(lambda match: b"[" * int(match[1]) + b"]" * int(match[1]), body)


@dataclass(frozen=True, slots=True, eq=False)
class Twice(Fault):
    """Show a job twice on its page of a listing: as it is, then as `change` returns it."""

    change: Callable[[Json], Any] = field(default=lambda item: item)
    arn: str | None = None


class Armed:
    """A fault with its count and what it remembers."""

    def __init__(self, fault: Fault, dice: Dice) -> None:
        self.fault = fault
        self.fired = 0
        self.tokens: dict[tuple[object, ...], list[str]] = {}
        self._dice = dice
        self._bucket: tuple[float, int] | None = None

    def spent(self) -> bool:
        """Whether it has acted as often as it may."""
        return self.fault.times is not None and self.fired >= self.fault.times

    def fire(self, call: Call) -> bool:
        """Decide whether it acts on a request, and count it if it does."""
        if self.spent() or not self.fault.matches(call):
            return False
        if self.fault.probability < 1 and not self._dice.chance(self.fault.probability):
            return False
        if isinstance(self.fault, RateLimit) and not self._exceeded(self.fault, call.now):
            return False
        self.fired += 1
        return True

    def _exceeded(self, limit: RateLimit, now: int) -> bool:
        left, then = self._bucket or (float(limit.burst), now)
        left = min(float(limit.burst), left + (now - then) / 1000 * limit.per_second)
        self._bucket = (left - 1 if left >= 1 else left, now)
        return left < 1


class Faults:
    """The faults of one simulator; safe to use from any thread.

    Args:
        seed: Decides the draws of faults with a probability.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._added = 0
        self._lock = threading.RLock()
        self._armed: list[Armed] = []

    def add(self, *faults: Fault) -> None:
        """Arm faults, each with its own count."""
        with self._lock:
            for fault in faults:
                self._added += 1
                self._armed.append(Armed(fault, Dice(self._seed, "fault", self._added)))

    def remove(self, *faults: Fault) -> None:
        """Disarm faults that were added; those that were not are left out of it."""
        with self._lock:
            self._armed = [armed for armed in self._armed if armed.fault not in faults]

    def clear(self) -> None:
        """Disarm everything."""
        with self._lock:
            self._armed = []

    @contextmanager
    def active(self, *faults: Fault) -> Iterator[None]:
        """Arm faults for the length of a `with` block."""
        self.add(*faults)
        try:
            yield
        finally:
            self.remove(*faults)

    def fired(self, fault: Fault) -> int:
        """How often an armed fault has acted."""
        with self._lock:
            return sum(armed.fired for armed in self._armed if armed.fault is fault)

    def acting(self, call: Call, *kinds: type[F]) -> Iterator[tuple[F, Armed]]:
        """The faults of some kinds that act on a request, counted as the caller gets to them."""
        with self._lock:
            armed_now = list(self._armed)
        for armed in armed_now:
            fault = armed.fault
            if isinstance(fault, kinds):
                with self._lock:
                    fires = armed.fire(call)
                if fires:
                    yield fault, armed

    def show(self, call: Call, arn: str, item: Json, *, listing: bool) -> list[Any]:
        """What a response shows instead of a job: usually the job, changed, nothing, or two of it."""
        shown: list[Any] = [item]
        with self._lock:
            for armed in self._armed:
                fault = armed.fault
                if not isinstance(fault, (Change, Twice, Nest)) or fault.arn not in {None, arn}:
                    continue
                if armed.spent() or not fault.matches(call) or (isinstance(fault, Twice) and not listing):
                    continue
                if not shown or not isinstance(shown[0], dict):
                    break
                if isinstance(fault, Nest):
                    armed.fired += 1
                    shown = [{**shown[0], "nested": f"<nested {fault.levels}>"}, *shown[1:]]
                    continue
                changed = fault.change(copy.deepcopy(shown[0]))
                if isinstance(fault, Twice):
                    armed.fired += 1
                    shown = [*shown, changed]
                elif changed != shown[0]:
                    armed.fired += 1
                    shown = [] if changed is None else [changed, *shown[1:]]
        return shown
