"""`POST /api/targets/ID/poll`: who may ask, and what the answer tells."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from poller.errors import WakeError
from poller.web import poll
from tests.web.test_server import site as served

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tests.web.test_server import Site

__all__ = ["served"]

TARGET = "prod/us-east-1/async_invoke"
PATH = f"/api/targets/{TARGET}/poll"


class Targets:
    """One target, whose polls end as the test says."""

    def __init__(self) -> None:
        self.woken: list[str] = []
        self.ends: Exception | None = None
        self.held = False
        self.guarded = False

    def wake(self, target_id: str) -> Awaitable[object] | None:
        """Have it polled."""
        if target_id != TARGET:
            return None
        self.woken.append(target_id)
        return self._poll()

    async def _poll(self) -> None:
        if self.held:
            await asyncio.sleep(60)
        if self.ends is not None:
            raise self.ends


@pytest.fixture
def targets() -> Targets:
    """The target."""
    return Targets()


@pytest.fixture
def site(served: Site, targets: Targets) -> Site:
    """A server with this route."""
    served.further = [poll.route(targets.wake, lambda: targets.guarded)]
    return served


def test_a_target_is_polled_by_its_id(site: Site, targets: Targets) -> None:
    """Ids have slashes; the answer comes when the poll has committed."""
    (answer,) = site.ask(PATH, method="POST")
    assert (answer.status, json.loads(answer.text)) == (200, {"polled": True})
    assert targets.woken == [TARGET]


def test_an_unknown_target_is_not_found(site: Site, targets: Targets) -> None:
    """Also one that is none: too few parts, or markup."""
    paths = ("/api/targets/prod/poll", "/api/targets//poll", "/api/targets/%3Cb%3E%00/x/y/poll")
    for answer in site.ask(*paths, method="POST"):
        assert answer.status == 404
        assert "\0" not in answer.text
    assert targets.woken == []


def test_a_poll_that_takes_long_is_accepted(
    site: Site, targets: Targets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request does not wait for a poll without end."""
    monkeypatch.setattr(poll, "LONGEST_WAIT_SECONDS", 0.05)
    targets.held = True
    (answer,) = site.ask(PATH, method="POST")
    assert (answer.status, json.loads(answer.text)["polled"]) == (202, False)


def test_a_poll_that_fails_says_why(site: Site, targets: Targets) -> None:
    """As the log does."""
    targets.ends = WakeError("the poll failed: access denied")
    (answer,) = site.ask(PATH, method="POST")
    assert (answer.status, json.loads(answer.text)["why"]) == (502, "the poll failed: access denied")


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "same-origin"}, {"Host": "rebound.example"}],
)
def test_a_web_page_cannot_ask(site: Site, targets: Targets, headers: dict[str, str]) -> None:
    """Nor one whose name was pointed here afterwards; and GET changes nothing (fault 47)."""
    (answer,) = site.ask(PATH, method="POST", **headers)
    assert answer.status == 403
    (answer,) = site.ask(PATH)
    assert answer.status == 405
    assert targets.woken == []


@pytest.mark.parametrize(
    ("client", "guarded", "allowed"),
    [
        ("127.0.0.1", False, True),
        ("::1", False, True),
        ("10.0.0.7", False, False),
        ("fe80::1%eth0", False, False),
        (None, False, False),
        ("10.0.0.7", True, True),
    ],
)
def test_other_machines_need_authentication(client: str | None, *, guarded: bool, allowed: bool) -> None:
    """A server without it takes no orders from the network (fault 47)."""
    assert (poll._refusal_of(client, guarded=guarded) == "") is allowed
