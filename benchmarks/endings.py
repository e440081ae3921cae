"""How soon the end of a job is announced, and at how many calls: a daemon with defaults, and rivals."""

from __future__ import annotations

import json
import random
import statistics
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from benchmarks import airflow
from benchmarks.airflow import AIRFLOW
from benchmarks.polls import KIND
from benchmarks.table import Figures, Row, percentile
from benchmarks.wake_queue import REGION, queue
from benchmarks.watched import LOOP, OURS, daemon, get_loop, watched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchmarks.bench import Bench
    from benchmarks.watched import Watched

_WOKEN = "bedrock-poller-woken"
_MINUTE = 60
_HALF = 0.5
_NEARLY_ALL = 0.99
_PATIENCE = 1200.0


def rows(bench: Bench) -> Iterator[Row]:
    """Delays and calls of one run, in which all watch at the same time."""
    jobs, minutes = bench.sizes.endings, bench.sizes.minutes
    provider = airflow.version(bench) if bench.sizes.airflow else None
    watchers = [OURS, _WOKEN, LOOP, *([AIRFLOW] if provider else [])]
    chance = random.Random(jobs)  # noqa: S311 - the same moments in every run
    moments = sorted(chance.uniform(0, minutes * _MINUTE) for _ in range(jobs))
    with watched(watchers, {KIND: jobs}) as place, ExitStack() as stack:
        if provider:
            stack.enter_context(airflow.waiters(bench, place))
        stack.enter_context(daemon(bench, place, OURS))
        queue_url, tell = stack.enter_context(queue())
        stack.enter_context(daemon(bench, place, _WOKEN, **_woken_by(queue_url)))
        stack.enter_context(get_loop(place, _as_many_as_ours(place, minutes * _MINUTE)))
        bench.say(f"{jobs} jobs end over {minutes:g} minutes, watched by {', '.join(watchers)}")
        _let_end(place, moments, chance.sample(range(jobs), jobs), tell)
        bench.say("all have ended")
        calls = place.calls_until_all_posted(watchers, _PATIENCE)
        delays = {watcher: place.delays(watcher) for watcher in watchers}
    jobs_end = f"{jobs} open batch jobs that end at random over {minutes:g} minutes, defaults"
    loop = "a Get for each open job in turn, as many calls a minute"
    yield from _delay_rows(jobs_end, delays[OURS], loop, delays[LOOP], limit=3, least=50)
    yield from _woken_rows(
        f"{jobs} open batch jobs that end at random over {minutes:g} minutes", delays, calls
    )
    if provider:
        waiter = f"Airflow's waiter (Amazon provider {provider}) for each job, every {airflow.DELAY} s"
        yield from _delay_rows(jobs_end, delays[OURS], waiter, delays[AIRFLOW])
        yield _call_row(jobs_end, calls[OURS], waiter, calls[AIRFLOW])
        every = 2 * statistics.mean(delays[OURS])
        needed = sum(int(moment / every) + 2 for moment in moments)
        waiter = f"counted: such a waiter every {every:.1f} s, for the same mean delay"
        yield _call_row(jobs_end, calls[OURS], waiter, needed)


def _woken_by(queue_url: str) -> dict[str, str]:
    """Settings that leave a daemon to its wake-ups."""
    return {
        "AWS_ENDPOINT_URL_SQS": queue_url.rpartition("/")[0].rpartition("/")[0],
        "BEDROCK_POLLER_POLL__INTERVAL": "5m",
        "BEDROCK_POLLER_WAKE_UPS": json.dumps([{"type": "sqs", "queue_url": queue_url, "region": REGION}]),
    }


def _let_end(
    place: Watched, moments: Sequence[float], order: Sequence[int], tell: Callable[[str], None]
) -> None:
    """Let the jobs end, in that order, so many seconds from now; the queue is told of each at once."""
    began = time.monotonic()
    for moment, number in zip(moments, order, strict=True):
        time.sleep(max(0.0, began + moment - time.monotonic()))
        place.end(number)
        tell(place.jobs[_WOKEN][number])


def _as_many_as_ours(place: Watched, seconds: float) -> Callable[[], int]:
    """Allow a call for each of ours; after those seconds, when ours has no more to do, at that rate."""
    began = time.monotonic()
    rate = 0.0

    def may_make() -> int:
        nonlocal rate
        passed = time.monotonic() - began
        if passed < seconds:
            return place.calls(OURS)
        rate = rate or place.calls(OURS) / passed
        return int(rate * passed)

    return may_make


def _delay_rows(
    jobs_end: str,
    ours: Sequence[float],
    rival: str,
    theirs: Sequence[float],
    *,
    limit: float | None = None,
    least: float | None = None,
) -> Iterator[Row]:
    """The mean, which is held to the bars, and the 99th percentile."""
    for name, of, held in (("mean", statistics.mean, True), ("p99", _p99, False)):
        yield Row(
            f"from the end to the webhook's receiver, {jobs_end}: {name}, range over the jobs",
            "s",
            Figures(ours, middle=of(ours)),
            rival,
            Figures(theirs, middle=of(theirs)),
            inverse=True,
            limit=limit if held else None,
            least=least if held else None,
        )


def _p99(delays: Sequence[float]) -> float:
    return percentile(delays, _NEARLY_ALL)


def _woken_rows(
    jobs_end: str, delays: Mapping[str, Sequence[float]], calls: Mapping[str, int]
) -> Iterator[Row]:
    ours, what = delays[_WOKEN], f"{jobs_end}, interval: 5m, a message on an SQS queue at each end"
    for share, limit in ((_HALF, 1.0), (_NEARLY_ALL, 3.0)):
        yield Row(
            f"from the end to the webhook's receiver, {what}: p{share * 100:.0f}, range over the jobs",
            "s",
            Figures(ours, middle=percentile(ours, share)),
            "the loop of Gets above",
            Figures(delays[LOOP], middle=percentile(delays[LOOP], share)),
            inverse=True,
            limit=limit,
        )
    yield Row(
        f"calls of Bedrock to the last webhook, {what}",
        "calls",
        Figures([calls[_WOKEN]]),
        "ours with defaults",
        Figures([calls[OURS]]),
    )


def _call_row(jobs_end: str, ours: int, rival: str, theirs: int) -> Row:
    return Row(
        f"calls to the last webhook, {jobs_end}",
        "calls",
        Figures([ours]),
        rival,
        Figures([theirs]),
        inverse=True,
        least=50,
    )
