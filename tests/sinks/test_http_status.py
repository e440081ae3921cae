"""What each HTTP answer means for a delivery."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from poller.errors import DeliveryError, DeliveryReason
from poller.sinks import registry
from poller.sinks.http.settings import HttpSettings
from poller.sinks.http.status import LONGEST_RETRY_AFTER, classify, parse_http_date, parse_retry_after
from tests.sinks.samples import EVENT, in_loop, receiver
from tests.sinks.statuses import HTTP_SINKS, TABLE, Verdict

if TYPE_CHECKING:
    from tests.sinks.samples import Received

NOW = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize("status", TABLE)
@pytest.mark.parametrize("sink_type", HTTP_SINKS)
@in_loop
async def test_every_status_is_judged_alike_by_every_sink(sink_type: str, status: int) -> None:
    """A real answer with each status succeeds or fails as the table says, and is never tried twice.

    Injects fault 28.
    """

    def answer(_: Received) -> web.Response:
        return web.Response(status=status, headers={"location": "/elsewhere", "retry-after": "7"})

    async with receiver(answer) as found:
        sink = HTTP_SINKS[sink_type](found.url)
        try:
            await sink.send([EVENT])
            verdict, retry_after = Verdict(None), None
        except DeliveryError as error:
            verdict = Verdict(error.reason, permanent=error.permanent, park=error.park)
            retry_after = error.retry_after
        finally:
            await sink.close()
    assert verdict == TABLE[status]
    assert len(found.requests) == 1
    assert retry_after == (None if verdict.permanent or verdict.park or not verdict.reason else 7.0)


def test_every_http_sink_is_tried() -> None:
    """Each sink of the registry that posts to a URL is among those that the test above tries."""
    types = registry.settings_types()
    assert HTTP_SINKS.keys() == {name for name in registry.BUILT_IN if issubclass(types[name], HttpSettings)}


def test_the_message_names_status_and_receiver() -> None:
    """What went wrong can be read off the message without the table at hand."""
    error = classify(503, receiver="https://a.example", excerpt="down for repairs")
    assert str(error) == "https://a.example answered 503 Service Unavailable: down for repairs"
    assert str(classify(599, receiver="https://a.example")) == "https://a.example answered 599"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        ("120", 120.0),
        (" 120 ", 120.0),
        ("1.5", 1.5),
        ("-5", None),
        ("+5", None),
        ("99999999999999999999", LONGEST_RETRY_AFTER),
        ("9" * 5000, LONGEST_RETRY_AFTER),
        ("1e9", None),
        ("inf", None),
        ("nan", None),
        ("٣", None),
        ("soon", None),
        ("120, 240", None),
        ("Fri, 20 Nov 2026 10:01:30 GMT", 90.0),
        ("Friday, 20-Nov-26 10:01:30 GMT", 90.0),
        ("Fri Nov 20 10:01:30 2026", 90.0),
        ("Fri, 20 Nov 2026 11:01:30 +0100", 90.0),
        ("Fri, 20 Nov 2026 09:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_RETRY_AFTER),
        ("Fri, 31 Dec 9999 23:59:59 -2359", None),
        ("Fri, 99 Nov 2026 10:00:00 GMT", None),
        ("Fri, 20 Nov 2026 99:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_or_ignored(value: str | None, expected: float | None) -> None:
    """Seconds and dates of all three forms count, within bounds; garbage is as if it were not there.

    Injects fault 26.
    """
    assert parse_retry_after(value, NOW) == expected


@given(st.text())
def test_no_retry_after_can_break_the_reading(value: str) -> None:
    """Any header comes to nothing or to a bounded number of seconds."""
    seconds = parse_retry_after(value, NOW)
    assert seconds is None or 0 <= seconds <= LONGEST_RETRY_AFTER


@given(st.integers(min_value=0, max_value=int(LONGEST_RETRY_AFTER)))
def test_a_date_and_seconds_mean_the_same(seconds: int) -> None:
    """A date counts from the time it is compared with."""
    date = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert parse_retry_after(date, NOW) == parse_retry_after(str(seconds), NOW) == seconds


@pytest.mark.parametrize("value", [None, "", "yesterday", "\x00"])
def test_what_is_no_date_is_none(value: str | None) -> None:
    """A missing or broken Date header is nothing to count from."""
    assert parse_http_date(value) is None


def test_only_some_failures_wait_for_the_receiver() -> None:
    """A refusal as such takes no Retry-After."""
    refused = classify(422, receiver="r", retry_after=5.0)
    limited = classify(429, receiver="r", retry_after=5.0)
    assert refused.retry_after is None
    assert limited.retry_after == 5.0
    assert limited.reason is DeliveryReason.RATE_LIMITED
