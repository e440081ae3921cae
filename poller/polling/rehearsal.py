"""A poll that writes nothing: what `once --dry-run` runs against the snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from datetime import datetime

    from poller.model import Job, Known, Target
    from poller.plan import OpenJob
    from poller.store import Claim, Observation, Snapshot


class Rehearsal:
    """Reads the snapshot and tells `show` what would be written.

    Args:
        snapshot: The real one; it is only read.
        show: Called with every observation that would be recorded.
    """

    def __init__(self, snapshot: Snapshot, show: Callable[[Observation], None]) -> None:
        self._snapshot = snapshot
        self._show = show

    def claim(self, target: Target, *, after: float = 0.0) -> Claim | None:  # noqa: ARG002 - nobody is in the way
        """Remember what a claim would, without a lease."""
        return self._snapshot.peek(target)

    def renew(self, claim: Claim) -> None:
        """Nothing to extend."""

    def release(self, claim: Claim) -> None:
        """Nothing to give back."""

    def recall(self, arns: Sequence[str]) -> tuple[Mapping[str, str], Mapping[str, Known]]:
        """The snapshot's rows."""
        return self._snapshot.recall(arns)

    def known(self, arns: Collection[str]) -> Mapping[str, Known]:
        """The snapshot's rows."""
        return self._snapshot.known(arns)

    def remembered(self, arn: str) -> Job:
        """The snapshot's row."""
        return self._snapshot.remembered(arn)

    def open_jobs(self, target: Target) -> list[OpenJob]:
        """The snapshot's open jobs."""
        return self._snapshot.open_jobs(target)

    def page_edges(self, target: Target) -> Iterator[datetime]:
        """The snapshot's edges."""
        return self._snapshot.page_edges(target)

    def record(
        self,
        claim: Claim,  # noqa: ARG002 - the ledger's signature, here and below
        observations: Sequence[Observation],
        *,
        seen: Collection[str] = (),  # noqa: ARG002
    ) -> None:
        """Show what would be written."""
        for observation in observations:
            self._show(observation)

    def mark_missed(self, claim: Claim, arns: Collection[str]) -> Mapping[str, int]:  # noqa: ARG002
        """Count nothing."""
        return {}

    def note_gets(self, claim: Claim, failed: Mapping[str, int], recovered: Collection[str]) -> None:
        """Nothing to record."""

    def finish(self, claim: Claim, *, high_water: datetime | None, full: bool) -> None:
        """Nothing to record."""
