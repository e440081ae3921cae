"""What a poll needs of the snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from datetime import datetime

    from poller.model import Job, Known, Target
    from poller.plan import OpenJob
    from poller.store import Claim, Observation


class Ledger(Protocol):
    """What a poll needs of the snapshot; `Snapshot` writes, `Rehearsal` only pretends to."""

    def claim(self, target: Target, *, after: float = 0.0) -> Claim | None:
        """Take the lease, if nobody has had it for so many seconds."""

    def renew(self, claim: Claim) -> None:
        """Extend it."""

    def release(self, claim: Claim) -> None:
        """Give it back."""

    def recall(self, arns: Sequence[str]) -> tuple[Mapping[str, str], Mapping[str, Known]]:
        """The statuses of those that have ended, and the rows of the others."""

    def known(self, arns: Collection[str]) -> Mapping[str, Known]:
        """The rows of these jobs."""

    def remembered(self, arn: str) -> Job:
        """What is known of a job that has a row."""

    def open_jobs(self, target: Target) -> list[OpenJob]:
        """The open jobs."""

    def page_edges(self, target: Target) -> Iterator[datetime]:
        """When the last job of each full page was submitted, newest first."""

    def record(
        self, claim: Claim, observations: Sequence[Observation], *, seen: Collection[str] = ()
    ) -> None:
        """Write what was seen and what it owes."""

    def mark_missed(self, claim: Claim, arns: Collection[str]) -> Mapping[str, int]:
        """Count one more listing without these jobs."""

    def note_gets(self, claim: Claim, failed: Mapping[str, int], recovered: Collection[str]) -> None:
        """Record how the Gets of open jobs went."""

    def finish(self, claim: Claim, *, high_water: datetime | None, full: bool) -> None:
        """Record that the scan was complete."""
