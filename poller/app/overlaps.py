"""Finds targets that lead to the same jobs, as far as the configuration itself tells.

Two roles of one account, or two targets with the same credentials by different profiles, show the same jobs.
They are polled once, and their events carry both names. That may be what is wanted, so it is a warning. What
only AWS can tell, such as the accounts of an organization, is found when the program starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from poller.app.targets import access_of
from poller.settings.types import AUTO

if TYPE_CHECKING:
    from collections.abc import Iterator

    from poller.settings.schema import Settings, TargetSettings


@dataclass(frozen=True, slots=True)
class Overlap:
    """Two configured targets that watch the same jobs."""

    event: ClassVar = "target.overlap"
    first: str
    second: str
    what: str

    @property
    def details(self) -> dict[str, str]:
        """What the log tells."""
        return {"targets": f"{self.first}, {self.second}", "what": self.what, "remedy": _REMEDY}

    def __str__(self) -> str:
        return f"targets {self.first} and {self.second} both watch {self.what}; {_REMEDY}"


_REMEDY = "it is polled once, and events carry both names; remove one, or split regions or kinds"


def overlaps(settings: Settings) -> Iterator[Overlap]:
    """The pairs of targets whose roles are in one account, and that share a region and a kind."""
    for index, second in enumerate(settings.targets):
        account = access_of(second).role_account
        for first in settings.targets[:index]:
            if account is None or account != access_of(first).role_account:
                continue
            kinds = [kind for kind in first.kinds if kind in second.kinds]
            regions = _common_regions(first, second)
            if kinds and regions:
                what = f"{', '.join(kinds)} in {', '.join(regions)} of account {account}"
                yield Overlap(first.name, second.name, what)


def _common_regions(first: TargetSettings, second: TargetSettings) -> list[str]:
    named = [region for region in first.regions if region in second.regions and region != AUTO]
    if first.regions == second.regions == (AUTO,):
        return ["every region"]
    if first.regions == second.regions == ():
        return ["the current region"]
    if (AUTO,) in {first.regions, second.regions}:
        other = second.regions if first.regions == (AUTO,) else first.regions
        return list(other) or ["the current region"]
    return named
