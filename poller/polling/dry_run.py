"""A snapshot that is read and not written: what `once --dry-run` polls against."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poller.store import Leases, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime

    from poller.model import Target
    from poller.store import Claim, Database, Observation


class NoLeases(Leases):
    """Takes no lease, and reads what a claim would remember."""

    def claim(self, target: Target, *, after: float = 0.0) -> Claim | None:  # noqa: ARG002
        """Read what a claim would return."""
        return self.peek(target)

    def renew(self, claim: Claim) -> None:
        """Do nothing: there is no lease."""

    def release(self, claim: Claim) -> None:
        """Do nothing: there is no lease."""

    def finish(
        self, claim: Claim, *, high_water: datetime | None, full: bool, calls: int | None = None
    ) -> None:
        """Do nothing."""


class DryRun(Snapshot):
    """Shows what a poll would record, and writes nothing.

    Args:
        database: Is only read.
        show: Called with every observation that would be recorded.
    """

    leases_type = NoLeases

    def __init__(self, database: Database, show: Callable[[Observation], None]) -> None:
        super().__init__(database, owner="dry run", lease=60.0)
        self._show = show

    def record(
        self,
        claim: Claim,  # noqa: ARG002
        observations: Sequence[Observation],
        *,
        seen: Collection[str] = (),  # noqa: ARG002
    ) -> None:
        """Show what would be written."""
        for observation in observations:
            self._show(observation)

    def mark_missed(self, claim: Claim, arns: Collection[str]) -> dict[str, int]:  # noqa: ARG002
        """Count nothing."""
        return {}

    def note_gets(self, claim: Claim, failed: Mapping[str, int], recovered: Collection[str]) -> None:
        """Do nothing."""
