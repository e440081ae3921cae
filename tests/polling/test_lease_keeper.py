"""Leases are renewed while a call is under way, and not for ever."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from poller.errors import LeaseLostError, StoreError
from poller.model import Target
from poller.polling.lease_keeper import LeaseKeeper
from poller.store import Claim
from tests.harness.daemon import eventually

if TYPE_CHECKING:
    import pytest

CLAIM = Claim(Target("t", "us-east-1", "async_invoke", "123456789012"), "key", 1, True, None, None)


class Leases:
    """Notes renewals, and fails as it is told to."""

    def __init__(self, *errors: Exception) -> None:
        self.renewed = 0
        self.errors = list(errors)

    def renew(self, claim: Claim) -> None:
        """Renew one."""
        assert claim is CLAIM
        self.renewed += 1
        if self.errors:
            raise self.errors.pop(0)


def test_a_lease_is_renewed_until_the_poll_has_ended() -> None:
    """And again by the next poll, whose thread is another one (fault 58)."""
    leases = Leases()
    keeper = LeaseKeeper(leases.renew, lease=0.03)
    for _ in range(2):
        before = leases.renewed
        with keeper.holding(CLAIM):
            eventually(lambda before=before: leases.renewed >= before + 3)  # type: ignore[misc]
        eventually(lambda: keeper._thread is None)
    ended = leases.renewed
    time.sleep(0.1)
    assert leases.renewed == ended


def test_a_poll_that_hangs_loses_its_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without progress for longer than any call takes, it is not renewed any more (fault 58)."""
    leases = Leases()
    keeper = LeaseKeeper(leases.renew, lease=0.03, patience=0.15)
    with keeper.holding(CLAIM):
        eventually(lambda: leases.renewed >= 2)
        keeper.progressed(CLAIM.target)
        keeper.progressed(Target("another", "us-east-1", "async_invoke"))
        time.sleep(0.4)
        stopped = leases.renewed
        time.sleep(0.1)
        assert leases.renewed == stopped


def test_a_store_that_fails_is_tried_again_and_a_lost_lease_is_not() -> None:
    """The poll itself notices at its next write."""
    leases = Leases(StoreError("busy"), LeaseLostError("lost"))
    keeper = LeaseKeeper(leases.renew, lease=0.03)
    with keeper.holding(CLAIM):
        eventually(lambda: leases.renewed == 2)
        time.sleep(0.1)
        assert leases.renewed == 2
