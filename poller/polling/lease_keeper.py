"""Renews the leases of polls that wait for an answer of AWS.

A poll renews its lease as it gets on. One call may take longer than the lease, though, with all the attempts
of the SDK; another replica would then take the target over, and be robbed in its turn. One thread renews what
is held, for as long as one call can take: a poll that hangs longer loses its target after that.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from poller import logs
from poller.errors import LeaseLostError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from poller.model import Target
    from poller.store import Claim

_log = logs.get(__name__)

LONGEST_CALL_SECONDS = 300.0
"""The longest that one call to AWS can take, with all its attempts and waits."""
_PART = 3
"""A lease is looked at so many times while it lasts."""


class LeaseKeeper:
    """Renews leases from a thread of its own, which runs while there are any.

    Args:
        renew: Extends a claim's lease if a part of it has passed.
        lease: Seconds that a lease lasts.
        patience: Seconds without progress after which a lease is left to run out.
    """

    def __init__(
        self, renew: Callable[[Claim], None], *, lease: float, patience: float = LONGEST_CALL_SECONDS
    ) -> None:
        self._renew = renew
        self._every = lease / _PART
        self._patience = patience
        self._lock = threading.Lock()
        self._held: dict[Target, Claim] = {}
        self._moved: dict[Target, float] = {}
        self._thread: threading.Thread | None = None

    @contextmanager
    def holding(self, claim: Claim) -> Iterator[None]:
        """Keep the lease of a claim until the end of the block."""
        with self._lock:
            self._held[claim.target] = claim
            self._moved[claim.target] = time.monotonic()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="leases", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._held.pop(claim.target, None)
                self._moved.pop(claim.target, None)

    def progressed(self, target: Target) -> None:
        """Take note that the poll of a target has got further."""
        if target in self._moved:
            self._moved[target] = time.monotonic()

    def _run(self) -> None:
        while True:
            time.sleep(self._every)
            with self._lock:
                if not self._held:
                    self._thread = None
                    return
                now = time.monotonic()
                held = [
                    claim
                    for target, claim in self._held.items()
                    if now - self._moved.get(target, now) < self._patience
                ]
            for claim in held:
                self._keep(claim)

    def _keep(self, claim: Claim) -> None:
        try:
            self._renew(claim)
        except LeaseLostError:
            # The poll's own next write says so.
            with self._lock:
                if self._held.get(claim.target) is claim:
                    del self._held[claim.target]
        except StoreError as error:
            _log.warning("lease.not_renewed", target=claim.target.id, error=str(error))
